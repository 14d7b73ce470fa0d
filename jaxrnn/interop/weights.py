"""What all frameworks share: entries are read and checked, and a cell is built."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import ElmanParams, GRUParams, LSTMParams, elman, gru, lstm
from jaxrnn.core import Cell

Kind = Literal["rnn", "gru", "lstm"]
Nonlinearity = Literal["tanh", "relu"]

GATES = {"rnn": "H", "gru": "3H", "lstm": "4H"}  # all pre-activations of one step
_PARAMS: dict[str, Any] = {"rnn": ElmanParams, "gru": GRUParams, "lstm": LSTMParams}
_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}
_DTYPES = [np.dtype(t) for t in (np.float32, np.float64, np.float16, jnp.bfloat16)]


class Weights(NamedTuple):
    """The weights of one layer in the layout of jaxrnn, whatever its kind."""

    w_x: np.ndarray  # [D, GH]
    w_h: np.ndarray  # [H, GH]
    b: np.ndarray | None = None  # [GH]
    b_h: np.ndarray | None = None  # [H], of a GRU that resets after the product

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
    nonlinearity: Nonlinearity = "tanh",
    reset_after: bool = True,
) -> tuple[Cell, Any]:
    """The cell and its params, which share no memory with the weights."""
    sizes = weights.w_x.shape[0], weights.w_h.shape[0]
    options: Any = {"bias": weights.b is not None, "dtype": weights.w_x.dtype}
    if kind == "rnn":
        cell = elman(*sizes, activation=_ACTIVATIONS[nonlinearity], **options)
    elif kind == "gru":
        cell = gru(*sizes, reset_after=reset_after, **options)
    else:
        cell = lstm(*sizes, **options)
    given = {k: jnp.array(a) for k, a in weights._asdict().items() if a is not None}
    return cell, _PARAMS[kind](**given)


def weights_of(
    name: str, kind: Kind, params: Any, *, reset_after: bool | None = None
) -> Weights:
    """The params of one layer as numpy arrays, or a ValueError.

    `reset_after` is what the framework's GRU does; None if it can do both.
    """
    expected = _PARAMS[kind]
    if type(params) is not expected:
        raise ValueError(
            f"{name}: expected {expected.__name__}, got {type(params).__name__}"
        )
    entries = {f".{k}": a for k, a in params._asdict().items() if a is not None}
    gates = GATES[kind]
    shapes = {".w_h": f"H {gates}", ".w_x": f"D {gates}"}
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


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises a ValueError unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def check_kind(call: str, kind: Any, nonlinearity: Any = None) -> None:
    """Raises a ValueError unless there is such a kind, with such a nonlinearity."""
    check_choice(f"{call}: kind", kind, tuple(GATES))
    if nonlinearity is not None:
        choices = tuple(_ACTIVATIONS) if kind == "rnn" else ("tanh",)
        check_choice(f"{call}: nonlinearity of {kind!r}", nonlinearity, choices)


def flatten(name: str, tree: Any) -> dict[str, Any]:
    """The leaves of nested mappings, each under its path: "['hi']['kernel']"."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"{name}: expected a mapping, got {type(tree).__name__}")
    entries = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            below = flatten(f"{name}[{key!r}]", value)
            entries |= {f"[{key!r}]{path}": leaf for path, leaf in below.items()}
        else:
            entries[f"[{key!r}]"] = value
    return entries


def read(
    name: str,
    entries: Mapping[str, Any],
    shapes: Mapping[str, str],
    hint: Callable[[str], str] = lambda key: "",
) -> dict[str, np.ndarray]:
    """The entries for a cell: what `fit` returns, in a dtype that JAX will not round.

    `hint` gives what to add to the message about an entry too many.
    """
    arrays = fit(name, entries, shapes, hint)
    for key, array in arrays.items():
        check_x64(f"{name}{key}", array.dtype)
    return arrays


def fit(
    name: str,
    entries: Mapping[str, Any],
    shapes: Mapping[str, str],
    hint: Callable[[str], str] = lambda key: "",
) -> dict[str, np.ndarray]:
    """The entries as arrays of one dtype and of sizes that fit, or a ValueError.

    Args:
      name: of the argument, for messages.
      entries: arrays of any framework, by name.
      shapes: what there has to be, by name; `"4H D+H"` has two axes. The first axis
        that leaves one size open tells it.
      hint: see `read`.

    Returns:
      An array for each of `shapes`.
    """
    for key in entries:
        if key not in shapes:
            raise ValueError(
                f"{name}{key}: expected only the entries {', '.join(shapes)}, "
                f"got this one too{hint(key)}"
            )
    arrays: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    for key, shape in shapes.items():
        axes = shape.split()
        if key not in entries:
            raise ValueError(
                f"{name}{key}: expected an array of shape [{', '.join(axes)}], "
                f"got no such entry among {', '.join(entries) or 'none'}"
            )
        array = _array(f"{name}{key}", entries[key])
        first = next(iter(shapes))
        if arrays and array.dtype != arrays[first].dtype:
            raise ValueError(
                f"{name}{key}: expected dtype {arrays[first].dtype}, as {first} has, "
                f"got {array.dtype}"
            )
        if array.ndim != len(axes) or any(
            _size(axis, size, sizes) != size
            for axis, size in zip(axes, array.shape, strict=True)
        ):
            known = [f"{k} = {size}" for k, size in sizes.items() if k in shape]
            raise ValueError(
                f"{name}{key}: expected shape [{', '.join(axes)}]"
                f"{' with ' if known else ''}{', '.join(known)}, got {array.shape}"
            )
        arrays[key] = array
    return arrays


def _size(axis: str, size: int, sizes: dict[str, int]) -> int | None:
    """The size that an axis such as "D+4H" should have, or None if none will do.

    A letter that is not yet in `sizes` is put there, with what it has to be.
    """
    known, unknown = 0, None
    for term in axis.split("+"):
        factor = term.rstrip("DH")
        letter = term[len(factor) :]
        if letter and letter not in sizes:
            unknown = letter, int(factor or 1)
        else:
            known += int(factor or 1) * sizes.get(letter, 1)
    if unknown is None:
        return known
    letter, factor = unknown
    value, remainder = divmod(size - known, factor)
    if remainder or value < 1:
        return None
    sizes[letter] = value
    return size


def _array(where: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor: perhaps on a GPU, or with a gradient
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{where}: expected an array, got {type(value).__name__}: {error}"
        ) from None
    if array.dtype not in _DTYPES:
        raise ValueError(
            f"{where}: expected an array of one of {', '.join(map(str, _DTYPES))}, "
            f"got {array.dtype}"
        )
    return array


def check_x64(where: str, dtype: Any) -> None:
    """Raises a ValueError if JAX, as it is set, would round the dtype."""
    rounded = jax.dtypes.canonicalize_dtype(dtype)
    if rounded != dtype:
        raise ValueError(
            f"{where}: expected dtype {rounded}, since jax_enable_x64 is off, got "
            f"{dtype}; turn it on, or round with .astype({str(rounded)!r})"
        )


def reorder(a: np.ndarray, gates: str, wanted: str) -> np.ndarray:
    """The last axis, gate after gate, in another order of the gates."""
    blocks = dict(zip(gates, np.split(a, len(gates), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted], axis=-1)


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
