"""The native loops as kernels: which recurrences they take, and how they are called."""

import functools
import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import elman, gru, lstm
from jaxrnn.kernels.build import Library, library, load, switched_off, target
from jaxrnn.loops.dense import DENSE
from jaxrnn.loops.gated import Coefficients, Inputs, Kept, Loop
from jaxrnn.loops.gated import backward_loop, forward_loop
from jaxrnn.loops.substitute import KERNELS, Kernel

# By the name of the pointwise part: how many residuals it keeps.
RESIDUALS = {"elman tanh": 1, "elman relu": 1, "gru": 4, "lstm": 6}
DTYPES = ("float32", "float64")


@functools.cache
def native() -> Library:
    """The native loops, built or found and loaded once for a process."""
    if why := switched_off():
        return Library(why_not=why)
    found = library(_difference)
    if not found.why_not:
        load(found)
    return found


def why_not(loop: Loop, dtypes: set[str]) -> str:
    """Why this recurrence of arrays of these dtypes runs as a loop, or nothing."""
    if loop.part.name not in RESIDUALS or loop.mix is not DENSE:
        return f"there are native loops of {', '.join(RESIDUALS)} only"
    products = {str(jnp.dtype(loop.compute_dtype))} if loop.compute_dtype else set()
    if len(dtypes | products) != 1 or not dtypes <= set(DTYPES):
        found = ", ".join(sorted(dtypes | products))
        return f"the native loops compute in {' or '.join(DTYPES)} alone, not in {found}"
    return native().why_not


def _takes(loop: Loop, *operands: Any) -> bool:
    leaves = jax.tree.leaves(operands)
    dtypes = {str(a.dtype) for a in leaves if a.dtype != bool}
    return all(0 not in a.shape for a in leaves) and not why_not(loop, dtypes)


def _threads() -> np.int64:
    """How many cores a call may use: a device has its share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    devices = jax.local_device_count("cpu")
    return np.int64(max(1, (cores or os.cpu_count() or 1) // devices))


def _call(part: str, key: Library, like: Any, outs: Any, operands: Any, **static: Any):
    leaves, tree = jax.tree.flatten(outs)
    name = target(key, part, like.dtype.name)
    call = jax.ffi.ffi_call(name, leaves)
    got = call(*jax.tree.leaves(operands), threads=_threads(), **static)
    return tree.unflatten(got)


def _run_forward(loop: Loop, inputs: Inputs, key: Library | None = None) -> Any:
    (time, batch, size), units = inputs.xs.shape, inputs.carry.h.shape[1]
    shape = partial(jax.ShapeDtypeStruct, dtype=inputs.xs.dtype)
    kept = None
    if loop.keep:
        each = [shape((time, batch, units))] * RESIDUALS[loop.part.name]
        residuals = tuple(each) if len(each) > 1 else each[0]
        kept = Kept(shape((time, batch, units + 1 + size)), residuals)
    return _call(
        "forward",
        key or native(),
        inputs.xs,
        (inputs.carry, shape((time, batch, units)), kept),
        inputs,
        cell=loop.part.name,
        reverse=loop.reverse,
        keep=loop.keep,
        masked=inputs.mask is not None,
        started=inputs.starts is not None,
    )


def _run_backward(
    loop: Loop, coefficients: Coefficients, ct: Any, key: Library | None = None
) -> Any:
    ct_carry, ct_hs = ct
    time, batch, units = ct_hs.shape
    weights = coefficients.weights
    columns = weights.b.shape[0]
    of_h = weights.w_h.shape[1]
    shape = partial(jax.ShapeDtypeStruct, dtype=ct_hs.dtype)
    widths = [of_h] if of_h == columns else [columns - of_h, of_h]
    started = coefficients.starts is not None
    return _call(
        "backward",
        key or native(),
        ct_hs,
        (
            [shape((time, batch, width)) for width in widths],
            (),
            ct_carry,
            ct_carry if started else None,
        ),
        (coefficients, ct),
        cell=loop.part.name,
        reverse=loop.reverse,
        masked=coefficients.mask is not None,
        started=started,
    )


def _difference(new: Library) -> str:
    """Where a new library differs from the loops of JAX, or nothing."""
    load(new)
    # JAX may be tracing the caller's program, so the check has a thread of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_compare, new).result()


def _compare(new: Library) -> str:
    for part, gates, of_h, carry in CELLS:
        loop = Loop(part, keep=True, compute_dtype=jnp.float32)
        inputs, ct_z = _example(gates, of_h, carry)
        want = _batched(forward_loop, loop, inputs)
        got = _run_forward(loop, inputs, new)
        of_carry, of_hs, kept = want
        coefficients = Coefficients(
            inputs.weights, (), kept, inputs.mask, inputs.starts
        )
        ct = of_carry, of_hs
        want = want, _batched(backward_loop, loop, coefficients, ct)
        got = got, _run_backward(loop, coefficients, ct, new)
        pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
        error = max(float(jnp.abs(a - b).max()) for a, b in pairs)
        if not error < 1e-4:
            return f"the {part.name} by {error:.2g}"
    return ""


def _batched(loop_of: Any, loop: Loop, *operands: Any) -> Any:
    """The loop of JAX for a batch: what a kernel has to compute."""
    plain = partial(loop_of.__wrapped__, loop)
    return jax.jit(jax.vmap(plain, *loop_of.axes))(*operands)


KERNELS["forward_loop", "cpu"] = Kernel(_run_forward, _takes, exports=False)
KERNELS["backward_loop", "cpu"] = Kernel(_run_backward, _takes, exports=False)
