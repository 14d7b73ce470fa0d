"""The fused loops as kernels on a GPU: what they take, and their arrays."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.kernels import fused_linear
from jaxrnn.kernels.fused import ROWS, Plan, backward, forward, launch
from jaxrnn.kernels.gates import GATES
from jaxrnn.loops.dense import DENSE, dot
from jaxrnn.loops.gated import Coefficients, Inputs, Kept, Loop
from jaxrnn.loops.inner import INNER
from jaxrnn.loops.substitute import SHARED, Kernel

DTYPES = ("float32", "bfloat16")
# Of weights that a program holds: more than half of the registers and of the shared
# memory of a multiprocessor are then left.
RESIDENT_BYTES = 128 << 10
# Of weights that a step reads. A multiprocessor gets 64 bytes a cycle from L2 at best,
# so that these take 40 microseconds, in which a loop of JAX has made its launches too.
MOST_BYTES = 4 << 20
UNMEASURED = "its kernel was not measured on a GPU; JAXRNN_KERNELS=all uses it"


class Forward(NamedTuple):
    """What the forward launch reads; what may be absent is None."""

    zs_x: Any  # [T, B, gates, H], of x alone, with the biases
    w_h: Any  # [gates, H, H]
    b_h: Any  # [1, H]
    state: Any  # [B, H] each: h, or h and c
    initial: Any  # the same, with which a start begins
    mask: Any  # [T, B]
    starts: Any  # [T, B]


class After(NamedTuple):
    """What the forward launch writes."""

    hs: Any  # [T, B, H]
    state: Any
    kept: Any  # [T, B, parts, H] each
    buffer: Any  # [2, B, parts, H]: what products read, of this step and the last


class Backward(NamedTuple):
    """What the backward launch reads."""

    w_t: Any  # [gates, H, H], transposed
    kept: Any
    hs: Any  # [T, B, H] before each step
    ct_hs: Any
    ct: Any
    mask: Any
    starts: Any


class Before(NamedTuple):
    """What the backward launch writes."""

    of_z: Any  # [T, B, gates, H] each
    ct: Any
    ct_initial: Any
    buffer: Any  # [2, B, parts, H]


def _why_not(loop: Loop, *operands: Any) -> str:
    """Why a recurrence runs as a loop of JAX, or an empty string."""
    leaves = jax.tree.leaves(operands)
    if any(0 in a.shape for a in leaves):
        return "a size is 0"
    gates = GATES.get(loop.part.name)
    if gates is None:
        return f"there are fused loops of {', '.join(GATES)} only"
    if loop.mix != (INNER if gates.inner else DENSE):
        return "fused loops have a full w_h alone"
    dtypes = {a.dtype.name for a in leaves if a.dtype != bool}
    low = _operand_dtype(loop, operands[0].weights).name
    if len(dtypes) != 1 or not dtypes | {low} <= set(DTYPES):
        found = ", ".join(sorted(dtypes | {low}))
        return f"fused loops read {' or '.join(DTYPES)}, not {found}"
    plan = _plan(loop, operands[0].weights, 1, False)
    size = gates.matrices * plan.units**2 * jnp.dtype(low).itemsize
    if size > MOST_BYTES:
        told = f"{size >> 20} MiB of weights are too many for a program to read at"
        return f"{told} each step"
    if any(a.size >= 1 << 31 for a in leaves):
        return "an array has 2**31 numbers or more"
    try:
        from jax.experimental.pallas import triton as triton
    except ImportError:
        return f"jax {jax.__version__} has no Triton back end of Pallas"
    return ""


def _operand_dtype(loop: Loop, weights: Any) -> Any:
    return jnp.dtype(loop.compute_dtype or weights.w_h.dtype)


def _plan(loop: Loop, weights: Any, time: int, interpret: bool) -> Plan:
    """The tiles of a recurrence, powers of two as Triton has it."""
    gates, size = GATES[loop.part.name], weights.w_h.shape[0]
    itemsize = _operand_dtype(loop, weights).itemsize
    units = tile = chunk = max(ROWS, 1 << (size - 1).bit_length())
    if gates.matrices * units**2 * itemsize > RESIDENT_BYTES:
        # Large tiles start their products less often, but may need more padding.
        padded = {tile: size + -size % tile for tile in (128, 64, 32)}
        tile = next((n for n, m in padded.items() if m <= 1.25 * size), 32)
        units, chunk = padded[tile], 64 // itemsize
    return Plan(gates, time, units, tile, chunk, loop.reverse, interpret)


def _forward(interpret: bool, loop: Loop, inputs: Inputs) -> Any:
    weights, _, carry, initial, xs, mask, starts = inputs
    (time, batch, _), size = xs.shape, carry.h.shape[1]
    low = _operand_dtype(loop, weights)
    plan = _plan(loop, weights, time, interpret)
    padded, width = partial(_padded, plan), plan.gates.of_x
    b_x, b_h = weights.b[: width * size], weights.b[width * size :]
    reads = Forward(
        padded(dot(xs, weights.w_x.astype(low)) + b_x[None, None], 1, width),
        _matrices(plan, weights.w_h.astype(low)),
        padded(b_h[None]) if b_h.size else None,
        [padded(a, 0) for a in carry],
        None if initial is None else [padded(a, 0) for a in initial],
        _whole_rows(mask, 1),
        _whole_rows(starts, 1),
    )
    state, parts = [_like(a) for a in reads.state], 1 + (plan.gates.inner is not None)
    rows = len(reads.state[0])
    writes = After(
        _like(reads.zs_x, time, rows, plan.units),
        state,
        [_like(xs, time, rows, len(names), plan.units) for names in plan.gates.kept]
        if loop.keep
        else None,
        None if plan.resident else _like(reads.w_h, 2, rows, parts, plan.units),
    )
    axes = Forward(1, SHARED, SHARED, 0, 0, 1, 1)
    found = launch(plan, forward, reads, axes, writes, After(1, 0, 1, 1))
    joined = partial(_joined, batch=batch, size=size)
    hs, kept = joined(found.hs, 1), None
    if loop.keep:
        before = [hs[1:], carry.h[None]] if loop.reverse else [carry.h[None], hs[:-1]]
        before = jnp.concatenate(before)
        if starts is not None and initial is not None:
            before = jnp.where(starts[:, :, None], initial.h, before)
        ones = jnp.ones_like(hs, shape=(time, batch, 1))
        parts = [joined(a, 1) for a in found.kept]
        residuals = tuple(parts) if len(parts) > 1 else parts[0]
        kept = Kept(jnp.concatenate([before, ones, xs], axis=2), residuals)
    return type(carry)(*(joined(a, 0) for a in found.state)), hs, kept


def _backward(interpret: bool, loop: Loop, coefficients: Coefficients, ct: Any) -> Any:
    weights, _, (rows, residuals), mask, starts = coefficients
    ct_carry, ct_hs = ct
    time, batch, size = ct_hs.shape
    low = _operand_dtype(loop, weights)
    plan = _plan(loop, weights, time, interpret)
    padded, gates = partial(_padded, plan), plan.gates
    kept = residuals if isinstance(residuals, tuple) else (residuals,)
    reads = Backward(
        _matrices(plan, weights.w_h.astype(low)).swapaxes(1, 2),
        [padded(a, 1, len(n)) for a, n in zip(kept, gates.kept, strict=True)],
        padded(rows[..., :size], 1) if gates.reads_h else None,
        padded(ct_hs, 1),
        [padded(a, 0) for a in ct_carry],
        _whole_rows(mask, 1),
        _whole_rows(starts, 1),
    )
    state, total = [_like(a) for a in reads.ct], len(reads.ct[0])
    writes = Before(
        [_like(ct_hs, time, total, n, plan.units) for n in gates.pieces],
        state,
        None if starts is None else state,
        None
        if plan.resident
        else _like(reads.w_t, 2, total, gates.matrices, plan.units),
    )
    axes = Backward(SHARED, 1, 1, 1, 0, 1, 1)
    found = launch(plan, backward, reads, axes, writes, Before(1, 0, 0, 1))
    joined = partial(_joined, batch=batch, size=size)
    carries = [
        part and type(ct_carry)(*(joined(a, 0) for a in part))
        for part in (found.ct, found.ct_initial)
    ]
    return [joined(a, 1) for a in found.of_z], (), *carries


def _like(a: Any, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape or a.shape, a.dtype)


def _padded(plan: Plan, a: jax.Array, axis: int | None = None, parts: int = 0):
    """With rows and units of zeros, as many as the plan has; such units stay zero.

    `parts` is how many arrays [..., H] lie side by side in the last axis; that becomes
    two. `axis` is that of the rows.
    """
    if parts:
        a = a.reshape(*a.shape[:-1], parts, -1)
    more = [(0, 0)] * (a.ndim - 1) + [(0, plan.units - a.shape[-1])]
    a = jnp.pad(a, more) if more[-1][1] else a
    return a if axis is None else _whole_rows(a, axis)


def _whole_rows(a: Any, axis: int) -> Any:
    """With zeros after the rows, so that each program has `ROWS`."""
    if a is None or a.shape[axis] % ROWS == 0:
        return a
    more = [(0, -n % ROWS if i == axis else 0) for i, n in enumerate(a.shape)]
    return jnp.pad(a, more)


def _joined(a: jax.Array, axis: int, batch: int, size: int) -> jax.Array:
    """The inverse of `_padded`."""
    a = jax.lax.slice_in_dim(a, 0, batch, axis=axis)[..., :size]
    return a.reshape(*a.shape[: axis + 1], -1)


def _matrices(plan: Plan, w_h: jax.Array) -> jax.Array:
    """One matrix [units, units] for each gate, of zeros where there is no unit."""
    size, gates = len(w_h), plan.gates.matrices
    more = 0, plan.units - size
    w = w_h.reshape(size, gates, size).swapaxes(0, 1)
    return jnp.pad(w, [(0, 0), more, more])


def kernels(*, interpret: bool = False) -> dict[str, Kernel]:
    """The kernels by the loops that they replace; `interpret` runs them on any CPU."""
    return {
        "forward_loop": Kernel(partial(_forward, interpret), _why_not, exports=False),
        "backward_loop": Kernel(partial(_backward, interpret), _why_not, exports=False),
        "linear_loop": Kernel(
            partial(fused_linear.run, interpret), fused_linear.why_not, exports=False
        ),
    }
