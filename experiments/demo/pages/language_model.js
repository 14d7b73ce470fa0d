import { $, begin, colours, css, named, onScheme, pause, percent, readable, say, state } from "./page.js";
import { Trail, softmax } from "./session.js";

const OFFERED = 8; // characters that may come next
const COLOURED = 2000; // of the latest characters
const LONGEST = 20000; // characters that stay in sight while it writes; it remembers all
const NAMES = { "\n": "↵", " ": "␣", "\t": "⇥" };
const SPOKEN = { "\n": "line end", " ": "space", "\t": "tab" };

begin(async (network) => {
  const { facts } = network, vocabulary = Array.from(facts.vocabulary);
  const numbers = new Map(vocabulary.map((c, i) => [c, i]));
  const units = facts.graph.outputs["y.state"].shape[1];
  // What comes first is told as after a line end.
  const { y: first } = await network.step(network.start(), [numbers.get("\n") ?? 0]);
  const trail = new Trail({ carry: network.start(), y: first });
  // The characters read, without those `gone` before them; the states of the latest ones.
  let read = [], gone = 0, states = [], painted = 0;
  let latest = 0, turns = 0, writing = false, composing = false, unit = 0, most = 1, settled = false;

  $("about").textContent = `${named(facts, units)}, with ${vocabulary.length} characters. `
    + "It has no words; it reads a character and guesses the next.";
  $("unit").max = units;

  const places = Array.from({ length: Math.min(OFFERED, vocabulary.length) }, () => {
    const [button, bar, share] = ["button", "span", "span"].map((kind) => document.createElement(kind));
    button.type = "button";
    bar.className = "bar";
    share.className = "share";
    bar.append(document.createElement("span"));
    button.addEventListener("click", () => add(button.dataset.character));
    $("bars").append(button, bar, share);
    return { button, bar, share };
  });

  function showNext() {
    const p = softmax(trail.latest.y.logits);
    const best = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, places.length);
    best.forEach((n, i) => {
      const { button, bar, share } = places[i], c = vocabulary[n];
      button.textContent = NAMES[c] ?? c;
      button.dataset.character = c;
      button.setAttribute("aria-label", `${SPOKEN[c] ?? c}, ${percent(p[n])}`);
      bar.firstChild.style.width = `${100 * p[n]}%`;
      share.textContent = percent(p[n]);
      share.dataset.value = p[n];
    });
  }

  // The characters whose states are known; those before `painted` stand there already.
  function paint(anew = false) {
    const place = $("coloured"), colour = colours(), start = gone + read.length - states.length;
    const largest = states.reduce((a, h) => Math.max(a, Math.abs(h[unit])), 1);
    const at = (span) => Number(span.dataset.at);
    if (anew || largest !== most) painted = 0;
    most = largest;
    while (place.lastChild && at(place.lastChild) >= painted) place.lastChild.remove();
    while (place.firstChild && at(place.firstChild) < start) place.firstChild.remove();
    if (place.firstChild && at(place.firstChild) > start) place.replaceChildren();
    const there = place.children.length;
    place.append(...states.slice(there).map((h, i) => {
      const span = document.createElement("span"), rgb = colour(h[unit] / most);
      span.textContent = read[start - gone + there + i];
      Object.assign(span.style, { backgroundColor: css(rgb), color: readable(rgb) });
      Object.assign(span.dataset, { value: h[unit], at: start + there + i });
      return span;
    }));
    painted = gone + read.length;
    $("unit-value").textContent = unit + 1;
    $("unit").value = unit + 1;
  }

  function liveliest() {
    const spread = (u) => {
      const values = states.map((h) => h[u]), mean = values.reduce((a, b) => a + b, 0) / values.length;
      return values.reduce((a, v) => a + (v - mean) ** 2, 0);
    };
    const found = Array.from({ length: units }, (_, u) => spread(u));
    unit = found.indexOf(Math.max(...found));
    paint(true);
  }

  // Forgets what was read after the first `same` characters; a text that begins otherwise is a new one.
  function back(same) {
    if (same === read.length) return;
    if (same === 0) {
      trail.clear();
      gone = 0;
    } else {
      // So far back that enough of what is coloured is read again.
      const left = same - read.length + states.length;
      trail.back(gone + (left < Math.min(same, COLOURED / 2) ? Math.max(0, same - COLOURED) : same));
    }
    const kept = trail.length - gone;
    states = states.slice(0, Math.max(0, states.length - read.length + kept));
    read = read.slice(0, kept);
    painted = Math.min(painted, trail.length);
  }

  // Reads what is new in the text: what it begins with was read before.
  async function update() {
    const turn = latest += 1, all = Array.from($("text").value.normalize("NFC"));
    const known = all.filter((c) => numbers.has(c));
    const strange = [...new Set(all.filter((c) => !numbers.has(c)))];
    let same = 0, shown = performance.now();
    while (same < read.length && read[same] === known[same]) same += 1;
    back(same);
    state("reading");
    while (read.length < known.length) {
      const c = known[read.length], found = await network.step(trail.latest.carry, [numbers.get(c)]);
      if (turn !== latest) return;
      trail.add(found);
      read.push(c);
      states.push(found.y.state);
      if (states.length > 2 * COLOURED) states = states.slice(-COLOURED);
      if (performance.now() - shown < 500) continue;
      say(`Reading, ${read.length} of ${known.length} characters`);
      shown = performance.now();
    }
    states = states.slice(-COLOURED);
    if (!settled && read.length > 20) {
      settled = true;
      liveliest();
    } else paint();
    showNext();
    const left = strange.slice(0, 5).map((c) => SPOKEN[c] ?? c).join(" ");
    // Parts of a syllable that is being composed are no characters yet.
    if (strange.length && !composing) say(`Left out, for the network has never seen it: ${left}`);
    else if (!writing) say(`${gone + read.length} characters read.`);
    state("done");
  }

  // The caret and what is marked stay where they are.
  function add(c) {
    const text = $("text"), end = text.value.length;
    const below = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    text.setRangeText(c, end, end, text.selectionStart === end ? "end" : "preserve");
    if (below) text.scrollTop = text.scrollHeight;
    return update();
  }

  // The beginning of a long text goes out of sight, and not out of mind.
  function shorten() {
    if (read.length <= LONGEST || document.body.dataset.state !== "done") return;
    const more = trail.forget(gone + read.length - LONGEST / 2) - gone;
    if (!more) return;
    const all = Array.from($("text").value);
    let cut = 0;
    for (let left = more; left && cut < all.length; cut += 1) left -= numbers.has(all[cut]);
    $("text").setRangeText("", 0, all.slice(0, cut).join("").length, "preserve");
    read = read.slice(more);
    gone += more;
    say(`Writing. The first ${gone} characters are out of sight, and it remembers them.`);
  }

  function drawn() {
    const temperature = Number($("temperature").value), { logits } = trail.latest.y;
    if (temperature === 0) return logits.indexOf(Math.max(...logits));
    let rest = Math.random();
    const p = softmax(logits, temperature);
    const found = p.findIndex((v) => (rest -= v) < 0);
    return found < 0 ? p.indexOf(Math.max(...p)) : found;
  }

  async function write() {
    const mine = turns += 1;
    writing = !writing;
    $("write").textContent = writing ? "Stop" : "Let it write";
    $("write").setAttribute("aria-pressed", writing);
    say(writing ? "Writing." : `${gone + read.length} characters read.`);
    if (writing) await update();
    while (writing && mine === turns) {
      // A person who types meanwhile is served first, and no syllable is taken apart.
      if (document.body.dataset.state === "done" && !composing) {
        await add(vocabulary[drawn()]);
        shorten();
        $("coloured").scrollTop = $("coloured").scrollHeight;
      }
      await pause(30);
    }
  }

  for (const name of ["compositionstart", "compositionend"]) {
    $("text").addEventListener(name, () => {
      composing = name === "compositionstart";
      if (!composing) update();
    });
  }
  $("text").addEventListener("input", update);
  $("write").addEventListener("click", write);
  $("clear").addEventListener("click", () => {
    if (writing) write();
    $("text").value = "";
    update();
    $("text").focus();
  });
  $("temperature").addEventListener("input", () => {
    $("temperature-value").textContent = Number($("temperature").value).toFixed(2);
  });
  $("unit").addEventListener("input", () => {
    settled = true;
    unit = Number($("unit").value) - 1;
    paint(true);
  });
  $("liveliest").addEventListener("click", () => states.length && liveliest());
  onScheme(() => paint(true));
  showNext();
  paint();
  say("Type something, or let it write.");
});
