// What the pages share: beginning, messages, bars and colours.
import { open } from "./session.js";

export const $ = (id) => document.getElementById(id);
export const say = (text) => { $("status").textContent = text; };
export const percent = (p) => (p >= 0.0005 ? `${(100 * p).toFixed(1)} %` : "0 %");
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
export const state = (name) => { document.body.dataset.state = name; };

// What is in the page: facts of the network, and how many units one sees.
export const named = ({ cell, params, dataset }, units) =>
  `${cell.length < 5 ? cell.toUpperCase() : cell} of ${units} units and ${params.toLocaleString("en")} weights, trained on ${dataset}`;

function fail(error) {
  state("failed");
  say(`The network cannot run here: ${error.message}`);
  $("status").classList.add("failed");
}

// Shows the page of a network once it is loaded, or why it is not.
export async function begin(show) {
  addEventListener("unhandledrejection", (event) => fail(event.reason));
  state("loading");
  try {
    await show(await open());
    if (document.body.dataset.state === "loading") state("ready");
  } catch (error) {
    fail(error);
  }
}

export function bars(place, names) {
  place.replaceChildren(...names.flatMap((name) => {
    const parts = ["name", "bar", "share"].map((kind) => Object.assign(document.createElement("span"), { className: kind }));
    parts[0].textContent = name;
    parts[1].append(document.createElement("span"));
    return parts;
  }));
}

export function setBars(place, shares) {
  const top = shares.indexOf(Math.max(...shares));
  const parts = [...place.children];
  shares.forEach((p, i) => {
    const [name, bar, share] = parts.slice(3 * i, 3 * i + 3);
    bar.firstChild.style.width = `${100 * p}%`;
    share.textContent = percent(p);
    share.dataset.value = p;
    for (const part of [name, share]) part.classList.toggle("first", i === top);
  });
}

const hex = (name) => {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
};

// A function from -1 .. 1 to a colour of the scheme: low, middle, high.
export function colours() {
  const [low, middle, high] = ["--low", "--middle", "--high"].map(hex);
  return (value) => {
    const v = Math.max(-1, Math.min(1, value)), end = v < 0 ? low : high;
    return middle.map((m, i) => Math.round(m + Math.abs(v) * (end[i] - m)));
  };
}

export const css = (rgb) => `rgb(${rgb.join(" ")})`;

// Black or white, whichever can be read on a colour.
export function readable(rgb) {
  const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

// Draws rows of numbers in -1 .. 1 as squares of one pixel; CSS makes them large.
export function heat(canvas, rows, width, height, colour) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  rows.forEach((row, y) => row.forEach((value, x) => {
    image.data.set([...colour(value), 255], 4 * (y * width + x));
  }));
  context.putImageData(image, 0, 0);
}

export const onScheme = (draw) =>
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
