// The network of this folder. Its functions are pure: step takes a carry and gives the next.
import * as ort from "./runtime/ort.wasm.min.mjs";

const ARRAYS = { float: Float32Array, int32: Int32Array, bool: Uint8Array };
const LONG = 40; // milliseconds after which the page may draw, and a person is heard
const NEAR = 64; // so many of the latest steps are kept, and as many of all before

async function fetched(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: the server answers ${answer.status}`);
  return answer;
}

async function unpacked(name) {
  const bytes = new Uint8Array(await (await fetched(name)).arrayBuffer());
  // Some servers say what is packed, and then the browser has unpacked it.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

function tensor(entry, values, batch) {
  const shape = [...entry.shape];
  if (shape.length && !shape[0]) shape[0] = batch;
  const size = values.length / shape.reduce((a, b) => a * (b || 1), 1);
  const filled = shape.map((n) => n || size);
  return new ort.Tensor(entry.type === "float" ? "float32" : entry.type,
    ARRAYS[entry.type].from(values), filled);
}

export class Network {
  constructor(session, facts) {
    this.session = session;
    this.facts = facts;
    this.last = Promise.resolve();
    this.rested = performance.now();
  }

  // The carry before the first step.
  start() {
    const { inputs, carry } = this.facts.graph;
    return Object.fromEntries(Object.entries(carry).map(
      ([name, values]) => [name, tensor(inputs[name], [values].flat(Infinity), 1)]));
  }

  // One step: {carry, y}, with y an array, or several by their names, such as y.logits.
  async step(carry, x) {
    const found = await this.run({ ...carry, x: tensor(this.facts.graph.inputs.x, x, 1) });
    const next = {}, y = {};
    for (const [name, value] of Object.entries(found)) {
      if (name.startsWith("next_carry")) next[name.slice("next_".length)] = value;
      else y[name.replace(/^y\./, "")] = value.data;
    }
    return { carry: next, y: y.y ?? y };
  }

  // A file of whole sequences: xs holds those of the batch one after the other.
  async read(xs, batch) {
    const found = await this.run({ xs: tensor(this.facts.graph.inputs.xs, xs, batch) });
    return Object.fromEntries(Object.entries(found).map(([name, value]) => [name.replace(/^ys\./, ""), value.data]));
  }

  // The runtime takes one call at a time, and while it computes the page stands still.
  // The first call takes longest, and is measured.
  run(feeds) {
    const began = performance.now();
    const turn = this.last.then(() => this.rest()).then(() => this.session.run(feeds));
    if (!this.asked) turn.then(() => performance.measure("first answer", { start: began }), () => {});
    this.asked = true;
    this.last = turn.catch(() => {});
    return turn;
  }

  async rest() {
    if (performance.now() - this.rested < LONG) return;
    await new Promise((done) => setTimeout(done));
    this.rested = performance.now();
  }
}

// What a network has found along a sequence, {carry, y} by the number of steps before it: after
// a change in the middle it is read again from near there. However long it is, as many are kept.
export class Trail {
  // start: what there is before the first step.
  constructor(start) {
    this.start = start;
    this.clear();
  }

  clear() {
    this.kept = [[0, this.start]];
    this.every = 1;
  }

  get length() { return this.kept.at(-1)[0]; }
  get latest() { return this.kept.at(-1)[1]; }

  add(found) {
    this.kept.push([this.length + 1, found]);
    while (this.kept.length > 3 * NEAR) {
      const near = this.length - NEAR;
      this.kept = this.kept.filter(([n], i) => !i || n > near || n % this.every === 0);
      if (this.kept.length > 2 * NEAR) this.every *= 2;
    }
  }

  // Goes back to the last that is kept after at most so many steps; from its length on they are read again.
  back(length) {
    while (this.kept.length > 1 && this.length > length) this.kept.pop();
  }

  // Forgets what is before the last that is kept after at most so many steps; gives its number.
  forget(length) {
    const first = this.kept.findLastIndex(([n]) => n <= length);
    this.kept = this.kept.slice(Math.max(0, first));
    return this.kept[0][0];
  }
}

export async function open() {
  ort.env.wasm.numThreads = 1; // more need headers that plain servers do not send
  ort.env.wasm.wasmPaths = { mjs: new URL("./runtime/ort-wasm-simd-threaded.mjs", import.meta.url).href };
  const [program, model, facts] = await Promise.all([
    unpacked("./runtime/ort-wasm-simd-threaded.wasm.gz"),
    fetched("./model.onnx").then((answer) => answer.arrayBuffer()),
    fetched("./demo.json").then((answer) => answer.json()),
  ]);
  ort.env.wasm.wasmBinary = program.buffer;
  const options = { executionProviders: ["wasm"] };
  return new Network(await ort.InferenceSession.create(new Uint8Array(model), options), facts);
}

export function softmax(logits, temperature = 1) {
  const top = Math.max(...logits);
  const found = Array.from(logits, (v) => Math.exp((v - top) / temperature));
  const sum = found.reduce((a, b) => a + b, 0);
  return found.map((v) => v / sum);
}
