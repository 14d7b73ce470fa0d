"""The mix of a cell with a second product, which is in its pointwise part.

    z = [gates of x w_x + h w_h, n of x w_x] + b,    n = z_n + u w_h[n]

The product with the columns n of w_h waits for a u that the gates give, so it is no
part of z. But what reaches n adds to z_n, so the gradient of z_n is that of the product
too, and the gradient of those columns is one product after the loop, as for all others.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.loops.dense import DENSE, Dense, dense_row, dot
from jaxrnn.loops.mix import Mix, instantiated, is_zero
from jaxrnn.loops.rows import rows_product


def inner(operand: Callable[[Any, jax.Array], jax.Array]) -> Mix:
    """The mix, with weights as of `DENSE`, whose columns n are the last H.

    The pointwise part reads, as its theta, those columns of w_h and their transpose.

    Args:
      operand: `(residuals, hs) -> us` `[T, H]`, what it multiplies with them, from its
        residuals of all steps and the state before each.
    """

    def tangents(w: Dense, d_w: Dense, kept, xs, d_xs, dtype):
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

    return Mix(
        z=_z,
        row=dense_row,
        hs=DENSE.hs,
        tangents=tangents,
        push=_push,
        pull=_pull,
        ready=Dense.rounded,
        turned=_turned,
        inner=_inner,
    )


def _gates(w: Dense) -> int:
    """The columns of all but n."""
    return w.w_h.shape[1] - len(w.w_h)


def _z(w: Dense, x, h):
    of_gates, of_n = jnp.split(dot(x, w.w_x) + w.b, [_gates(w)])
    return jnp.concatenate([of_gates + dot(h, w.w_h[:, : _gates(w)]), of_n])


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


def _reset(residuals, hs):
    return residuals[0][:, : hs.shape[1]] * hs


INNER = inner(_reset)  # of a GRU that resets before the product: u = r h
