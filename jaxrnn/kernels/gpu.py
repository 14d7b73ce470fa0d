"""The fused loops as kernels on a GPU: which recurrences they take, and their arrays."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.kernels.fused import (
    CELLS,
    FAST_BYTES,
    ROWS,
    Backward,
    Forward,
    Found,
    FoundBack,
    Plan,
    backward,
    forward,
    launch,
)
from jaxrnn.loops.dense import DENSE, dot
from jaxrnn.loops.gated import Coefficients, Inputs, Kept, Loop
from jaxrnn.loops.substitute import Kernel

DTYPES = ("float32", "bfloat16")
MOST_BYTES = 4 << 20  # of weights that a step reads: from L2 in some 40 microseconds


def _why_not(loop: Loop, *operands: Any) -> str:
    """Why a recurrence runs as a loop of JAX, or an empty string."""
    leaves = jax.tree.leaves(operands)
    if any(0 in a.shape for a in leaves):
        return "a size is 0"
    if loop.part.name not in CELLS or loop.mix != DENSE:
        return f"there are fused loops of {', '.join(CELLS)} only"
    dtypes = {a.dtype.name for a in leaves if a.dtype != bool}
    low = _operand_dtype(loop, operands[0].weights).name
    if len(dtypes) != 1 or not dtypes | {low} <= set(DTYPES):
        found = ", ".join(sorted(dtypes | {low}))
        return f"fused loops read {' or '.join(DTYPES)}, not {found}"
    plan = _plan(loop, operands[0].weights, 1, False)
    size = plan.cell.of_h * plan.units**2 * jnp.dtype(low).itemsize
    if size > MOST_BYTES:
        return f"every step would read {size >> 20} MiB of weights, a loop fewer"
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
    """The tiles of a recurrence: powers of two, as Triton's arrays have to be."""
    cell, size = CELLS[loop.part.name], weights.w_h.shape[0]
    bits = _operand_dtype(loop, weights).itemsize
    whole = max(ROWS, 1 << (size - 1).bit_length())
    if cell.of_h * whole**2 * bits <= FAST_BYTES:
        units = tile = chunk = whole
    else:
        tile = 64 if -size % 64 == -size % 32 else 32
        units, chunk = size + -size % tile, 32 if bits == 4 else tile
    resident = tile == units
    return Plan(cell, time, units, tile, chunk, resident, loop.reverse, interpret)


def _forward(interpret: bool, loop: Loop, inputs: Inputs) -> Any:
    weights, _, carry, initial, xs, mask, starts = inputs
    dtype, low = xs.dtype, _operand_dtype(loop, weights)
    (time, batch, _), size = xs.shape, carry.h.shape[1]
    plan = _plan(loop, weights, time, interpret)
    rows, width = batch + -batch % ROWS, plan.cell.of_x
    padded = partial(_padded, plan)
    zs_x = dot(xs, weights.w_x.astype(low)) + weights.b[: width * size]
    b_h = weights.b[width * size :]
    reads = Forward(
        padded(zs_x, 1, width),
        _matrices(plan, weights.w_h.astype(low)),
        padded(b_h[None], None) if b_h.size else None,
        [padded(a, 0) for a in carry],
        None if initial is None else [padded(a, 0) for a in initial],
        _of_rows(mask),
        _of_rows(starts),
    )
    shape = partial(jax.ShapeDtypeStruct, dtype=dtype)
    kept = None
    if loop.keep:
        kept = [shape((time, rows, len(n), plan.units)) for n in plan.cell.kept]
    writes = Found(
        shape((time, rows, plan.units)),
        [shape((rows, plan.units))] * len(carry),
        kept,
        jax.ShapeDtypeStruct((2, rows, 1, plan.units), low),
    )
    axes = Forward(1, None, None, 0, 0, 1, 1)
    found = launch(plan, forward, reads, axes, writes, Found(1, 0, 1, 1))
    hs = _joined(found.hs, 1, batch, size)
    after = type(carry)(*(_joined(a, 0, batch, size) for a in found.state))
    if loop.keep:
        parts = [_joined(a, 1, batch, size) for a in found.kept]
        before = _before(loop, carry.h, initial, hs, starts)
        ones = jnp.ones_like(hs, shape=(time, batch, 1))
        rows = jnp.concatenate([before, ones, xs], axis=2)
        kept = Kept(rows, tuple(parts) if len(parts) > 1 else parts[0])
    return after, hs, kept


def _before(loop, h, initial, hs, starts):
    """The h before each step."""
    parts = [hs[1:], h[None]] if loop.reverse else [h[None], hs[:-1]]
    before = jnp.concatenate(parts)
    if starts is None:
        return before
    return jnp.where(starts[:, :, None], initial.h, before)


def _backward(interpret: bool, loop: Loop, coefficients: Coefficients, ct: Any) -> Any:
    weights, _, (rows, residuals), mask, starts = coefficients
    ct_carry, ct_hs = ct
    (time, batch, size), low = ct_hs.shape, _operand_dtype(loop, weights)
    plan = _plan(loop, weights, time, interpret)
    padded = partial(_padded, plan)
    kept = residuals if isinstance(residuals, tuple) else (residuals,)
    widths = [n for n in (len(weights.b) // size - plan.cell.of_h, plan.cell.of_h) if n]
    reads = Backward(
        _matrices(plan, weights.w_h.astype(low)).swapaxes(1, 2),
        [padded(a, 1, len(n)) for a, n in zip(kept, plan.cell.kept, strict=True)],
        padded(loop.mix.hs(weights, rows), 1) if plan.cell.only_h else None,
        padded(ct_hs, 1),
        [padded(a, 0) for a in ct_carry],
        _of_rows(mask),
        _of_rows(starts),
    )
    like = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in reads.ct]
    total = len(reads.ct_hs[0])

    def of_z(width, dtype, time=time):
        return jax.ShapeDtypeStruct((time, total, width, plan.units), dtype)

    writes = FoundBack(
        [of_z(n, ct_hs.dtype) for n in widths],
        like,
        None if starts is None else like,
        of_z(plan.cell.of_h, low, 2),
    )
    axes = Backward(None, 1, 1, 1, 0, 1, 1)
    found = launch(plan, backward, reads, axes, writes, FoundBack(1, 0, 0, 1))
    carries = [
        part and type(ct_carry)(*(_joined(a, 0, batch, size) for a in part))
        for part in (found.ct, found.ct_initial)
    ]
    return [_joined(a, 1, batch, size) for a in found.of_z], (), *carries


def _padded(plan: Plan, a: jax.Array, axis: int | None, parts: int = 0) -> jax.Array:
    """With whole tiles of rows and of units: zeros, and units of zero stay zero.

    `parts` is how many arrays [..., H] lie one after the other in the last axis; they
    get an axis of their own.
    """
    if parts:
        a = a.reshape(*a.shape[:-1], parts, -1)
    widths = [(0, 0)] * a.ndim
    if axis is not None:
        widths[axis] = 0, -a.shape[axis] % ROWS
    widths[-1] = 0, plan.units - a.shape[-1]
    return jnp.pad(a, widths) if any(more for _, more in widths) else a


def _joined(a: jax.Array, axis: int, batch: int, size: int) -> jax.Array:
    """The inverse of `_padded`."""
    a = jax.lax.slice_in_dim(a, 0, batch, axis=axis)[..., :size]
    return a.reshape(*a.shape[: axis + 1], -1)


def _matrices(plan: Plan, w_h: jax.Array) -> jax.Array:
    """One matrix [units, units] for each gate, of zeros where there is no unit."""
    size = len(w_h)
    w = w_h.reshape(size, plan.cell.of_h, size).swapaxes(0, 1)
    more = 0, plan.units - size
    return jnp.pad(w, [(0, 0), more, more])


def _of_rows(flags: jax.Array | None) -> jax.Array | None:
    """Flags [T, B] of whole tiles of rows."""
    return flags if flags is None else jnp.pad(flags, [(0, 0), (0, -flags.shape[1] % ROWS)])


def kernels(*, interpret: bool = False) -> dict[str, Kernel]:
    """The kernels by the loops that they replace; `interpret` runs them on any CPU."""
    return {
        "forward_loop": Kernel(partial(_forward, interpret), _why_not, exports=False),
        "backward_loop": Kernel(partial(_backward, interpret), _why_not, exports=False),
    }
