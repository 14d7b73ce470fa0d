"""haiku: `hk.VanillaRNN`, `hk.GRU`, `hk.LSTM`.

The LSTM has gates i, g, f, o, one matrix for [x; h], and adds 1 to f at run time. The
GRU has gates z, r, a, resets before the product, and is h' = (1 - z) h + z a, so that z
has the other sign. The VanillaRNN is one with relu and, by default, with two biases.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import flatten, read
from jaxrnn.interop.weights import (
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    minus_z,
    own,
    reorder,
    weights_of,
)

_NAMES = {"rnn": "vanilla_rnn", "gru": "gru", "lstm": "lstm"}


def load_haiku(
    kind: Kind,
    params: Mapping[str, Mapping[str, Any]],
    *,
    nonlinearity: Nonlinearity | None = None,
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent core of haiku does.

    haiku's `LSTMState(hidden, cell)` is jaxrnn's `LSTMCarry(h, c)`.

    Args:
      kind: "rnn" for `hk.VanillaRNN`, "gru" for `hk.GRU`, "lstm" for `hk.LSTM`.
      params: of one core, of any name: `{"lstm/linear": {"w": ..., "b": ...}}`.
      nonlinearity: of kind "rnn": "relu", for which None stands, since haiku's has no
        other, or "tanh".

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if it is float64 while `jax_enable_x64` is
        off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> linear = {"w": np.ones((8, 20), "f"), "b": np.zeros(20, "f")}
      >>> cell, params = interop.load_haiku("lstm", {"lstm/linear": linear})
      >>> params.w_x.shape, params.w_h.shape, params.b[5:10].sum().item()
      ((3, 20), (5, 20), 5.0)
      >>> list(interop.to_haiku("lstm", params, name="core"))
      ['core/linear']
    """
    check_kind("load_haiku", kind)
    if nonlinearity is None:
        nonlinearity = "relu" if kind == "rnn" else "tanh"
    check_kind("load_haiku", kind, nonlinearity)
    entries = flatten("load_haiku: params", params)
    core = min(map(str, params), default=_NAMES[kind]).removesuffix("/linear")
    shapes = _shapes(kind, core)
    double_bias = f"['{core}/linear_1']['b']"
    if double_bias in entries and kind == "rnn":
        shapes[double_bias] = "H"
    arrays = read("load_haiku: params", entries, shapes)

    def array(module, leaf):
        return arrays[f"['{core}{module}']['{leaf}']"]

    if kind == "rnn":
        b = array("/linear", "b") + arrays.get(double_bias, 0)
        weights = Weights(array("/linear", "w"), array("/linear_1", "w"), b)
    elif kind == "gru":
        of_core = (array("", leaf) for leaf in ("w_i", "w_h", "b"))
        weights = Weights(*(minus_z(reorder(a, "zra", "rza")) for a in of_core))
    else:
        b = reorder(array("/linear", "b"), "igfo", "ifgo")
        size = len(b) // 4
        b[size : 2 * size] += 1
        w = reorder(array("/linear", "w"), "igfo", "ifgo")
        weights = Weights(w[:-size], w[-size:], b)
    return build(kind, weights, nonlinearity=nonlinearity, reset_after=False)


def to_haiku(
    kind: Kind, params: Any, *, name: str | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """The params under haiku's names, for a core that computes the same.

    haiku's cores always have biases; where the params have none, or haiku a second one,
    they are zeros. A GRU without biases is taken to reset before the product, as haiku
    does.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: `ElmanParams`, `GRUParams` or `LSTMParams`.
      name: of the core; None for what haiku calls it: "vanilla_rnn", "gru", "lstm".

    Returns:
      A dict for the `apply` of a transformed function.

    Raises:
      ValueError: if the params are of another kind or reset after the product.
    """
    check_kind("to_haiku", kind)
    weights = weights_of("to_haiku: params", kind, params, reset_after=False)
    name = _NAMES[kind] if name is None else name
    w_x, w_h, b = weights.w_x, weights.w_h, own(weights.bias())
    size = len(w_h)
    if kind == "rnn":
        return {
            f"{name}/linear": {"w": own(w_x), "b": b},
            f"{name}/linear_1": {"w": own(w_h), "b": np.zeros_like(b)},
        }
    if kind == "gru":
        of_core = {"w_i": w_x, "w_h": w_h, "b": b}
        return {
            name: {k: reorder(minus_z(a), "rza", "zra") for k, a in of_core.items()}
        }
    b[size : 2 * size] -= 1
    w = np.concatenate([w_x, w_h])
    linear = {"w": reorder(w, "ifgo", "igfo"), "b": reorder(b, "ifgo", "igfo")}
    return {f"{name}/linear": linear}


def _shapes(kind: Kind, core: str) -> dict[str, str]:
    if kind == "rnn":
        of_x, of_h = f"['{core}/linear']", f"['{core}/linear_1']"
        return {f"{of_h}['w']": "H H", f"{of_x}['w']": "D H", f"{of_x}['b']": "H"}
    if kind == "gru":
        shapes = {"w_h": "H 3H", "w_i": "D 3H", "b": "3H"}
        return {f"['{core}']['{leaf}']": shape for leaf, shape in shapes.items()}
    linear = f"['{core}/linear']"
    return {f"{linear}['b']": "4H", f"{linear}['w']": "D+H 4H"}
