"""The delta rule, with and without a decay, as recurrences without weights."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxrnn.cells.matrix import check_choice, check_heads, core_cell
from jaxrnn.checks import Input
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.matrix_chunk import Steps


class DeltaInputs(NamedTuple):
    """What one step of `delta_rule` reads."""

    q: Any  # [heads, K]
    k: Any  # [heads, K]
    v: Any  # [heads, V]
    beta: Any  # [heads], how much of the error is written


class GatedDeltaInputs(NamedTuple):
    """What one step of `gated_delta_rule` reads."""

    q: Any  # [heads, K]
    k: Any  # [heads, K]
    v: Any  # [heads, V]
    beta: Any  # [heads], how much of the error is written
    g: Any  # [heads], log decay


@recorded
def delta_rule(
    heads: int,
    key_size: int,
    value_size: int,
    *,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """The delta rule: a key's value in the state is corrected towards a new one.

        e_t = beta_t (v_t - S_{t-1}^T k_t)
        S_t = S_{t-1} + k_t e_t^T
        y_t = S_t^T q_t / sqrt(K)

    for each head. The state is multiplied by I - beta k k^T, whose eigenvalue along k
    is 1 - beta |k|^2. So keys are to be of length one, as `delta_net` makes them:
    where beta |k|^2 is above 2, step after step, the state grows without bound.

    Args:
      heads: how many states there are.
      key_size: K, of a query and of a key.
      value_size: V, of a value.
      method: "in turn", "chunks", or "best", which chooses by what was measured.
      chunk_size: how many steps a chunk has, a power of two; None for what was
        measured.
      dtype: of the state and of y, at least float32.

    Returns:
      A cell from `DeltaInputs` to `y` `[heads, V]`, with params `()` and
      `MatrixCarry`.

    Raises:
      ValueError: if an argument of the factory or, later, of the cell does not fit.

    References:
      Schlag, Irie and Schmidhuber, "Linear transformers are secretly fast weight
      programmers", ICML 2021; Yang et al., "Parallelizing linear transformers with
      the delta rule over sequence length", NeurIPS 2024.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.delta_rule(1, 1, 1)
      >>> one = jnp.ones((3, 1, 1))
      >>> xs = rnn.DeltaInputs(q=one, k=one, v=8 * one, beta=0.5 * one[..., 0])
      >>> cell.unroll((), cell.initial_carry(()), xs)[1].ravel()
      Array([4., 6., 7.], dtype=float32)
    """
    sizes = check_heads("delta_rule", heads, key_size, value_size, dtype)
    choice = check_choice("delta_rule", method, chunk_size)
    key, value = Input((sizes.heads, sizes.key_size)), Input(sizes[::2])
    scale = sizes.key_size**-0.5

    def steps(xs):
        return Steps(scale * xs.q, xs.k, xs.v, beta=xs.beta)

    reads = DeltaInputs(key, key, value, Input((sizes.heads,)))
    name = f"delta_rule({heads}, {key_size}, {value_size})"
    return core_cell(name, sizes, reads, steps, choice, dtype)


@recorded
def gated_delta_rule(
    heads: int,
    key_size: int,
    value_size: int,
    *,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """The delta rule on a state that decays.

        S' = exp(g_t) S_{t-1}
        e_t = beta_t (v_t - S'^T k_t)
        S_t = S' + k_t e_t^T
        y_t = S_t^T q_t / sqrt(K)

    for each head, with one log decay g_t for its whole state. For keys the same holds
    as in `delta_rule`.

    Args:
      heads: how many states there are.
      key_size: K, of a query and of a key.
      value_size: V, of a value.
      method: "in turn", "chunks", or "best", which chooses by what was measured.
      chunk_size: how many steps a chunk has, a power of two; None for what was
        measured.
      dtype: of the state and of y, at least float32.

    Returns:
      A cell from `GatedDeltaInputs` to `y` `[heads, V]`, with params `()` and
      `MatrixCarry`.

    Raises:
      ValueError: if an argument of the factory or, later, of the cell does not fit.

    References:
      Yang, Kautz and Hatamizadeh, "Gated delta networks: improving Mamba2 with the
      delta rule", ICLR 2025.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.gated_delta_rule(1, 1, 1)
      >>> one = jnp.ones((3, 1, 1))
      >>> half = 0.5 * one[..., 0]
      >>> xs = rnn.GatedDeltaInputs(one, one, 8 * one, beta=half, g=jnp.log(half))
      >>> cell.unroll((), cell.initial_carry(()), xs)[1].ravel()
      Array([4.  , 5.  , 5.25], dtype=float32)
    """
    sizes = check_heads("gated_delta_rule", heads, key_size, value_size, dtype)
    choice = check_choice("gated_delta_rule", method, chunk_size)
    key, value = Input((sizes.heads, sizes.key_size)), Input(sizes[::2])
    scale = sizes.key_size**-0.5

    def steps(xs):
        return Steps(scale * xs.q, xs.k, xs.v, xs.g, xs.beta)

    one = Input((sizes.heads,))
    reads = GatedDeltaInputs(key, key, value, one, one)
    name = f"gated_delta_rule({heads}, {key_size}, {value_size})"
    return core_cell(name, sizes, reads, steps, choice, dtype)
