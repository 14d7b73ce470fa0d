"""The mix of a cell with a second product, which is in its pointwise part.

    z = [gates of x w_x + h w_h, n of x w_x] + b,    n = z_n + u w_h[n]

The product with the last columns of w_h, n, waits for a u that the gates give, so it is
no part of z. But what reaches n adds to z_n, so the gradient of z_n is that of the
product too, and the gradient of those columns is one product after the loop, as for all
others.

In a GRU that resets before the product u is r h; a minimal gated unit has one gate in
the place of r and z. The first of their residuals begins with the gate that resets.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.loops.dense import DENSE, Dense, dense_row, dot
from jaxrnn.loops.mix import HEADS, Mix, heads_product, instantiated, is_zero
from jaxrnn.loops.rows import rows_product


def _gates(w: Dense) -> int:
    """The columns of all gates but n."""
    return w.w_h.shape[1] - len(w.w_h)


def _z(w: Dense, x, h):
    of_gates, of_n = jnp.split(dot(x, w.w_x) + w.b, [_gates(w)])
    return jnp.concatenate([of_gates + dot(h, w.w_h[:, : _gates(w)]), of_n])


def _reset(residuals, hs):
    return residuals[0][:, : hs.shape[1]] * hs


def _tangents(operand, w: Dense, d_w: Dense, kept, xs, d_xs, dtype):
    del xs
    size, gates = len(w.w_h), _gates(w)
    d_w_x, d_w_h, d_b = instantiated(d_w)
    with_ones = kept.rows[:, size:]
    us = operand(kept.residuals, kept.rows[:, :size])
    of_x = jnp.concatenate([d_b[None], d_w_x])
    of_gates = rows_product(
        kept.rows, jnp.concatenate([d_w_h[:, :gates], of_x[:, :gates]]), dtype
    )
    of_n = rows_product(with_ones, of_x[:, gates:], dtype)
    of_n = of_n + rows_product(us, d_w_h[:, gates:], dtype)
    if not is_zero(d_xs):
        of_gates = of_gates + rows_product(d_xs, w.w_x[:, :gates], dtype)
        of_n = of_n + rows_product(d_xs, w.w_x[:, gates:], dtype)
    return [of_gates, of_n]


def _push(w: Dense, pieces, d_h):
    of_gates, of_n = pieces
    return jnp.concatenate([of_gates + dot(d_h, w.w_h[:, : _gates(w)]), of_n])


def _pull(w: Dense, turned, h, ct_z):
    del h
    pieces = jnp.split(ct_z, [_gates(w)])
    return pieces, dot(pieces[0], turned)


def _turned(w: Dense, dtype):
    return jax.lax.optimization_barrier(w.w_h[:, : _gates(w)].T.astype(dtype))


def _inner(w: Dense, dtype):
    columns = w.w_h[:, _gates(w) :].astype(dtype)
    return columns, jax.lax.optimization_barrier(columns.T)


INNER = Mix(
    z=_z,
    row=dense_row,
    hs=DENSE.hs,
    tangents=partial(_tangents, _reset),
    push=_push,
    pull=_pull,
    ready=Dense.rounded,
    turned=_turned,
    inner=_inner,
)


def inner_product(h: jax.Array, w: jax.Array) -> jax.Array:
    """The product of the pointwise part, with a full matrix or with that of heads."""
    return dot(h, w) if w.ndim == 2 else heads_product(dot, h, w)


def _outer(w: Dense, dtype: Any = None) -> tuple[Dense, Any]:
    """The weights that `HEADS` reads: a block of w_h without its last columns, of n."""
    return w._replace(w_h=w.w_h[:, :, : -w.w_h.shape[1]]), dtype


def _heads_tangents(operand, w: Dense, d_w: Dense, kept, xs, d_xs, dtype):
    d_w = instantiated(d_w)
    (d_zs,) = HEADS.tangents(_outer(w)[0], _outer(d_w)[0], kept, xs, d_xs, dtype)
    size = kept.rows.shape[1]
    us = operand(kept.residuals, kept.rows)
    d_n = d_w.w_h[:, :, -d_w.w_h.shape[1] :]

    def product(a, w):
        return rows_product(a[None], w, dtype)[0]

    of_n = jax.vmap(partial(heads_product, product, w_h=d_n))(us)
    return [d_zs + jnp.pad(of_n, [(0, 0), (d_zs.shape[1] - size, 0)])]


def _heads_inner(w: Dense, dtype):
    blocks = w.w_h[:, :, -w.w_h.shape[1] :].astype(dtype)
    return blocks, jax.lax.optimization_barrier(blocks.swapaxes(1, 2))


INNER_HEADS = HEADS._replace(
    tangents=partial(_heads_tangents, _reset),
    ready=_outer,
    turned=_outer,
    inner=_heads_inner,
)


def inner(operand: Callable[[Any, jax.Array], jax.Array]) -> tuple[Mix, Mix]:
    """`INNER` and `INNER_HEADS` of a cell with another u than theirs.

    Args:
      operand: `(residuals, hs) -> us` `[T, H]`, from the residuals of all steps and the
        state before each.
    """
    return (
        INNER._replace(tangents=partial(_tangents, operand)),
        INNER_HEADS._replace(tangents=partial(_heads_tangents, operand)),
    )
