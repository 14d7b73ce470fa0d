import { $, begin, colours, css, named, onScheme, pause, say, state } from "./page.js";
import { Trail } from "./session.js";
import { Sound, isBlack, nameOf } from "./sound.js";

const KEYS = 88, WIDE = 16, HIGH = 11;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
// By their places, which are a piano's in every layout of letters; from middle C.
const PIANO = Object.fromEntries(Array.from("AWSEDFTGYHUJK", (letter, i) => [`Key${letter}`, 39 + i]));

begin(async (network) => {
  const { facts } = network, [lowest, highest] = facts.range, sound = new Sound();
  const trail = new Trail({ carry: network.start(), y: null });
  // The notes of each step, of which `played` are a person's; and those that the network has heard.
  let roll = [], played = 0, heard = [], latest = 0, turns = 0, edits = 0, growing = null, going = false;
  let at = { step: 0, key: Math.min(highest, Math.max(lowest, 39)) }, playing = false, place = -1, drawing = null;

  $("about").textContent = `${named(facts, facts.hidden_size)}; a step is 1/${facts.steps} of a quarter note.`
    .replace("1/1 of a quarter", "a quarter");

  const notesOf = (keys) => {
    const notes = new Uint8Array(KEYS);
    for (const key of keys) notes[key] = 1;
    return notes;
  };
  const sounding = (notes) => (notes ? [...notes.keys()].filter((key) => notes[key]) : []);
  const has = (step, key) => Boolean(roll[step]?.[key]);
  // The logits of the notes after all that is there; null until it is read.
  const expected = () => (heard.length === roll.length ? trail.latest.y : null);

  // Reads what is there, from the first step that has changed.
  async function read() {
    let same = 0;
    while (same < heard.length && heard[same] === roll[same]) same += 1;
    if (same < Math.max(heard.length, roll.length)) {
      const turn = latest += 1;
      trail.back(same);
      heard = heard.slice(0, trail.length);
      state("reading");
      while (heard.length < roll.length) {
        const notes = roll[heard.length], found = await network.step(trail.latest.carry, notes);
        if (turn !== latest) return false;
        trail.add(found);
        heard.push(notes);
      }
    }
    draw();
    state(roll.length ? "done" : "ready");
    return true;
  }

  // Only what is in sight is drawn.
  function draw() {
    const frame = $("frame"), roof = $("roll"), context = roof.getContext("2d"), colour = colours();
    const seen = frame.clientWidth, from = Math.floor(frame.scrollLeft / WIDE), to = from + Math.ceil(seen / WIDE) + 1;
    $("long").style.width = `${WIDE * Math.max(Math.ceil(seen / WIDE), at.step + 2, roll.length + 16)}px`;
    [roof.width, roof.height] = [seen, (highest - lowest + 1) * HIGH];
    const paint = (name) => { context.fillStyle = getComputedStyle(roof).getPropertyValue(name); };
    const x = (step) => step * WIDE - frame.scrollLeft, y = (key) => (highest - key) * HIGH;
    const box = (step, key) => [x(step) + 1, y(key) + 1, WIDE - 1, HIGH - 1];
    for (let key = lowest; key <= highest; key += 1) {
      paint(isBlack(key) ? "--paper" : "--panel");
      context.fillRect(0, y(key), seen, HIGH);
    }
    paint("--soft");
    context.font = "9px system-ui";
    for (let key = lowest; key <= highest; key += 1) if (/^C \d/.test(nameOf(key))) context.fillText(nameOf(key).replace(" ", ""), 2, y(key) + HIGH - 2);
    paint("--line");
    const bar = 4 * facts.steps;
    for (let step = Math.max(1, Math.ceil(from / bar)) * bar; step <= to; step += bar) context.fillRect(x(step), 0, 1, roof.height);
    for (let step = from; step <= Math.min(to, roll.length - 1); step += 1) {
      paint(step < played ? "--ink" : "--high");
      for (const key of sounding(roll[step])) {
        // Held notes are one bar.
        const [left, top, width, height] = box(step, key), held = has(step - 1, key);
        context.fillRect(left - (held ? 1 : 0), top, width + (held ? 1 : 0), height);
      }
    }
    expected()?.forEach((logit, key) => {
      const p = 1 / (1 + Math.exp(-logit));
      context.fillStyle = css(colour(0.85 * p));
      if (key >= lowest && key <= highest && p > 0.03) context.fillRect(...box(roll.length, key));
    });
    paint("--accent");
    if (place >= 0) context.fillRect(x(place), 0, 3, roof.height);
    if (roof.matches(":focus-visible")) {
      context.strokeStyle = context.fillStyle;
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
    if (step < 0 || key < lowest || key > highest) return;
    edits += 1;
    roll = roll.slice(0, Math.max(played, Math.min(roll.length, step + 1)));
    while (roll.length <= step) roll.push(notesOf([]));
    roll[step] = notesOf([...sounding(roll[step]).filter((other) => other !== key), ...(on ? [key] : [])]);
    while (roll.length && !sounding(roll.at(-1)).length) roll.pop();
    played = roll.length;
    if (on && !playing) sound.touch(key);
    say(`${nameOf(key)} ${on ? "set" : "taken back"} in step ${step + 1}; ${roll.length} steps are there.`);
    read();
  }

  function chosen(logits) {
    const temperature = Number($("temperature").value), keys = [...logits.keys()];
    const on = keys.filter((key) => (temperature === 0 ? logits[key] > 0
      : Math.random() < 1 / (1 + Math.exp(-logits[key] / temperature))));
    return notesOf(on.sort((a, b) => logits[b] - logits[a]).slice(0, facts.most_notes));
  }

  // One step more, for all that ask for it; false where something else was set meanwhile.
  function more() {
    growing ??= grown().finally(() => { growing = null; });
    return growing;
  }

  async function grown() {
    if (!(await read())) return false;
    const turn = latest, notes = chosen(trail.latest.y), found = await network.step(trail.latest.carry, notes);
    if (turn !== latest) return false;
    trail.add(found);
    roll.push(notes);
    heard.push(notes);
    draw();
    return true;
  }

  async function go() {
    if (!roll.length) say("Set a note first, or choose a beginning.");
    if (!roll.length || going) return;
    going = true;
    const mine = edits;
    let steps = 16 * facts.steps;
    for (; steps && mine === edits && await more(); steps -= 1) {
      state("reading");
      view(roll.length);
      await pause(0);
    }
    going = false;
    if (steps) return;
    say(`The network has made ${roll.length - played} steps after your ${played}.`);
    state("done");
  }

  async function play() {
    if (playing || !roll.length) return stop();
    const mine = turns += 1;
    playing = true;
    showPlaying();
    let due = performance.now();
    for (place = 0; mine === turns && (place < roll.length || await more()); place += 1) {
      if (mine !== turns) return;
      sound.hold(sounding(roll[place]));
      view(place);
      draw();
      due = Math.max(due + 60000 / Number($("tempo").value) / facts.steps, performance.now());
      await pause(due - performance.now());
      if (mine !== turns) return;
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

  function placeOf(event) {
    const box = $("roll").getBoundingClientRect();
    return {
      step: Math.floor((event.clientX - box.left + $("frame").scrollLeft) / WIDE),
      key: highest - Math.floor((event.clientY - box.top) / HIGH),
    };
  }

  $("roll").addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    at = placeOf(event);
    drawing = { ...at, on: !has(at.step, at.key), touch: event.pointerType === "touch" };
    // A finger may be about to scroll; it sets a note when it is lifted.
    if (drawing.touch) return;
    $("roll").setPointerCapture(event.pointerId);
    set(at.step, at.key, drawing.on);
  });
  $("roll").addEventListener("pointermove", (event) => {
    if (!drawing || drawing.touch || !event.isPrimary) return;
    const { step } = placeOf(event), way = Math.sign(step - at.step);
    // A fast mouse leaves steps out.
    for (let next = at.step + way; way && next !== step + way; next += way) set(next, drawing.key, drawing.on);
    at = { step: Math.max(0, step), key: drawing.key };
  });
  $("roll").addEventListener("pointerup", (event) => {
    if (!event.isPrimary) return;
    if (drawing?.touch) set(drawing.step, drawing.key, drawing.on);
    drawing = null;
  });
  $("roll").addEventListener("pointercancel", () => { drawing = null; });
  $("roll").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = ARROWS[event.key], piano = PIANO[event.code];
    if (way) {
      at = { step: Math.max(0, at.step + way[0]), key: Math.max(lowest, Math.min(highest, at.key + way[1])) };
      say(`${nameOf(at.key)}, step ${at.step + 1}${has(at.step, at.key) ? ", set" : ""}`);
      draw();
      view(at.step);
    } else if (event.code === "Space") set(at.step, at.key, !has(at.step, at.key));
    else if (event.key === "Enter") go();
    else if (piano !== undefined) set(at.step, piano, !has(at.step, piano));
    else return;
    event.preventDefault();
  });
  for (const name of ["focus", "blur"]) $("roll").addEventListener(name, draw);
  $("frame").addEventListener("scroll", draw);
  addEventListener("resize", draw);

  function begins(steps) {
    edits += 1;
    stop();
    roll = steps.map(notesOf);
    played = roll.length;
    at = { ...at, step: 0 };
    $("frame").scrollLeft = 0;
    say(roll.length ? `${roll.length} steps of a piece that it has never heard. Let it go on.` : "Set a note, or choose a beginning.");
    return read();
  }

  $("go").addEventListener("click", go);
  $("play").addEventListener("click", play);
  $("clear").addEventListener("click", () => begins([]));
  $("back").addEventListener("click", () => {
    edits += 1;
    roll = roll.slice(0, played);
    say(`${played} steps of yours are there.`);
    read();
  });
  $("samples").append(...facts.samples.map((sample, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: `Beginning ${i + 1}` });
    button.addEventListener("click", () => begins(sample));
    return button;
  }));
  $("tempo").min = Math.min(40, facts.tempo);
  $("tempo").max = Math.max(240, facts.tempo);
  $("tempo").value = facts.tempo;
  for (const name of ["tempo", "temperature"]) {
    const told = () => { $(`${name}-value`).textContent = $(name).value; };
    $(name).addEventListener("input", told);
    told();
  }
  onScheme(draw);
  await begins([]);
});
