"""How the input and the hidden state reach the gates of a recurrence.

A mix computes the pre-activations z_t from x_t and h_{t-1}. With its weights fixed it
is affine in x and in h, so that its tangent is

    dz_t = (what dx_t and the tangents of the weights give) + (what dh_{t-1} gives)

and the first bracket needs no loop once all h are known. `DENSE` is the mix of Elman,
GRU and LSTM, with a derivative written by hand. `additive` makes a mix of two functions
and JAX finds the derivative.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from jaxrnn.loops.primitives import rows_product


class Mix(NamedTuple):
    """A mix and its derivative. The z of one step may come in pieces.

    Attributes:
      z: `(ready, x, h) -> z`, of one step.
      row: `(weights, x, h) -> row`, what a loop keeps of a step for `hs`, `tangents`.
      hs: `(weights, rows) -> hs`, the states in the rows of all steps.
      tangents: `(weights, d_weights, rows, xs, d_xs, dtype) -> pieces`, of all steps:
        what needs no loop. A tangent that is zero may be a `SymbolicZero`.
      push: `(ready, pieces, d_h) -> d_z`, of one step: the pieces and what d_h gives.
      pull: `(weights, turned, h, ct_z) -> (pieces, ct_h)`, the transpose of `push`.
      ready: `(weights, dtype) -> ready`, once before a loop: the weights as `z` and
        `push` read them, with the operands of matrix products in the dtype.
      turned: `(weights, dtype) -> turned`, the same for `pull`.
    """

    z: Callable[..., jax.Array]
    row: Callable[..., jax.Array]
    hs: Callable[..., jax.Array]
    tangents: Callable[..., list[jax.Array]]
    push: Callable[..., jax.Array]
    pull: Callable[..., tuple[list[jax.Array], jax.Array]]
    ready: Callable[..., Any]
    turned: Callable[..., Any]


class Dense(NamedTuple):
    """Weights of `DENSE`.

    The first columns of both products add up. The rest stay apart, as in the candidate
    of a GRU:

        z = [x w_x + h w_h where both are, more of x w_x, more of h w_h] + b
    """

    w_x: jax.Array  # [D, at most G]
    w_h: jax.Array  # [H, at most G]
    b: jax.Array  # [G]

    @property
    def both(self) -> int:
        """How many columns of z have a share of both."""
        return self.w_x.shape[1] + self.w_h.shape[1] - len(self.b)

    def rounded(self, dtype: Any) -> "Dense":
        """With the weights of the products in the dtype."""
        return self._replace(w_x=self.w_x.astype(dtype), w_h=self.w_h.astype(dtype))

    def pieces(self, z: jax.Array) -> list[jax.Array]:
        """The columns of z [G] that only x reaches, if any, and those h reaches."""
        start, stop = self.both, self.w_x.shape[1]
        if start == stop:
            return [z]
        return [z[start:stop], jnp.concatenate([z[:start], z[stop:]])]

    def join(self, pieces: list[jax.Array]) -> jax.Array:
        """The inverse of `pieces`."""
        *of_x, of_h = pieces
        if not of_x:
            return of_h
        return jnp.concatenate([of_h[: self.both], *of_x, of_h[self.both :]])


def dot(a: jax.Array, w: jax.Array) -> jax.Array:
    """`a @ w` with operands in the dtype of w, added up in that of a."""
    return jnp.matmul(a.astype(w.dtype), w, preferred_element_type=a.dtype)


def dense_z(w: Dense, x: jax.Array, h: jax.Array) -> jax.Array:
    """The pre-activations of one step: see `Dense`."""
    u, v, both = dot(x, w.w_x), dot(h, w.w_h), w.both
    if both == len(w.b):
        return u + v + w.b
    return jnp.concatenate([u[:both] + v[:both], u[both:], v[both:]]) + w.b


def _dense_row(w: Dense, x, h):
    # Stacked by the loop, since outside it under vmap it would be a copy.
    return jnp.concatenate([h, jnp.ones_like(w.b, shape=1), x])


def _dense_hs(w: Dense, rows):
    return jax.lax.slice_in_dim(rows, 0, len(w.w_h), axis=1)


def _dense_tangents(w: Dense, d_w: Dense, rows, xs, d_xs, dtype):
    """One product of all rows, since that is faster than one for each weight."""
    del xs
    (size, reached), both = w.w_h.shape, w.both
    d_w_x, d_w_h, d_b = instantiated(d_w)
    *d_b_x, d_b_h = w.pieces(d_b)
    stacked = [d_w_h, d_b_h[None], _widened(d_w_x[:, :both], reached)]
    of_h = rows_product(rows, jnp.concatenate(stacked), dtype)
    of_x = [
        rows_product(rows[:, size:], jnp.concatenate([b[None], d_w_x[:, both:]]), dtype)
        for b in d_b_x
    ]
    if not is_zero(d_xs):
        of_both = rows_product(d_xs, w.w_x[:, :both], dtype)
        of_h = of_h + _widened(of_both, reached)
        of_x = [a + rows_product(d_xs, w.w_x[:, both:], dtype) for a in of_x]
    return [*of_x, of_h]


def _dense_push(w: Dense, pieces, d_h):
    *of_x, of_h = pieces
    return w.join([*of_x, of_h + dot(d_h, w.w_h)])


def _dense_pull(w: Dense, w_h_t, h, ct_z):
    del h
    pieces = w.pieces(ct_z)
    return pieces, dot(pieces[-1], w_h_t)


def _dense_turned(w: Dense, dtype):
    # Rearranged once: as part of each step's product it would cost a third of it.
    return jax.lax.optimization_barrier(w.w_h.T.astype(dtype))


DENSE = Mix(
    dense_z,
    _dense_row,
    _dense_hs,
    _dense_tangents,
    _dense_push,
    _dense_pull,
    Dense.rounded,
    _dense_turned,
)


def additive(of_x: Callable[..., jax.Array], of_h: Callable[..., jax.Array]) -> Mix:
    """The mix z = of_x(x) + of_h(h), with a derivative found by JAX.

    As for `DENSE`, the gradient of the weights is computed once, after the loop.

    Args:
      of_x: `(product, weights, x) -> [G...]`, affine in x. `product(a, w)` is `a @ w`
        of a vector and a matrix, with operands in the dtype that products are to have.
      of_h: `(product, weights, h) -> [G...]`, linear in h.
    """

    def bound(fun, ready):
        weights, dtype = ready
        return partial(fun, lambda a, w: rows_product(a[None], w, dtype)[0], weights)

    def z(ready, x, h):
        return bound(of_x, ready)(x) + bound(of_h, ready)(h)

    def tangents(weights, d_weights, hs, xs, d_xs, dtype):
        def zs(weights, xs):
            return jax.vmap(partial(z, (weights, dtype)))(xs, hs)

        if is_zero(d_xs):
            of_weights = partial(zs, xs=xs)
            return [jax.jvp(of_weights, (weights,), (instantiated(d_weights),))[1]]
        return [jax.jvp(zs, (weights, xs), (instantiated(d_weights), d_xs))[1]]

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
    )


def _x_times_w(product, w: Dense, x):
    return product(x, w.w_x) + w.b


def _diagonal(product, w: Dense, h):
    del product
    gates = len(w.b) // len(h)
    return w.w_h * jnp.concatenate([h] * gates)


def _heads(product, w: Dense, h):
    heads, size, _ = w.w_h.shape
    by_head = jax.vmap(product)(h.reshape(heads, size), w.w_h)
    by_gate = by_head.reshape(heads, -1, size).swapaxes(0, 1)
    return by_gate.reshape(-1)


# A hidden unit sees only itself: w_h [G], as in the independently recurrent network.
DIAGONAL = additive(_x_times_w, _diagonal)
# A hidden unit sees those of its own head: w_h [heads, H / heads, G / heads].
HEADS = additive(_x_times_w, _heads)


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be zero while tracing."""
    return isinstance(tangent, SymbolicZero)


def instantiated(tangents: Any) -> Any:
    """With arrays of zeros where a tangent is known to be zero."""

    def zeros(t: Any) -> Any:
        return ad.instantiate_zeros(ad.Zero(t.aval)) if is_zero(t) else t

    return jax.tree.map(zeros, tangents, is_leaf=is_zero)


def _widened(a: jax.Array, size: int) -> jax.Array:
    """With columns of zeros after its own."""
    more = size - a.shape[1]
    return jnp.pad(a, [(0, 0), (0, more)]) if more else a
