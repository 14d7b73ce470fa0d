"""The SRU of ASAPP: github.com/asappresearch/sru."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.sru import SRUParams, sru
from jaxrnn.core import Cell
from jaxrnn.interop.published.named import CALL, chosen, named
from jaxrnn.layers import LayerNormParams


def read_sru(
    arrays: Mapping[str, Any],
    *,
    use_tanh: bool = False,
    has_skip_term: bool = True,
    prefix: str = "",
) -> tuple[Cell, SRUParams]:
    """Reads an `SRUCell` of one direction, whose layer norm is before the product.

    The k columns of a unit stand side by side in its weight. Two directions look like
    one of twice the size, so that nothing tells them apart.

    Args:
      arrays: its state dict.
      use_tanh: whether the state goes through tanh.
      has_skip_term: False for a cell without x in its output; where the sizes differ
        the number of columns tells.
      prefix: before the names, such as "rnn_lst.0" for the first layer of an `SRU`.
    """
    arrays = chosen(arrays, prefix)
    columns = _columns(arrays)
    rows = "P" if "weight_proj" in arrays else "D"
    shapes = {
        "bias": "2H",
        "weight_c": "2H",
        "weight": f"{rows} {columns}H",
        "scale_x": "1",
    }
    shapes |= {"weight_proj": "D P"} if rows == "P" else {}
    norms = ("layer_norm.weight", "layer_norm.bias")
    has_norm = any(name in arrays for name in norms)
    shapes |= dict.fromkeys(norms, "D") if has_norm else {}
    found = named(arrays, shapes)
    hidden = len(found["bias"]) // 2
    inputs = len(found["weight_proj" if rows == "P" else "weight"])
    if columns == 4 and (inputs == hidden or not has_skip_term):
        raise ValueError(
            f"{CALL}: arrays['weight']: expected 3 columns for each of {hidden} units, "
            f"since x {'is of their size' if has_skip_term else 'is not added'}, got 4"
        )
    scale = float(found["scale_x"][0])
    if not scale >= 1:
        raise ValueError(
            f"{CALL}: arrays['scale_x']: expected a number of at least 1, got {scale}"
        )
    rescale = scale > 1
    cell = sru(
        inputs,
        hidden,
        projection_size=len(found["weight"]) if rows == "P" else None,
        use_tanh=use_tanh,
        skip=has_skip_term and (columns == 4 or inputs == hidden),
        rescale=rescale,
        # By which the package finds the scale.
        highway_bias=math.log((scale * scale - 1) / 2) if rescale else 0.0,
        layer_norm=has_norm,
        dtype=found["bias"].dtype,
    )
    w = found["weight"].reshape(-1, hidden, columns).swapaxes(1, 2)
    w = w.reshape(len(found["weight"]), -1)
    norm = [jnp.asarray(found[name]) for name in norms if has_norm]
    return cell, SRUParams(
        jnp.asarray(w),
        jnp.asarray(found["weight_c"]),
        jnp.asarray(found["bias"]),
        jnp.asarray(found["weight_proj"]) if rows == "P" else None,
        LayerNormParams(*norm) if has_norm else None,
    )


def _columns(arrays: Mapping[str, Any]) -> int:
    """How many columns of the weight each unit has: 3, or 4 for a projected x."""
    shapes = [np.shape(arrays.get(name, ())) for name in ("weight", "bias")]
    if len(shapes[0]) == 2 and len(shapes[1]) == 1:
        return 4 if shapes[0][1] == 2 * shapes[1][0] else 3
    return 3


READERS = {"sru.cell": read_sru}
