"""The layer around an sLSTM: a convolution before its gates, a norm after it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers, silu

from jaxrnn.build import leaf, step_of
from jaxrnn.cells.convolution import causal_conv
from jaxrnn.cells.gated import gated, zeros_of
from jaxrnn.cells.options import check_heads, check_options
from jaxrnn.cells.slstm import SLSTM, SLSTMCarry, SLSTMParams, check_depth, decay_biased
from jaxrnn.checks import Input, check_flag, check_size
from jaxrnn.core import Cell, blank, recorded
from jaxrnn.loops.mix import additive, heads_product
from jaxrnn.precision import wide


class SLSTMLayerCarry(NamedTuple):
    """Carry of `slstm_layer`."""

    conv: Any  # of `causal_conv`, or ()
    cell: SLSTMCarry


class SLSTMLayerParams(NamedTuple):
    """Weights of `slstm_layer`.

    In `cell` w_x is [4, heads, D / heads, D / heads], gates i, f, z, o, w_h is [heads,
    D / heads, 4D / heads] and b [4D].
    """

    conv: Any  # of `causal_conv`: w [W, D] and b [D]; None for no convolution
    cell: SLSTMParams
    scale: jax.Array | None  # [D], of the norm


@recorded
def slstm_layer(
    size: int,
    heads: int = 4,
    *,
    width: int = 4,
    depth: float = 0.0,
    scale: bool = True,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    unroll: int = 1,
) -> Cell:
    """The sLSTM layer of the xLSTM.

        u_t = silu(causal_conv(x)_t)
        i, f = u_t w_x[i], u_t w_x[f],    z, o = x_t w_x[z], x_t w_x[o]
        h_t = slstm(i, f, z, o plus h_{t-1} w_h + b)      see `slstm`
        y_t = scale (h_t - mean(h_t)) / sqrt(var(h_t) + 1e-5)

    All matrices are block-diagonal, a block for each head, and the norm's mean and
    variance are those of a head. The paper has the convolution for the gates i and f
    alone, as here. In the authors' code the two are crossed over: i is computed by what
    is called `fgate`, f by `igate`; and the norm's weight is stored as scale - 1. Their
    dropout, after the cell, is a `dropout` after this layer.

    Args:
      size: D, of x, of y and of the state.
      heads: a divisor of D.
      width: W, how many inputs the convolution reads; 0 for none, and no silu.
      depth: see `slstm`.
      scale: whether the norm has a scale.
      dtype: of the params and of the carry.
      compute_dtype, unroll: see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[D]`, with `SLSTMLayerParams` and `SLSTMLayerCarry`.
      At first w_h is zero, w_x normal with variance 2 / (5 D), scale one, and b that of
      `slstm`.

    Raises:
      ValueError: if a size is below 1 (a width below 0), heads are no divisor of D, or
        depth is not in 0 to 1; later, if an argument does not fit the cell.

    References:
      Beck et al., "xLSTM: Extended long short-term memory", NeurIPS 2024, appendix A;
      package xlstm 2.0, `sLSTMLayer`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.slstm_layer(8, heads=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 8)))
      >>> ys.shape
      (7, 8)
    """
    size = check_size("slstm_layer: size", size)
    heads = check_heads("slstm_layer", heads, size)
    depth = check_depth("slstm_layer", depth)
    scaled = check_flag("slstm_layer: scale", scale)
    given = {"dtype": dtype, "compute_dtype": compute_dtype, "unroll": unroll}
    settings = check_options("slstm_layer", given)
    settings = decay_biased(settings, size, heads, depth)
    conv = None
    if type(width) is not int or width != 0:
        conv = causal_conv(size, check_size("slstm_layer: width", width), dtype=dtype)
    units = size // heads
    normal = initializers.normal((2 / 5 / size) ** 0.5)

    def init(key):
        conv_key, w_x_key, b_key = jax.random.split(key, 3)
        cell = SLSTMParams(
            normal(w_x_key, (4, heads, units, units), dtype),
            jnp.zeros((heads, units, 4 * units), dtype),
            settings.b_init(b_key, (4 * size,), dtype),
        )
        return SLSTMLayerParams(
            None if conv is None else conv.init(conv_key),
            cell,
            jnp.ones(size, dtype) if scaled else None,
        )

    def of_x(product, w, x):
        # x is what the convolution gives and, after it, what the layer reads.
        gates = jnp.repeat(x.reshape(2, heads, units), 2, axis=0)
        of_head = jax.vmap(product)(
            gates.reshape(-1, units), w.w_x.reshape(-1, units, units)
        )
        return of_head.reshape(-1) + w.b

    def of_h(product, w, h):
        return heads_product(product, h, w.w_h)

    name = f"slstm_layer({size}, {heads})"
    cell = gated(
        name,
        Input((2 * size,)),
        lambda key: init(key).cell,
        zeros_of(SLSTMCarry, size),
        lambda params: (params, ()),
        SLSTM,
        additive(of_x, of_h),
        settings,
    )

    def initial_carry(params, key=None):
        del key
        empty = () if conv is None else conv.initial_carry(params.conv)
        return SLSTMLayerCarry(empty, cell.initial_carry(params.cell))

    def norm(params, h):
        like = wide(h.dtype)
        centred = h.astype(like).reshape(heads, units)
        centred = centred - centred.mean(1, keepdims=True)
        variance = (centred * centred).mean(1, keepdims=True)
        y = (centred * lax.rsqrt(variance + 1e-5)).reshape(-1).astype(h.dtype)
        return y if params.scale is None else params.scale * y

    def step(params, carry, x):
        x = x.astype(params.cell.w_h.dtype)
        of_conv, seen = carry.conv, x
        if conv is not None:
            of_conv, seen = step_of(name, conv)(params.conv, carry.conv, x)
            seen = silu(seen)
        both = jnp.concatenate([seen, x])
        of_cell, h = step_of(name, cell)(params.cell, carry.cell, both)
        return SLSTMLayerCarry(of_conv, of_cell), norm(params, h)

    def unroll_fast(params, carry, xs, *, mask=None, reverse=False, starts=None):
        options = {"mask": mask, "reverse": reverse, "starts": starts}
        xs = blank(mask, xs).astype(params.cell.w_h.dtype)
        of_conv, seen = carry.conv, xs
        if conv is not None:
            of_conv, seen = conv.unroll(params.conv, carry.conv, xs, **options)
            seen = silu(seen)
        both = jnp.concatenate([seen, xs], axis=1)
        of_cell, hs = cell.unroll(params.cell, carry.cell, both, **options)
        ys = jax.vmap(lambda h: norm(params, h))(hs)
        return SLSTMLayerCarry(of_conv, of_cell), blank(mask, ys)

    return leaf(name, Input((size,)), init, initial_carry, step, unroll_fast)
