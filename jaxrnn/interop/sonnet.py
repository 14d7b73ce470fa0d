"""Sonnet 2: `snt.VanillaRNN`, `snt.GRU`, `snt.LSTM`.

The LSTM has gates i, f, g, o and its forget bias within the stored one: nothing is
reordered or added, unlike in haiku. The GRU is haiku's: gates z, r, a, reset before the
product, and h' = (1 - z) h + z a, so that z has the other sign.
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
    minus_z,
    own,
    reorder,
    weights_of,
)

_NAMES = {"rnn": "vanilla_rnn", "gru": "gru", "lstm": "lstm"}
_LEAVES = {
    "rnn": ("input_to_hidden/w", "hidden_to_hidden/w", "b"),
    "gru": ("w_i", "w_h", "b"),
    "lstm": ("w_i", "w_h", "b"),
}


def load_sonnet(
    kind: Kind, variables: Mapping[str, Any], *, nonlinearity: Nonlinearity = "tanh"
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent core of Sonnet 2 does.

    Sonnet's `LSTMState(hidden, cell)` is jaxrnn's `LSTMCarry(h, c)`.

    Args:
      kind: "rnn" for `snt.VanillaRNN`, "gru" for `snt.GRU`, "lstm" for `snt.LSTM`, also
        with a `projection_size`.
      variables: of one core, of any name: `{v.name: v for v in core.variables}`.
      nonlinearity: "relu" for a `VanillaRNN` with that `activation`.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if it is float64 while `jax_enable_x64` is
        off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> shapes = {"w_i": (3, 20), "w_h": (5, 20), "b": 20}
      >>> variables = {f"lstm/{k}:0": np.ones(s, "f") for k, s in shapes.items()}
      >>> cell, params = interop.load_sonnet("lstm", variables)
      >>> cell
      lstm(3, 5)
      >>> list(interop.to_sonnet("lstm", params))
      ['lstm/w_i:0', 'lstm/w_h:0', 'lstm/b:0']
    """
    check_kind("load_sonnet", kind, nonlinearity)
    name, found = under("load_sonnet", "variables", variables, "")
    entries = flatten(name, {_stem(k): a for k, a in found.items()})
    if len(entries) < len(found):
        raise ValueError(f"{name}: expected each name once, got {', '.join(found)}")
    core = min((str(key) for key in map(_stem, found) if _is_bias(key)), default="b")
    keys = [f"['{core[:-1]}{leaf}']" for leaf in (*_LEAVES[kind], "projection")]
    projected = kind == "lstm" and keys[3] in entries
    gates, output = GATES[kind], "P" if projected else "H"
    shapes = {keys[3]: "H P"} if projected else {}
    shapes |= {keys[1]: f"{output} {gates}", keys[0]: f"D {gates}", keys[2]: gates}
    arrays = read(name, entries, shapes)
    w_x, w_h, b = (arrays[key] for key in keys[:3])
    if kind == "gru":
        w_x, w_h, b = (minus_z(reorder(a, "zra", "rza")) for a in (w_x, w_h, b))
    weights = Weights(w_x, w_h, b, w_p=arrays.get(keys[3]))
    return build(kind, weights, nonlinearity=nonlinearity, reset_after=False)


def to_sonnet(
    kind: Kind, params: Any, *, name: str | None = None
) -> dict[str, np.ndarray]:
    """The params under Sonnet's names, for a core that computes the same.

    Sonnet's cores always have a bias; where the params have none, it is zero. A GRU
    without biases is taken to reset before the product, as Sonnet does.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: `ElmanParams`, `GRUParams`, `LSTMParams` or `ProjectedLSTMParams`.
      name: of the core; None for what Sonnet calls it: "vanilla_rnn", "gru", "lstm".

    Returns:
      Arrays by the names of the variables: `v.assign(arrays[v.name])` for each of
      `core.variables`.

    Raises:
      ValueError: if the params are of another kind or reset after the product.
    """
    check_kind("to_sonnet", kind)
    name = _NAMES[kind] if name is None else name
    if not isinstance(name, str):
        raise ValueError(f"to_sonnet: name: expected a string, got {name!r}")
    weights = weights_of(
        "to_sonnet: params", kind, params, reset_after=False, projection=True
    )
    arrays = [weights.w_x, weights.w_h, weights.bias()]
    if kind == "gru":
        arrays = [reorder(minus_z(a), "rza", "zra") for a in arrays]
    found = dict(zip(_LEAVES[kind], arrays, strict=True))
    if weights.w_p is not None:
        found["projection"] = weights.w_p
    return {f"{name}/{leaf}:0": own(a) for leaf, a in found.items()}


def _stem(key: Any) -> Any:
    return key.removesuffix(":0") if isinstance(key, str) else key


def _is_bias(key: Any) -> bool:
    return isinstance(key, str) and key.split("/")[-1] == "b"
