"""Trained weights of the RG-LRU, of minimal GRUs and LSTMs, and of QRNNs."""

from typing import Any

import jax.numpy as jnp

from jaxrnn.cells.minimal import MinGRUParams, MinLSTMParams, mingru, minlstm
from jaxrnn.cells.qrnn import QRNNParams, qrnn
from jaxrnn.cells.rg_lru import RGLRUParams, rg_lru
from jaxrnn.checks import check_flag, check_size
from jaxrnn.core import Cell
from jaxrnn.interop.published.entries import WHERE, dotted, fitted


def read_rg_lru(
    arrays: Any, *, num_heads: int | None = None
) -> tuple[Cell, RGLRUParams]:
    """An `rg_lru` of the arrays of recurrentgemma's `RGLRU`, of torch or of JAX.

    It has complex states if there is an a_imag_param. The number of heads is that of
    the blocks; `num_heads` need not be given, and is checked.
    """
    shapes = {f"{gate}.w": "N D H" for gate in ("input_gate", "a_gate")}
    shapes |= {f"{gate}.b": "N H" for gate in ("input_gate", "a_gate")}
    shapes |= {"a_param": "E"}
    found = fitted(dotted(arrays), shapes, {"a_imag_param": "E"})
    heads, rows, columns = found["a_gate.w"].shape
    only_real = "a_imag_param" not in found
    expected = (heads * columns,)
    if found["a_param"].shape != expected:
        raise ValueError(
            f"{WHERE}a_param: expected shape {expected}, of {heads} blocks of "
            f"{columns} columns, got {found['a_param'].shape}"
        )
    if rows != columns * (1 if only_real else 2):
        many, there = ("as", "no") if only_real else ("twice as", "an")
        raise ValueError(
            f"{WHERE}a_gate.w: expected blocks with {many} many rows as columns, since "
            f"there is {there} a_imag_param, got {rows} rows and {columns} columns"
        )
    if num_heads is not None and check_size("num_heads", num_heads) != heads:
        raise ValueError(
            f"load_published: num_heads: expected {heads}, as there are blocks, got "
            f"{num_heads}"
        )
    ready = {name: jnp.array(value) for name, value in found.items()}
    params = RGLRUParams(
        w_input=ready["input_gate.w"],
        b_input=ready["input_gate.b"],
        w_a=ready["a_gate.w"],
        b_a=ready["a_gate.b"],
        a_param=ready["a_param"],
        a_imag_param=ready.get("a_imag_param"),
    )
    dtype = params.a_param.dtype
    return rg_lru(heads * rows, heads=heads, only_real=only_real, dtype=dtype), params


def read_mingru(arrays: Any) -> tuple[Cell, MinGRUParams]:
    """A `mingru` of the state of minGRU-pytorch's `minGRU`."""
    return _read_minimal(arrays, "to_hidden_and_gate.weight", 2, mingru, MinGRUParams)


def read_minlstm(arrays: Any) -> tuple[Cell, MinLSTMParams]:
    """A `minlstm` of the state of minGRU-pytorch's `minLSTM`."""
    name = "to_hidden_and_f_i_gate.weight"
    return _read_minimal(arrays, name, 3, minlstm, MinLSTMParams)


def _read_minimal(
    arrays: Any, name: str, gates: int, factory: Any, params_type: Any
) -> tuple[Cell, Any]:
    shapes = {name: f"{gates}H D"}
    found = fitted(dotted(arrays), shapes, {"to_out.weight": "D H"})
    w_x, w_y = (found.get(name) for name in (name, "to_out.weight"))
    assert w_x is not None
    cell = factory(
        w_x.shape[1],
        w_x.shape[0] // gates,
        output_size=None if w_y is None else len(w_y),
        dtype=w_x.dtype,
    )
    weights = {"w_x": w_x, "w_y": w_y}
    given = {k: jnp.array(w.T) for k, w in weights.items() if w is not None}
    return cell, params_type(**given)


def read_qrnn(
    arrays: Any, *, window: int = 1, output_gate: bool = True
) -> tuple[Cell, QRNNParams]:
    """A `qrnn` of the state of torchqrnn's `QRNNLayer`, whose options these are.

    In evaluation that multiplies f by 1 - zoneout; here zoneout is zero.
    """
    window = check_size("load_published: window", window)
    fo = check_flag("load_published: output_gate", output_gate)
    gates, size = 3 if fo else 2, "D" if window == 1 else f"{window}D"
    shapes = {"linear.weight": f"{gates}H {size}", "linear.bias": f"{gates}H"}
    found = fitted(dotted(arrays), shapes, {})
    params = QRNNParams(*(jnp.array(found[name].T) for name in shapes))
    rows, columns = params.w_x.shape
    cell = qrnn(
        rows // window,
        columns // gates,
        window=window,
        pooling="fo" if fo else "f",
        dtype=params.b.dtype,
    )
    return cell, params


READERS = {
    "recurrentgemma.rglru": read_rg_lru,
    "mingru_pytorch.mingru": read_mingru,
    "mingru_pytorch.minlstm": read_minlstm,
    "qrnn": read_qrnn,
}
