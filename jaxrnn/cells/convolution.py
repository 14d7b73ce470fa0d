"""The causal convolution over time: a cell that carries its last inputs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.build import leaf
from jaxrnn.cells.draws import uniform
from jaxrnn.cells.options import Initializer
from jaxrnn.checks import (
    Input,
    check_flag,
    check_floating,
    check_function,
    check_size,
)
from jaxrnn.core import Cell, blank, recorded
from jaxrnn.loops.recent import recent
from jaxrnn.precision import wide


class ConvolutionParams(NamedTuple):
    """Weights of `causal_conv`."""

    w: jax.Array  # [W, D], the last row for the present input
    b: jax.Array | None = None  # [D]


class ConvolutionCarry(NamedTuple):
    """Carry of `causal_conv`."""

    window: jax.Array  # [W - 1, D], the last inputs, the oldest first


def uniform_of_width(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Uniform in +-1/sqrt(W) for a w `[W, D]`, as torch draws a depthwise kernel."""
    return uniform(shape[0] ** -0.5)(key, shape, dtype)


@recorded
def causal_conv(
    size: int,
    width: int = 4,
    *,
    bias: bool = True,
    w_init: Initializer = uniform_of_width,
    b_init: Initializer | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """A convolution over time, of each channel by itself and of past inputs alone.

        y_t = b + sum over j of w_j x_{t - (W - 1) + j},    j = 0 .. W - 1

    What lies before the sequence, or before a start, is zero. A masked step is no
    step: the window goes on to hold the last valid inputs. All steps are computed at
    once.

    Args:
      size: D, of x and of y.
      width: W, how many inputs one output reads, its own among them.
      bias: whether there is a b.
      w_init: `(key, shape, dtype) -> w`. The default is uniform in +-1/sqrt(W), as
        torch's `Conv1d` with `groups` of one channel has it.
      b_init: the same for b `[D]`. The default, None, has the range of w.
      dtype: of the params and of the carry. Sums are computed in at least float32.

    Returns:
      A cell from `x` `[D]` to `y` `[D]`, with `ConvolutionParams` and
      `ConvolutionCarry`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      The layer "conv4" before the recurrences of Gu and Dao, "Mamba", 2023; Yang et
      al., "DeltaNet", 2024; Beck et al., "xLSTM", 2024.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.causal_conv(1, 2, bias=False)
      >>> params = rnn.ConvolutionParams(jnp.array([[10.0], [1.0]]))
      >>> xs = jnp.array([[1.0], [2.0], [3.0]])
      >>> cell.unroll(params, cell.initial_carry(params), xs)[1].ravel()
      Array([ 1., 12., 23.], dtype=float32)
    """
    size = check_size("causal_conv: size", size)
    width = check_size("causal_conv: width", width)
    bias = check_flag("causal_conv: bias", bias)
    check_function("causal_conv: w_init", w_init)
    if b_init is not None:
        check_function("causal_conv: b_init", b_init)
    check_floating("causal_conv: dtype", dtype)

    def init(key):
        return convolution_init(
            key, size, width, dtype, bias=bias, w_init=w_init, b_init=b_init
        )

    def initial_carry(params, key=None):
        del key
        return ConvolutionCarry(empty_window(params))

    def step(params, carry, x):
        window, y = convolve_one(params, carry.window, x)
        return ConvolutionCarry(window), y

    def unroll(params, carry, xs, **options):
        window, ys = convolve(params, carry.window, xs, **options)
        return ConvolutionCarry(window), ys

    name = f"causal_conv({size}, {width})"
    return leaf(name, Input((size,)), init, initial_carry, step, unroll)


def convolution_init(
    key: jax.Array,
    size: int,
    width: int,
    dtype: Any,
    *,
    bias: bool = True,
    w_init: Initializer = uniform_of_width,
    b_init: Initializer | None = None,
) -> ConvolutionParams:
    """Draws w [W, D] and b [D]."""
    w_key, b_key = jax.random.split(key)
    w, b = w_init(w_key, (width, size), dtype), None
    if bias and b_init is not None:
        b = b_init(b_key, (size,), dtype)
    elif bias:
        b = uniform(width**-0.5)(b_key, (size,), dtype)
    return ConvolutionParams(w, b)


def empty_window(params: ConvolutionParams) -> jax.Array:
    """The window before the first step."""
    width, size = params.w.shape
    return jnp.zeros((width - 1, size), params.w.dtype)


def convolve_one(
    params: ConvolutionParams, window: jax.Array, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One step: the next window, and y `[D]`."""
    rows = jnp.concatenate([window, x.astype(window.dtype)[None]])
    return rows[1:], _plus_bias(params, list(rows))


def convolve(
    params: ConvolutionParams,
    window: jax.Array,
    xs: jax.Array,
    *,
    mask: jax.Array | None = None,
    reverse: bool = False,
    starts: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """All steps at once, equal to the scan of `convolve_one`.

    Returns:
      The window after the last step, and `ys` `[T, D]`.
    """
    xs = blank(mask, xs).astype(window.dtype)
    options: Any = {"mask": mask, "reverse": reverse, "starts": starts}
    window, before = recent(window, xs, jnp.zeros_like(window), **options)
    return window, blank(mask, _plus_bias(params, [*before, xs]))


def _plus_bias(params: ConvolutionParams, taps: list[jax.Array]) -> jax.Array:
    like = wide(params.w.dtype)
    w, b = params.w.astype(like), params.b
    shape = (1,) * (taps[0].ndim - 1) + w.shape[1:]
    y: Any = sum(w[j].reshape(shape) * tap.astype(like) for j, tap in enumerate(taps))
    if b is not None:
        y = y + b.astype(like).reshape(shape)
    return y.astype(params.w.dtype)
