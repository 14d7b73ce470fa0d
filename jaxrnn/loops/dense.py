"""The mix of Elman, GRU and LSTM: a full matrix of x and one of h for each gate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.loops.mix import Mix, instantiated, is_zero
from jaxrnn.loops.rows import rows_product


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


def dense_row(w: Dense, x: jax.Array, h: jax.Array) -> jax.Array:
    """What the loop keeps of a step."""
    # Stacked by the loop, since outside it under vmap it would be a copy.
    return jnp.concatenate([h, jnp.ones_like(w.b, shape=1), x])


def _dense_hs(w: Dense, rows):
    return jax.lax.slice_in_dim(rows, 0, len(w.w_h), axis=1)


def _dense_tangents(w: Dense, d_w: Dense, kept, xs, d_xs, dtype):
    """One product of all rows, since that is faster than one for each weight."""
    del xs
    rows = kept.rows
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


def _widened(a: jax.Array, size: int) -> jax.Array:
    """With columns of zeros after its own."""
    more = size - a.shape[1]
    return jnp.pad(a, [(0, 0), (0, more)]) if more else a


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


def dense_local(w: Dense, d_h):
    """What of `h w_h` reaches the gates of the same unit; None if units have none."""
    size, reached = w.w_h.shape
    if reached % size:
        return None
    own = jnp.diagonal(w.w_h.reshape(size, -1, size), axis1=0, axis2=2)
    *of_x, _ = w.pieces(jnp.zeros_like(w.b))
    return w.join([*of_x, (own * d_h[None]).reshape(-1)])


DENSE = Mix(
    dense_z,
    dense_row,
    _dense_hs,
    _dense_tangents,
    _dense_push,
    _dense_pull,
    Dense.rounded,
    _dense_turned,
    dense_local,
)
