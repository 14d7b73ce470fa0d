"""equinox: `nn.GRUCell` and `nn.LSTMCell`.

Weights are transposed, gates are in the order of jaxrnn, and there is one bias; the GRU
resets after the product, with a second bias inside the reset.
"""

from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import fields, read
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Weights,
    build,
    check_kind,
    own,
    weights_of,
)

_NAMES = "weight_ih", "weight_hh", "bias", "bias_n"
_KINDS = "gru", "lstm"


def load_equinox(kind: Kind, cell: Any) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent cell of equinox does.

    equinox's state (h, c) of an LSTM is jaxrnn's `LSTMCarry(h, c)`.

    Args:
      kind: "gru" for `eqx.nn.GRUCell`, "lstm" for `eqx.nn.LSTMCell`.
      cell: that cell, or a mapping of its arrays: `weight_ih`, `weight_hh`, `bias` and,
        of a GRU, `bias_n`. Without biases if it has none.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if it is float64 while `jax_enable_x64` is
        off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> arrays = {"weight_ih": np.ones((20, 3)), "weight_hh": np.ones((20, 5))}
      >>> arrays = {k: a.astype("f") for k, a in arrays.items()}
      >>> cell, params = interop.load_equinox("lstm", arrays)
      >>> cell
      lstm(3, 5)
      >>> list(interop.to_equinox("lstm", params))
      ['weight_ih', 'weight_hh']
    """
    check_kind("load_equinox", kind, kinds=_KINDS)
    entries = fields("load_equinox: cell", cell, _NAMES)
    gates = GATES[kind]
    shapes = {".weight_hh": f"{gates} H", ".weight_ih": f"{gates} D"}
    if ".bias" in entries or ".bias_n" in entries:
        shapes[".bias"] = gates
        if kind == "gru":
            shapes[".bias_n"] = "H"
    arrays = read("load_equinox: cell", entries, shapes)
    biases = arrays.get(".bias"), arrays.get(".bias_n")
    return build(kind, Weights(arrays[".weight_ih"].T, arrays[".weight_hh"].T, *biases))


def to_equinox(kind: Kind, params: Any) -> dict[str, np.ndarray]:
    """The params under equinox's names, for a cell that computes the same.

    Args:
      kind: "gru" or "lstm".
      params: `GRUParams` or `LSTMParams`. A GRU without biases is taken to reset after
        the product, as equinox does.

    Returns:
      Arrays to put into a cell with `eqx.tree_at`; biases only if the params have some,
      for a cell with `use_bias`.

    Raises:
      ValueError: if the params are of another kind or reset before the product.
    """
    check_kind("to_equinox", kind, kinds=_KINDS)
    weights = weights_of("to_equinox: params", kind, params, reset_after=True)
    arrays = {"weight_ih": weights.w_x.T, "weight_hh": weights.w_h.T}
    if weights.b is not None or weights.b_h is not None:
        arrays["bias"] = weights.bias()
        if kind == "gru":
            arrays["bias_n"] = weights.inner_bias()
    return {name: own(a) for name, a in arrays.items()}
