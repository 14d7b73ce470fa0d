"""Recurrences with a matrix for a state, in turn and in chunks of steps.

Each head has a state S `[K, V]`, into which keys write values and from which queries
read. With i_t and m_t only where there is an input gate:

    m_t = max(g_t + m_{t-1}, i_t)
    S' = exp(g_t + m_{t-1} - m_t) S_{t-1}
    e_t = beta_t (v_t - S'^T k_t),    or e_t = v_t without a beta
    S_t = S' + exp(i_t - m_t) k_t e_t^T
    y_t = S_t^T q_t

How a chunk of steps is computed by products of matrices is told in `matrix_chunk`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.core import blank, scan_unroll
from jaxrnn.loops.matrix_chunk import LOWEST, Read, State, Steps, one_chunk
from jaxrnn.loops.primitives import varying_alike

METHODS = "best", "in turn", "chunks"

# How many steps a chunk has, and from how many steps on chunks are used. On two CPU
# cores, float32, milliseconds for all y and for the gradient, of one sequence of 1,024
# steps with 4 heads and K = V = 64 (`python -m benchmarks.matrix` measures all cases):
#
#                         in turn    chunks of 16          32          64         128
#     gla_recurrence     1.3 /  97      3.8 / 12.2  4.3 / 14.4  3.6 / 12.1  3.7 / 13.9
#     delta_rule         1.7 /  98      2.2 /  9.3  2.0 / 12.8  2.4 /  9.5  3.2 / 24.7
#     gated_delta_rule   2.9 / 186      2.3 / 10.0  2.2 /  9.3  2.7 / 12.2  4.5 / 19.2
#     mlstm_recurrence   2.0 /  90      2.3 /  7.6  2.2 /  6.1  2.2 /  5.8  3.0 /  9.4
#
# Smaller states and batches agree on 32 steps. With 128 steps, of which the gradient
# takes 1.4 ms in turn and 1.0 in chunks of 32, both are about even. Accelerators were
# not measured; a turn of a loop costs them more, so there a chunk is longer.
CPU_SIZE, OTHER_SIZE, FROM = 32, 64, 128


class Choice(NamedTuple):
    """How all steps of a sequence are computed."""

    method: str = "best"
    size: int | None = None  # of a chunk; None for the one that was measured


def one_step(state: State, x: Steps) -> tuple[State, Read]:
    """The equations of this module."""
    (s, m), g, k, e = state, x.g, x.k, x.v
    if x.i is not None:
        m = jnp.maximum(g + m, x.i)
        g, k = g + state.m - m, jnp.exp(x.i - m)[:, None] * k
    if g is not None:
        s = jnp.exp(g).reshape(*g.shape, *(1,) * (3 - g.ndim)) * s
    if x.beta is not None:
        e = x.beta[:, None] * (e - jnp.einsum("hkv,hk->hv", s, k))
    s = s + k[:, :, None] * e[:, None, :]
    return State(s, m), Read(jnp.einsum("hkv,hk->hv", s, x.q), m)


def unroll(
    choice: Choice,
    state: State,
    xs: Steps,
    *,
    mask: jax.Array | None = None,
    reverse: bool = False,
    starts: jax.Array | None = None,
) -> tuple[State, Read]:
    """All steps of a sequence, as `Cell.unroll`; a start begins with zeros."""
    length, size = xs.q.shape[0], choice.size
    if size is None:
        size = CPU_SIZE if jax.default_backend() == "cpu" else OTHER_SIZE
    known = isinstance(length, int)  # and not a symbol, in an export
    if known and (
        choice.method == "chunks" or (choice.method == "best" and length >= FROM)
    ):
        while size // 2 >= length:  # no more steps than there are
            size //= 2
        operands = varying_alike((state, xs, mask, starts))
        return _in_chunks(size, *operands, reverse=reverse)
    zeros = jax.tree.map(jnp.zeros_like, state)
    scan = scan_unroll(lambda _, state, x: one_step(state, x), lambda *_: zeros)
    return scan((), state, xs, mask=mask, reverse=reverse, starts=starts)


def _in_chunks(
    size: int,
    state: State,
    xs: Steps,
    mask: jax.Array | None,
    starts: jax.Array | None,
    *,
    reverse: bool,
) -> tuple[State, Read]:
    """A scan over chunks, of which only the states between them are kept."""
    if reverse:
        xs, mask, starts = jax.tree.map(lambda a: lax.rev(a, (0,)), (xs, mask, starts))
    length = xs.q.shape[0]
    chunks = -(-length // size)

    def cut(a, fill=0.0):
        """From [T, ...] to [chunks, size, ...]."""
        edges = [(0, chunks * size - length, 0)] + [(0, 0, 0)] * (a.ndim - 1)
        return lax.pad(a, jnp.asarray(fill, a.dtype), edges).reshape(
            chunks, size, *a.shape[1:]
        )

    # A step that writes nothing and forgets nothing stands for a masked one.
    i, xs = xs.i, blank(mask, xs._replace(i=None))
    xs = jax.tree.map(cut, xs)
    if i is not None:
        if mask is not None:
            i = jnp.where(mask[:, None], i, jnp.full_like(i, LOWEST))
        xs = xs._replace(i=cut(i, LOWEST))
    xs = jax.tree.map(lambda a: a.swapaxes(1, 2), xs)  # [chunks, heads, size, ...]
    parts = None
    if starts is not None:
        parts = lax.cumsum(cut(starts.astype(jnp.int32)), axis=1)
    body = jax.checkpoint(one_chunk, prevent_cse=False)
    state, ys = lax.scan(lambda state, x: body(state, *x), state, (xs, parts))

    def joined(a):
        a = a.swapaxes(1, 2).reshape(chunks * size, a.shape[1], *a.shape[3:])
        return lax.slice_in_dim(a, 0, length)

    ys = blank(mask, jax.tree.map(joined, ys))
    return state, jax.tree.map(lambda a: lax.rev(a, (0,)), ys) if reverse else ys
