"""A recurrent node as a loop over its step: unrolled, as a Loop, or as a Scan."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from jaxrnn.interop.doctor.operators import Step, Writer
from jaxrnn.interop.doctor.recurrent import Recurrent
from jaxrnn.interop.onnx.valid import LARGEST


def replaced(node: Recurrent, form: str, prefix: str) -> Writer:
    """Nodes that give the node's outputs, in the form unrolled, Loop or Scan."""
    w = Writer(prefix)
    lengths = node.lengths if node.ragged else None
    if isinstance(lengths, np.ndarray):
        lengths = w.constant(lengths, np.int32)
    ys, hs, cs = [], [], []
    for d in range(node.directions):
        step = Step(node, d, w)
        backward = d == 1 or node.direction == "reverse"
        run = _unrolled if form == "unrolled" else _looped
        y, h, c = run(w, node, step, lengths, backward, form)
        for parts, part in ((ys, y), (hs, h), (cs, c)):
            parts.append(part)
    names = [*node.outputs, "", "", ""]
    for name, parts, axis in zip(names, (ys, hs, cs), (1, 0, 0), strict=False):
        if name and parts[0]:
            w("Concat", *parts, axis=axis, out=name)
    return w


def _initial(w: Writer, node: Recurrent, which: int, d: int) -> str:
    """The initial h or c [B, H], or "" for zeros."""
    name = node.states[which]
    return w("Gather", name, w.constant(d, np.int64), axis=0) if name else ""


def _zeros(w: Writer, node: Recurrent) -> str:
    """Zeros [B, H]: MNN reads past the end of a [1, H] that Where is to repeat."""
    if isinstance(node.batch, int) and node.batch * node.hidden_size <= LARGEST:
        return w.constant(np.zeros((node.batch, node.hidden_size)))
    return w.zeros(w.sizes(node.place.node.input[0], -2, node.hidden_size))


def _kept(w: Writer, mask: str, new: str, old: str) -> str:
    return w("Where", mask, new, old) if mask and new else new


def _unrolled(w: Writer, node: Recurrent, step: Step, lengths, backward: bool, form):
    assert isinstance(node.time, int)  # the only ones that are unrolled
    lstm = node.op == "LSTM"
    gs = step.projected(w, node.place.node.input[0])
    zeros = _zeros(w, node)
    h = _initial(w, node, 0, step.d) or zeros
    c = (_initial(w, node, 1, step.d) or zeros) if lstm else ""
    one, pair = w.ints(1), w.ints(0, 1)
    steps = range(node.time)
    ys = {}
    for t in reversed(steps) if backward else steps:
        g = w("Gather", gs, w.constant(t, np.int64), axis=0)
        new_h, new_c = step(w, g, h, c)
        mask = ""
        if lengths:
            mask = w("Unsqueeze", w("Less", w.constant([t], np.int32), lengths), one)
        ys[t] = w("Unsqueeze", _kept(w, mask, new_h, zeros), pair)
        h, c = _kept(w, mask, new_h, h), _kept(w, mask, new_c, c)
    axis = w.ints(0)
    y = w("Concat", *(ys[t] for t in steps), axis=0)
    return y, w("Unsqueeze", h, axis), w("Unsqueeze", c, axis) if lstm else ""


def _looped(w: Writer, node: Recurrent, step: Step, lengths, backward: bool, form):
    lstm, size = node.op == "LSTM", node.hidden_size
    xs = node.place.node.input[0]
    gs = step.projected(w, xs)
    if backward and form == "Scan":
        gs = w.flipped(gs, form)
    zeros = _zeros(w, node)
    # Each its own zeros: OpenCV writes over what it is given.
    states = [_initial(w, node, k, step.d) or _zeros(w, node) for k in range(1 + lstm)]
    time = w("Gather", w("Shape", xs), w.constant(0, np.int64), axis=0)
    last = w("Sub", time, w.constant(1, np.int64))

    b = Writer(f"{w.prefix}/{step.d}", w.constants)

    def info(kind: str, dims: list, dtype: int = TensorProto.FLOAT):
        return helper.make_tensor_value_info(f"{b.prefix}/{kind}", dtype, dims)

    i = info("i", [], TensorProto.INT64)
    held = [info(f"{k}_before", [None, size]) for k in "hc"[: 1 + lstm]]
    h, c = held[0].name, held[1].name if lstm else ""
    g = info("g", [None, step_width(node)])
    t = b("Sub", last, i.name) if backward else i.name
    if form == "Loop":
        b("Gather", gs, t, axis=0, out=g.name)
    new_h, new_c = step(b, g.name, h, c)
    shown = new_h
    if lengths:
        # With a scalar in the condition OpenCV gives the Where another shape.
        t = b("Reshape", b("Cast", t, to=TensorProto.INT32), b.ints(1))
        mask = b("Unsqueeze", b("Less", t, lengths), b.ints(1))
        # Nor does it see zeros of the graph around that are as many as the batch.
        none = zeros if isinstance(node.batch, int) else b.zeros(b("Shape", h))
        shown = b("Where", mask, new_h, none)
        new_h, new_c = _kept(b, mask, new_h, h), _kept(b, mask, new_c, c)
    after = [info(f"{k}_after", [None, size]) for k in "hc"[: 1 + lstm]]
    for name, out in zip((new_h, new_c), after, strict=False):
        b("Identity", name, out=out.name)
    y = info("y", [None, size])
    b("Identity", shown, out=y.name)
    if form == "Loop":
        go, goes = (info(k, [], TensorProto.BOOL) for k in ("go", "goes"))
        b("Identity", go.name, out=goes.name)
        body = helper.make_graph(b.nodes, b.prefix, [i, go, *held], [goes, *after, y])
        inputs = [time, w.constant(True, bool), *states]
        *finals, ys = w.many("Loop", inputs, 2 + lstm, body=body)
    else:
        later = info("i_after", [], TensorProto.INT64)
        b("Add", i.name, b.constant(1, np.int64), out=later.name)
        ins, outs = [i, *held, g], [later, *after, y]
        body = helper.make_graph(b.nodes, b.prefix, ins, outs)
        inputs = [w.constant(0, np.int64), *states, gs]
        _, *finals, ys = w.many("Scan", inputs, 3 + lstm, body=body, num_scan_inputs=1)
    # Some runtimes give the stacked outputs other shapes, with the numbers in order.
    ys = w("Reshape", ys, w.sizes(xs, -1, 1, -2, size))
    ys = w.flipped(ys, form) if backward else ys
    final = w.sizes(xs, 1, -2, size)
    finals = [w("Reshape", f, final) for f in finals]
    return ys, finals[0], finals[1] if lstm else ""


def step_width(node: Recurrent) -> int:
    """Columns of W x: gates times H."""
    kernel = node.weights["W"]
    assert kernel is not None  # of a node that can be replaced
    return kernel.shape[1]


def names_of(graph: onnx.GraphProto) -> set[str]:
    """Every name that the graph itself defines."""
    return {o for node in graph.node for o in node.output} | {
        v.name for v in (*graph.input, *graph.initializer)
    }
