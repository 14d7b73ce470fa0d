"""Whether kernels equal what they replace, on an example of each cell and product."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.elman import RELU, TANH, ElmanCarry
from jaxrnn.cells.gru import GRU, RESET_BEFORE, GRUCarry
from jaxrnn.cells.lstm import LSTM, LSTMCarry
from jaxrnn.loops.dense import DENSE, Dense
from jaxrnn.loops.gated import (
    Coefficients,
    Inputs,
    Loop,
    backward_loop,
    forward_loop,
)
from jaxrnn.loops.inner import INNER
from jaxrnn.loops.linear import Linear, linear_loop
from jaxrnn.loops.mix import Mix
from jaxrnn.loops.pointwise import Pointwise
from jaxrnn.loops.rows import rows_gradient, rows_times, rows_turned
from jaxrnn.loops.substitute import Kernel

T, B, D, H = 5, 7, 3, 37  # odd, so that tiles and vectors have rests
# Where the batch is: what the loops say of themselves.
AXES: Any = (Inputs(None, None, 0, 0, 1, 1, 1),)
BACK: Any = (Coefficients(None, None, 1, 1, 1), (0, 1))
# The pointwise part, the mix, the columns of w_x, w_h and b in units of H, the carry.
CELLS: list[tuple[Pointwise, Mix, tuple[int, int, int], Any]] = [
    (TANH, DENSE, (1, 1, 1), ElmanCarry),
    (RELU, DENSE, (1, 1, 1), ElmanCarry),
    (GRU, DENSE, (3, 3, 4), GRUCarry),
    (RESET_BEFORE, INNER, (3, 3, 3), GRUCarry),
    (LSTM, DENSE, (4, 4, 4), LSTMCarry),
]


def difference(
    kernels: dict[str, Kernel], tolerance: float = 1e-4, units: int = H
) -> str:
    """Where the kernels differ from the loops by more than rounding, or nothing."""
    forward, backward = kernels["forward_loop"], kernels["backward_loop"]
    for part, mix, columns, carry in CELLS:
        loop = Loop(part, mix, keep=True, compute_dtype=jnp.float32)
        inputs = _example(columns, carry, units)
        want = _batched(forward_loop, AXES, (0, 1, 1), loop, inputs)
        got = forward.run(loop, inputs)
        of_carry, of_hs, kept = want
        weights, mask, starts = inputs.weights, inputs.mask, inputs.starts
        coefficients = Coefficients(weights, (), kept, mask, starts)
        ct = of_carry, of_hs
        want = want, _batched(backward_loop, BACK, (1, 0, 0, 0), loop, coefficients, ct)
        got = got, backward.run(loop, coefficients, ct)
        got, want = ((_told(f, mask), b) for f, b in (got, want))
        pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
        error = max(float(jnp.abs(a - b).max()) for a, b in pairs)
        if not error < tolerance:
            return f"{part.name}: {error:.2g}"
    dtype = jnp.dtype(jnp.float32)
    rows, matrix, gradient = _arrays((100, D), (D, H), (100, H))
    products: list[tuple[Any, jax.Array, jax.Array]] = [
        (rows_times, rows, matrix),
        (rows_times, rows[:2], matrix),
        (rows_turned, gradient, matrix),
        (rows_gradient, rows, gradient),
    ]
    for product, a, b in products:
        got = kernels[product.__name__].run(dtype, a, b)
        error = float(jnp.abs(got - product.__wrapped__(dtype, a, b)).max())
        if not error < tolerance:
            return f"{product.__name__}: {error:.2g}"
    return _of_linear(kernels["linear_loop"], tolerance)


def _of_linear(kernel: Kernel, tolerance: float) -> str:
    a, b, h = _arrays((B, T, D, H), (B, T, D, H), (B, D, H))
    draw = np.random.default_rng(0)
    mask, starts = (jnp.asarray(draw.random((B, T)) < p) for p in (0.7, 0.3))
    for after in (False, True):
        loop = Linear(reverse=after, after=after)
        decay = a[:, :1] if after else a  # one for all steps, or one for each
        for kind in (lambda a: a, lambda a: jax.lax.complex(a / 2, a)):
            operands = *map(kind, (decay, b, h)), mask, starts
            want = _batched(linear_loop, 0, 0, loop, *operands)
            got = kernel.run(loop, *operands)
            pairs = zip(got, want, strict=True)
            error = max(float(jnp.abs(a - b).max()) for a, b in pairs)
            if not error < tolerance:
                return f"linear_loop: {error:.2g}"
    return ""


def _told(outs: Any, mask: jax.Array) -> Any:
    """What the forward loop tells, without residuals that have no meaning."""
    carry, hs, kept = outs
    # They are finite still.
    residuals = jax.tree.map(
        lambda a: jnp.where(mask[..., None], a, 0 * a), kept.residuals
    )
    return carry, hs, kept._replace(residuals=residuals)


def _arrays(*shapes: tuple[int, ...]) -> list[jax.Array]:
    draw = np.random.default_rng(1)
    return [jnp.asarray(draw.uniform(-0.5, 0.5, s), jnp.float32) for s in shapes]


def _example(columns: tuple[int, int, int], carry: Any, units: int) -> Inputs:
    of_x, of_h, of_b = (n * units for n in columns)
    xs, *weights = _arrays((T, B, D), (D, of_x), (units, of_h), (of_b,))
    fields = len(carry._fields)
    states = _arrays(*[(B, units)] * (2 * fields))
    draw = np.random.default_rng(0)
    mask, starts = (jnp.asarray(draw.random((T, B)) < p) for p in (0.7, 0.3))
    carried, initial = carry(*states[:fields]), carry(*states[fields:])
    return Inputs(Dense(*weights), (), carried, initial, xs, mask, starts)


def _batched(loop_of: Any, axes: Any, out: Any, *operands: Any) -> Any:
    """The loop of JAX for a batch, which no kernel replaces."""
    static, *arrays = operands
    return jax.vmap(partial(loop_of.__wrapped__, static), axes, out)(*arrays)
