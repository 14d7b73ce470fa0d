"""Linear recurrences whose coefficients are matrices: e_t = A_t e_{t-1} + b_t.

The states are vectors `[n]`. With `fields` None each A_t is a matrix `[n, n]`. With K
fields the state is K pieces of n / K units, and A_t `[K, K, n / K]` holds a K by K
matrix for each unit, which sees itself alone; with K = 1 that is a diagonal.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


def product(fields: int | None, a: jax.Array, v: jax.Array) -> jax.Array:
    """A v, of matrices `[..., n, n]` or `[..., K, K, n / K]` and vectors `[..., n]`."""
    if fields is None:
        return jnp.einsum("...ij,...j->...i", a, v)
    pieces = v.reshape(*v.shape[:-1], 1, fields, v.shape[-1] // fields)
    return (a * pieces).sum(-2).reshape(v.shape)


def composed(fields: int | None, a: jax.Array, b: jax.Array) -> jax.Array:
    """A B."""
    if fields is None:
        return a @ b
    return (a[..., :, :, None, :] * b[..., None, :, :, :]).sum(-3)


def turned(fields: int | None, a: jax.Array) -> jax.Array:
    """The transposes of A."""
    return a.swapaxes(-1, -2) if fields is None else a.swapaxes(-2, -3)


def identity(fields: int | None, size: int, dtype) -> jax.Array:
    """The A that changes nothing."""
    if fields is None:
        return jnp.eye(size, dtype=dtype)
    ones = jnp.eye(fields, dtype=dtype)[:, :, None]
    return jnp.broadcast_to(ones, (fields, fields, size // fields))


def solve(
    fields: int | None,
    a: jax.Array,
    b: jax.Array,
    starts: jax.Array | None = None,
    *,
    transposed: bool = False,
) -> jax.Array:
    """Solves e_t = A_t e_{t-1} + b_t, with nothing before the first step.

    One step after the other on a CPU, elsewhere by an associative scan.

    Args:
      fields: K, or None for full matrices.
      a: `[T, n, n]` or `[T, K, K, n / K]`.
      b: `[T, n]`.
      starts: `[T]` bool, where nothing comes from the step before; or None.
      transposed: solve e_t = A_{t+1}^T e_{t+1} + b_t in its place.

    Returns:
      `[T, n]`.
    """
    starts = jnp.zeros(b.shape[0], bool) if starts is None else starts
    starts = starts | (jnp.arange(b.shape[0]) == 0)
    if transposed:
        a, starts = jnp.roll(turned(fields, a), -1, 0), jnp.roll(starts, -1)
    ways = {"cpu": in_turn, "default": together}
    ways = {k: partial(way, fields, transposed) for k, way in ways.items()}
    return lax.platform_dependent(a, b, starts, **ways)


def in_turn(fields, reverse, a, b, starts):
    """One step after the other, in reverse or not; at a start e_t = b_t."""

    def body(e, inputs):
        a, b, start = inputs
        e = jnp.where(start, b, product(fields, a, e) + b)
        return e, e

    return lax.scan(body, jnp.zeros_like(b[0]), (a, b, starts), reverse=reverse)[1]


def together(fields, reverse, a, b, starts):
    """The same by an associative scan."""

    def join(one, other):
        (a, b, start), (later_a, later_b, later_start) = one, other
        # By a choice, since a product with zero would let NaN through.
        moved = product(fields, later_a, b) + later_b
        stop = later_start.reshape(-1, *[1] * (a.ndim - 1))
        return (
            jnp.where(stop, later_a, composed(fields, later_a, a)),
            jnp.where(later_start[:, None], later_b, moved),
            start | later_start,
        )

    return lax.associative_scan(join, (a, b, starts), reverse=reverse)[1]
