import { $, bars, begin, colours, heat, named, onScheme, pause, percent, say, setBars, state, still } from "./page.js";
import { Pen, image } from "./pen.js";
import { softmax } from "./session.js";

const MANY = 100, AT_ONCE = 16; // of so many steps, so many are shown at once

begin(async (network) => {
  const { facts } = network;
  const [rows, columns, channels = 1] = facts.shape;
  const units = facts.graph.outputs["y.state"].shape[1], T = facts.steps.length;
  let latest = 0, chosen = null, pixels = [], memory = [], most = 1, step = 0;

  document.documentElement.style.setProperty("--aspect", `${columns} / ${rows}`);
  $("pad").height = Math.round($("pad").width * rows / columns);
  const unit = facts.order === "rows" ? "row" : "pixel";
  $("about").textContent = `${named(facts, units)}; it reads ${T} ${unit}s, one after the other, and after each it has an opinion.`;
  $("legend").textContent = `${units} hidden units, blue below 0 and orange above`;
  bars($("bars"), facts.classes);

  const pen = new Pen($("pad"), 0.07, (finished) => {
    chosen = null;
    latest += 1; // what is being read is no longer there
    if (finished) read();
    else show();
  });

  // What the network reads: bytes of a sample as shares, or the drawing, on the paper of the data.
  function values() {
    if (chosen) return chosen.pixels.map((v) => v / facts.max_value);
    const ink = image(pen.lines, facts);
    const found = facts.light ? ink.map((v) => 1 - v) : ink;
    return found.flatMap((v) => new Array(channels).fill(v));
  }

  const gray = (shares) => (at) => {
    let sum = 0;
    for (let c = 0; c < channels; c += 1) sum += shares[at * channels + c] / channels;
    return facts.light ? 1 - sum : sum;
  };
  const picture = (shares, read = new Set()) => {
    const ink = gray(shares);
    return Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (_, x) =>
      [ink(y * columns + x), read.has((y * columns + x) * channels)]));
  };

  function show() {
    const colour = colours();
    pixels = values();
    heat($("image"), picture(pixels, new Set(facts.steps[step - 1] ?? [])), columns, rows, inks(colour(0)));
    heat($("memory"), memory, units, T, (v) => colour(v / most));
  }

  async function read() {
    const turn = latest += 1;
    let { carry, y } = { carry: network.start() };
    [memory, most, step] = [[], 1, 0];
    show();
    if (!chosen && !pen.lines.length) {
      setBars($("bars"), facts.classes.map(() => 0));
      say("Draw something, or choose a sample.");
      state("ready");
      return;
    }
    state("reading");
    for (const places of facts.steps) {
      ({ carry, y } = await network.step(carry, places.map((i) => pixels[i])));
      if (turn !== latest) return;
      memory.push(Array.from(y.state));
      most = Math.max(most, ...y.state.map(Math.abs));
      step += 1;
      if (still() || (T >= MANY && step % AT_ONCE)) continue;
      show();
      setBars($("bars"), softmax(y.logits));
      await pause(Number($("speed").value));
      if (turn !== latest) return;
    }
    const p = softmax(y.logits), top = p.indexOf(Math.max(...p));
    step = 0;
    show();
    setBars($("bars"), p);
    const truth = chosen ? ` The sample is of the class ${facts.classes[chosen.label]}.` : "";
    say(`It reads ${facts.classes[top]}, with ${percent(p[top])}.${truth}`);
    state("done");
  }

  function choose(sample) {
    pen.empty();
    chosen = sample;
    read();
  }

  $("samples").append(...facts.samples.map((sample) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    const name = facts.classes[sample.label], shares = sample.pixels.map((v) => v / facts.max_value);
    Object.assign(button, { type: "button", title: name });
    button.setAttribute("aria-label", `Sample of the class ${name}`);
    button.append(canvas);
    button.addEventListener("click", () => choose(sample));
    const paint = () => heat(canvas, picture(shares), columns, rows, inks(colours()(0)));
    paint();
    onScheme(paint);
    return button;
  }));

  $("undo").addEventListener("click", () => pen.undo());
  $("clear").addEventListener("click", () => pen.clear());
  $("again").addEventListener("click", read);
  const shown = T >= MANY ? T / AT_ONCE : T;
  $("speed").value = Math.round(Math.min(12, 100 / shown)) * 10;
  const told = () => { $("speed-value").textContent = $("speed").value; };
  $("speed").addEventListener("input", told);
  told();
  onScheme(() => { pen.draw(); show(); });
  pen.draw();
  await read();
});

// From [ink in 0 .. 1, whether it is read now] to a colour between paper and ink.
function inks(paper) {
  const ink = paper[0] > 127 ? 20 : 240, now = paper[0] > 127 ? [255, 214, 150] : [120, 70, 20];
  return ([v, read]) => (read ? now : paper).map((c) => Math.round(c + v * (ink - c)));
}
