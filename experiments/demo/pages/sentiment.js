import { $, bars, begin, colours, css, named, onScheme, percent, readable, say, setBars, state } from "./page.js";
import { softmax } from "./session.js";
import { Subwords } from "./subwords.js";

const AT_ONCE = 1024; // tokens of versions of a text that are read together, at most

begin(async (network) => {
  const { facts } = network, { classes, unknown } = facts, binary = classes.length === 2;
  const subwords = new Subwords(await (await fetch("subwords.json")).json(), unknown);
  let latest = 0, shown = [];

  const pieces = facts.subwords.toLocaleString("en");
  $("about").textContent = `${named(facts, facts.hidden_size)}; it reads both ways and knows ${pieces} subwords.`;
  bars($("bars"), classes);

  const sigmoid = (v) => 1 / (1 + Math.exp(-v));
  const shares = (logits) => (binary ? [1 - sigmoid(logits[0]), sigmoid(logits[0])] : softmax(logits));
  // What is explained: the logit of yes, or of K classes log p / (1 - p) of the chosen one.
  const evidence = (logits, chosen) => {
    if (binary) return logits[0];
    const rest = Array.from(logits).filter((_, k) => k !== chosen), top = Math.max(...rest);
    return logits[chosen] - top - Math.log(rest.reduce((a, v) => a + Math.exp(v - top), 0));
  };

  async function logitsOf(versions) {
    const found = await network.read(versions.flat(), versions.length), size = binary ? 1 : classes.length;
    return { logits: versions.map((_, i) => found.logits.slice(i * size, (i + 1) * size)), weights: found.weights };
  }

  async function judge() {
    const turn = latest += 1, text = $("text").value.replace(/[\t\n\r]+/g, " ");
    if (!text.replaceAll(" ", "")) {
      shown = [];
      paint();
      setBars($("bars"), classes.map(() => 0));
      say("Type something, or choose a text.");
      state("ready");
      return;
    }
    state("reading");
    const words = subwords.words(text), tokens = words.flatMap((w) => w.tokens);
    const owners = words.flatMap((w, i) => w.tokens.map(() => i));
    const whole = await logitsOf([tokens]);
    if (turn !== latest) return;
    const p = shares(whole.logits[0]), top = p.indexOf(Math.max(...p));
    setBars($("bars"), p);
    say(`It takes it for ${classes[top]}, with ${percent(p[top])}.`);
    const looks = words.map(() => 0);
    owners.forEach((i, t) => { looks[i] += whole.weights[t]; });
    const ends = binary ? `blue speaks for ${classes[0]}, orange for ${classes[1]}` : `orange speaks for ${classes[top]}, blue against it`;
    $("legend").textContent = `The number is what the logit loses without the word: ${ends}. The bar shows where the network looked.`;
    const found = words.map(({ word }, i) => ({ word, adds: null, looks: looks[i] }));
    const total = evidence(whole.logits[0], top), size = Math.max(1, Math.floor(AT_ONCE / tokens.length));
    for (let first = 0; first < words.length; first += size) {
      const some = words.slice(first, first + size).map((_, i) => first + i);
      const without = some.map((i) => tokens.map((token, t) => (owners[t] === i ? unknown : token)));
      const { logits } = await logitsOf(without);
      if (turn !== latest) return;
      some.forEach((i, j) => { found[i].adds = total - evidence(logits[j], top); });
      // A long text is coloured little by little.
      shown = found;
      paint();
    }
    state("done");
  }

  function paint() {
    const colour = colours(), most = Math.max(1.5, ...shown.map((w) => Math.abs(w.adds)));
    const look = Math.max(1e-9, ...shown.map((w) => w.looks));
    $("words").replaceChildren(...shown.map(({ word, adds, looks }) => {
      const item = document.createElement("li"), rgb = colour(adds / most);
      const [text, bar, much] = ["word", "look", "much"].map((className) =>
        Object.assign(document.createElement("span"), { className }));
      text.textContent = word;
      Object.assign(text.style, { backgroundColor: css(rgb), color: readable(rgb) });
      bar.style.width = `${100 * looks / look}%`;
      much.textContent = adds === null ? "…" : `${adds < 0 ? "−" : "+"}${Math.abs(adds).toFixed(2)}`;
      Object.assign(item.dataset, { adds, looks });
      item.append(text, bar, much);
      return item;
    }));
  }

  $("samples").append(...facts.samples.map((sample) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: sample });
    button.addEventListener("click", () => {
      $("text").value = sample;
      judge();
    });
    return button;
  }));
  $("text").addEventListener("input", judge);
  onScheme(paint);
  await judge();
});
