"""The native loops as kernels: which recurrences they take, and how they are called."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.kernels.build import Library, library, load, target
from jaxrnn.kernels.check import difference
from jaxrnn.loops.dense import DENSE
from jaxrnn.loops.gated import Coefficients, Inputs, Kept, Loop
from jaxrnn.loops.substitute import Kernel

# By the name of the pointwise part: how many residuals it keeps.
RESIDUALS = {"elman tanh": 1, "elman relu": 1, "gru": 4, "lstm": 6}
DTYPES = ("float32", "float64")


@functools.cache
def native() -> Library:
    """The native loops, built or found and loaded once for a process."""
    found = library(_check)
    if not found.why_not:
        load(found)
    return found


def _check(new: Library) -> str:
    """Where a new library differs from the loops of JAX, or nothing."""
    load(new)
    # JAX may be tracing the caller's program, so the check has a thread of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(difference, kernels(lambda: new)).result()


def _why_not(loop: Loop, *operands: Any) -> str:
    """Why a recurrence runs as a loop of JAX, or an empty string."""
    leaves = jax.tree.leaves(operands)
    dtypes = {a.dtype.name for a in leaves if a.dtype != bool}
    if any(0 in a.shape for a in leaves):
        return "a size is 0"
    if loop.part.name not in RESIDUALS or loop.mix != DENSE:
        return f"there are native loops of {', '.join(RESIDUALS)} only"
    if loop.compute_dtype:
        dtypes = dtypes | {jnp.dtype(loop.compute_dtype).name}
    if len(dtypes) != 1 or not dtypes <= set(DTYPES):
        found = ", ".join(sorted(dtypes))
        return f"native loops compute in {' or in '.join(DTYPES)} alone, not in {found}"
    return native().why_not


def _threads() -> np.int64:
    """How many cores a call may use: each device has its share of them."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return np.int64(max(1, cores // jax.local_device_count("cpu")))


def _call(name: str, outs: Any, operands: Any, **static: Any) -> Any:
    leaves, tree = jax.tree.flatten(outs)
    call = jax.ffi.ffi_call(name, leaves)
    return tree.unflatten(
        call(*jax.tree.leaves(operands), threads=_threads(), **static)
    )


def _forward(key: Any, loop: Loop, inputs: Inputs) -> Any:
    (time, batch, size), units = inputs.xs.shape, inputs.carry.h.shape[1]
    shape: Any = partial(jax.ShapeDtypeStruct, dtype=inputs.xs.dtype)
    like = partial(jax.tree.map, lambda a: shape(a.shape))
    kept = None
    if loop.keep:
        each = [shape((time, batch, units))] * RESIDUALS[loop.part.name]
        residuals = tuple(each) if len(each) > 1 else each[0]
        kept = Kept(shape((time, batch, units + 1 + size)), residuals)
    return _call(
        target(key(), "forward", inputs.xs.dtype.name),
        (like(inputs.carry), shape((time, batch, units)), kept),
        inputs,
        cell=loop.part.name,
        reverse=loop.reverse,
        keep=loop.keep,
        masked=inputs.mask is not None,
        started=inputs.starts is not None,
    )


def _backward(key: Any, loop: Loop, coefficients: Coefficients, ct: Any) -> Any:
    ct_carry, ct_hs = ct
    time, batch, _ = ct_hs.shape
    columns, of_h = len(coefficients.weights.b), coefficients.weights.w_h.shape[1]
    shape = partial(jax.ShapeDtypeStruct, dtype=ct_hs.dtype)
    carry = jax.tree.map(lambda a: shape(a.shape), ct_carry)
    started = coefficients.starts is not None
    widths = [columns - of_h, of_h] if columns > of_h else [of_h]
    of_z = [shape((time, batch, width)) for width in widths]
    return _call(
        target(key(), "backward", ct_hs.dtype.name),
        (of_z, (), carry, carry if started else None),
        (coefficients, ct),
        cell=loop.part.name,
        reverse=loop.reverse,
        masked=coefficients.mask is not None,
        started=started,
    )


def _product(key: Any, dtype: Any, xs: jax.Array, ct: jax.Array) -> jax.Array:
    shape = jax.ShapeDtypeStruct((xs.shape[1], ct.shape[1]), ct.dtype)
    return _call(target(key(), "product", dtype.name), shape, (xs, ct))


def _why_not_product(dtype: Any, xs: Any, ct: Any) -> str:
    if len(xs.shape) != 2 or xs.shape[0] < 16:
        return "packing does not pay for fewer than 16 rows"
    found = {xs.dtype.name, ct.dtype.name, dtype.name}
    if len(found) != 1 or not found <= set(DTYPES):
        return f"native products are in {' or in '.join(DTYPES)} alone"
    return native().why_not


def kernels(key: Any = native) -> dict[str, Kernel]:
    """The kernels of a library by the loops that they replace."""
    return {
        "forward_loop": Kernel(partial(_forward, key), _why_not, exports=False),
        "backward_loop": Kernel(partial(_backward, key), _why_not, exports=False),
        "rows_gradient": Kernel(
            partial(_product, key), _why_not_product, exports=False
        ),
    }
