"""Which loops of the library are ONNX's own operators: RNN, GRU and LSTM."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.elman import TANH
from jaxrnn.cells.gru import GRU, RESET_BEFORE
from jaxrnn.cells.lstm import LSTM
from jaxrnn.cells.projected import PROJECTED
from jaxrnn.interop.onnx.cell import DEFAULT
from jaxrnn.interop.onnx.graph import Operand
from jaxrnn.interop.weights import reorder
from jaxrnn.loops.dense import DENSE
from jaxrnn.loops.inner import INNER


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
    w_p: np.ndarray | None = None  # [H, P], if h is what the operator gives times w_p

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
    if starts is not None or not _known(leaves) or loop.mix not in (DENSE, INNER):
        return None
    dtype = jnp.dtype(weights.w_x.dtype)
    if jnp.dtype(loop.compute_dtype) != dtype:
        return None  # it rounds the operands of products
    w_x, w_h, b = map(_float, weights)
    attributes: dict[str, Any] = {}
    w_p = None
    if loop.part.name in (LSTM.name, PROJECTED):
        order, wanted = "ifgo", "iofg"
        kind, size = "LSTM", 4
        if loop.part.name == PROJECTED:
            # Of the output m before the projection h w_h is m (w_p w_h).
            w_p = _float(theta[0])
            w_h = (w_p.astype(np.float64) @ w_h.astype(np.float64)).astype(np.float32)
    elif loop.part.name in (GRU.name, RESET_BEFORE.name):
        order, wanted = "rzn", "zrn"
        kind, size = "GRU", 3
        attributes["linear_before_reset"] = int(loop.part.name == GRU.name)
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
    if loop.part.name == GRU.name:
        b, of_h[2 * len(w_h) :] = np.split(b, [3 * len(w_h)])
    w_x, w_h, b = (reorder(a, order, wanted) for a in (w_x, w_h, b))
    weights = Weights(w_x.T, w_h.T, np.concatenate([b, of_h]))
    operands = [*carry], xs, mask, loop.reverse, w_p
    return Recurrent(kind, weights, attributes, *operands)


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
