"use strict";
// Curves: drag over them to zoom, double-click or Escape for the whole; with the keyboard
// the arrows move from epoch to epoch (with Shift the view), + and - zoom.

const DASHES = ["", "7 4", "2 3"], EACH = 20; // as many seeds are drawn one by one
const HELP = "Arrow keys tell the values, plus and minus zoom, Escape shows all.";
const MARGIN = { left: 60, right: 14, top: 10, bottom: 30 };

function make(tag, attributes = {}, ...children) {
  const drawn = /^(svg|g|path|line|text|rect|circle|clipPath)$/.test(tag);
  const node = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function written(value) {
  const size = Math.abs(value);
  return value === 0 || (size >= 1e-3 && size < 1e5) ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

function spread(values) { // over the seeds that have a finite value
  const finite = values.filter((value) => value !== null);
  if (!finite.length) return null;
  const mean = finite.reduce((sum, value) => sum + value / finite.length, 0);
  return { mean, low: Math.min(...finite), high: Math.max(...finite) };
}

function ticks(low, high, count, least = 0) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = Math.max(least, [1, 2, 5, 10].map((m) => m * power).find((s) => s * count >= high - low));
  const first = Math.ceil(low / step - 1e-9), found = [];
  for (let i = first; i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

function decades(low, high) { // of a logarithmic axis, where low and high are logarithms
  const found = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const m of high - low > 3 ? [1] : [1, 2, 5]) found.push(Math.log10(m) + power);
  }
  const inside = found.filter((value) => value >= low && value <= high);
  return inside.length > 1 ? inside : ticks(low, high, 4);
}

class Chart {
  constructor(figure, { title, series }, number) {
    this.series = series.map((one, i) => ({
      ...one, shown: true, spreads: one.values.map(spread), seeds: Math.max(...one.values.map((v) => v.length)),
      style: { stroke: `var(--c${i % 8})`, "stroke-dasharray": DASHES[Math.floor(i / 8) % 3], fill: "none" },
    }));
    this.epochs = [...new Set(series.flatMap((one) => one.epochs))].sort((a, b) => a - b);
    const [first, last] = [this.epochs[0], this.epochs.at(-1)];
    this.whole = first === last ? [first - 0.5, last + 0.5] : [first, last];
    this.view = [...this.whole];
    this.number = number;
    this.each = series.length < 4 && this.series.some((one) => one.seeds > 1 && one.seeds <= EACH);
    this.log = false;
    this.cursor = null;
    const label = `${figure.getAttribute("aria-label")} ${HELP}`;
    this.svg = make("svg", { tabindex: 0, role: "application", "aria-label": label });
    this.said = make("output", {}, "Drag to zoom, double-click for all.");
    figure.append(this.legend(), this.svg, this.buttons(title), this.said);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  legend() {
    const row = make("div", { class: "row" });
    for (const one of this.series) {
      const swatch = make("svg", { viewBox: "0 0 28 12", "aria-hidden": true });
      swatch.append(make("path", { ...one.style, d: "M0 6H28", "stroke-width": 3 }));
      row.append(this.toggle([swatch, one.name], "", true, (on) => (one.shown = on)));
    }
    return row;
  }

  toggle(content, kind, pressed, change) {
    const button = make("button", { type: "button", class: kind, "aria-pressed": pressed }, ...content);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      change(on);
      this.draw();
    });
    return button;
  }

  buttons(title) {
    const row = make("div", { class: "row" });
    for (const [name, about, action] of [
      ["+", "Zoom in", () => this.zoom(0.5)], ["−", "Zoom out", () => this.zoom(2)], ["All", "Show all", () => this.show(this.whole)],
    ]) {
      const button = make("button", { type: "button", "aria-label": `${about}: ${title}`, title: about }, name);
      button.addEventListener("click", action);
      row.append(button);
    }
    const values = this.series.flatMap((one) => one.values.flat()).filter((value) => value !== null);
    if (values.length && values.every((value) => value > 0)) {
      row.append(this.toggle(["Logarithmic"], "plain", false, (on) => (this.log = on)));
    }
    if (this.series.some((one) => one.seeds > 1)) {
      row.append(this.toggle(["Each seed"], "plain", this.each, (on) => (this.each = on)));
    }
    return row;
  }

  listen() {
    const place = (event) => event.clientX - this.svg.getBoundingClientRect().left;
    let from = null;
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = place(event);
      this.svg.setPointerCapture(event.pointerId);
    });
    this.svg.addEventListener("pointermove", (event) => {
      const to = place(event);
      if (from === null) return this.point(this.nearest(this.epoch(to)));
      const [left, right] = this.range;
      const [a, b] = [from, to].map((x) => Math.min(right, Math.max(left, x)));
      this.drag.setAttribute("x", Math.min(a, b));
      this.drag.setAttribute("width", Math.abs(b - a));
    });
    this.svg.addEventListener("pointerup", (event) => {
      const start = from, end = place(event);
      from = null;
      if (start === null) return;
      if (Math.abs(end - start) < 6) return this.point(this.nearest(this.epoch(end)));
      this.show([start, end].map((x) => this.epoch(x)).sort((a, b) => a - b));
    });
    this.svg.addEventListener("pointercancel", () => { from = null; this.draw(); });
    this.svg.addEventListener("dblclick", () => this.show(this.whole));
    this.svg.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (way) event.shiftKey ? this.pan(way) : this.step(way);
      else if (event.key === "+" || event.key === "=") this.zoom(0.5);
      else if (event.key === "-") this.zoom(2);
      else if (["0", "Escape", "Home"].includes(event.key)) this.show(this.whole);
      else return;
      event.preventDefault();
    });
  }

  show([from, to]) {
    const [first, last] = this.whole, least = Math.min(1, last - first);
    const width = Math.min(last - first, Math.max(least, to - from));
    from = Math.min(Math.max(first, (from + to - width) / 2), last - width);
    this.view = [from, from + width].map((epoch) => Number(epoch.toFixed(6)));
    this.draw();
  }

  zoom(factor) {
    const [from, to] = this.view;
    const inside = this.cursor !== null && this.cursor >= from && this.cursor <= to;
    const middle = inside ? this.cursor : (from + to) / 2;
    this.show([middle - (middle - from) * factor, middle + (to - middle) * factor]);
  }

  pan(way) {
    const [from, to] = this.view, by = (way * (to - from)) / 4;
    this.show([from + by, to + by]);
  }

  step(way) {
    const at = this.epochs.indexOf(this.cursor);
    const next = at < 0 ? this.nearest(this.view[way > 0 ? 0 : 1]) : this.epochs[Math.min(this.epochs.length - 1, Math.max(0, at + way))];
    const [from, to] = this.view;
    if (next < from) this.show([next, next + to - from]);
    if (next > to) this.show([next - to + from, next]);
    this.point(next);
  }

  nearest(epoch) {
    return this.epochs.reduce((best, one) => (Math.abs(one - epoch) < Math.abs(best - epoch) ? one : best));
  }

  epoch(x) {
    const [left, right] = this.range, [from, to] = this.view;
    return from + ((Math.min(right, Math.max(left, x)) - left) / (right - left)) * (to - from);
  }

  point(epoch) {
    this.cursor = epoch;
    const told = this.series.filter((one) => one.shown).map((one) => {
      const at = one.spreads[one.epochs.indexOf(epoch)];
      if (at === undefined) return null;
      if (at === null) return `${one.name} not finite`;
      return `${one.name} ${written(at.mean)}` + (one.seeds > 1 ? ` (${written(at.low)} to ${written(at.high)})` : "");
    });
    this.said.textContent = `epoch ${epoch}: ${told.filter(Boolean).join(", ")}`;
    this.mark();
  }

  mark() {
    const [from, to] = this.view, seen = this.cursor !== null && this.cursor >= from && this.cursor <= to;
    this.line.setAttribute("visibility", seen ? "visible" : "hidden");
    if (seen) for (const name of ["x1", "x2"]) this.line.setAttribute(name, this.x(this.cursor));
  }

  heights() { // of what is in view, on the axis
    const [from, to] = this.view;
    const ends = this.series.filter((one) => one.shown).flatMap((one) =>
      one.spreads.flatMap((at, i) => (at && one.epochs[i] >= from && one.epochs[i] <= to ? [at.low, at.high] : [])));
    if (!ends.length) return null;
    let [low, high] = [ends.reduce((a, b) => Math.min(a, b)), ends.reduce((a, b) => Math.max(a, b))];
    if (this.log) [low, high] = [Math.log10(low), Math.log10(high)];
    const room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
    return [low - room, high + room];
  }

  path(one, pick) { // with a gap where a value is not finite
    let pen = "M", found = "";
    one.epochs.forEach((epoch, i) => {
      const value = pick(i);
      if (value === null || value === undefined) return (pen = "M");
      found += `${pen}${this.x(epoch).toFixed(1)} ${this.y(value).toFixed(1)}`;
      pen = "L";
    });
    return found;
  }

  band(one) {
    const runs = [[]];
    one.spreads.forEach((at, i) => (at ? runs.at(-1).push(i) : runs.push([])));
    const point = (i, side) => `${this.x(one.epochs[i]).toFixed(1)} ${this.y(one.spreads[i][side]).toFixed(1)}`;
    return runs.filter((run) => run.length).map((run) =>
      `M${[...run.map((i) => point(i, "low")), ...[...run].reverse().map((i) => point(i, "high"))].join("L")}Z`).join("");
  }

  draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width) return;
    const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
    const [from, to] = this.view, ends = this.heights();
    const [low, high] = ends ?? [0, 1];
    this.range = [left, right];
    this.x = (epoch) => left + ((epoch - from) / (to - from)) * (right - left);
    this.y = (value) => bottom - (((this.log ? Math.log10(value) : value) - low) / (high - low)) * (bottom - top);
    Object.assign(this.svg.dataset, { from, to });
    const clip = `clip-${this.number}`, axes = make("g"), lines = make("g", { "clip-path": `url(#${clip})` });
    for (const value of ends ? (this.log ? decades(low, high) : ticks(low, high, 5)) : []) {
      const y = bottom - ((value - low) / (high - low)) * (bottom - top);
      axes.append(make("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
      axes.append(make("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, written(this.log ? 10 ** value : Number(value.toPrecision(12)))));
    }
    for (const epoch of ticks(from, to, Math.max(2, Math.floor((right - left) / 70)), 1)) {
      axes.append(make("line", { class: "axis", x1: this.x(epoch), x2: this.x(epoch), y1: bottom, y2: bottom + 4 }));
      axes.append(make("text", { x: this.x(epoch), y: bottom + 17, "text-anchor": "middle" }, String(epoch)));
    }
    axes.append(make("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
    axes.append(make("text", { x: right, y: height - 1, "text-anchor": "end" }, "epoch"));
    if (!ends) axes.append(make("text", { x: (left + right) / 2, y: (top + bottom) / 2, "text-anchor": "middle" }, "nothing to show"));
    for (const one of this.series.filter((one) => one.shown)) {
      if (one.seeds > 1 && this.each) {
        for (let seed = 0; seed < one.seeds; seed++) {
          lines.append(make("path", { ...one.style, d: this.path(one, (i) => one.values[i][seed]), "stroke-width": 1, opacity: 0.45 }));
        }
      } else if (one.seeds > 1) {
        lines.append(make("path", { d: this.band(one), fill: one.style.stroke, opacity: 0.18 }));
      }
      lines.append(make("path", { ...one.style, class: "mean", d: this.path(one, (i) => one.spreads[i]?.mean), "stroke-width": 2.25 }));
      one.spreads.forEach((at, i) => { // a point between two gaps has no line
        if (at && !one.spreads[i - 1] && !one.spreads[i + 1]) {
          lines.append(make("circle", { cx: this.x(one.epochs[i]), cy: this.y(at.mean), r: 3.5, fill: one.style.stroke }));
        }
      });
    }
    this.line = make("line", { class: "cursor", y1: top, y2: bottom });
    this.drag = make("rect", { class: "drag", x: left, y: top, width: 0, height: bottom - top });
    const area = make("rect", { x: left, y: 0, width: right - left, height: bottom });
    this.svg.replaceChildren(make("clipPath", { id: clip }, area), axes, lines, this.line, this.drag);
    this.mark();
  }
}

const data = JSON.parse(document.getElementById("charts").textContent);
for (const figure of document.querySelectorAll("figure.chart")) {
  const number = Number(figure.dataset.chart);
  new Chart(figure, data[number], number);
}
