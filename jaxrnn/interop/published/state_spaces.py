"""Trained weights of the authors of LRU, S5 and Mamba."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.convolution import ConvolutionParams
from jaxrnn.cells.lru import LRUParams, lru
from jaxrnn.cells.mamba import MambaParams, mamba
from jaxrnn.cells.s5 import S5Params, s5
from jaxrnn.cells.selective_scan import SelectiveScanParams, selective_scan
from jaxrnn.core import Cell
from jaxrnn.interop.published.entries import WHERE, dotted, fitted


def read_lru(arrays: Any) -> tuple[Cell, LRUParams]:
    """An `lru` of the arrays of `lru.model.LRU` (minimal-LRU)."""
    shapes = {"nu_log": "H", "theta_log": "H", "gamma_log": "H", "B_re": "H D"}
    shapes |= {"B_im": "H D", "C_re": "D H", "C_im": "D H", "D": "D"}
    found = fitted(dotted(arrays), shapes, {})
    params = LRUParams(*(jnp.array(found[name].T) for name in shapes))
    states, size = found["B_re"].shape
    return lru(size, states, dtype=found["D"].dtype), params


def read_s5(
    arrays: Any,
    *,
    discretization: str = "zoh",
    conj_sym: bool = True,
    clip_eigs: bool = False,
    step_rescale: float = 1.0,
    blocks: int = 1,
) -> tuple[Cell, S5Params]:
    """An `s5` of the arrays of `s5.ssm.S5SSM`, whose options these are.

    It has two directions if there are C1 and C2, or a C of 2P columns. `blocks` is read
    by nothing but `init`.
    """
    arrays = dotted(arrays)
    halves = dict.fromkeys(("C1", "C2"), "D P 2")
    two = "C1" in arrays or "C2" in arrays
    shapes = {"Lambda_re": "P", "Lambda_im": "P", "log_step": "P 1", "B": "P D 2"}
    columns = np.shape(arrays.get("C"))[1:2]
    wide = not two and columns == (2 * len(arrays.get("Lambda_re", ())),)
    shapes |= halves if two else {"C": "D 2P 2" if wide else "D P 2"}
    found = fitted(arrays, shapes | {"D": "D"}, {})
    c = np.concatenate([found["C1"], found["C2"]], axis=1) if two else found["C"]
    b, dtype = found["B"], found["D"].dtype
    given = [found["Lambda_re"], found["Lambda_im"], found["log_step"][:, 0]]
    given += [w[..., part].T for w in (b, c) for part in (0, 1)]
    params = S5Params(*map(jnp.array, [*given, found["D"]]))
    cell = s5(
        b.shape[1],
        b.shape[0],
        discretization=discretization,  # type: ignore
        bidirectional=two or wide,
        conj_sym=conj_sym,
        clip_eigs=clip_eigs,
        step_rescale=step_rescale,
        blocks=blocks,
        dtype=dtype,
    )
    return cell, params


def read_selective_scan(
    arrays: Any, *, gate: bool = True, delta_softplus: bool = True
) -> tuple[Cell, SelectiveScanParams]:
    """A `selective_scan` of A, and D and delta_bias if they are there.

    These are arguments of `selective_scan_ref`. Its others are what the cell reads at
    each step: u, delta, B, C and z may be there, but are not read.
    """
    inputs = ("u", "delta", "B", "C", "z")
    arrays = dotted(arrays)
    for name in ("B", "C"):
        if name in arrays and np.ndim(arrays[name]) != 3:
            raise ValueError(
                f"{WHERE}{name}: expected none, or one that changes with time, "
                f"[B, N, T], got shape {np.shape(arrays[name])}"
            )
    weights = {name: value for name, value in arrays.items() if name not in inputs}
    pair = "A" in weights and np.iscomplexobj(weights["A"])
    if pair:
        a: Any = np.asarray(weights["A"])
        weights |= {"A": a.real, "A.imag": a.imag}
    optional = {"D": "D", "delta_bias": "D", "A.imag": "D N"}
    found = fitted(weights, {"A": "D N"}, optional)
    ready = {name: jnp.array(value) for name, value in found.items()}
    names = ("A", "D", "delta_bias", "A.imag")
    params = SelectiveScanParams(*(ready.get(name) for name in names))  # type: ignore
    cell = selective_scan(
        *found["A"].shape,
        skip="D" in found,
        gate=gate,
        delta_bias="delta_bias" in found,
        delta_softplus=delta_softplus,
        complex_states=bool(pair),
        dtype=found["A"].dtype,
    )
    return cell, params


def read_mamba(arrays: Any) -> tuple[Cell, MambaParams]:
    """A `mamba` of the state of mambapy's `MambaBlock`, or of mamba_ssm's `Mamba`."""
    shapes = {"in_proj.weight": "2E D", "conv1d.weight": "E 1 W", "A_log": "E N"}
    shapes |= {"dt_proj.weight": "E R", "x_proj.weight": "R+2N E", "dt_proj.bias": "E"}
    shapes |= {"D": "E", "out_proj.weight": "D E"}
    optional = {"conv1d.bias": "E", "in_proj.bias": "2E", "out_proj.bias": "D"}
    found = fitted(dotted(arrays), shapes, optional)
    ready = {name: jnp.array(value.T) for name, value in found.items()}
    params = MambaParams(
        w_in=ready["in_proj.weight"],
        conv=ConvolutionParams(ready["conv1d.weight"][:, 0], ready.get("conv1d.bias")),
        w_x=ready["x_proj.weight"],
        w_delta=ready["dt_proj.weight"],
        delta_bias=ready["dt_proj.bias"],
        a_log=ready["A_log"].T,
        d=ready["D"],
        w_out=ready["out_proj.weight"],
        b_in=ready.get("in_proj.bias"),
        b_out=ready.get("out_proj.bias"),
    )
    rank, inner = params.w_delta.shape
    has = [name in found for name in ("in_proj.bias", "out_proj.bias")]
    if any(has) and not all(has):
        raise ValueError(
            f"{WHERE}expected in_proj.bias and out_proj.bias, or neither of them, got "
            f"{'in_proj.bias' if has[0] else 'out_proj.bias'}"
        )
    cell = mamba(
        params.w_in.shape[0],
        state_size=params.a_log.shape[1],
        width=params.conv.w.shape[0],
        inner_size=inner,
        delta_rank=rank,
        conv_bias=params.conv.b is not None,
        bias=all(has),
        dtype=params.d.dtype,
    )
    return cell, params


READERS = {
    "minimal_lru": read_lru,
    "s5": read_s5,
    "mamba.selective_scan": read_selective_scan,
    "mambapy.block": read_mamba,
}
