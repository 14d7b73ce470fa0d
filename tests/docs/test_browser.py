"""The pages of the site as Chromium draws them, on a desktop and on a phone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import served, started

pytest.importorskip("sphinx", reason="pip install -e '.[docs]'")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WIDTHS = {"desktop": 1280, "phone": 390}
SHOWN = (  # of which pictures are kept, for people to look at
    *("docs/index", "README.ko", "experiments/TUTORIAL", "experiments/TUTORIAL.ko"),
    *("experiments/README", "benchmarks/README", "docs/INTEROP", "docs/CELLS"),
    *("docs/howto/packing", "docs/coming_from/torch", "docs/reference/index"),
    *("docs/reference/cells.gru", "docs/reference/cells.ltc", "docs/DESIGN"),
    *("docs/reference/cells.mlstm_recurrence", "docs/reference/cells.s5"),
    *("docs/reference/attention", "docs/reference/losses", "docs/howto/choosing"),
)

# What is wrong with the page that is open, as sentences.
FAULTS = """() => {
  const faults = [], page = document.documentElement;
  const name = (e) => e.outerHTML.slice(0, 90).replace(/\\s+/g, " ");
  if (page.scrollWidth > innerWidth) {
    faults.push(`the page is ${page.scrollWidth} wide in a window of ${innerWidth}`);
  }
  const shown = (e) => e.getClientRects().length > 0;
  // Whether an ancestor scrolls, so that what is wider than it can be reached.
  const scroller = (e) => {
    for (let at = e; at && at !== document.body; at = at.parentElement) {
      const flow = getComputedStyle(at).overflowX;
      if (flow === "auto" || flow === "scroll") return at;
      if (flow === "hidden" && at.scrollWidth > at.clientWidth + 1) return null;
    }
    return null;
  };
  const wides = "article :is(table, pre, math, img)";
  for (const wide of document.querySelectorAll(wides)) {
    if (!shown(wide)) continue;
    const box = wide.getBoundingClientRect(), at = scroller(wide);
    const within = at ? at.getBoundingClientRect() : null;
    if (box.left < -1 || (within && box.left < within.left - 1)) {
      faults.push(`cut at the left: ${name(wide)}`);
    }
    if (box.right > innerWidth + 1 && !(within && within.right <= innerWidth + 1)) {
      faults.push(`cut at the right: ${name(wide)}`);
    }
  }
  for (const math of document.querySelectorAll("article math")) {
    const box = math.getBoundingClientRect();
    const empty = box.width < 4 || box.height < 8;
    if (shown(math) && empty) faults.push(`not drawn: ${name(math)}`);
  }
  for (const image of document.querySelectorAll("img")) {
    const empty = image.complete && !image.naturalWidth;
    if (empty) faults.push(`not loaded: ${name(image)}`);
  }
  return faults;
}"""

# Whether letters are drawn as themselves: each looks otherwise than the sign for none.
DRAWN = """(letters) => {
  const picture = (letter) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 40;
    const pen = canvas.getContext("2d");
    pen.font = `30px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillText(letter, 2, 32);
    return canvas.toDataURL();
  };
  const pictures = [...letters, "\\u{10FFFD}"].map(picture);
  return new Set(pictures).size === pictures.length;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of a site that is built anew."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-j", "2"]
    places = ["-c", "docs/site", "-d", folder / "trees", ".", folder / "html"]
    subprocess.run([*command, *places], cwd=ROOT, check=True)

    with served(folder / "html") as address:
        yield address.rstrip("/"), folder / "html"


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


def opened(browser, width: int, address: str):
    """A window, and what went wrong in it: requests to others, errors of scripts."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    wrong: list[str] = []

    def asked(request):
        if not request.url.startswith((address, "data:", "blob:")):
            wrong.append(f"asked for {request.url}")

    def answered(status, url):
        if status >= 400:
            wrong.append(f"{status}: {url}")

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # by the next page
            wrong.append(f"not found: {request.url}")

    page.on("request", asked)
    page.on("pageerror", lambda error: wrong.append(f"a script failed: {error}"))
    page.on("response", lambda answer: answered(answer.status, answer.url))
    page.on("requestfailed", failed)
    return page, wrong


@pytest.mark.parametrize("device", WIDTHS)
def test_every_page_is_whole(site, browser, device, tmp_path_factory):
    address, folder = site
    pictures = Path(
        os.environ.get("JAXRNN_SCREENSHOTS") or tmp_path_factory.mktemp("shots")
    )
    pictures.mkdir(parents=True, exist_ok=True)
    page, wrong = opened(browser, WIDTHS[device], address)
    faults = {}
    # The pages of sources are code alone, and their lines may be longer than a phone.
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.html"))]
    left_out = ("_modules", "_static", "index.html")  # the last leads to the first page
    paths = [path for path in paths if path.parts[0] not in left_out]
    assert len(paths) > 60
    for path in paths:
        page.goto(f"{address}/{path}")
        found = [*page.evaluate(FAULTS), *wrong]
        wrong.clear()
        if found:
            faults[str(path)] = found
        if path.with_suffix("").as_posix() in SHOWN:
            name = path.with_suffix("").as_posix().replace("/", "-")
            page.screenshot(path=pictures / f"{device}-{name}.png", full_page=True)
    assert not faults


def test_korean_letters_are_drawn(site, browser):
    address, _ = site
    page, _ = opened(browser, 390, address)
    page.goto(f"{address}/experiments/TUTORIAL.ko.html")
    assert page.evaluate(DRAWN, "순환신경망")
    assert page.locator("html").get_attribute("lang") == "ko"


def test_a_page_leads_to_the_same_one_in_the_other_language(site, browser):
    address, _ = site
    for width in WIDTHS.values():
        page, _ = opened(browser, width, address)
        page.goto(f"{address}/experiments/TUTORIAL.html")
        page.locator("a.language:visible").click()
        assert page.url.endswith("/experiments/TUTORIAL.ko.html")
        page.locator("a.language:visible").click()
        assert page.url.endswith("/experiments/TUTORIAL.html")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("신경망", "experiments/TUTORIAL.ko.html"),  # within 순환 신경망은, and alone
        ("은닉", "experiments/TUTORIAL.ko.html"),  # a part of a word
        ("기억으로", "experiments/TUTORIAL.ko.html"),
        ("peepholes", "docs/RUNTIMES.html"),
        ("beam_search", "docs/reference/decode.beam.html"),
        ("packing sequences", "docs/howto/packing.html"),
    ],
)
def test_the_search_finds_it(site, browser, query, expected):
    address, _ = site
    page, wrong = opened(browser, 1280, address)
    page.goto(f"{address}/search.html?q={query}")
    page.wait_for_selector("ul.search li a", timeout=10_000)
    page.wait_for_function(
        "!document.querySelector('#search-results h2')?.innerText.includes('Searching')"
    )
    links = page.locator("ul.search li a").evaluate_all(
        "found => found.map(a => a.href)"
    )
    assert any(expected in link for link in links), links
    assert not wrong
