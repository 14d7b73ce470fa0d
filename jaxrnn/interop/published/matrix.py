"""Cells with a matrix for a state: flash-linear-attention and xlstm.

The functions of fla have no weights. What tells their sizes are arrays that they read,
under the names of their arguments, or the sizes by keyword.
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import (
    MLSTMCellParams,
    delta_rule,
    gated_delta_rule,
    gla_recurrence,
    mlstm_cell,
)
from jaxrnn.checks import check_size
from jaxrnn.core import Cell
from jaxrnn.interop.entries import check_x64, read

Arrays = Mapping[str, Any]


def _of_fla(
    kind: str,
    factory: Callable[..., Cell],
    names: tuple[str, ...],
    arrays: Arrays,
    sizes: dict[str, Any],
    options: dict[str, Any],
) -> tuple[Cell, tuple[()]]:
    where = f"load_published: {kind}"
    for name in arrays:
        if name not in names:
            raise ValueError(
                f"{where}: arrays: expected none but {', '.join(names)}, got {name!r}"
            )
    dtypes = {np.asarray(a).dtype for a in arrays.values()} or {np.dtype("float32")}
    if len(dtypes) > 1:
        got = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"{where}: arrays: expected one dtype, got {got}")
    check_x64(f"{where}: arrays", min(dtypes))
    # Before the last axis that of the heads, and before it any, as of batch and time.
    axes = {"q": ("heads", "key_size"), "v": ("heads", "value_size")}
    axes |= dict.fromkeys(("k", "gk"), axes["q"])
    found: dict[str, set[int]] = collections.defaultdict(set)
    for size, value in sizes.items():
        if value is not None:
            found[size].add(check_size(f"{where}: {size}", value))
    for name, a in arrays.items():
        of_axes = axes.get(name, ("heads",))
        if np.ndim(a) < len(of_axes):
            raise ValueError(
                f"{where}: arrays[{name!r}]: expected shape [..., "
                f"{', '.join(of_axes)}], got {np.shape(a)}"
            )
        for size, got in zip(of_axes, np.shape(a)[-len(of_axes) :], strict=True):
            found[size].add(got)
    for size in sizes:
        values = found[size]
        if len(values) != 1:
            got = ", ".join(map(str, sorted(values))) or "neither"
            raise ValueError(
                f"{where}: {size}: expected one value, by keyword or by the shape of "
                f"q and v, got {got}"
            )
    (dtype,) = dtypes
    one = [next(iter(found[size])) for size in ("heads", "key_size", "value_size")]
    return factory(*one, dtype=dtype, **options), ()


def read_gla(
    arrays: Arrays,
    *,
    heads: int | None = None,
    key_size: int | None = None,
    value_size: int | None = None,
    **options: Any,
) -> tuple[Cell, tuple[()]]:
    """`naive_recurrent_gla` of fla, which has no weights.

    Args:
      arrays: none, or some of its arguments, `[..., heads, K]`, of which the sizes are
        read: q, k, v, gk.
      heads, key_size, value_size: what the arrays do not tell.
      **options: of `gla_recurrence`.
    """
    sizes = {"heads": heads, "key_size": key_size, "value_size": value_size}
    names = "q", "k", "v", "gk"
    return _of_fla("fla.gla", gla_recurrence, names, arrays, sizes, options)


def read_delta_rule(
    arrays: Arrays,
    *,
    heads: int | None = None,
    key_size: int | None = None,
    value_size: int | None = None,
    **options: Any,
) -> tuple[Cell, tuple[()]]:
    """`delta_rule_recurrence` of fla; as `read_gla`, of q, k, v and beta.

    The arrays are `[..., heads, K]`, and not `[batch, heads, time, K]`.
    """
    sizes = {"heads": heads, "key_size": key_size, "value_size": value_size}
    names = "q", "k", "v", "beta"
    return _of_fla("fla.delta_rule", delta_rule, names, arrays, sizes, options)


def read_gated_delta_rule(
    arrays: Arrays,
    *,
    heads: int | None = None,
    key_size: int | None = None,
    value_size: int | None = None,
    **options: Any,
) -> tuple[Cell, tuple[()]]:
    """`naive_recurrent_gated_delta_rule` of fla; as `read_gla`, with beta and g."""
    sizes = {"heads": heads, "key_size": key_size, "value_size": value_size}
    names = "q", "k", "v", "beta", "g"
    kind = "fla.gated_delta_rule"
    return _of_fla(kind, gated_delta_rule, names, arrays, sizes, options)


def read_mlstm_cell(arrays: Arrays, **options: Any) -> tuple[Cell, MLSTMCellParams]:
    """`mLSTMCell` of xlstm, from its state dict.

    Args:
      arrays: igate.weight `[heads, 3D]`, igate.bias, fgate.weight, fgate.bias
        `[heads]` and outnorm.weight `[D]`, less one as the authors keep it.
      **options: method and chunk_size of `mlstm_cell`.

    The cell computes what `mLSTMCell.step` computes, one step after the other. From a
    carry with an m of minus infinity it computes what `forward` does, which has no m
    before the first step.
    """
    entries = {f"[{name!r}]": a for name, a in arrays.items()}
    shapes = {
        "['igate.weight']": "H 3D",
        "['igate.bias']": "H",
        "['fgate.weight']": "H 3D",
        "['fgate.bias']": "H",
        "['outnorm.weight']": "D",
    }
    found = read("load_published: xlstm.mlstm_cell: arrays", entries, shapes)
    w_i, b_i, w_f, b_f, norm = (jnp.array(found[name]) for name in shapes)
    options = {"heads": len(b_i), "dtype": w_i.dtype} | options
    cell = mlstm_cell(len(norm), **options)
    return cell, MLSTMCellParams(w_i.T, b_i, w_f.T, b_f, norm)


READERS: dict[str, Callable[..., tuple[Cell, Any]]] = {
    "fla.delta_rule": read_delta_rule,
    "fla.gated_delta_rule": read_gated_delta_rule,
    "fla.gla": read_gla,
    "xlstm.mlstm_cell": read_mlstm_cell,
}
