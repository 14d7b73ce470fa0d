"""How the input and the hidden state reach the gates of a recurrence.

A mix computes the pre-activations z_t from x_t and h_{t-1}. With its weights fixed it
is affine in x and in h, so that its tangent is

    dz_t = (what dx_t and the tangents of the weights give) + (what dh_{t-1} gives)

and the first bracket needs no loop once all h are known. The mix of Elman, GRU and
LSTM, with a derivative written by hand, is in `dense`; `additive` makes a mix of two
functions and JAX finds the derivative.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import widened


class Mix(NamedTuple):
    """A mix and its derivative. The z of one step may come in pieces.

    Attributes:
      z: `(ready, x, h) -> z`, of one step.
      row: `(weights, x, h) -> row`, what a loop keeps of a step for `hs`, `tangents`.
      hs: `(weights, rows) -> hs`, the states in the rows of all steps.
      tangents: `(weights, d_weights, kept, xs, d_xs, dtype) -> pieces`, of all steps:
        what needs no loop. `kept` has the rows, and the residuals of the pointwise
        part. A tangent that is zero may be a `SymbolicZero`.
      push: `(ready, pieces, d_h) -> d_z`, of one step: the pieces and what d_h gives.
      pull: `(weights, turned, h, ct_z) -> (pieces, ct_h)`, the transpose of `push`.
      ready: `(weights, dtype) -> ready`, once before a loop: the weights as `z` and
        `push` read them, with the operands of matrix products in the dtype.
      turned: `(weights, dtype) -> turned`, the same for `pull`.
      local: None, or `(weights, d_h) -> d_z`, what of `push` a hidden unit gives to
        itself, or None where h has not as many numbers as a gate.
      inner: None, or `(weights, dtype) -> theta`, what the pointwise part reads of the
        weights; `tangents` sees to their derivative.
    """

    z: Callable[..., jax.Array]
    row: Callable[..., jax.Array]
    hs: Callable[..., jax.Array]
    tangents: Callable[..., list[jax.Array]]
    push: Callable[..., jax.Array]
    pull: Callable[..., tuple[list[jax.Array], jax.Array]]
    ready: Callable[..., Any]
    turned: Callable[..., Any]
    local: Callable[..., jax.Array | None] | None = None
    inner: Callable[..., Any] | None = None


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be zero while tracing."""
    return isinstance(tangent, SymbolicZero)


def instantiated(tangents: Any) -> Any:
    """With arrays of zeros where a tangent is known to be zero."""

    def zeros(t: Any) -> Any:
        return ad.instantiate_zeros(ad.Zero(t.aval)) if is_zero(t) else t

    return jax.tree.map(zeros, tangents, is_leaf=is_zero)


def additive(
    of_x: Callable[..., jax.Array],
    of_h: Callable[..., jax.Array],
    local: Callable[..., jax.Array | None] | None = None,
) -> Mix:
    """The mix z = of_x(x) + of_h(h), with a derivative found by JAX.

    The gradient of the weights is computed once, after the loop.

    Args:
      of_x: `(product, weights, x) -> [G...]`, affine in x. `product(a, w)` is `a @ w`
        of a vector and a matrix, with operands in the dtype that products are to have.
      of_h: `(product, weights, h) -> [G...]`, linear in h.
      local: see `Mix`.
    """

    def bound(fun, ready):
        weights, dtype = ready
        return partial(fun, lambda a, w: rows_product(a[None], w, dtype)[0], weights)

    def z(ready, x, h):
        return bound(of_x, ready)(x) + bound(of_h, ready)(h)

    def tangents(weights, d_weights, kept, xs, d_xs, dtype):
        hs, d_weights = kept.rows, instantiated(d_weights)
        args = weights, hs, xs, d_weights
        weights, wide_hs, xs, d_weights = widened(args)  # steps are added up

        def zs(weights, xs):
            return jax.vmap(partial(z, (weights, dtype)))(xs, wide_hs)

        if is_zero(d_xs):
            d_zs = jax.jvp(partial(zs, xs=xs), (weights,), (d_weights,))[1]
        else:
            d_zs = jax.jvp(zs, (weights, xs), (d_weights, widened(d_xs)))[1]
        return [d_zs.astype(hs.dtype)]

    def push(ready, pieces, d_h):
        return pieces[0] + bound(of_h, ready)(d_h)

    def pull(weights, ready, h, ct_z):
        del weights
        return [ct_z], *jax.linear_transpose(bound(of_h, ready), h)(ct_z)

    def pair(weights, dtype):
        return weights, dtype

    return Mix(
        z,
        row=lambda weights, x, h: h,
        hs=lambda weights, rows: rows,
        tangents=tangents,
        push=push,
        pull=pull,
        ready=pair,
        turned=pair,
        local=local,
    )


def _x_times_w(product, w, x):
    z = product(x, w.w_x)
    more = len(w.b) - len(z)
    return (jnp.pad(z, (0, more)) if more else z) + w.b


def _among(w, of_h):
    """The columns that h reaches as columns of z: `Dense` has their order."""
    more = len(w.b) - len(of_h)
    if not more:
        return of_h
    both = w.w_x.shape[1] - more
    return jnp.concatenate([of_h[:both], jnp.zeros(more, of_h.dtype), of_h[both:]])


def _diagonal(product, w, h):
    del product
    return _among(w, w.w_h * jnp.concatenate([h] * (len(w.w_h) // len(h))))


def _heads(product, w, h):
    return _among(w, heads_product(product, h, w.w_h))


def heads_product(
    product: Callable[..., jax.Array], h: jax.Array, w_h: jax.Array
) -> jax.Array:
    """h times the blocks of `HEADS`, gate after gate."""
    heads, size = w_h.shape[:2]
    units = w_h.shape[3] if w_h.ndim == 4 else size
    by_head = jax.vmap(product)(h.reshape(heads, size), w_h.reshape(heads, size, -1))
    by_gate = by_head.reshape(heads, -1, units).swapaxes(0, 1)
    return by_gate.reshape(-1)


def _own(w, d_h):
    """Of `_heads`: what of a block reaches the gates of the same unit."""
    if w.w_h.ndim != 3:
        return None
    heads, size, _ = w.w_h.shape
    blocks = w.w_h.reshape(heads, size, -1, size)
    own = jnp.diagonal(blocks, axis1=1, axis2=3)  # [heads, gates, size]
    by_head = own * d_h.reshape(heads, 1, size)
    return _among(w, by_head.swapaxes(0, 1).reshape(-1))


# Both read weights with the fields w_x, w_h and b [G]; z has the columns of a `Dense`.
# A hidden unit sees only itself: w_h [G], as in the independently recurrent network.
DIAGONAL = additive(_x_times_w, _diagonal, partial(_diagonal, None))
# A hidden unit sees those of its own head: w_h [heads, H / heads, G / heads], or, where
# h has another size than the gates, [heads, P / heads, gates, H / heads].
HEADS = additive(_x_times_w, _heads, _own)
