"""The convolutional long short-term memory, over one to three axes of space."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from jaxrnn.cells.gated import by_gate, gated
from jaxrnn.cells.lstm import LSTM, LSTMCarry, forget_biased
from jaxrnn.cells.options import Initializer, Options, check_options
from jaxrnn.cells.peephole import PEEPHOLE
from jaxrnn.checks import Input, check_flag, check_function, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.mix import additive


class ConvLSTMParams(NamedTuple):
    """Weights of `conv_lstm`; k are the sizes of the kernel, C and H are channels."""

    w_x: jax.Array  # [k..., C, 4H], gates i, f, g, o
    w_h: jax.Array  # [k..., H, 4H], gates i, f, g, o
    b: jax.Array | None = None  # [4H]
    w_c: jax.Array | None = None  # [space..., 3H], gates i, f, o


@recorded
def conv_lstm(
    input_shape: Sequence[int],
    hidden_size: int,
    kernel_size: int | Sequence[int] = 3,
    *,
    peepholes: bool = False,
    forget_bias: float = 1.0,
    w_c_init: Initializer = initializers.zeros,
    **options: Unpack[Options],
) -> Cell:
    """The convolutional long short-term memory.

        i, f, g, o = split(x_t * w_x + h_{t-1} * w_h + b, 4)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t),    y_t = h_t

    where * is a convolution over space, as deep learning has it (the kernel is not
    flipped), with zeros around the map, so that it keeps its size. Channels come last:
    x is `[L, C]`, `[height, width, C]` or `[depth, height, width, C]`, and h and c have
    H channels in the place of C.

    It is keras' `ConvLSTM1D`, `2D` and `3D` with `padding="same"`. The paper has
    peepholes, with a weight for each place; most code, keras' too, has none.

    Args:
      input_shape: of x, one to three sizes of space and then C.
      hidden_size: H, channels of h and c.
      kernel_size: k, one for all axes of space or one for each; odd or even.
      peepholes: whether the gates see the memory, as in `peephole_lstm`: i and f see
        w_c c_{t-1}, o sees w_c c_t.
      forget_bias: added to the initial bias of the forget gate, as in `lstm`.
      w_c_init: a `jax.nn.initializers` function for w_c.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll and heads, which stays 1; see `jaxrnn.cells.Options`. Initializers draw
        each gate's kernel `[k..., C, H]` by itself.

    Returns:
      A cell from `x` `[space..., C]` to `y` `[space..., H]`, with `ConvLSTMParams` and
      an `LSTMCarry` of two such maps.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1, or there are not one to three axes of space, or
        not as many sizes of a kernel; later, if an argument does not fit the cell.

    References:
      Shi et al., "Convolutional LSTM network: A machine learning approach for
      precipitation nowcasting", NeurIPS 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.conv_lstm((8, 6, 3), 5, kernel_size=3)
      >>> params = cell.init(jax.random.key(0))
      >>> xs = jnp.ones((7, 8, 6, 3))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), xs)
      >>> ys.shape
      (7, 8, 6, 5)
    """
    shape = _sizes("input_shape", input_shape)
    if not 2 <= len(shape) <= 4:
        raise ValueError(
            "conv_lstm: input_shape: expected one to three sizes of space and then the "
            f"number of channels, got {input_shape!r}"
        )
    *space, channels = shape
    hidden_size = check_size("conv_lstm: hidden_size", hidden_size)
    kernel = _sizes("kernel_size", kernel_size)
    kernel = kernel * len(space) if isinstance(kernel_size, int) else kernel
    if len(kernel) != len(space):
        raise ValueError(
            f"conv_lstm: kernel_size: expected one size or {len(space)}, one for each "
            f"axis of space, got {kernel_size!r}"
        )
    peepholes = check_flag("conv_lstm: peepholes", peepholes)
    check_function("conv_lstm: w_c_init", w_c_init)
    settings = check_options("conv_lstm", options)
    dtype = settings.dtype
    drawn = forget_biased("conv_lstm", settings, hidden_size, forget_bias)

    def init(key):
        w_x_key, w_h_key, b_key, w_c_key = jax.random.split(key, 4)
        of_x, of_h = (*kernel, channels, hidden_size), (*kernel, *2 * (hidden_size,))
        w_c_shape = *space, 3 * hidden_size
        return ConvLSTMParams(
            by_gate(settings.w_x_init, w_x_key, of_x, 4, dtype),
            by_gate(settings.w_h_init, w_h_key, of_h, 4, dtype),
            drawn.b_init(b_key, (4 * hidden_size,), dtype) if settings.bias else None,
            w_c_init(w_c_key, w_c_shape, dtype) if peepholes else None,
        )

    def initial_carry(params, key=None):
        del key
        maps = (jnp.zeros((*space, hidden_size), params.w_h.dtype) for _ in "hc")
        return LSTMCarry(*maps)

    def split(params):
        return params._replace(w_c=None), () if params.w_c is None else params.w_c

    conv = partial(_convolution, settings.compute_dtype)

    def of_x(product, w, x):
        del product
        z = conv(x, w.w_x)
        return z if w.b is None else z + w.b.reshape(*[1] * len(space), -1)

    def of_h(product, w, h):
        del product
        return conv(h, w.w_h)

    return gated(
        f"conv_lstm({list(shape)}, {hidden_size})",
        Input(shape),
        init,
        initial_carry,
        split,
        PEEPHOLE if peepholes else LSTM,
        additive(of_x, of_h),
        settings,
    )


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    """One size or several, as a tuple."""
    several = value if isinstance(value, Sequence) else (value,)
    return tuple(check_size(f"conv_lstm: {name}", size) for size in several)


def _convolution(low: Any, x: jax.Array, w: jax.Array) -> jax.Array:
    """x `[space..., C]` with a kernel `[k..., C, G]`; operands in a lower dtype."""
    axes = "DHW"[-(x.ndim - 1) :]
    dtype = x.dtype
    if low is not None:
        x, w = x.astype(low), w.astype(low)
    return lax.conv_general_dilated(
        x[None],
        w,
        (1,) * len(axes),
        "SAME",
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        preferred_element_type=dtype,
    )[0]
