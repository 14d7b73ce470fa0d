// Lines drawn on a canvas by mouse, finger or keys, in shares of its sides.
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 1 / 24;

export class Pen {
  // Calls changed(finished) after each change of the lines.
  constructor(canvas, width, changed) {
    Object.assign(this, { canvas, width, changed, lines: [], at: [0.5, 0.25], down: false, pressed: null });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.lift(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.draw());
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const share = (v) => Math.max(0, Math.min(1, v));
    return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
  }

  // One mouse or finger at a time.
  press(event) {
    if (event.button || this.pressed !== null) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = event.pointerId;
    this.down = false;
    this.lines.push([this.place(event)]);
    this.update(false);
  }

  move(event) {
    if (this.pressed !== event.pointerId) return;
    // A screen shows a few of the places where the pointer was.
    const all = event.getCoalescedEvents?.() ?? [];
    this.lines.at(-1).push(...(all.length ? all : [event]).map((one) => this.place(one)));
    this.update(false);
  }

  lift(event) {
    if (this.pressed !== event.pointerId) return;
    this.pressed = null;
    this.update(true);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = KEYS[event.key];
    if (event.code === "Space") {
      this.down = !this.down;
      if (this.down) this.lines.push([this.at]);
      this.update(true);
    } else if (way) {
      this.at = this.at.map((v, i) => Math.max(0, Math.min(1, v + way[i] * STEP)));
      if (this.down) this.lines.at(-1).push(this.at);
      if (this.down) this.update(true);
      else this.draw();
    } else if (event.key === "Backspace" || event.key === "Delete") {
      this.undo();
    } else return;
    event.preventDefault();
  }

  undo() {
    [this.down, this.pressed] = [false, null];
    this.lines.pop();
    this.update(true);
  }

  clear() {
    this.empty();
    this.update(true);
  }

  // Without a call of `changed`.
  empty() {
    [this.down, this.pressed] = [false, null];
    this.lines = [];
    this.draw();
  }

  update(finished) {
    this.draw();
    this.changed(finished);
  }

  draw() {
    const { width, height } = this.canvas, context = this.canvas.getContext("2d");
    const colour = (name) => getComputedStyle(this.canvas).getPropertyValue(name);
    context.clearRect(0, 0, width, height);
    trace(context, this.lines, ([x, y]) => [x * width, y * height], this.width * height, colour("--ink"));
    if (!this.canvas.matches(":focus-visible") || this.pressed !== null) return;
    context.beginPath();
    context.arc(this.at[0] * width, this.at[1] * height, (this.width * height) / 2 + 4, 0, 7);
    context.lineWidth = 5;
    context.strokeStyle = colour(this.down ? "--high" : "--accent");
    context.stroke();
  }
}

function trace(context, lines, place, width, colour) {
  Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: width, strokeStyle: colour });
  for (const line of lines) {
    context.beginPath();
    context.moveTo(...place(line[0]));
    for (const point of [...line, line.at(-1)]) context.lineTo(...place(point));
    context.stroke();
  }
}

const FINE = 8; // what is drawn for a pixel, along each side

// The lines as an image of rows and columns in 0 .. 1, as large and as thick as those learned from.
export function image(lines, facts) {
  const [rows, columns] = facts.shape, pen = facts.pen;
  const points = lines.flat();
  if (!points.length) return new Array(rows * columns).fill(0);
  const ends = [0, 1].map((i) => points.map((p) => p[i])).map((v) => [Math.min(...v), Math.max(...v)]);
  const size = [columns, rows].map((n, i) => Math.max(0.5, facts.extent[1 - i] * n - pen));
  const aspect = [columns / rows, 1]; // the canvas has the image's form
  const spans = ends.map(([a, b], i) => (b - a) * aspect[i]);
  const scale = Math.min(...size.map((n, i) => n / Math.max(spans[i], 0.08)));
  const middle = [facts.middle[1] * columns, facts.middle[0] * rows];
  const place = (p) => p.map((v, i) =>
    FINE * (middle[i] + (v - (ends[i][0] + ends[i][1]) / 2) * aspect[i] * scale));
  const canvas = Object.assign(document.createElement("canvas"), { width: columns * FINE, height: rows * FINE });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  trace(context, lines, place, pen * FINE, "#000");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const found = new Array(rows * columns).fill(0);
  for (let y = 0; y < canvas.height; y += 1) {
    for (let x = 0; x < canvas.width; x += 1) {
      const at = Math.floor(y / FINE) * columns + Math.floor(x / FINE);
      found[at] += data[4 * (y * canvas.width + x) + 3] / 255 / FINE ** 2;
    }
  }
  return found;
}
