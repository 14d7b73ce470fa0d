import { $, begin, colours, css, onScheme, pause, say, state } from "./page.js";
import { Sound, isBlack, nameOf } from "./sound.js";

const KEYS = 88, WIDE = 16, HIGH = 11, LONGEST = 512;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const PIANO = Object.fromEntries(Array.from("awsedftgyhujk", (letter, i) => [letter, 39 + i])); // from middle C

begin(async (network) => {
  const { facts } = network, [lowest, highest] = facts.range, sound = new Sound();
  let roll = [], played = 0, carry = null, expected = null, latest = 0, turns = 0;
  let at = { step: 0, key: Math.min(highest, Math.max(lowest, 39)) }, playing = false, place = -1, drawing = null;

  const units = facts.hidden_size, count = facts.params.toLocaleString("en");
  $("about").textContent = `${facts.cell.toUpperCase()} of ${units} units and ${count} weights, trained on ${facts.dataset}; `
    + `a step is 1/${facts.steps} of a quarter note.`.replace("1/1 of a quarter", "a quarter");

  const sounding = (notes) => (notes ? [...notes.keys()].filter((key) => notes[key]) : []);
  const has = (step, key) => Boolean(roll[step]?.[key]);

  // Reads what is there from the beginning, in the steps that the network has not read yet.
  async function read() {
    const turn = latest += 1;
    let next = network.start(), y = null;
    state("reading");
    for (const notes of roll.slice()) {
      ({ carry: next, y } = await network.step(next, notes));
      if (turn !== latest) return false;
    }
    [carry, expected] = [next, y && Array.from(y, Number)];
    draw();
    state(roll.length ? "done" : "ready");
    return true;
  }

  function draw() {
    const colour = colours(), wide = Math.ceil($("frame").clientWidth / WIDE);
    const columns = Math.max(wide, at.step + 2, roll.length + 16), context = $("roll").getContext("2d");
    const css0 = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
    const y = (key) => (highest - key) * HIGH;
    const box = (step, key) => [step * WIDE + 1, y(key) + 1, WIDE - 1, HIGH - 1];
    $("roll").width = columns * WIDE;
    $("roll").height = (highest - lowest + 1) * HIGH;
    for (let key = lowest; key <= highest; key += 1) {
      context.fillStyle = css0(isBlack(key) ? "--paper" : "--panel");
      context.fillRect(0, y(key), columns * WIDE, HIGH);
    }
    context.fillStyle = css0("--line");
    for (let step = 4 * facts.steps; step < columns; step += 4 * facts.steps) context.fillRect(step * WIDE, 0, 1, $("roll").height);
    roll.forEach((notes, step) => {
      for (const key of sounding(notes)) {
        context.fillStyle = css0(step < played ? "--ink" : "--high");
        // Held notes are one bar.
        const [left, top, width, height] = box(step, key), held = has(step - 1, key);
        context.fillRect(left - (held ? 1 : 0), top, width + (held ? 1 : 0), height);
      }
    });
    expected?.forEach((logit, key) => {
      context.fillStyle = css(colour(0.85 / (1 + Math.exp(-logit))));
      if (key >= lowest && key <= highest && 1 / (1 + Math.exp(-logit)) > 0.03) context.fillRect(...box(roll.length, key));
    });
    if (place >= 0) {
      context.fillStyle = css0("--accent");
      context.fillRect(place * WIDE, 0, 3, $("roll").height);
    }
    if ($("roll").matches(":focus-visible")) {
      context.strokeStyle = css0("--accent");
      context.lineWidth = 3;
      context.strokeRect(...box(at.step, at.key));
    }
  }

  function view(step) {
    const frame = $("frame"), left = step * WIDE;
    if (left < frame.scrollLeft || left > frame.scrollLeft + frame.clientWidth - 3 * WIDE) {
      frame.scrollLeft = Math.max(0, left - frame.clientWidth / 2);
    }
  }

  // Sets a note. What the network has made after it no longer follows from it, and goes.
  function set(step, key, on) {
    if (step >= LONGEST || key < lowest || key > highest) return;
    roll = roll.slice(0, Math.max(played, Math.min(roll.length, step + 1)));
    while (roll.length <= step) roll.push(new Uint8Array(KEYS));
    roll[step] = roll[step].slice();
    roll[step][key] = Number(on);
    while (roll.length && !sounding(roll.at(-1)).length) roll.pop();
    played = roll.length;
    expected = null;
    if (on && !playing) sound.touch(key);
    say(`${nameOf(key)} ${on ? "set" : "taken back"} in step ${step + 1}; ${roll.length} steps are there.`);
    draw();
    read();
  }

  function chosen(logits) {
    const temperature = Number($("temperature").value);
    const on = logits.map((v) => (temperature === 0 ? v > 0 : Math.random() < 1 / (1 + Math.exp(-v / temperature))));
    const kept = [...logits.keys()].filter((key) => on[key]).sort((a, b) => logits[b] - logits[a]).slice(0, facts.most_notes);
    const notes = new Uint8Array(KEYS);
    for (const key of kept) notes[key] = 1;
    return notes;
  }

  // One step more; false where it was given something else meanwhile.
  async function more() {
    const turn = latest, notes = chosen(expected), before = carry;
    const { carry: next, y } = await network.step(before, notes);
    if (turn !== latest || roll.length >= LONGEST) return false;
    roll.push(notes);
    [carry, expected] = [next, Array.from(y, Number)];
    draw();
    return true;
  }

  async function go(steps = 16 * facts.steps) {
    if (!roll.length) {
      say("Set a note first, or choose a beginning.");
      return;
    }
    if (!(await read())) return;
    state("reading");
    for (let i = 0; i < steps; i += 1) {
      if (!(await more())) break;
      view(roll.length);
      await pause(0);
    }
    say(`The network has made ${roll.length - played} steps after your ${played}.`);
    state("done");
  }

  async function play() {
    if (playing || !roll.length) return stop();
    const mine = turns += 1;
    playing = true;
    showPlaying();
    await read();
    for (place = 0; mine === turns && place < LONGEST; place += 1) {
      if (place >= roll.length && (!expected || !(await more()))) break;
      if (mine !== turns) return;
      sound.hold(sounding(roll[place]));
      draw();
      view(place);
      await pause(60000 / Number($("tempo").value) / facts.steps);
    }
    if (mine === turns) stop();
  }

  function stop() {
    turns += 1;
    [playing, place] = [false, -1];
    sound.hold([]);
    showPlaying();
    draw();
  }

  function showPlaying() {
    $("play").textContent = playing ? "Stop" : "Play";
    $("play").setAttribute("aria-pressed", playing);
  }

  function cellOf(event) {
    const box = $("roll").getBoundingClientRect();
    return { step: Math.floor((event.clientX - box.left) / WIDE), key: highest - Math.floor((event.clientY - box.top) / HIGH) };
  }

  $("roll").addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const cell = cellOf(event);
    drawing = { ...cell, on: !has(cell.step, cell.key), touch: event.pointerType === "touch" };
    at = cell;
    // A finger may be about to scroll; it sets a note when it is lifted.
    if (drawing.touch) return;
    $("roll").setPointerCapture(event.pointerId);
    set(cell.step, cell.key, drawing.on);
  });
  $("roll").addEventListener("pointermove", (event) => {
    if (!drawing || drawing.touch) return;
    const { step } = cellOf(event);
    if (step !== at.step && step >= 0) set(step, drawing.key, drawing.on);
    at = { step, key: drawing.key };
  });
  $("roll").addEventListener("pointerup", () => {
    if (drawing?.touch) set(drawing.step, drawing.key, drawing.on);
    drawing = null;
  });
  $("roll").addEventListener("pointercancel", () => { drawing = null; });
  $("roll").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = ARROWS[event.key], piano = PIANO[event.key.toLowerCase()];
    if (way) {
      at = { step: Math.max(0, Math.min(LONGEST - 1, at.step + way[0])), key: Math.max(lowest, Math.min(highest, at.key + way[1])) };
      say(`${nameOf(at.key)}, step ${at.step + 1}${has(at.step, at.key) ? ", set" : ""}`);
      view(at.step);
      draw();
    } else if (event.key === " ") set(at.step, at.key, !has(at.step, at.key));
    else if (event.key === "Enter") go();
    else if (piano !== undefined) set(at.step, piano, !has(at.step, piano));
    else return;
    event.preventDefault();
  });
  for (const name of ["focus", "blur"]) $("roll").addEventListener(name, draw);

  function begins(steps) {
    stop();
    roll = steps.map((keys) => {
      const notes = new Uint8Array(KEYS);
      for (const key of keys) notes[key] = 1;
      return notes;
    });
    played = roll.length;
    $("frame").scrollLeft = 0;
    say(roll.length ? `${roll.length} steps of a piece that it has never heard. Let it go on.` : "Set a note, or choose a beginning.");
    return read();
  }

  $("go").addEventListener("click", () => go());
  $("play").addEventListener("click", play);
  $("clear").addEventListener("click", () => begins([]));
  $("back").addEventListener("click", () => {
    roll = roll.slice(0, played);
    read();
  });
  $("samples").append(...facts.samples.map((sample, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: `Beginning ${i + 1}` });
    button.addEventListener("click", () => begins(sample));
    return button;
  }));
  $("tempo").value = facts.tempo;
  for (const name of ["tempo", "temperature"]) {
    const told = () => { $(`${name}-value`).textContent = $(name).value; };
    $(name).addEventListener("input", told);
    told();
  }
  onScheme(draw);
  await begins([]);
  $("frame").scrollTop = Math.max(0, (highest - at.key) * HIGH - $("frame").clientHeight / 2);
});
