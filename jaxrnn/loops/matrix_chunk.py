"""A chunk of a recurrence with a matrix for a state, by products of matrices.

The recurrence is that of `matrix`. All y of C steps come of a few products, and for the
gradient only the state before the chunk is kept. With d_ts = g_{s+1} + .. + g_t, which
is a sum of its own for each pair and no difference of two long ones, and with b_t the
sum from the beginning of the chunk,

    y_t = exp(b_t) S_0^T q_t + sum over s <= t of exp(d_ts) (q_t . k_s) e_s
    (I + A) e = beta (v - exp(b) S_0^T k),    A_ts = beta_t exp(d_ts) (k_t . k_s), s < t

so that no exponent is above zero where no log decay is. With an input gate the exponent
of a pair is d_ts + i_s - m_t, where m_t is the largest of those of t.

Decays of each row of the state, [K] in the place of one number, go by halves: a query
in the second half of a block and a key in the first meet in the middle, exp(d_ts) =
exp(from the middle to t) exp(from s to the middle), for blocks of 2, 4, .. C steps.

What is not finite is taken out before the products and put back, as NaN, where it
belongs: a product with zero would carry it to steps that it must not reach.

References: Yang et al., "Gated linear attention transformers with hardware-efficient
training", ICML 2024; Yang et al., "Parallelizing linear transformers with the delta
rule over sequence length", NeurIPS 2024; Beck et al., "xLSTM", NeurIPS 2024.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

LOWEST = -1e30  # a log of zero that stays finite in sums


class State(NamedTuple):
    """The state between two steps."""

    s: jax.Array  # [heads, K, V]
    m: Any = None  # [heads], where there is an input gate


class Steps(NamedTuple):
    """What one step reads; of all steps with a leading axis T."""

    q: jax.Array  # [heads, K]
    k: jax.Array  # [heads, K]
    v: jax.Array  # [heads, V]
    g: Any = None  # log decay, [heads] or [heads, K]; None for none
    beta: Any = None  # [heads], how much of the error is written
    i: Any = None  # [heads], log of the input gate


class Read(NamedTuple):
    """What one step gives; of all steps with a leading axis T."""

    y: jax.Array  # [heads, V]
    m: Any = None  # [heads], where there is an input gate


class _Ways(NamedTuple):
    """Which steps of a chunk reach which, past no start."""

    pairs: jax.Array  # [C, C], from a step (column) to itself or a later one (row)
    first: jax.Array  # [C], from the state before the chunk to a step
    parts: jax.Array | None  # [C], how many starts there were; None without any


def one_chunk(state: State, x: Steps, parts: jax.Array | None) -> tuple[State, Read]:
    """One chunk of `[heads, C, ...]`; C is a power of two.

    Args:
      state: before the chunk.
      x: of its steps.
      parts: [C], how many of the steps up to each one are starts; None for none.
    """
    size, dtype = x.q.shape[1], x.q.dtype
    steps = jnp.arange(size)
    pairs, first = steps[:, None] >= steps[None, :], jnp.ones(size, bool)
    if parts is not None:
        pairs, first = pairs & (parts[:, None] == parts[None, :]), parts == 0
    ways = _Ways(pairs, first, parts)
    x, lost_q, lost = _finite_steps(x)
    state, lost_s = _finite_state(state)
    if x.g is not None and x.g.ndim == 3:
        after, ys = _by_halves(state, x, ways)
    else:
        after, ys, lost_e = _by_pairs(state, x, ways)
        lost |= lost_e
    reached = jnp.einsum("ts,hs->ht", pairs.astype(dtype), lost.astype(dtype)) > 0
    reached |= lost_s[:, None] & first[None, :]
    after = _lost(reached[:, -1], after)
    return after, Read(_lost(reached | lost_q, ys.y), _lost(reached, ys.m))


def _by_pairs(state: State, x: Steps, ways: _Ways) -> tuple[State, Read, jax.Array]:
    """With one decay for the whole state of a head, or none."""
    weights, begun, m = _weights(state, x, ways)
    e, lost = x.v, jnp.zeros(x.v.shape[:2], bool)
    if x.beta is not None:
        read = jnp.einsum("htk,hkv->htv", x.k, state.s)
        e, lost_v = _finite(x.beta[:, :, None] * (e - begun[:, :, None] * read))
        e, lost = _finite(_solved(x, weights, e))
        lost |= lost_v
    scores = weights * jnp.einsum("htk,hsk->hts", x.q, x.k)
    y = begun[:, :, None] * jnp.einsum("htk,hkv->htv", x.q, state.s)
    y = y + jnp.einsum("hts,hsv->htv", scores, e)
    k = weights[:, -1, :, None] * x.k
    s = begun[:, -1, None, None] * state.s + jnp.einsum("hsk,hsv->hkv", k, e)
    return State(s, None if m is None else m[:, -1]), Read(y, m), lost


def _weights(state: State, x: Steps, ways: _Ways) -> tuple[Any, Any, Any]:
    """exp(d) [heads, C, C] of each pair, exp(b) [heads, C], and m [heads, C]."""
    pairs, first, dtype = ways.pairs[None], ways.first[None], x.q.dtype
    if x.g is None:
        heads = len(x.q)
        weights = jnp.broadcast_to(pairs.astype(dtype), (heads, *ways.pairs.shape))
        return weights, jnp.broadcast_to(first.astype(dtype), x.q.shape[:2]), None
    steps = jnp.arange(len(ways.first))
    later = (steps[:, None] > steps[None, :]).astype(dtype)  # than a step
    g = jnp.maximum(x.g, jnp.asarray(LOWEST, dtype))
    lower = pairs.astype(dtype) * g[:, None, :]
    # In full precision also where products are rounded: exponents are to be exact.
    logs = jnp.einsum("htu,us->hts", lower, later, precision=lax.Precision.HIGHEST)
    begun, m = lower.sum(axis=-1), None
    if x.i is not None:
        logs = logs + x.i[:, None, :]
    logs = jnp.where(pairs, logs, jnp.full_like(logs, -jnp.inf))
    if x.i is not None:
        begun = begun + jnp.where(first, state.m[:, None], jnp.zeros_like(begun))
        m = jnp.maximum(begun, logs.max(axis=-1))
        logs, begun = logs - m[:, :, None], begun - m
    begun = jnp.where(first, begun, jnp.full_like(begun, -jnp.inf))
    return jnp.exp(logs), jnp.exp(begun), m


def _solved(x: Steps, weights: jax.Array, e: jax.Array) -> jax.Array:
    """What each step of a delta rule writes, from what it would write alone."""
    a = x.beta[:, :, None] * weights * jnp.einsum("htk,hsk->hts", x.k, x.k)
    # By the inverse, in which a product with what is zero in it stays within a part.
    return jnp.einsum("hts,hsv->htv", _inverse(a), e)


def _inverse(a: jax.Array) -> jax.Array:
    """The inverse of I + A, of which what `a` [heads, C, C] has below the diagonal.

    By halves: [[P, 0], [A, Q]] has the inverse [[P', 0], [-Q' A P', Q']]. It is a chain
    of products as the steps themselves are, and no series whose terms may be large.
    """
    heads, size, _ = a.shape
    inverse, half = jnp.ones((heads, size, 1, 1), a.dtype), 1
    while half < size:
        blocks = size // (2 * half)
        a = a.reshape(heads, blocks, 2, half, blocks, 2, half)
        below = a[:, :, 1, :, :, 0]
        own = jnp.eye(blocks, dtype=bool)[None, :, None, :, None]
        below = jnp.where(own, below, jnp.zeros_like(below)).sum(axis=3)
        pairs = inverse.reshape(heads, blocks, 2, half, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        corner = -(second @ (below @ first))
        left = jnp.concatenate([first, corner], axis=2)
        right = jnp.concatenate([jnp.zeros_like(second), second], axis=2)
        inverse = jnp.concatenate([left, right], axis=3)
        half *= 2
    return inverse[:, 0]


def _by_halves(state: State, x: Steps, ways: _Ways) -> tuple[State, Read]:
    """With a decay for each row of the state."""
    q, k, v, size = x.q, x.k, x.v, len(ways.first)
    y = (q * k).sum(axis=-1, keepdims=True) * v
    into, out_of = x.g, jnp.zeros_like(x.g)  # log decays to a step, and after it
    half = 1
    while half < size:
        blocks = size // (2 * half)

        def halves(a, blocks=blocks, half=half):
            a = a.reshape(len(a), blocks, 2, half, *a.shape[2:])
            return a[:, :, 0], a[:, :, 1]

        (_, q2), (k1, _), (v1, _) = halves(q), halves(k), halves(v)
        (into1, into2), (out1, out2) = halves(into), halves(out_of)
        scores = jnp.einsum("hntk,hnsk->hnts", q2 * jnp.exp(into2), k1 * jnp.exp(out1))
        if ways.parts is not None:
            part1, part2 = halves(ways.parts[None])
            same = part2[..., :, None] == part1[..., None, :]
            scores = jnp.where(same, scores, jnp.zeros_like(scores))
        more = jnp.einsum("hnts,hnsv->hntv", scores, v1)
        y = y + jnp.stack([jnp.zeros_like(more), more], axis=2).reshape(y.shape)
        into = jnp.stack([into1, into2 + into1[:, :, -1:]], axis=2).reshape(k.shape)
        rest = out1 + into2[:, :, -1:]
        out_of = jnp.stack([rest, out2], axis=2).reshape(k.shape)
        half *= 2
    begun = jnp.where(ways.first[None, :, None], jnp.exp(into), jnp.zeros_like(into))
    left = ways.pairs[-1][None, :, None]
    k = jnp.where(left, k * jnp.exp(out_of), jnp.zeros_like(k))
    y = y + jnp.einsum("htk,hkv->htv", q * begun, state.s)
    s = begun[:, -1, :, None] * state.s + jnp.einsum("hsk,hsv->hkv", k, v)
    return State(s), Read(y)


def _finite_steps(x: Steps) -> tuple[Steps, jax.Array, jax.Array]:
    """The steps, and [heads, C] where a query and where anything else is lost."""
    q, lost_q = _finite(x.q)
    k, lost_k = _finite(x.k)
    v, lost_v = _finite(x.v)
    lost, gates = lost_k | lost_v, {}
    for name in ("g", "beta", "i"):
        a = getattr(x, name)
        if a is not None:
            # The log of a closed gate may be minus infinity.
            there = jnp.isfinite(a) if name == "beta" else a < jnp.inf
            gates[name] = jnp.where(there, a, jnp.zeros_like(a))
            lost |= ~there.reshape(*lost.shape, -1).all(axis=-1)
    return Steps(q, k, v, **gates), lost_q, lost


def _finite_state(state: State) -> tuple[State, jax.Array]:
    there = jnp.isfinite(state.s).all(axis=(1, 2))
    if state.m is not None:
        there &= state.m < jnp.inf
    zeros = jax.tree.map(jnp.zeros_like, state)
    return _each_head(there, state, zeros), ~there


def _finite(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Zeros for rows [..., D] with anything that is not finite, and which they are."""
    there = jnp.isfinite(a).all(axis=-1)
    return _each_head(there, a, jnp.zeros_like(a)), ~there


def _lost(where: jax.Array, tree: Any) -> Any:
    nans = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), tree)
    return _each_head(~where, tree, nans)


def _each_head(keep: jax.Array, new: Any, old: Any) -> Any:
    """`new` where `keep`, which has the first axes of each array, else `old`."""

    def chosen(a, b):
        return jnp.where(keep.reshape(*keep.shape, *(1,) * (a.ndim - keep.ndim)), a, b)

    return jax.tree.map(chosen, new, old)
