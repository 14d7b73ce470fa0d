import { $, begin, colours, css, onScheme, pause, percent, readable, say, state } from "./page.js";
import { softmax } from "./session.js";

const SHOWN = 8, LONGEST = 20000;
const NAMES = { "\n": "↵", " ": "␣", "\t": "⇥" };
const SPOKEN = { "\n": "line end", " ": "space", "\t": "tab" };

begin(async (network) => {
  const { facts } = network, vocabulary = Array.from(facts.vocabulary);
  const numbers = new Map(vocabulary.map((c, i) => [c, i]));
  const units = facts.graph.outputs["y.state"].shape[1];
  let read = [], latest = 0, turns = 0, writing = false, unit = 0, settled = false;
  // Before the first character the network has read a line end.
  const first = numbers.get("\n") ?? 0;
  const empty = await network.step(network.start(), [first]);

  const count = facts.params.toLocaleString("en");
  $("about").textContent = `${facts.cell.toUpperCase()} of ${units} units and ${count} weights, trained on ${facts.dataset}, `
    + `with ${vocabulary.length} characters. It has no words; it reads a character and guesses the next.`;
  $("unit").max = units;

  const places = Array.from({ length: Math.min(SHOWN, vocabulary.length) }, () => {
    const [button, bar, share] = ["button", "span", "span"].map((kind) => document.createElement(kind));
    button.type = "button";
    bar.className = "bar";
    share.className = "share";
    bar.append(document.createElement("span"));
    button.addEventListener("click", () => add(button.dataset.character));
    $("bars").append(button, bar, share);
    return { button, bar, share };
  });

  const now = () => read.at(-1) ?? empty;

  function showNext() {
    const p = softmax(now().y.logits);
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

  function paint(from = 0) {
    const place = $("coloured"), colour = colours();
    while (place.children.length > from) place.lastChild.remove();
    place.append(...read.slice(from).map(({ c, y }) => {
      const span = document.createElement("span"), rgb = colour(y.state[unit]);
      span.textContent = c;
      Object.assign(span.style, { backgroundColor: css(rgb), color: readable(rgb) });
      span.dataset.value = y.state[unit];
      return span;
    }));
    $("unit-value").textContent = unit + 1;
    $("unit").value = unit + 1;
  }

  function liveliest() {
    const spread = (u) => {
      const values = read.map(({ y }) => y.state[u]);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      return values.reduce((a, v) => a + (v - mean) ** 2, 0);
    };
    const found = Array.from({ length: units }, (_, u) => spread(u));
    unit = found.indexOf(Math.max(...found));
    paint();
  }

  // Reads what is new in the text: what it begins with was read before, and its carry is kept.
  async function update() {
    const turn = latest += 1, all = Array.from($("text").value.replaceAll("\r", ""));
    const known = all.filter((c) => numbers.has(c)).slice(0, LONGEST);
    const strange = [...new Set(all.filter((c) => !numbers.has(c)))];
    let same = 0;
    while (same < known.length && read[same]?.c === known[same]) same += 1;
    read = read.slice(0, same);
    state("reading");
    let shown = performance.now();
    for (const c of known.slice(same)) {
      const { carry, y } = await network.step(read.length ? read.at(-1).carry : network.start(), [numbers.get(c)]);
      if (turn !== latest) return false;
      read.push({ c, carry, y });
      if (performance.now() - shown < 100) continue;
      say(`Reading, ${read.length} of ${known.length} characters`);
      await pause(0);
      if (turn !== latest) return false;
      shown = performance.now();
    }
    if (!settled && read.length > 20) {
      settled = true;
      liveliest();
    } else paint(same);
    showNext();
    const left = strange.slice(0, 5).map((c) => SPOKEN[c] ?? c).join(" ");
    say(strange.length ? `Left out, for the network has never seen it: ${left}`
      : `${read.length} characters read.`);
    state("done");
    return true;
  }

  function add(c) {
    $("text").value += c;
    $("text").scrollTop = $("text").scrollHeight;
    return update();
  }

  function drawn() {
    const temperature = Number($("temperature").value), { logits } = now().y;
    if (temperature === 0) return logits.indexOf(Math.max(...logits));
    let rest = Math.random();
    const p = softmax(logits, temperature);
    const found = p.findIndex((v) => (rest -= v) < 0);
    return found < 0 ? p.indexOf(Math.max(...p)) : found;
  }

  async function write() {
    writing = !writing;
    showWriting();
    const mine = turns += 1;
    if (writing) await update();
    while (writing && mine === turns && read.length < LONGEST) {
      // A person who types meanwhile is served first.
      await add(vocabulary[drawn()]);
      $("coloured").scrollTop = $("coloured").scrollHeight;
      await pause(30);
    }
    if (mine !== turns) return;
    writing = false;
    showWriting();
  }

  function showWriting() {
    $("write").textContent = writing ? "Stop" : "Let it write";
    $("write").setAttribute("aria-pressed", writing);
  }

  $("text").addEventListener("input", update);
  $("write").addEventListener("click", write);
  $("clear").addEventListener("click", () => {
    writing = false;
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
    paint();
  });
  $("liveliest").addEventListener("click", () => read.length && liveliest());
  onScheme(() => paint());
  showNext();
  paint();
  say("Type something, or let it write.");
});
