"""MLX: `nn.RNN`, `nn.GRU`, `nn.LSTM`.

Weights are transposed, gates are in the order of jaxrnn, and there is one bias; the GRU
resets after the product, with a second bias inside the reset. The layers return all h
(and all c), no last state, and know no lengths.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import flatten, read, under
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    weights_of,
    widened,
)

_NAMES = {
    "rnn": ("Wxh", "Whh", "bias"),
    "gru": ("Wx", "Wh", "b", "bhn"),
    "lstm": ("Wx", "Wh", "bias"),
}


def load_mlx(
    kind: Kind,
    params: Mapping[str, Any],
    *,
    nonlinearity: Nonlinearity = "tanh",
    prefix: str = "",
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent layer of MLX does.

    Args:
      kind: "rnn" for `mlx.nn.RNN`, "gru" for `GRU`, "lstm" for `LSTM`.
      params: the layer's `parameters()`, or a safetensors file of them: `Wx`, `Wh` and
        `bias` of an LSTM, `Wx`, `Wh`, `b` and `bhn` of a GRU, `Wxh`, `Whh` and `bias`
        of an RNN. Without biases if it has none.
      nonlinearity: "relu" for an `RNN` with that `nonlinearity`.
      prefix: what stands before these names in a file of a whole model, such as
        "encoder."; entries without it are then not read.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if it is float64 while `jax_enable_x64` is
        off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> arrays = {"Wx": np.ones((15, 3), "f"), "Wh": np.ones((15, 5), "f")}
      >>> cell, params = interop.load_mlx("gru", arrays)
      >>> cell
      gru(3, 5)
      >>> list(interop.to_mlx("gru", params))
      ['Wx', 'Wh']
    """
    check_kind("load_mlx", kind, nonlinearity)
    name, found = under("load_mlx", "params", params, prefix)
    entries = flatten(name, found)
    gates = GATES[kind]
    keys = [f"['{leaf}']" for leaf in _NAMES[kind]]
    shapes = {keys[1]: f"{gates} H", keys[0]: f"{gates} D"}
    if any(key in entries for key in keys[2:]):
        shapes |= dict(zip(keys[2:], (gates, "H"), strict=False))
    arrays = read(name, entries, shapes)
    w_x, w_h, *biases = (arrays[key] for key in keys if key in arrays)
    return build(kind, Weights(w_x.T, w_h.T, *biases), nonlinearity=nonlinearity)


def to_mlx(kind: Kind, params: Any) -> dict[str, np.ndarray]:
    """The params under MLX's names, for a layer that computes the same.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: `ElmanParams`, `GRUParams` or `LSTMParams`. A GRU without biases is taken
        to reset after the product, as MLX does.

    Returns:
      Arrays for `layer.update({name: mx.array(a)})`; biases only if the params have
      some. Params in bfloat16 are float32, since `mx.array` does not read numpy's.

    Raises:
      ValueError: if the params are of another kind or reset before the product.
    """
    check_kind("to_mlx", kind)
    weights = weights_of("to_mlx: params", kind, params, reset_after=True)
    arrays = [weights.w_x.T, weights.w_h.T]
    if weights.b is not None or weights.b_h is not None:
        arrays.append(weights.bias())
        if kind == "gru":
            arrays.append(weights.inner_bias())
    return dict(zip(_NAMES[kind], map(widened, arrays), strict=False))
