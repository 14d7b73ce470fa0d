"""The long short-term memory."""

import numbers
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, Settings, check_options
from jaxrnn.checks import Input, check_function, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class LSTMCarry(NamedTuple):
    """Carry of `lstm`."""

    h: jax.Array  # [H]
    c: jax.Array  # [H]


class LSTMParams(NamedTuple):
    """Weights of `lstm`."""

    w_x: jax.Array  # [D, 4H], gates i, f, g, o
    w_h: jax.Array  # [H, 4H], gates i, f, g, o, or [heads, H / heads, 4H / heads]
    b: jax.Array | None = None  # [4H]


@recorded
def lstm(
    input_size: int,
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    gate_activation: Callable[[jax.Array], jax.Array] = sigmoid,
    **options: Unpack[Options],
) -> Cell:
    """The long short-term memory.

        i, f, g, o = split(x_t w_x + h_{t-1} w_h + b, 4)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t),    y_t = h_t

    Args:
      input_size: D.
      hidden_size: H.
      forget_bias: added to the initial bias of the forget gate, so that the cell
        remembers before it has learned to (Jozefowicz, Zaremba and Sutskever, 2015).
      activation: in the place of both tanh, any pointwise function.
      gate_activation: in the place of each sigmoid, such as `jax.nn.hard_sigmoid`.
        With other functions than tanh and sigmoid JAX finds the derivative.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `LSTMParams` and `LSTMCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9,
      1997; with the forget gate of Gers, Schmidhuber and Cummins, 2000.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.c.shape, ys.shape
      ((5,), (7, 5))
    """
    input_size = check_size("lstm: input_size", input_size)
    hidden_size = check_size("lstm: hidden_size", hidden_size)
    check_function("lstm: activation", activation)
    check_function("lstm: gate_activation", gate_activation)
    settings = check_options("lstm", options, hidden_size)
    drawn = forget_biased("lstm", settings, hidden_size, forget_bias)

    def init(key):
        weights, _ = dense_init(key, input_size, hidden_size, 4, drawn)
        return LSTMParams(**weights)

    usual = activation is jnp.tanh and gate_activation is sigmoid
    return gated(
        f"lstm({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(LSTMCarry, hidden_size),
        lambda params: (dense(params), ()),
        LSTM if usual else Pointwise(partial(_other, activation, gate_activation)),
        settings=settings,
    )


def forget_biased(
    name: str, settings: Settings, hidden_size: int, forget_bias: float, gate: int = 1
) -> Settings:
    """The settings with a b_init that adds to the bias of the forget gate."""
    if not isinstance(forget_bias, numbers.Real):
        raise ValueError(f"{name}: forget_bias: expected a number, got {forget_bias!r}")

    def biased(key, shape, dtype):
        b = settings.b_init(key, shape, dtype)
        return b.at[gate * hidden_size : (gate + 1) * hidden_size].add(
            float(forget_bias)
        )

    return settings._replace(b_init=biased)


def _other(activation, gate_activation, theta, z, carry):
    del theta
    i, f, g, o = jnp.split(z, 4)
    c = gate_activation(f) * carry.c + gate_activation(i) * activation(g)
    return LSTMCarry(gate_activation(o) * activation(c), c)


def _lstm(theta, z, carry):
    return _lstm_forward(theta, z, carry)[0]


# The gates lie along the last axis, so that z and the carry may be maps.


def _lstm_forward(theta, z, carry):
    i, f, g, o = jnp.split(z, 4, axis=-1)
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * carry.c + i * g
    # The gates in one array: a kernel puts the gradient of z in its place.
    gates = jnp.concatenate([i, f, g, o], axis=-1)
    return LSTMCarry(o * jnp.tanh(c), c), (gates, carry.c)


def _lstm_backward(theta, residuals, h, ct):
    gates, c_prev = residuals
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    tanh_c = jnp.tanh(f * c_prev + i * g)  # again: reading it would take longer
    ct_c = ct.c + ct.h * o * (1 - tanh_c * tanh_c)
    ct_z = jnp.concatenate(
        [
            ct_c * g * i * (1 - i),
            ct_c * c_prev * f * (1 - f),
            ct_c * i * (1 - g * g),
            ct.h * tanh_c * o * (1 - o),
        ],
        axis=-1,
    )
    return (), ct_z, LSTMCarry(jnp.zeros_like(h), ct_c * f)


LSTM = Pointwise(_lstm, _lstm_forward, _lstm_backward, "lstm")
