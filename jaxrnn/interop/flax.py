"""flax: `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` and `SimpleCell`, linen and nnx.

Gates are in the order of jaxrnn, with one kernel for each gate or one for all. The
LSTM's bias is on the side of h, that of the others on the side of x; the GRU resets
after the product, in linen with a bias inside the reset and in nnx without.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import check_choice, flatten, read
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    own,
    weights_of,
)

Layout = Literal["linen", "nnx", "nnx_optimized"]


class _Names(NamedTuple):
    """The submodules of a cell, gate after gate, and those that have a bias."""

    of_x: list[str]
    of_h: list[str]
    biased: list[str]
    inner: str | None = None  # with the bias inside the reset

    def shapes(self, kind: Kind) -> dict[str, str]:
        width = GATES[kind] if len(self.of_x) == 1 else "H"
        shapes = {_key(name, "kernel"): f"H {width}" for name in self.of_h}
        shapes |= {_key(name, "kernel"): f"D {width}" for name in self.of_x}
        shapes |= {_key(name, "bias"): width for name in self.biased}
        return shapes | ({_key(self.inner, "bias"): "H"} if self.inner else {})


def _key(name: str, leaf: str) -> str:
    return f"['{name}']['{leaf}']"


_FUSED = ["dense_i"], ["dense_h"]
_IFGO = ["hi", "hf", "hg", "ho"]
_LAYOUTS: dict[str, dict[str, _Names]] = {
    "rnn": {
        "linen": _Names(["i"], ["h"], ["i"]),
        "nnx": _Names(*_FUSED, ["dense_i"]),
    },
    "gru": {
        "linen": _Names(
            ["ir", "iz", "in"], ["hr", "hz", "hn"], ["ir", "iz", "in"], "hn"
        ),
        "nnx": _Names(*_FUSED, ["dense_i"]),
    },
    "lstm": {
        "linen": _Names(["ii", "if", "ig", "io"], _IFGO, _IFGO),
        "nnx": _Names(["ii", "if_", "ig", "io"], _IFGO, _IFGO),
        "nnx_optimized": _Names(*_FUSED, ["dense_h"]),
    },
}


def load_flax(
    kind: Kind, params: Mapping[str, Any], *, nonlinearity: Nonlinearity = "tanh"
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent cell of flax does.

    flax's carry of an LSTM is (c, h), jaxrnn's `LSTMCarry(h, c)`.

    Args:
      kind: "rnn" for `SimpleCell`, "gru" for `GRUCell`, "lstm" for `LSTMCell` and
        `OptimizedLSTMCell`.
      params: of the cell alone: linen's `variables["params"]`, without the "cell" that
        `nn.RNN` puts around it, or nnx's `nnx.state(cell, nnx.Param)`. The names in it
        say which form it has.
      nonlinearity: "relu" for a `SimpleCell` with that `activation_fn`.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if it is float64 while `jax_enable_x64` is
        off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> of_x = {"kernel": np.ones((3, 5), "f"), "bias": np.ones(5, "f")}
      >>> params = {"i": of_x, "h": {"kernel": np.ones((5, 5), "f")}}
      >>> cell, params = interop.load_flax("rnn", params)
      >>> params.w_x.shape
      (3, 5)
      >>> list(interop.to_flax("rnn", params, layout="nnx"))
      ['dense_i', 'dense_h']
    """
    check_kind("load_flax", kind, nonlinearity)
    entries = flatten("load_flax: params", params)
    names = max(
        _LAYOUTS[kind].values(),
        key=lambda names: len(entries.keys() & names.shapes(kind).keys()),
    )
    arrays = read("load_flax: params", entries, names.shapes(kind))

    def joined(modules, leaf):
        return np.concatenate([arrays[_key(m, leaf)] for m in modules], axis=-1)

    w_x, w_h = joined(names.of_x, "kernel"), joined(names.of_h, "kernel")
    b_h = None
    if kind == "gru":
        zeros = np.zeros(len(w_h), w_h.dtype)
        b_h = arrays[_key(names.inner, "bias")] if names.inner else zeros
    weights = Weights(w_x, w_h, joined(names.biased, "bias"), b_h)
    return build(kind, weights, nonlinearity=nonlinearity)


def to_flax(
    kind: Kind, params: Any, *, layout: Layout = "linen"
) -> dict[str, dict[str, np.ndarray]]:
    """The params under flax's names, for a cell that computes the same.

    flax's cells always have biases; where the params have none, they are zeros. A GRU
    without biases is taken to reset after the product, as flax does.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: `ElmanParams`, `GRUParams` or `LSTMParams`.
      layout: "linen" for its cells, "nnx" for those of nnx, "nnx_optimized" for the
        `OptimizedLSTMCell` of nnx. (That of linen has the layout of its `LSTMCell`.)

    Returns:
      A dict for `cell.apply({"params": ...}, carry, x)` in linen, and for
      `nnx.update(cell, ...)`.

    Raises:
      ValueError: if the params are of another kind, reset before the product, or, for
        nnx, have a bias inside the reset that is not zero; if the kind has no such
        layout.
    """
    check_kind("to_flax", kind)
    check_choice(f"to_flax: layout of {kind!r}", layout, tuple(_LAYOUTS[kind]))
    names = _LAYOUTS[kind][layout]
    weights = weights_of("to_flax: params", kind, params, reset_after=True)
    if names.inner is None and weights.inner_bias().any():
        raise ValueError(
            "to_flax: params.b_h: expected zeros, since the GRUCell of nnx has no bias "
            "inside the reset, got others; linen's GRUCell has one"
        )
    parts = [
        (names.of_x, "kernel", weights.w_x),
        (names.of_h, "kernel", weights.w_h),
        (names.biased, "bias", weights.bias()),
    ]
    if names.inner:
        parts.append(([names.inner], "bias", weights.inner_bias()))
    cell: dict[str, dict[str, np.ndarray]] = {}
    for modules, leaf, whole in parts:
        blocks = np.split(whole, len(modules), axis=-1)
        for module, block in zip(modules, blocks, strict=True):
            cell.setdefault(module, {})[leaf] = own(block)
    return cell
