"""The loops of the library as ONNX's own operators: RNN, GRU and LSTM."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.elman import TANH
from jaxrnn.cells.gru import GRU
from jaxrnn.cells.lstm import LSTM
from jaxrnn.interop.onnx.cell import DEFAULT
from jaxrnn.interop.onnx.graph import FIRST, Graph, Node, Operand
from jaxrnn.interop.weights import reorder


class Weights(NamedTuple):
    """The weights of one direction, as ONNX has them."""

    w: np.ndarray  # [GH, D]
    r: np.ndarray  # [GH, H]
    b: np.ndarray  # [2GH]
    p: np.ndarray | None = None  # [3H]


class Recurrent(NamedTuple):
    """One direction of a recurrent operator."""

    kind: str
    weights: Weights
    attributes: dict[str, Any]
    carry: list[Operand]  # each [B, H]
    xs: Operand  # [T, B, D]
    mask: Operand  # [T, B], or None
    reverse: bool

    @classmethod
    def of(cls, params: Any, inputs: list[Operand]) -> "Recurrent | None":
        """What a loop of the library is in ONNX; None where that is nothing."""
        operands = params["trees"][0].unflatten(inputs)
        if not params["batched"] or params["name"] not in _READERS:
            return None
        return _READERS[params["name"]](params["static"], *operands)


def _of_forward_loop(loop, inputs) -> Recurrent | None:
    weights, theta, carry, _, xs, mask, starts = inputs
    leaves = jax.tree.leaves((weights, theta))
    if starts is not None or not _known(leaves):
        return None
    dtype = jnp.dtype(weights.w_x.dtype)
    if jnp.dtype(loop.compute_dtype) != dtype:
        return None  # it rounds the operands of products
    w_x, w_h, b = map(_float, weights)
    attributes: dict[str, Any] = {}
    if loop.part.name == LSTM.name:
        order, wanted = "ifgo", "iofg"
        kind, size = "LSTM", 4
    elif loop.part.name == GRU.name:
        order, wanted = "rzn", "zrn"
        kind, size = "GRU", 3
        attributes["linear_before_reset"] = 1
    else:
        if w_x.shape != (len(w_x), len(w_h)):
            return None
        activation = _activation(loop.part, theta, len(w_h))
        if activation is None:
            return None
        order = wanted = "h"
        kind, size = "RNN", 1
        attributes["activations"] = [activation]
    of_h = np.zeros(size * len(w_h), np.float32)
    if kind == "GRU":
        b, of_h[2 * len(w_h) :] = np.split(b, [3 * len(w_h)])
    w_x, w_h, b = (reorder(a, order, wanted) for a in (w_x, w_h, b))
    weights = Weights(w_x.T, w_h.T, np.concatenate([b, of_h]))
    return Recurrent(kind, weights, attributes, [*carry], xs, mask, loop.reverse)


def _of_reset_before(static, params, carry, initial, xs, mask, starts):
    leaves = [a for a in params if a is not None]
    usual = static.functions == (jnp.tanh, jax.nn.sigmoid)
    plain = usual and starts is None and static.compute_dtype is None
    if not plain or not _known(leaves):
        return None
    w_x, w_h = (reorder(_float(a), "rzn", "zrn") for a in params[:2])
    b = np.zeros(len(w_x[0]), np.float32)
    if params.b is not None:
        b = reorder(_float(params.b), "rzn", "zrn")
    weights = Weights(w_x.T, w_h.T, np.concatenate([b, np.zeros_like(b)]))
    attributes = {"linear_before_reset": 0}
    return Recurrent("GRU", weights, attributes, [*carry], xs, mask, static.reverse)


def _of_operator_loop(operator, params, carry, initial, xs, mask, starts):
    leaves = [a for a in params if a is not None]
    if starts is not None or not _known(leaves):
        return None
    kind = operator.kind
    of_h = np.zeros(params.b.shape, np.float32)
    if params.b_h is not None:
        of_h[-len(params.b_h) :] = _float(params.b_h)
    weights = Weights(
        _float(params.w_x).T,
        _float(params.w_h).T,
        np.concatenate([_float(params.b), of_h]),
        None if params.p is None else _float(params.p),
    )
    attributes: dict[str, Any] = {}
    names = tuple(a.name for a in operator.activations)
    if names != DEFAULT[kind]:
        attributes["activations"] = list(names)
        alpha = [a.numbers[0] for a in operator.activations if a.numbers]
        beta = [a.numbers[1] for a in operator.activations if len(a.numbers) > 1]
        attributes |= {"activation_alpha": alpha} if alpha else {}
        attributes |= {"activation_beta": beta} if beta else {}
    if operator.clip is not None:
        attributes["clip"] = operator.clip
    if operator.input_forget:
        attributes["input_forget"] = 1
    if kind == "GRU":
        attributes["linear_before_reset"] = int(operator.linear_before_reset)
    return Recurrent(kind, weights, attributes, [*carry], xs, mask, operator.reverse)


_READERS: dict[str, Any] = {
    "forward_loop": _of_forward_loop,
    "reset_before_loop": _of_reset_before,
    "operator_loop": _of_operator_loop,
}


def _known(values: list[Any]) -> bool:
    return not any(isinstance(value, str) for value in values)


def _float(array: Any) -> np.ndarray:
    return np.asarray(array, np.float32)


def _activation(part: Any, theta: Any, size: int) -> str | None:
    """ONNX's name of what an `elman` computes, or None."""
    if part.name == TANH.name:
        return "Tanh"
    z = jnp.zeros(size)
    names = {"Relu": jax.nn.relu, "Sigmoid": jax.nn.sigmoid}
    carry = TANH.apply((), z, None)
    got = str(jax.make_jaxpr(lambda z: part.apply(theta, z, carry))(z))
    for name, fun in names.items():
        if str(jax.make_jaxpr(lambda z: type(carry)(fun(z)))(z)) == got:
            return name
    return None


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
    states = [[*column] for column in zip(*(p.carry for p in loops), strict=True)]
    initial: list[Operand] = [None] * len(states)
    if not all(is_zero(g, a) for column in states for a in column):
        axis = np.array([0], np.int64)
        initial = [
            g.op("Concat", *(g.op("Unsqueeze", a, axis) for a in column), axis=0)
            for column in states
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
    made = g.ops(first.kind, *inputs, outputs=1 + len(states), **attributes)
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
