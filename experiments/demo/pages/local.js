// Browsers load no module from a file, so the page itself cannot say why nothing happens.
if (location.protocol === "file:") {
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("status").textContent = "A browser runs no network from a file. "
      + "In this folder, python -m http.server 8000 --bind localhost; then open localhost:8000.";
  });
}
