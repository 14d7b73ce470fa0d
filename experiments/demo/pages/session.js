// The network of this folder. Its functions are pure: step takes a carry and gives the next.
import * as ort from "./runtime/ort.wasm.min.mjs";

const ARRAYS = { float: Float32Array, int32: Int32Array, int64: BigInt64Array, bool: Uint8Array };

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

  // The runtime takes one call at a time. The first one takes longest, and is measured.
  run(feeds) {
    const began = performance.now();
    const turn = this.last.then(() => this.session.run(feeds));
    if (!this.asked) turn.then(() => performance.measure("first answer", { start: began }), () => {});
    this.asked = true;
    this.last = turn.catch(() => {});
    return turn;
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
