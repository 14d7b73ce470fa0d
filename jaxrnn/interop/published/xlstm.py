"""Trained weights of the xlstm package: the sLSTM cell and its layer."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.convolution import ConvolutionParams
from jaxrnn.cells.slstm import SLSTMParams, slstm
from jaxrnn.cells.slstm_layer import SLSTMLayerParams, slstm_layer
from jaxrnn.core import Cell
from jaxrnn.interop.entries import as_numpy, read

WHERE = "load_published: arrays: "
KERNEL, BIAS = "_recurrent_kernel_", "_bias_"
CELL, CONV = "slstm_cell.", "conv1d.conv."
# What computes the gates i, f, z and o: the package has the first two crossed over.
GATES = ("fgate.weight", "igate.weight", "zgate.weight", "ogate.weight")


def read_slstm_cell(
    arrays: Mapping[str, Any], *, num_heads: int | None = None
) -> tuple[Cell, SLSTMParams]:
    """A `slstm` of the state of an `sLSTMCell`, or of its two properties.

    Its x is `[4H]`, the gates i, f, z, o one after the other, as the package's cell
    has it: w_x is the identity.

    Args:
      arrays: `_recurrent_kernel_` and `_bias_`, in the layout of the backend "vanilla",
        `[heads, 4d, d]` and gate after gate, or of "cuda", `[heads, d, 4d]` and head
        after head; or `recurrent_kernel` and `bias`, in these layouts or as the
        properties have them, `[heads, d, 4, d]` and `[heads, 4, d]`.
      num_heads: to be checked; the arrays tell it.
    """
    entries = {f"_{k.strip('_')}_": a for k, a in arrays.items()}
    shapes = _cell_shapes("", entries)
    found = read(WHERE, entries, shapes)
    w_h, b = _cell(found[KERNEL], found[BIAS])
    heads, units = w_h.shape[:2]
    _check_heads(num_heads, heads)
    w_x = np.eye(4 * heads * units, dtype=w_h.dtype)
    if heads == 1:
        w_h = w_h[0]
    params = SLSTMParams(*map(jnp.asarray, (w_x, w_h, b)))
    cell = slstm(len(w_x), heads * units, heads=heads, dtype=w_h.dtype)
    return cell, params


def read_slstm_layer(
    arrays: Mapping[str, Any], *, num_heads: int | None = None
) -> tuple[Cell, SLSTMLayerParams]:
    """A `slstm_layer` of the state of an `sLSTMLayer`.

    Args:
      arrays: the names of its `state_dict()`; without `conv1d` or `group_norm` if it
        has none.
      num_heads: to be checked; the arrays tell it.
    """
    shapes = _cell_shapes(CELL, arrays)
    kernel = shapes[CELL + KERNEL].split()
    heads, units = int(kernel[0]), min(map(int, kernel[1:]))
    size = heads * units
    shapes |= dict.fromkeys(GATES, f"{heads} {units} {units}")
    weight = CONV + "weight"
    width = 0
    if weight in arrays or CONV + "bias" in arrays:
        shape = np.shape(as_numpy(WHERE + weight, arrays.get(weight)))
        width = shape[-1] if shape else 1
        shapes |= {weight: f"{size} 1 {width}", CONV + "bias": f"{size}"}
    if scaled := "group_norm.weight" in arrays:
        shapes["group_norm.weight"] = f"{size}"
    found = read(WHERE, arrays, shapes)
    w_h, b = _cell(found[CELL + KERNEL], found[CELL + BIAS])
    _check_heads(num_heads, heads)
    dtype = w_h.dtype
    cell = slstm_layer(size, heads, width=width, scale=scaled, dtype=dtype)
    w_x = np.stack([found[name].swapaxes(1, 2) for name in GATES])
    conv = None
    if width:
        conv_w = jnp.asarray(found[weight][:, 0].T)
        conv = ConvolutionParams(conv_w, jnp.asarray(found[CONV + "bias"]))
    scale = None
    if scaled:
        scale = jnp.asarray(1 + found["group_norm.weight"])
    of_cell = SLSTMParams(*map(jnp.asarray, (w_x, w_h, b)))
    return cell, SLSTMLayerParams(conv, of_cell, scale)


def _cell_shapes(prefix: str, arrays: Mapping[str, Any]) -> dict[str, str]:
    """The shapes that the kernel calls for, in the layout that it is in."""
    kernel, bias = prefix + KERNEL, prefix + BIAS
    if kernel not in arrays:
        return {kernel: "H 4D D", bias: "4H"}
    shape = as_numpy(WHERE + kernel, arrays[kernel]).shape
    whole = " ".join(map(str, shape))
    match shape:
        case (heads, columns, rows) if columns == 4 * rows or rows == 4 * columns:
            return {kernel: whole, bias: f"{heads * max(columns, rows)}"}
        case (heads, rows, 4, columns) if rows == columns:
            return {kernel: whole, bias: f"{heads} 4 {rows}"}
    raise ValueError(
        f"{WHERE}{kernel}: expected shape [heads, 4d, d], [heads, d, 4d] or [heads, d, "
        f"4, d], got {shape}"
    )


def _cell(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w_h [heads, d, 4d] and b [4H]."""
    heads, size = len(kernel), bias.size
    if kernel.ndim == 3 and kernel.shape[1] > kernel.shape[2]:
        return kernel.swapaxes(1, 2), bias
    units = size // heads // 4
    by_gate = bias.reshape(heads, 4, units).swapaxes(0, 1)
    return kernel.reshape(heads, units, 4 * units), by_gate.reshape(-1)


def _check_heads(num_heads: Any, heads: int) -> None:
    if num_heads is not None and num_heads != heads:
        raise ValueError(
            f"load_published: num_heads: expected {heads}, as the kernel has, got "
            f"{num_heads!r}"
        )


READERS = {"xlstm.slstm_cell": read_slstm_cell, "xlstm.slstm_layer": read_slstm_layer}
