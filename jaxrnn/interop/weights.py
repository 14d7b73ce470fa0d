"""What all frameworks share: the weights of a layer, and the cell that reads them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import (
    ElmanParams,
    GRUParams,
    LSTMParams,
    ProjectedLSTMParams,
    elman,
    gru,
    lstm,
    projected_lstm,
)
from jaxrnn.checks import check_size
from jaxrnn.combinators import Directions, bidirectional, chain
from jaxrnn.core import Cell
from jaxrnn.interop.entries import check_choice, fit

Kind = Literal["rnn", "gru", "lstm"]
Nonlinearity = Literal["tanh", "relu"]

GATES = {"rnn": "H", "gru": "3H", "lstm": "4H"}  # all pre-activations of one step
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}
_PARAMS: dict[str, Any] = {"rnn": ElmanParams, "gru": GRUParams, "lstm": LSTMParams}


class Weights(NamedTuple):
    """The weights of one layer in the layout of jaxrnn, whatever its kind."""

    w_x: np.ndarray  # [D, GH]
    w_h: np.ndarray  # [H, GH], or [P, GH] with a projection
    b: np.ndarray | None = None  # [GH]
    b_h: np.ndarray | None = None  # [H], of a GRU that resets after the product
    w_p: np.ndarray | None = None  # [H, P], of an LSTM with a projection

    def bias(self) -> np.ndarray:
        """b, or the zeros that it stands for."""
        zeros = np.zeros(self.w_h.shape[1], self.w_h.dtype)
        return zeros if self.b is None else self.b

    def inner_bias(self) -> np.ndarray:
        """b_h, or the zeros that it stands for."""
        zeros = np.zeros(self.w_h.shape[0], self.w_h.dtype)
        return zeros if self.b_h is None else self.b_h


def build(
    kind: Kind,
    weights: Weights,
    *,
    nonlinearity: str | Callable = "tanh",
    gate_activation: Callable = jax.nn.sigmoid,
    reset_after: bool = True,
) -> tuple[Cell, Any]:
    """The cell and its params, which share no memory with the weights."""
    sizes = weights.w_x.shape[0], weights.w_h.shape[1] // int(GATES[kind][:-1] or 1)
    options: Any = {"bias": weights.b is not None, "dtype": weights.w_x.dtype}
    params = _PARAMS[kind]
    if weights.w_p is not None:
        params = ProjectedLSTMParams
        cell = projected_lstm(*sizes, weights.w_p.shape[1], **options)
    else:
        if isinstance(nonlinearity, str):
            nonlinearity = ACTIVATIONS[nonlinearity]
        options["activation"] = nonlinearity
        if kind != "rnn":
            options["gate_activation"] = gate_activation
        if kind == "gru":
            options["reset_after"] = reset_after
        cell = {"rnn": elman, "gru": gru, "lstm": lstm}[kind](*sizes, **options)
    given = {k: jnp.array(a) for k, a in weights._asdict().items() if a is not None}
    return cell, params(**given)


def weights_of(
    name: str,
    kind: Kind,
    params: Any,
    *,
    reset_after: bool | None = None,
    projection: bool = False,
) -> Weights:
    """The params of one layer as numpy arrays, or a ValueError.

    `reset_after` is what the framework's GRU does; None if it can do both.
    `projection` is whether its LSTM can have one.
    """
    projected = projection and kind == "lstm" and type(params) is ProjectedLSTMParams
    expected = ProjectedLSTMParams if projected else _PARAMS[kind]
    if type(params) is not expected:
        raise ValueError(
            f"{name}: expected {expected.__name__}, got {type(params).__name__}"
        )
    entries = {f".{k}": a for k, a in params._asdict().items() if a is not None}
    gates = GATES[kind]
    shapes = {".w_h": f"H {gates}", ".w_x": f"D {gates}"}
    if projected:
        shapes = {".w_p": "H P", ".w_h": f"P {gates}", ".w_x": f"D {gates}"}
    shapes |= {k: s for k, s in {".b": gates, ".b_h": "H"}.items() if k in entries}
    arrays = fit(name, entries, shapes)
    weights = Weights(**{k[1:]: a for k, a in arrays.items()})
    if kind == "gru" and reset_after and weights.b_h is None and weights.b is not None:
        raise ValueError(
            f"{name}.b_h: expected an array, since this framework's GRU resets after "
            "the product, got None, as in a gru with reset_after=False"
        )
    if kind == "gru" and reset_after is False and weights.b_h is not None:
        raise ValueError(
            f"{name}.b_h: expected None, since this framework's GRU resets before the "
            "product, got an array, as in a gru with reset_after=True"
        )
    return weights


def check_kind(
    call: str, kind: Any, nonlinearity: Any = None, kinds: Sequence[str] = tuple(GATES)
) -> None:
    """Raises a ValueError unless there is such a kind, with such a nonlinearity."""
    check_choice(f"{call}: kind", kind, tuple(kinds))
    if nonlinearity is not None:
        choices = tuple(ACTIVATIONS) if kind == "rnn" else ("tanh",)
        check_choice(f"{call}: nonlinearity of {kind!r}", nonlinearity, choices)


def check_layers(
    call: str, num_layers: Any, bidirectional: Any, most: int
) -> tuple[int, int]:
    """Returns the numbers of layers and of directions, or raises a ValueError."""
    num_layers = check_size(f"{call}: num_layers", num_layers)
    if not isinstance(bidirectional, bool):
        raise ValueError(
            f"{call}: bidirectional: expected a bool, got {bidirectional!r}"
        )
    if num_layers > max(most, 1):
        raise ValueError(
            f"{call}: num_layers: expected no more than the {most} entries that there "
            f"are, got {num_layers}"
        )
    return num_layers, 1 + bidirectional


def stack(layers: Sequence[Sequence[tuple[Cell, Any]]]) -> tuple[Cell, Any]:
    """One cell and its params, of one or two directions in each layer."""
    joined = []
    for directions in layers:
        cells, params = zip(*directions, strict=True)
        if len(cells) == 2:
            joined.append((bidirectional(*cells), Directions(*params)))
        else:
            joined.append((cells[0], params[0]))
    if len(joined) == 1:
        return joined[0]
    cells, params = zip(*joined, strict=True)
    return chain(*cells), params


def unstack(name: str, params: Any) -> list[list[tuple[str, Any]]]:
    """The inverse of `stack`: the params of each direction of each layer, with a name.

    Nothing is checked but how they are put together.
    """
    several = type(params) in (tuple, list) and len(params) > 0
    layers = []
    for i, layer in enumerate(params if several else (params,)):
        where = f"{name}[{i}]" if several else name
        if isinstance(layer, Directions):
            fields = layer._asdict().items()
            layers.append([(f"{where}.{field}", one) for field, one in fields])
        else:
            layers.append([(where, layer)])
    return layers


def reorder(a: np.ndarray, gates: str, wanted: str) -> np.ndarray:
    """The last axis, gate after gate, in another order of the gates."""
    blocks = dict(zip(gates, np.split(a, len(gates), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted], axis=-1)


def minus_z(a: np.ndarray) -> np.ndarray:
    """Turns z into 1 - z, which is sigmoid of minus its argument; z is the second."""
    first, z, third = np.split(a, 3, axis=-1)
    return np.concatenate([first, -z, third], axis=-1)


def merge_biases(kind: Kind, of_x: np.ndarray, of_h: np.ndarray) -> dict[str, Any]:
    """b and b_h of a layer with one bias [GH] on each side; gates r, z, n in a GRU."""
    if kind != "gru":
        return {"b": of_x + of_h}
    size = len(of_x) // 3
    both = of_x[:-size] + of_h[:-size]
    return {"b": np.concatenate([both, of_x[-size:]]), "b_h": of_h[-size:]}


def split_biases(kind: Kind, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """The way back: a bias [GH] on the side of x, and one on the side of h."""
    of_x = weights.bias()
    of_h = np.zeros_like(of_x)
    if kind == "gru":
        of_h[-len(weights.w_h) :] = weights.inner_bias()
    return of_x, of_h


def own(a: np.ndarray) -> np.ndarray:
    """A copy that may be written to, in the order of C, as torch wants it."""
    return np.array(a, order="C")


def widened(a: np.ndarray) -> np.ndarray:
    """The same in float32 if it is bfloat16, for those that do not read numpy's."""
    return own(a.astype(np.float32) if a.dtype == jnp.bfloat16 else a)
