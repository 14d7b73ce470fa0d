"""The short causal convolution, one filter for each channel."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.build import leaf
from jaxrnn.checks import Input, check_flag, check_floating, check_size
from jaxrnn.core import Cell, blank, recorded
from jaxrnn.loops.recent import recent


class CausalConvCarry(NamedTuple):
    """Carry of `causal_conv`."""

    xs: jax.Array  # [W - 1, D], the last inputs, the oldest first


class CausalConvParams(NamedTuple):
    """Weights of `causal_conv`."""

    w: jax.Array  # [W, D], for the oldest input first
    b: jax.Array | None = None  # [D]


@recorded
def causal_conv(
    size: int, width: int = 4, *, bias: bool = True, dtype: Any = jnp.float32
) -> Cell:
    """A convolution over time with one filter for each channel, which sees no future.

        y_t = b + sum_{k=0}^{W-1} w_k x_{t-W+1+k}

    The carry holds the last W - 1 inputs, of the valid steps where there is a mask; it
    begins with zeros, which is padding on the left. Products are elementwise.

    Args:
      size: D.
      width: W, how many inputs an output sees.
      bias: whether there is a b.
      dtype: of the params and of the carry.

    Returns:
      A cell from `x` `[D]` to `y` `[D]`, with `CausalConvParams` and `CausalConvCarry`.
      The weights are drawn uniformly from +-1/sqrt(W), as by torch.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces",
      2023.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.causal_conv(1, 2, bias=False)
      >>> params = rnn.CausalConvParams(jnp.array([[10.0], [1.0]]))
      >>> carry = cell.initial_carry(params)
      >>> xs = jnp.array([[1.0], [2.0], [3.0]])
      >>> cell.unroll(params, carry, xs)[1][:, 0]
      Array([ 1., 12., 23.], dtype=float32)
    """
    size = check_size("causal_conv: size", size)
    width = check_size("causal_conv: width", width)
    bias = check_flag("causal_conv: bias", bias)
    check_floating("causal_conv: dtype", dtype)

    def init(key):
        w_key, b_key = jax.random.split(key)
        bound = width**-0.5
        w = jax.random.uniform(w_key, (width, size), dtype, -bound, bound)
        b = jax.random.uniform(b_key, (size,), dtype, -bound, bound)
        return CausalConvParams(w, b if bias else None)

    def initial_carry(params, key=None):
        return CausalConvCarry(jnp.zeros((width - 1, size), params.w.dtype))

    def step(params, carry, x):
        x = x.astype(params.w.dtype)
        xs = jnp.concatenate([carry.xs, x[None]])
        return CausalConvCarry(xs[1:]), _filtered(params, xs)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        xs = blank(mask, xs).astype(params.w.dtype)
        options = {"mask": mask, "reverse": reverse, "starts": starts}
        after, before = recent(carry.xs, xs, initial_carry(params).xs, **options)
        ys = jax.vmap(lambda *lags: _filtered(params, lags))(*before, xs)
        return CausalConvCarry(after), blank(mask, ys)

    name = f"causal_conv({size}, {width})"
    return leaf(name, Input((size,)), init, initial_carry, step, unroll)


def _filtered(params: CausalConvParams, xs: Any) -> jax.Array:
    y = sum(w * x for w, x in zip(params.w, xs, strict=True))
    return y if params.b is None else y + params.b
