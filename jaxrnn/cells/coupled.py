"""The long short-term memory whose input gate is what its forget gate leaves."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.lstm import LSTMCarry, forget_biased
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class CoupledLSTMParams(NamedTuple):
    """Weights of `coupled_lstm`."""

    w_x: jax.Array  # [D, 3H], gates f, g, o
    w_h: jax.Array  # [H, 3H], gates f, g, o, or [heads, H / heads, 3H / heads]
    b: jax.Array | None = None  # [3H]


@recorded
def coupled_lstm(
    input_size: int,
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    **options: Unpack[Options],
) -> Cell:
    """The long short-term memory with a coupled input and forget gate.

        f, g, o = split(x_t w_x + h_{t-1} w_h + b, 3)
        c_t = sigmoid(f) c_{t-1} + (1 - sigmoid(f)) tanh(g)
        h_t = sigmoid(o) tanh(c_t),    y_t = h_t

    So |c_t| never exceeds 1 if it began below. It is TensorFlow's
    `CoupledInputForgetGateLSTMCell` without peepholes. The paper and ONNX's LSTM with
    `input_forget` keep the input gate and take f = 1 - i: with the weights of that
    gate negated, i = 1 - f is this cell.

    Args:
      input_size: D.
      hidden_size: H.
      forget_bias: added to the initial bias of the forget gate, as in `lstm`.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `CoupledLSTMParams` and `LSTMCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Greff et al., "LSTM: A search space odyssey", IEEE Transactions on Neural Networks
      and Learning Systems 28, 2017: the variant CIFG.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.coupled_lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.c.shape, ys.shape
      ((5,), (7, 5))
    """
    input_size = check_size("coupled_lstm: input_size", input_size)
    hidden_size = check_size("coupled_lstm: hidden_size", hidden_size)
    settings = check_options("coupled_lstm", options, hidden_size)
    drawn = forget_biased("coupled_lstm", settings, hidden_size, forget_bias, gate=0)

    def init(key):
        weights, _ = dense_init(key, input_size, hidden_size, 3, drawn)
        return CoupledLSTMParams(**weights)

    return gated(
        f"coupled_lstm({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(LSTMCarry, hidden_size),
        lambda params: (dense(params), ()),
        COUPLED,
        settings=settings,
    )


def _coupled(theta, z, carry):
    return _coupled_forward(theta, z, carry)[0]


def _coupled_forward(theta, z, carry):
    f, g, o = jnp.split(z, 3)
    f, g, o = sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = g + f * (carry.c - g)
    return LSTMCarry(o * jnp.tanh(c), c), (jnp.concatenate([f, g, o]), carry.c)


def _coupled_backward(theta, residuals, h, ct):
    gates, c_prev = residuals
    f, g, o = jnp.split(gates, 3)
    tanh_c = jnp.tanh(g + f * (c_prev - g))
    ct_c = ct.c + ct.h * o * (1 - tanh_c * tanh_c)
    ct_z = jnp.concatenate(
        [
            ct_c * (c_prev - g) * f * (1 - f),
            ct_c * (1 - f) * (1 - g * g),
            ct.h * tanh_c * o * (1 - o),
        ]
    )
    return (), ct_z, LSTMCarry(jnp.zeros_like(h), ct_c * f)


COUPLED = Pointwise(_coupled, _coupled_forward, _coupled_backward, "coupled lstm")
