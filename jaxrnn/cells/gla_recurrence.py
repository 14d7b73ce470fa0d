"""Gated linear attention as a recurrence without weights."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxrnn.cells.matrix import check_choice, check_heads, core_cell
from jaxrnn.checks import Input
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.matrix_chunk import Steps


class GLAInputs(NamedTuple):
    """What one step of `gla_recurrence` reads."""

    q: Any  # [heads, K]
    k: Any  # [heads, K]
    v: Any  # [heads, V]
    g: Any  # [heads, K], log decay


@recorded
def gla_recurrence(
    heads: int,
    key_size: int,
    value_size: int,
    *,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """The recurrence of gated linear attention, without any weights.

        S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T
        y_t = S_t^T q_t / sqrt(K)

    for each head, with a log decay g_t for each row of the state.

    Args:
      heads: how many states there are.
      key_size: K, of a query and of a key.
      value_size: V, of a value.
      method: "in turn", "chunks", or "best", which chooses by what was measured.
      chunk_size: how many steps a chunk has, a power of two; None for what was
        measured.
      dtype: of the state and of y, at least float32.

    Returns:
      A cell from `GLAInputs` to `y` `[heads, V]`, with params `()` and `MatrixCarry`.

    Raises:
      ValueError: if an argument of the factory or, later, of the cell does not fit.

    References:
      Yang, Wang, Shen, Panda and Kim, "Gated linear attention transformers with
      hardware-efficient training", ICML 2024.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.gla_recurrence(1, 1, 1)
      >>> one = jnp.ones((3, 1, 1))
      >>> xs = rnn.GLAInputs(q=one, k=one, v=one, g=jnp.log(0.5) * one)
      >>> cell.unroll((), cell.initial_carry(()), xs)[1].ravel()
      Array([1.  , 1.5 , 1.75], dtype=float32)
    """
    sizes = check_heads("gla_recurrence", heads, key_size, value_size, dtype)
    choice = check_choice("gla_recurrence", method, chunk_size)
    key, value = Input((sizes.heads, sizes.key_size)), Input(sizes[::2])
    scale = sizes.key_size**-0.5

    def steps(xs):
        return Steps(scale * xs.q, xs.k, xs.v, xs.g)

    name = f"gla_recurrence({heads}, {key_size}, {value_size})"
    return core_cell(name, sizes, GLAInputs(key, key, value, key), steps, choice, dtype)
