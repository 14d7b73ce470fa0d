"""The simple recurrent network of Elman."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_function, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class ElmanCarry(NamedTuple):
    """Carry of `elman`."""

    h: jax.Array  # [H]


class ElmanParams(NamedTuple):
    """Weights of `elman`."""

    w_x: jax.Array  # [D, H]
    w_h: jax.Array  # [H, H], or [heads, H / heads, H / heads]
    b: jax.Array | None = None  # [H]


@recorded
def elman(
    input_size: int,
    hidden_size: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    **options: Unpack[Options],
) -> Cell:
    """The simple recurrent network of Elman.

        h_t = activation(x_t w_x + h_{t-1} w_h + b),    y_t = h_t

    Args:
      input_size: D.
      hidden_size: H.
      activation: `jnp.tanh`, `jax.nn.relu` or any pointwise function.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `ElmanParams` and `ElmanCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.elman(3, 5, activation=jax.nn.relu)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, y = cell.step(params, cell.initial_carry(params), jnp.ones(3))
      >>> y.shape
      (5,)
    """
    input_size = check_size("elman: input_size", input_size)
    hidden_size = check_size("elman: hidden_size", hidden_size)
    check_function("elman: activation", activation)
    settings = check_options("elman", options, hidden_size)

    def init(key):
        weights, _ = dense_init(key, input_size, hidden_size, 1, settings)
        return ElmanParams(**weights)

    return gated(
        f"elman({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(ElmanCarry, hidden_size),
        lambda params: (dense(params), ()),
        KNOWN.get(activation) or Pointwise(partial(_elman, activation)),
        settings=settings,
    )


def _elman(activation, theta, z, carry):
    del theta, carry
    return ElmanCarry(activation(z))


def _tanh_forward(theta, z, carry):
    y = jnp.tanh(z)
    return ElmanCarry(y), y


def _tanh_backward(theta, y, h, ct):
    return (), ct.h * (1 - y * y), ElmanCarry(jnp.zeros_like(h))


def _relu_backward(theta, y, h, ct):
    return (), jnp.where(y > 0, ct.h, 0), ElmanCarry(jnp.zeros_like(h))


def _relu_forward(theta, z, carry):
    y = jax.nn.relu(z)
    return ElmanCarry(y), y


TANH = Pointwise(partial(_elman, jnp.tanh), _tanh_forward, _tanh_backward, "elman tanh")
RELU = Pointwise(
    partial(_elman, jax.nn.relu), _relu_forward, _relu_backward, "elman relu"
)
# Activations with a derivative written by hand.
KNOWN = {jnp.tanh: TANH, jax.nn.relu: RELU}
