"""The mLSTM as a recurrence without weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid

from jaxrnn.cells.matrix import Parts, Sizes, check_choice, check_heads, matrix_cell
from jaxrnn.checks import Input
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.matrix_chunk import Read, State, Steps
from jaxrnn.precision import wide

EPSILON = 1e-6  # of the denominator, as the authors have it


class MLSTMCarry(NamedTuple):
    """Carry of the mLSTM."""

    c: jax.Array  # [heads, K, V], the memory times exp(-m)
    n: jax.Array  # [heads, K], the sum of keys times exp(-m)
    m: jax.Array  # [heads], log of the scale of both
    window: jax.Array | None = None  # [W - 1, ...], the last inputs of the convolution


class MLSTMInputs(NamedTuple):
    """What one step of `mlstm_recurrence` reads."""

    q: Any  # [heads, K]
    k: Any  # [heads, K]
    v: Any  # [heads, V]
    i: Any  # [heads], log of the input gate
    f: Any  # [heads], the forget gate before its sigmoid


@recorded
def mlstm_recurrence(
    heads: int,
    key_size: int,
    value_size: int,
    *,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """The recurrence of the mLSTM, without any weights.

        m_t = max(log_sigmoid(f_t) + m_{t-1}, i_t)
        f' = exp(log_sigmoid(f_t) + m_{t-1} - m_t),    i' = exp(i_t - m_t)
        C_t = f' C_{t-1} + i' k_t v_t^T / sqrt(K)
        n_t = f' n_{t-1} + i' k_t / sqrt(K)
        y_t = C_t^T q_t / (max(|n_t . q_t|, exp(-m_t)) + 1e-6)

    for each head. C and n are those of exponential gates times exp(-m), which keeps
    them in range and leaves y as it is, but for the 1e-6. The first carry is zero.

    The authors' code for a whole sequence has no m_0 in the maximum, so that its y
    differs from that of its steps by the 1e-6. This cell computes the steps. From a
    carry with an m of minus infinity it computes the other.

    Args:
      heads: how many memories there are.
      key_size: K, of a query and of a key.
      value_size: V, of a value.
      method: "in turn", "chunks", or "best", which chooses by what was measured.
      chunk_size: how many steps a chunk has, a power of two; None for what was
        measured.
      dtype: of the carry and of y, at least float32.

    Returns:
      A cell from `MLSTMInputs` to `y` `[heads, V]`, with params `()` and `MLSTMCarry`.

    Raises:
      ValueError: if an argument of the factory or, later, of the cell does not fit.

    References:
      Beck et al., "xLSTM: extended long short-term memory", NeurIPS 2024.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.mlstm_recurrence(1, 1, 1)
      >>> one = jnp.ones((3, 1, 1))
      >>> gate = 10 * one[..., 0]
      >>> xs = rnn.MLSTMInputs(q=one, k=one, v=3 * one, i=gate, f=gate)
      >>> cell.unroll((), cell.initial_carry(()), xs)[1].round(4).ravel()
      Array([3., 3., 3.], dtype=float32)
    """
    name = "mlstm_recurrence"
    sizes = check_heads(name, heads, key_size, value_size, dtype)
    choice = check_choice(name, method, chunk_size)
    dtype = wide(jnp.dtype(dtype))

    def steps(params, rows, xs):
        del params, rows
        return gated_steps(*(a.astype(dtype) for a in xs))

    key, value = Input((sizes.heads, sizes.key_size)), Input(sizes[::2])
    one = Input((sizes.heads,))
    return matrix_cell(
        f"{name}({heads}, {key_size}, {value_size})",
        MLSTMInputs(key, key, value, one, one),
        lambda key: (),
        lambda params: first_state(sizes, dtype),
        Parts(
            lambda params, xs: (None, xs),
            steps,
            lambda params, read, rows, xs: normalized(read),
            enter=enter,
            leave=leave,
        ),
        choice,
    )


def first_state(sizes: Sizes, dtype: Any) -> State:
    """The state before the first step; n is the last column of s."""
    more = sizes._replace(value_size=sizes.value_size + 1)
    return State(more.first(dtype).s, jnp.zeros(sizes.heads, wide(dtype)))


def enter(carry: MLSTMCarry) -> State:
    """The state of a carry: n is what is read of values that are one."""
    return State(jnp.concatenate([carry.c, carry.n[..., None]], axis=-1), carry.m)


def leave(state: State, window: jax.Array | None) -> MLSTMCarry:
    """The inverse of `enter`."""
    assert state.m is not None
    return MLSTMCarry(state.s[..., :-1], state.s[..., -1], state.m, window)


def gated_steps(q, k, v, i, f) -> Steps:
    """What the recurrence reads, of q, k `[T, heads, K]` and v, i and f."""
    v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
    return Steps(q, k.shape[-1] ** -0.5 * k, v, log_sigmoid(f), i=i)


def normalized(read: Read) -> jax.Array:
    """y of C^T q, n . q and m, with no exponential of what is above zero."""
    m = read.m[..., None]
    low, high = jnp.exp(jnp.minimum(m, 0)), jnp.exp(-jnp.maximum(m, 0))
    above, below = read.y[..., :-1], jnp.abs(read.y[..., -1:])
    return above * low / (jnp.maximum(below * low, high) + EPSILON * low)
