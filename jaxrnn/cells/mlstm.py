"""The layer around the mLSTM."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import silu

from jaxrnn.cells.convolution import ConvolutionParams, convolution_init
from jaxrnn.cells.matrix import Parts, check_choice, matrix_cell, split_rows
from jaxrnn.cells.mlstm_cell import (
    MLSTMCellParams,
    cell_init,
    cell_output,
    cell_steps,
    head_sizes,
)
from jaxrnn.cells.mlstm_recurrence import enter, first_state, leave
from jaxrnn.checks import Input, check_floating, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.rows import rows_product


class MLSTMParams(NamedTuple):
    """Weights of `mlstm`. E is the inner size."""

    w_x: jax.Array  # [D, 2E], of the inner x and of the output gate
    conv: ConvolutionParams  # of E channels
    w_q: jax.Array  # [blocks, E / blocks, E / blocks]
    w_k: jax.Array  # [blocks, E / blocks, E / blocks]
    w_v: jax.Array  # [blocks, E / blocks, E / blocks]
    cell: MLSTMCellParams
    skip: jax.Array  # [E]
    w_y: jax.Array  # [E, H]


@recorded
def mlstm(
    input_size: int,
    hidden_size: int,
    *,
    heads: int = 4,
    inner_size: int | None = None,
    block_size: int = 4,
    conv_size: int = 4,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """The mLSTM layer: an LSTM with a matrix for a memory and with exponential gates.

        u, z = split(x w_x, 2),    c = silu(conv(u))
        q, k, v = c w_q, c w_k, u w_v    with block-diagonal matrices
        o = mlstm_cell(q, k, v)
        y = ((o + skip c) silu(z)) w_y

    Args:
      input_size: D.
      hidden_size: H, of y.
      heads: how many memories there are.
      inner_size: E, of u; None for twice H, rounded up to a multiple of 64.
      block_size: of the blocks of w_q, w_k and w_v.
      conv_size: how many inputs the convolution reads.
      method, chunk_size: see `mlstm_recurrence`.
      dtype: of the params and of y. The carry is in at least float32.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `MLSTMParams` and `MLSTMCarry`.

    Raises:
      ValueError: if heads or block_size do not divide inner_size; if an argument of
        the factory or, later, of the cell does not fit.

    References:
      Beck et al., "xLSTM: extended long short-term memory", NeurIPS 2024, as
      `mLSTMLayer` of xlstm 2.0.6 computes it, with its first weights.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.mlstm(3, 8, heads=2, inner_size=16)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.c.shape, ys.shape
      ((2, 8, 8), (7, 8))
    """
    input_size = check_size("mlstm: input_size", input_size)
    hidden_size = check_size("mlstm: hidden_size", hidden_size)
    if inner_size is None:
        inner_size = -(-2 * hidden_size // 64) * 64
    sizes = head_sizes("mlstm", "inner_size", inner_size, heads)
    block_size = check_size("mlstm: block_size", block_size)
    if inner_size % block_size:
        raise ValueError(
            f"mlstm: inner_size: expected a multiple of block_size = {block_size}, "
            f"got {inner_size}"
        )
    conv_size = check_size("mlstm: conv_size", conv_size)
    check_floating("mlstm: dtype", dtype)
    choice = check_choice("mlstm", method, chunk_size)
    blocks = inner_size // block_size

    def init(key):
        x_key, conv_key, q_key, k_key, v_key, cell_key, y_key = jax.random.split(key, 7)

        def normal(key, std, *shape):
            return jnp.asarray(std, dtype) * jax.random.normal(key, shape, dtype)

        small = (2 / (5 * input_size)) ** 0.5
        square = blocks, block_size, block_size
        return MLSTMParams(
            normal(x_key, small, input_size, 2 * inner_size),
            convolution_init(conv_key, inner_size, conv_size, dtype),
            normal(q_key, small, *square),
            normal(k_key, small, *square),
            normal(v_key, small, *square),
            cell_init(cell_key, sizes, dtype),
            jnp.ones(inner_size, dtype),
            normal(y_key, 2 * input_size**-0.5, inner_size, hidden_size),
        )

    def project(params, xs):
        rows = rows_product(xs.astype(params.w_x.dtype), params.w_x)
        u, z = split_rows(rows, inner_size, inner_size)
        return u, (u, z)

    def steps(params, rows, rest):
        c = silu(rows)
        q, k, v = c, c, rest[0]
        pairs = (q, params.w_q), (k, params.w_k), (v, params.w_v)
        return cell_steps(params.cell, sizes.heads, *(_by_blocks(*p) for p in pairs))

    def output(params, read, rows, rest):
        os = cell_output(params.cell, read)
        os = os + params.skip[None] * silu(rows)
        return rows_product(os * silu(rest[1]), params.w_y)

    return matrix_cell(
        f"mlstm({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        lambda params: first_state(sizes, params.w_x.dtype),
        Parts(project, steps, output, lambda params: params.conv, enter, leave),
        choice,
    )


def _by_blocks(rows: jax.Array, w: jax.Array) -> jax.Array:
    """`[T, E]` times a block-diagonal matrix, from `[blocks, in, out]`."""
    length, size = rows.shape
    rows = rows.reshape(length, w.shape[0], w.shape[1])
    return jnp.einsum("tbi,bio->tbo", rows, w).reshape(length, size)
