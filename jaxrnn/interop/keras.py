"""Keras: the layers `SimpleRNN`, `GRU` and `LSTM`, and their cells.

The LSTM's gates i, f, c, o are in the order of jaxrnn. The GRU has gates z, r, h and
resets after the product, with a bias `[2, 3H]` for the sides of x and h, or before it,
with one `[3H]`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    merge_biases,
    own,
    read,
    reorder,
    split_biases,
    weights_of,
)


def load_keras(
    kind: Kind,
    weights: Sequence[Any],
    *,
    reset_after: bool | None = None,
    nonlinearity: Nonlinearity = "tanh",
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent layer of Keras does.

    Keras's states [h, c] of an LSTM are jaxrnn's `LSTMCarry(h, c)`. A mask freezes the
    carry in both; in the padding Keras repeats the output before, jaxrnn gives zeros.

    Args:
      kind: "rnn" for `SimpleRNN`, "gru" for `GRU`, "lstm" for `LSTM`.
      weights: the layer's `get_weights()`: kernel, recurrent kernel and, if it has one,
        bias. Those of `Bidirectional` are two such lists, the first half for forward.
      reset_after: of a GRU, as the layer was made; None for what the shape of the bias
        says and, without a bias, for True, as in Keras.
      nonlinearity: "relu" for a `SimpleRNN` with that `activation`.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if it is float64 while `jax_enable_x64` is
        off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> shapes = (3, 15), (5, 15), (2, 15)
      >>> cell, params = interop.load_keras("gru", [np.ones(s, "f") for s in shapes])
      >>> params.b[0].item(), params.b_h[0].item()
      (2.0, 1.0)
      >>> [a.shape for a in interop.to_keras("gru", params)]
      [(3, 15), (5, 15), (2, 15)]
    """
    check_kind("load_keras", kind, nonlinearity)
    if reset_after is not None and (kind != "gru" or not isinstance(reset_after, bool)):
        raise ValueError(
            "load_keras: reset_after: expected a bool for kind 'gru', else None, "
            f"got {reset_after!r} for kind {kind!r}"
        )
    if not isinstance(weights, list | tuple):
        raise ValueError(
            f"load_keras: weights: expected a list, got {type(weights).__name__}"
        )
    gates, bias = GATES[kind], len(weights) > 2
    if reset_after is None:
        reset_after = not bias or np.ndim(weights[2]) != 1
    shapes = {"[1]": f"H {gates}", "[0]": f"D {gates}"}
    if bias:
        shapes["[2]"] = f"2 {gates}" if kind == "gru" and reset_after else gates
    entries = {f"[{i}]": a for i, a in enumerate(weights)}
    arrays = read("load_keras: weights", entries, shapes, _hint)
    if kind == "gru":
        arrays = {key: reorder(a, "zrn", "rzn") for key, a in arrays.items()}
    biases = {"b": arrays["[2]"]} if bias else {}
    if bias and kind == "gru" and reset_after:
        biases = merge_biases(kind, *arrays["[2]"])
    return build(
        kind,
        Weights(arrays["[0]"], arrays["[1]"], **biases),
        nonlinearity=nonlinearity,
        reset_after=reset_after,
    )


def to_keras(kind: Kind, params: Any) -> list[np.ndarray]:
    """The params in Keras's order, for a layer that computes the same.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: `ElmanParams`, `GRUParams` or `LSTMParams`.

    Returns:
      A list for `set_weights` of a layer with `use_bias` if the params have a bias, and
      for a GRU with the `reset_after` that the cell has.

    Raises:
      ValueError: if the params are of another kind.
    """
    check_kind("to_keras", kind)
    weights = weights_of("to_keras: params", kind, params)
    arrays = [weights.w_x, weights.w_h]
    if weights.b_h is not None:
        arrays.append(np.stack(split_biases(kind, weights)))
    elif weights.b is not None:
        arrays.append(weights.b)
    if kind == "gru":
        arrays = [reorder(a, "rzn", "zrn") for a in arrays]
    return [own(a) for a in arrays]


def _hint(key: str) -> str:
    return "; of a Bidirectional, pass each half by itself" if key == "[3]" else ""
