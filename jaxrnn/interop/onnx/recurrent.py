"""ONNX's RNN, GRU and LSTM as cells: the attributes and weights of one operator."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrnn.combinators import LearnedParams, learned_carry
from jaxrnn.core import Cell
from jaxrnn.interop.entries import check_x64
from jaxrnn.interop.onnx.cell import (
    ACTIVATIONS,
    CARRIES,
    DEFAULT,
    GATES,
    Activation,
    ONNXParams,
    Operator,
    onnx_cell,
)
from jaxrnn.interop.weights import Weights, build, reorder

FLAGS = ("input_forget", "linear_before_reset")
PLACES = {a.lower(): a for a in ACTIVATIONS}
Refuse = Callable[[str], ValueError]


class Direction(NamedTuple):
    """One direction of an operator."""

    cell: Cell
    params: Any
    back: bool


def directions(
    kind: str,
    attributes: dict[str, Any],
    weights: tuple[np.ndarray | None, ...],
    initial: tuple[np.ndarray | None, ...],
    refuse: Refuse,
) -> list[Direction]:
    """The cells of an operator.

    Args:
      kind: "RNN", "GRU" or "LSTM".
      attributes: of the node.
      weights: W, R, B and P.
      initial: constant initial_h and initial_c `[dirs, B, H]`, or None for zeros.
      refuse: makes the error that names the node.

    Returns:
      One direction or two.
    """
    if "output_sequence" in attributes:  # of the first versions
        raise refuse(f"attribute output_sequence={attributes['output_sequence']}")
    way = attributes.get("direction", "forward")
    if way not in ("forward", "reverse", "bidirectional"):
        raise refuse(f"attribute direction={way!r}: expected forward, reverse or both")
    count = 1 + (way == "bidirectional")
    w, r, b, p = weights
    gates, n = GATES[kind], r.shape[-1] if r is not None and r.ndim == 3 else 0
    size = attributes.get("hidden_size", n)
    if w is None or r is None or w.ndim != 3 or w.shape[:2] != (count, gates * n):
        got = [None if a is None else a.shape for a in (w, r)]
        raise refuse(
            f"W and R: expected [{count}, {gates}H, D] and [., ., H], got {got}"
        )
    if size != n or r.shape != (count, gates * n, n):
        raise refuse(f"attribute hidden_size={size}: R has the shape {r.shape}")
    for name, array, width in (("B", b, 2 * gates * n), ("P", p, 3 * n)):
        if array is not None and array.shape != (count, width):
            raise refuse(f"{name}: expected shape {(count, width)}, got {array.shape}")
    for name, array in zip(("initial_h", "initial_c"), initial, strict=False):
        if array is not None and (array.ndim != 3 or array.shape[::2] != (count, n)):
            hint = "; torch's proj_size has no place in an LSTM of ONNX"
            raise refuse(
                f"{name}: expected [{count}, B, hidden_size={n}], got {array.shape}"
                f"{hint if kind == 'LSTM' else ''}"
            )
    arrays = (("W", w), ("R", r), ("B", b), ("P", p))
    arrays += tuple(zip(("initial_h", "initial_c"), initial, strict=False))
    for name, array in arrays:
        if array is not None and array.dtype != w.dtype:
            raise refuse(f"{name}: expected {w.dtype} as of W, got {array.dtype}")
    if not jnp.issubdtype(w.dtype, jnp.floating):
        raise refuse(f"W: expected floating numbers, got {w.dtype}")
    check_x64(f"load_onnx: {kind}.W", w.dtype)
    chosen = _activations(kind, attributes, count, refuse)
    found = []
    for at in range(count):
        operator = Operator(
            kind,
            chosen[at],
            _clip(attributes, refuse),
            *(_flag(attributes, name, refuse) for name in FLAGS),
        )
        both = np.zeros(2 * gates * n, w.dtype) if b is None else b[at]
        cell, params = _cell(
            operator, w[at].T, r[at].T, both, None if p is None else p[at]
        )
        states = [None if a is None else _alike(a[at], refuse) for a in initial]
        if any(a is not None and a.any() for a in states):
            fields = [
                jnp.zeros(n, w.dtype) if a is None else jnp.array(a) for a in states
            ]
            carry = CARRIES[kind](*fields[: len(CARRIES[kind]._fields)])
            cell, params = learned_carry(cell), LearnedParams(params, carry)
        found.append(Direction(cell, params, way == "reverse" or at == 1))
    return found


def _alike(rows: np.ndarray, refuse: Refuse) -> np.ndarray:
    """The one initial state of all sequences."""
    if (rows != rows[:1]).any():
        raise refuse("initial_h, initial_c: each sequence of the batch has its own")
    return rows[0]


def _flag(attributes: dict[str, Any], name: str, refuse: Refuse) -> bool:
    value = attributes.get(name, 0)
    if value not in (0, 1):
        raise refuse(f"attribute {name}={value}: expected 0 or 1")
    return bool(value)


def _clip(attributes: dict[str, Any], refuse: Refuse) -> float | None:
    clip = attributes.get("clip")
    if clip is not None and not clip > 0:
        raise refuse(f"attribute clip={clip}: expected a positive number")
    return clip


def _activations(
    kind: str, attributes: dict[str, Any], count: int, refuse: Refuse
) -> list[tuple[Activation, ...]]:
    """The activations of each direction, with their alpha and beta."""
    per = len(DEFAULT[kind])
    names = list(attributes.get("activations") or DEFAULT[kind] * count)
    if len(names) != per * count:
        raise refuse(f"attribute activations={names}: expected {per * count} of them")
    alpha = iter(attributes.get("activation_alpha", ()))
    beta = iter(attributes.get("activation_beta", ()))
    found = []
    for name in names:
        known = PLACES.get(name.lower())
        if known is None:
            raise refuse(f"attribute activations={names}: there is no {name!r}")
        defaults = ACTIVATIONS[known][1]
        numbers = [next(a, d) for a, d in zip((alpha, beta), defaults, strict=False)]
        found.append(Activation(known, tuple(map(float, numbers))))
    more = [*alpha, *beta]
    if more:
        raise refuse(
            f"attributes activation_alpha, activation_beta: {more} are more numbers "
            f"than the activations {names} have"
        )
    return [tuple(found[i * per : (i + 1) * per]) for i in range(count)]


def _cell(
    operator: Operator, w_x: Any, w_h: Any, both: Any, p: Any
) -> tuple[Cell, Any]:
    """A built-in cell where one computes the same, else one of ONNX's own."""
    kind, n = operator.kind, len(w_h)
    of_x, of_h = np.split(both, 2)
    names = tuple(a.name for a in operator.activations)
    plain = names == DEFAULT[kind] and operator.clip is None and p is None
    if kind == "RNN" and operator.clip is None and names in (("Tanh",), ("Relu",)):
        weights = Weights(w_x, w_h, of_x + of_h)
        nonlinearity: Any = names[0].lower()
        return build("rnn", weights, nonlinearity=nonlinearity)
    if kind == "LSTM" and plain:
        arrays = [reorder(a, "iofg", "ifgo") for a in (w_x, w_h, of_x + of_h)]
        if operator.input_forget:  # 1 - sigmoid(z) is sigmoid(-z)
            for a in arrays:
                a[..., n : 2 * n] = -a[..., :n]
        return build("lstm", Weights(*arrays))
    after = operator.linear_before_reset
    b, b_h = of_x + of_h, None
    if kind == "GRU" and after:
        b = np.concatenate([(of_x + of_h)[: 2 * n], of_x[2 * n :]])
        b_h = of_h[2 * n :]
    if kind == "GRU" and plain:
        w_x, w_h, b = (reorder(a, "zrn", "rzn") for a in (w_x, w_h, b))
        return build("gru", Weights(w_x, w_h, b, b_h), reset_after=after)
    cell = onnx_cell(len(w_x), n, operator, peepholes=p is not None, dtype=w_x.dtype)
    arrays: Any = [None if a is None else jnp.array(a) for a in (w_x, w_h, b, b_h, p)]
    return cell, ONNXParams(*arrays)
