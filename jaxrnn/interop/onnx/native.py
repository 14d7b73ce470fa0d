"""The operators RNN, GRU and LSTM in a file, of one direction or of two."""

from typing import Any

import numpy as np

from jaxrnn.interop.onnx.cell import DEFAULT
from jaxrnn.interop.onnx.graph import FIRST, Graph, Node, Operand
from jaxrnn.interop.onnx.recognized import Recurrent

WORST = 30  # the condition number of a projection that rounding does not spoil


def native(g: Graph, loop: Recurrent | None) -> list[str] | None:
    """Writes the operator; the names of the carry's arrays and of hs, or None."""
    if loop is None:
        return None
    lengths = None
    if loop.mask is not None:
        if g.root.mask is None or loop.mask != g.op(
            "Transpose", g.root.mask, perm=[1, 0]
        ):
            return None
        lengths = g.root.lengths
    if _before(g, loop) is None:
        return None
    names = [g.name("state") for _ in loop.carry] + [g.name("hs")]
    key = loop.kind, g.operand(loop.xs), lengths, loop.weights.r.shape
    key += (loop.weights.p is None, *map(repr, _shared(loop.attributes).items()))
    if not loop.reverse:
        g.forward[key] = loop, names
        _write(g, [loop], [names], lengths)
    elif key in g.forward:
        forward, forward_names = g.forward.pop(key)
        _write(g, [forward, loop], [forward_names, names], lengths)
    else:
        flipped = loop._replace(xs=_flip(g, loop.xs, lengths))
        turned = [*names[:-1], g.name("hs")]
        _write(g, [flipped], [turned], lengths)
        g.named(names[-1], _flip(g, turned[-1], lengths))
    return names


def _shared(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes that both directions have in common."""
    return {k: a for k, a in attributes.items() if not k.startswith("activation")}


def _flip(g: Graph, xs: Operand, lengths: str | None) -> str:
    """The steps in the opposite order, each sequence within its length."""
    if lengths is not None:
        # One step turned around is none turned around; MNN refuses a length of 0.
        of_steps = g.op("Max", g.cast(lengths, np.int64), np.array([1], np.int64))
        return g.op("ReverseSequence", xs, of_steps, batch_axis=1, time_axis=0)
    one = np.array([1], np.int64)
    return g.op("Slice", xs, -one, FIRST * one, 0 * one, -one)


def _write(
    g: Graph, loops: list[Recurrent], names: list[list[str]], lengths: str | None
) -> None:
    """Writes one operator for one direction, or for two."""
    first = loops[0]
    weights = [
        None if parts[0] is None else np.stack(parts)
        for parts in zip(*(loop.weights for loop in loops), strict=True)
    ]
    initial: list[Operand] = [None] * len(first.carry)
    if not all(is_zero(g, a) for loop in loops for a in loop.carry):
        axis = np.array([0], np.int64)
        states = [_before(g, loop) or [] for loop in loops]
        initial = [
            g.op("Concat", *(g.op("Unsqueeze", a, axis) for a in column), axis=0)
            for column in zip(*states, strict=True)
        ]
    hidden = first.weights.r.shape[1]
    attributes = {"hidden_size": hidden, **first.attributes}
    if len(loops) == 2:
        attributes["direction"] = "bidirectional"
        if "activations" in first.attributes or "activations" in loops[1].attributes:
            attributes |= _activations(loops)
    inputs = [first.xs, *weights[:3], lengths, *initial, weights[3]]
    while inputs[-1] is None:
        inputs.pop()
    made = g.ops(first.kind, *inputs, outputs=1 + len(initial), **attributes)
    for at, (loop, outputs) in enumerate(zip(loops, names, strict=True)):
        pick = {"Squeeze": np.array([0])} if len(loops) == 1 else {"Gather": at}
        ((kind, where),) = pick.items()
        if kind == "Squeeze":
            y = g.op("Squeeze", made[0], np.array([1], np.int64))
            last = [g.op("Squeeze", a, np.array([0], np.int64)) for a in made[1:]]
        else:
            index = np.array(where, np.int64)
            y = g.op("Gather", made[0], index, axis=1)
            last = [g.op("Gather", a, index, axis=0) for a in made[1:]]
        if loop.w_p is not None:
            y, last[0] = (g.op("MatMul", a, loop.w_p) for a in (y, last[0]))
        if lengths is not None:
            # The runtimes do not agree on the state after a length of 0.
            empty = g.op("Equal", lengths, np.int32(0))
            empty = g.op("Unsqueeze", empty, np.array([1], np.int64))
            last = [
                g.op("Where", empty, a, b)
                for a, b in zip(loop.carry, last, strict=True)
            ]
        for name, value in zip(outputs, [*last, y], strict=True):
            g.put(Node("Identity", (value,), (name,), {}))


def _before(g: Graph, loop: Recurrent) -> list[Operand] | None:
    """The carry before the first step as the operator has it; None if it has none.

    A projected h begins as the m of which it is m w_p. There is one for any h where no
    output of the projection depends on the others.
    """
    h, *others = loop.carry
    if loop.w_p is None:
        return loop.carry
    back: np.ndarray = np.zeros_like(loop.w_p.T)
    if not is_zero(g, h):
        spread = np.linalg.svd(loop.w_p.astype(np.float64), compute_uv=False)
        if len(spread) < len(back) or spread[-1] * WORST < spread[0]:
            return None
        back = np.linalg.pinv(loop.w_p.astype(np.float64))
    return [g.op("MatMul", h, back), *others]


def _activations(loops: list[Recurrent]) -> dict[str, Any]:
    """The activations of two directions, one after the other."""
    found: dict[str, list[Any]] = {"activations": []}
    for loop in loops:
        names = loop.attributes.get("activations", list(DEFAULT[loop.kind]))
        found["activations"] += names
        for key in ("activation_alpha", "activation_beta"):
            if key in loop.attributes:
                found[key] = found.get(key, []) + loop.attributes[key]
    return found


def is_zero(g: Graph, value: Operand) -> bool:
    """Whether a value is zero, so that an operator need not be given it."""
    while isinstance(value, str):
        node = g.nodes.get(value) or g.root.nodes.get(value)
        if value in g.root.constants:
            value = g.root.constants[value]
        elif node and node.kind in ("Expand", "Unsqueeze", "Identity"):
            value = node.inputs[0]
        else:
            return False
    return not np.any(value)
