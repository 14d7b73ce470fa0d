"""Gated linear attention."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import log_sigmoid, silu

from jaxrnn.cells.convolution import ConvolutionParams, convolution_init
from jaxrnn.cells.draws import TORCH_LINEAR, uniform
from jaxrnn.cells.matrix import (
    Parts,
    by_heads,
    check_choice,
    check_heads,
    matrix_cell,
    merged,
    rms_normalized,
    share,
    split_rows,
    times,
)
from jaxrnn.cells.options import Initializer
from jaxrnn.checks import (
    Input,
    check_flag,
    check_function,
    check_number,
    check_size,
)
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.matrix_chunk import Steps
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import plus


class GLAParams(NamedTuple):
    """Weights of `gla`."""

    w_q: jax.Array  # [D, heads K]
    w_k: jax.Array  # [D, heads K]
    w_v: jax.Array  # [D, heads V]
    w_g: jax.Array  # [D, rank], the first factor of the log decay
    w_gk: jax.Array  # [rank, heads K], the second
    b_g: jax.Array  # [heads K]
    norm: jax.Array  # [V]
    w_y: jax.Array  # [heads V, H]
    w_z: jax.Array | None = None  # [D, heads V], of the output gate
    conv: ConvolutionParams | None = None  # of 2 heads K + heads V channels: q, k, v


@recorded
def gla(
    input_size: int,
    hidden_size: int,
    *,
    heads: int = 4,
    key_size: int | None = None,
    value_size: int | None = None,
    rank: int = 16,
    gate_divisor: float = 16.0,
    least_log_decay: float | None = None,
    feature_map: Callable[[jax.Array], jax.Array] | None = None,
    output_gate: bool = True,
    conv_size: int | None = None,
    conv_bias: bool = False,
    w_init: Initializer = TORCH_LINEAR,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """Gated linear attention: a matrix for a state, with a decay for each of its rows.

        q, k, v = x w_q, x w_k, x w_v
        g = log_sigmoid(x w_g w_gk + b_g) / gate_divisor
        S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T,    o_t = S_t^T q_t / sqrt(K)
        y = (norm rms(o) silu(x w_z)) w_y

    for each head, where rms divides by the root of the mean square of a head. With
    `conv_size`, q, k and v go through a causal convolution and silu; with
    `feature_map`, q and k through that.

    Args:
      input_size: D.
      hidden_size: H, of y.
      heads: how many states there are.
      key_size: K of one head; None for H / 2 in all heads together, rounded up.
      value_size: V of one head; None for H in all heads together, rounded up.
      rank: of the product w_g w_gk.
      gate_divisor: brings the decay near to one at the beginning.
      least_log_decay: no log decay is below this; None for no such limit.
      feature_map: of q and of k, any pointwise function, or None.
      output_gate: whether there is a w_z.
      conv_size: how many inputs the convolution reads, or None for no convolution.
      conv_bias: whether the convolution has a bias.
      w_init: a `jax.nn.initializers` function for each matrix. The default is uniform
        in +-1/sqrt(D), as in torch.
      method, chunk_size: see `gla_recurrence`.
      dtype: of the params and of y. The state is in at least float32.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `GLAParams` and `MatrixCarry`.

    Raises:
      ValueError: if an argument of the factory or, later, of the cell does not fit.

    References:
      Yang, Wang, Shen, Panda and Kim, "Gated linear attention transformers with
      hardware-efficient training", ICML 2024, as the layer of
      flash-linear-attention 0.6.0 computes it.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.gla(3, 8, heads=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.s.shape, ys.shape
      ((2, 2, 4), (7, 8))
    """
    input_size = check_size("gla: input_size", input_size)
    hidden_size = check_size("gla: hidden_size", hidden_size)
    heads = check_size("gla: heads", heads)
    key_size = share(0.5, hidden_size, heads) if key_size is None else key_size
    value_size = share(1, hidden_size, heads) if value_size is None else value_size
    sizes = check_heads("gla", heads, key_size, value_size, dtype)
    rank = check_size("gla: rank", rank)
    divisor = check_number(
        "gla: gate_divisor", gate_divisor, "a positive number", lambda value: value > 0
    )
    if least_log_decay is not None:
        least_log_decay = check_number(
            "gla: least_log_decay",
            least_log_decay,
            "a number of at most 0, or None",
            lambda value: value <= 0,
        )
    if feature_map is not None:
        check_function("gla: feature_map", feature_map)
    output_gate = check_flag("gla: output_gate", output_gate)
    if conv_size is not None:
        conv_size = check_size("gla: conv_size", conv_size)
    conv_bias = check_flag("gla: conv_bias", conv_bias)
    check_function("gla: w_init", w_init)
    choice = check_choice("gla", method, chunk_size)
    keys, values = sizes.keys, sizes.values

    def init(key):
        names = "w_q", "w_k", "w_v", "w_g", "w_gk", "b_g", "w_y", "w_z", "conv"
        key = dict(zip(names, jax.random.split(key, len(names)), strict=True))

        def matrix(name, rows, columns):
            return w_init(key[name], (rows, columns), dtype)

        return GLAParams(
            matrix("w_q", input_size, keys),
            matrix("w_k", input_size, keys),
            matrix("w_v", input_size, values),
            matrix("w_g", input_size, rank),
            matrix("w_gk", rank, keys),
            uniform(rank**-0.5)(key["b_g"], (keys,), dtype),
            jnp.ones(sizes.value_size, dtype),
            matrix("w_y", values, hidden_size),
            matrix("w_z", input_size, values) if output_gate else None,
            None
            if conv_size is None
            else convolution_init(
                key["conv"], 2 * keys + values, conv_size, dtype, bias=conv_bias
            ),
        )

    def project(params, xs):
        gates = [] if params.w_z is None else [params.w_z]
        q, k, v, g, *z = times(
            xs, params.w_q, params.w_k, params.w_v, params.w_g, *gates
        )
        return jnp.concatenate([q, k, v], axis=1), (g, *z)

    def steps(params, rows, rest):
        if params.conv is not None:
            rows = silu(rows)
        q, k, v = split_rows(rows, keys, keys, values)
        g = plus(rows_product(rest[0], params.w_gk), params.b_g[None])
        q, k, v, g = (by_heads(a, sizes.heads) for a in (q, k, v, g))
        g = log_sigmoid(g) / divisor
        if least_log_decay is not None:
            g = jnp.maximum(g, jnp.asarray(least_log_decay, g.dtype))
        if feature_map is not None:
            q, k = feature_map(q), feature_map(k)
        return Steps(sizes.key_size**-0.5 * q, k, v, g)

    def output(params, read, rows, rest):
        del rows
        ys = rms_normalized(read.y, params.norm)
        if params.w_z is not None:
            ys = ys * silu(by_heads(rest[1], sizes.heads))
        return merged(ys, params.w_y)

    return matrix_cell(
        f"gla({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        lambda params: sizes.first(params.w_q.dtype),
        Parts(project, steps, output, lambda params: params.conv),
        choice,
    )
