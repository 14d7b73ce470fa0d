"""The block of Mamba around its selective scan."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import silu

from jaxrnn.build import leaf
from jaxrnn.cells.convolution import ConvolutionCarry, ConvolutionParams, causal_conv
from jaxrnn.cells.draws import TORCH_LINEAR, delta_bias_init, uniform
from jaxrnn.cells.selective_scan import (
    SelectiveScanCarry,
    SelectiveScanInput,
    SelectiveScanParams,
    selective_scan,
)
from jaxrnn.checks import Input, check_flag, check_floating, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import plus, widened
from jaxrnn.steps import AllSteps, OneStep


class MambaCarry(NamedTuple):
    """Carry of `mamba`."""

    h: jax.Array  # [E, N], in at least single precision
    window: (
        jax.Array
    )  # [W - 1, E], the last inputs of the convolution, the oldest first


class MambaParams(NamedTuple):
    """Weights of `mamba`."""

    w_in: jax.Array  # [D, 2E], u, z
    conv: ConvolutionParams  # w [W, E], b [E] or None
    w_x: jax.Array  # [E, R + 2N], delta, b, c
    w_delta: jax.Array  # [R, E]
    delta_bias: jax.Array  # [E]
    a_log: jax.Array  # [E, N]
    d: jax.Array  # [E]
    w_out: jax.Array  # [E, D]
    b_in: jax.Array | None = None  # [2E]
    b_out: jax.Array | None = None  # [D]


class _Ready(NamedTuple):
    """The params with those of the scan."""

    params: MambaParams
    scan: SelectiveScanParams


@recorded
def mamba(
    size: int,
    *,
    state_size: int = 16,
    width: int = 4,
    inner_size: int | None = None,
    delta_rank: int | None = None,
    conv_bias: bool = True,
    bias: bool = False,
    delta_min: float = 0.001,
    delta_max: float = 0.1,
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """The block of Mamba: a short convolution, the selective scan, and a gate.

        u, z = split(x_t w_in, 2)
        u = silu(causal_conv(u))
        r, b, c = split(u w_x)
        y_t = selective_scan(u, r w_delta, b, c, z) w_out,    a = -exp(a_log)

    It computes what the authors' code computes (state-spaces/mamba, `Mamba`), and
    mambapy's `MambaBlock`. delta_bias is added once, within the softplus. What is
    around the block in a model, `y = x + block(norm(x))`, is not in it.

    Args:
      size: D, of x and y.
      state_size: N, of each channel.
      width: W, of the convolution.
      inner_size: E, channels of the scan; None for 2D.
      delta_rank: R; None for D / 16, rounded up.
      conv_bias: whether the convolution has a bias.
      bias: whether there are b_in and b_out.
      delta_min, delta_max: softplus(delta_bias) begins log-uniformly between them.
      dtype: of the params. The state h has at least single precision.
      method: of the unroll; see `linear_recurrence`.

    Returns:
      A cell from `x` `[D]` to `y` `[D]`, with `MambaParams` and `MambaCarry`. d begins
      as 1, exp(a_log) as 1, ..., N, w_delta uniformly in +-1/sqrt(R), and the other
      matrices in +-1/sqrt(rows).

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces",
      2023.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.mamba(4, state_size=3)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 4)))
      >>> carry.h.shape, carry.window.shape, ys.shape
      ((8, 3), (3, 8), (7, 4))
    """
    size = check_size("mamba: size", size)
    states = check_size("mamba: state_size", state_size)
    width = check_size("mamba: width", width)
    inner = 2 * size if inner_size is None else inner_size
    inner = check_size("mamba: inner_size", inner)
    rank = -(-size // 16) if delta_rank is None else delta_rank
    rank = check_size("mamba: delta_rank", rank)
    conv_bias = check_flag("mamba: conv_bias", conv_bias)
    bias = check_flag("mamba: bias", bias)
    what = "a positive number"
    delta_min = check_number(
        "mamba: delta_min", delta_min, what, lambda d: 0 < d < math.inf
    )
    what = f"at least delta_min = {delta_min}"
    delta_max = check_number(
        "mamba: delta_max", delta_max, what, lambda d: delta_min <= d < math.inf
    )
    check_floating("mamba: dtype", dtype)
    conv = causal_conv(inner, width, bias=conv_bias, dtype=dtype)
    scan = selective_scan(inner, states, dtype=dtype, method=method)

    def init(key):
        keys = iter(jax.random.split(key, 8))

        def matrix(rows, columns):
            return TORCH_LINEAR(next(keys), (rows, columns), dtype)

        def vector(rows, columns):
            return uniform(rows**-0.5)(next(keys), (columns,), dtype)

        n = jnp.arange(1, states + 1, dtype=dtype)
        w_delta = matrix(rank, inner)
        return MambaParams(
            matrix(size, 2 * inner),
            conv.init(next(keys)),
            matrix(inner, rank + 2 * states),
            w_delta,
            delta_bias_init(next(keys), inner, dtype, delta_min, delta_max),
            jnp.repeat(jnp.log(n)[None], inner, axis=0),
            jnp.ones(inner, dtype),
            matrix(inner, size),
            vector(size, 2 * inner) if bias else None,
            vector(inner, size) if bias else None,
        )

    def prepare(params):
        a = -jnp.exp(widened(params.a_log))
        return _Ready(params, SelectiveScanParams(a, params.d, params.delta_bias))

    def initial_carry(params, key=None):
        h = scan.initial_carry(prepare(params).scan).h
        return MambaCarry(h, conv.initial_carry(params.conv).window)

    def run(at: Any, ready: _Ready, carry: MambaCarry, x: jax.Array):
        params = ready.params

        def product(x, w, b=None):
            def rows(xs):
                ys = rows_product(xs, w)
                return ys if b is None else plus(ys, b[None])

            return at.rows(rows, x)

        x = at.blank(x).astype(params.w_in.dtype)
        u, z = jnp.split(product(x, params.w_in, params.b_in), 2, axis=-1)
        convolved, u = at.run(conv, params.conv, ConvolutionCarry(carry.window), u)
        u = silu(u)
        cuts = [rank, rank + states]
        delta, b, c = jnp.split(product(u, params.w_x), cuts, axis=-1)
        delta = product(delta, params.w_delta)
        inputs = SelectiveScanInput(u, delta, b, c, z)
        state, y = at.run(scan, ready.scan, SelectiveScanCarry(carry.h), inputs)
        y = product(y.astype(x.dtype), params.w_out, params.b_out)
        return MambaCarry(state.h, convolved.window), at.blank(y)

    def step(ready, carry, x):
        return run(OneStep(), ready, carry, x)

    def unroll(ready, carry, xs, *, mask=None, reverse=False, starts=None):
        return run(AllSteps(mask, reverse, starts), ready, carry, xs)

    name = f"mamba({size})"
    return leaf(
        name, Input((size,)), init, initial_carry, step, unroll, prepare=prepare
    )
