"""The mLSTM with its gates and its norm, from queries, keys and values."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.matrix import (
    Parts,
    Sizes,
    by_heads,
    check_choice,
    matrix_cell,
    times,
)
from jaxrnn.cells.mlstm_recurrence import (
    enter,
    first_state,
    gated_steps,
    leave,
    normalized,
)
from jaxrnn.checks import Input, check_floating, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.matrix_chunk import Read, Steps
from jaxrnn.precision import plus, wide


class QKV(NamedTuple):
    """What one step of `mlstm_cell` reads."""

    q: Any  # [D]
    k: Any  # [D]
    v: Any  # [D]


class MLSTMCellParams(NamedTuple):
    """Weights of `mlstm_cell`."""

    w_i: jax.Array  # [3D, heads], of q, k and v
    b_i: jax.Array  # [heads]
    w_f: jax.Array  # [3D, heads]
    b_f: jax.Array  # [heads]
    norm: jax.Array  # [D], less one


@recorded
def mlstm_cell(
    size: int,
    *,
    heads: int = 4,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """The mLSTM with its gates and its norm, from queries, keys and values.

        i, f = [q, k, v] w_i + b_i, [q, k, v] w_f + b_f
        o = mlstm_recurrence(q, k, v, i, f)    for each head
        y = (1 + norm) (o - mean(o)) / sqrt(var(o) + 1e-5)

    with the mean and the variance of each head. At the beginning w_i and w_f are zero,
    b_i is drawn from N(0, 0.1^2), b_f goes from 3 to 6 over the heads, and norm is
    zero.

    Args:
      size: D, of q, k and v in all heads together, and of y.
      heads: how many memories there are.
      method, chunk_size: see `mlstm_recurrence`.
      dtype: of the params and of y. The carry is in at least float32.

    Returns:
      A cell from `QKV` to `y` `[D]`, with `MLSTMCellParams` and `MLSTMCarry`.

    Raises:
      ValueError: if the heads do not divide the size; if an argument of the factory
        or, later, of the cell does not fit.

    References:
      Beck et al., "xLSTM: extended long short-term memory", NeurIPS 2024, as
      `mLSTMCell` of xlstm 2.0.6 computes it.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.mlstm_cell(8, heads=2)
      >>> params = cell.init(jax.random.key(0))
      >>> xs = rnn.QKV(*jax.random.normal(jax.random.key(1), (3, 7, 8)))
      >>> cell.unroll(params, cell.initial_carry(params), xs)[1].shape
      (7, 8)
    """
    sizes = head_sizes("mlstm_cell", "size", size, heads)
    check_floating("mlstm_cell: dtype", dtype)
    choice = check_choice("mlstm_cell", method, chunk_size)

    def steps(params, rows, xs):
        del rows
        return cell_steps(params, sizes.heads, *xs)

    vector = Input((sizes.keys,))
    return matrix_cell(
        f"mlstm_cell({size}, heads={heads})",
        QKV(vector, vector, vector),
        lambda key: cell_init(key, sizes, dtype),
        lambda params: first_state(sizes, params.w_i.dtype),
        Parts(
            lambda params, xs: (None, xs),
            steps,
            lambda params, read, rows, xs: cell_output(params, read),
            enter=enter,
            leave=leave,
        ),
        choice,
    )


def head_sizes(name: str, what: str, size: Any, heads: Any) -> Sizes:
    """The sizes of heads that share a size equally, or a ValueError."""
    size = check_size(f"{name}: {what}", size)
    heads = check_size(f"{name}: heads", heads)
    if size % heads:
        raise ValueError(
            f"{name}: {what}: expected a multiple of heads = {heads}, got {size}"
        )
    return Sizes(heads, size // heads, size // heads)


def cell_init(key: jax.Array, sizes: Sizes, dtype: Any) -> MLSTMCellParams:
    """As the authors draw the weights of gates and norm."""
    zeros = jnp.zeros((3 * sizes.keys, sizes.heads), dtype)
    return MLSTMCellParams(
        zeros,
        0.1 * jax.random.normal(key, (sizes.heads,), dtype),
        zeros,
        jnp.linspace(3, 6, sizes.heads, dtype=dtype),
        jnp.zeros(sizes.keys, dtype),
    )


def cell_steps(params: MLSTMCellParams, heads: int, q, k, v) -> Steps:
    """What the recurrence reads, of q, k and v `[T, D]`."""
    rows = jnp.concatenate([q, k, v], axis=1)
    i, f = times(rows, params.w_i, params.w_f)
    i, f = plus(i, params.b_i[None]), plus(f, params.b_f[None])
    like = wide(params.w_i.dtype)
    q, k, v = (by_heads(a.astype(like), heads) for a in (q, k, v))
    return gated_steps(q, k, v, i.astype(like), f.astype(like))


def cell_output(params: MLSTMCellParams, read: Read) -> jax.Array:
    """y `[T, D]`: what is read, with the norm of each head."""
    hs = normalized(read)
    hs = hs - hs.mean(axis=-1, keepdims=True)
    hs = hs * jax.lax.rsqrt(jnp.square(hs).mean(axis=-1, keepdims=True) + 1e-5)
    flat = hs.reshape(hs.shape[0], hs.shape[1] * hs.shape[2])
    return (flat * (1 + params.norm.astype(flat.dtype))[None]).astype(params.norm.dtype)
