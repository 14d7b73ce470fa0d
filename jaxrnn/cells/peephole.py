"""The long short-term memory whose gates see the memory."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import initializers, sigmoid

from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.lstm import LSTMCarry, forget_biased
from jaxrnn.cells.options import Initializer, Options, check_options
from jaxrnn.checks import Input, check_function, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class PeepholeLSTMParams(NamedTuple):
    """Weights of `peephole_lstm`."""

    w_x: jax.Array  # [D, 4H], gates i, f, g, o
    w_h: jax.Array  # [H, 4H], gates i, f, g, o, or [heads, H / heads, 4H / heads]
    w_c: jax.Array  # [3H], gates i, f, o
    b: jax.Array | None = None  # [4H]


@recorded
def peephole_lstm(
    input_size: int,
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    w_c_init: Initializer = initializers.zeros,
    **options: Unpack[Options],
) -> Cell:
    """The long short-term memory with peepholes: each gate sees its unit's memory.

        i, f, g, o = split(x_t w_x + h_{t-1} w_h + b, 4)
        c_t = sigmoid(f + w_c[f] c_{t-1}) c_{t-1} + sigmoid(i + w_c[i] c_{t-1}) tanh(g)
        h_t = sigmoid(o + w_c[o] c_t) tanh(c_t),    y_t = h_t

    The output gate sees the new memory, the others see the old one. The paper has
    neither a tanh around c_t nor, for its tasks, biases in the cells; this is the form
    of Graves (2013), of ONNX's LSTM with P, and of TensorFlow's `LSTMCell(
    use_peepholes=True)`.

    Args:
      input_size: D.
      hidden_size: H.
      forget_bias: added to the initial bias of the forget gate, as in `lstm`.
      w_c_init: a `jax.nn.initializers` function for w_c; zeros for an `lstm` at first.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `PeepholeLSTMParams` and `LSTMCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Gers, Schraudolph and Schmidhuber, "Learning precise timing with LSTM recurrent
      networks", JMLR 3, 2002. Graves, "Generating sequences with recurrent neural
      networks", arXiv:1308.0850, 2013.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.peephole_lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.c.shape, ys.shape
      ((5,), (7, 5))
    """
    input_size = check_size("peephole_lstm: input_size", input_size)
    hidden_size = check_size("peephole_lstm: hidden_size", hidden_size)
    check_function("peephole_lstm: w_c_init", w_c_init)
    settings = check_options("peephole_lstm", options, hidden_size)
    drawn = forget_biased("peephole_lstm", settings, hidden_size, forget_bias)

    def init(key):
        weights, key = dense_init(key, input_size, hidden_size, 4, drawn)
        w_c = w_c_init(key, (3 * hidden_size,), settings.dtype)
        return PeepholeLSTMParams(**weights, w_c=w_c)

    return gated(
        f"peephole_lstm({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(LSTMCarry, hidden_size),
        lambda params: (dense(params), params.w_c),
        PEEPHOLE,
        settings=settings,
    )


# The gates lie along the last axis, so that z and the carry may be maps.


def _peephole(w_c, z, carry):
    return _peephole_forward(w_c, z, carry)[0]


def _peephole_forward(w_c, z, carry):
    i, f, g, o = jnp.split(z, 4, axis=-1)
    w_i, w_f, w_o = jnp.split(w_c, 3, axis=-1)
    i, f = sigmoid(i + w_i * carry.c), sigmoid(f + w_f * carry.c)
    g = jnp.tanh(g)
    c = f * carry.c + i * g
    o = sigmoid(o + w_o * c)
    gates = jnp.concatenate([i, f, g, o], axis=-1)
    return LSTMCarry(o * jnp.tanh(c), c), (gates, carry.c)


def _peephole_backward(w_c, residuals, h, ct):
    gates, c_prev = residuals
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    w_i, w_f, w_o = jnp.split(w_c, 3, axis=-1)
    c = f * c_prev + i * g
    tanh_c = jnp.tanh(c)
    ct_o = ct.h * tanh_c * o * (1 - o)
    ct_c = ct.c + ct.h * o * (1 - tanh_c * tanh_c) + ct_o * w_o
    ct_i, ct_f = ct_c * g * i * (1 - i), ct_c * c_prev * f * (1 - f)
    ct_g = ct_c * i * (1 - g * g)
    ct_prev = ct_c * f + ct_i * w_i + ct_f * w_f
    return (
        jnp.concatenate([ct_i * c_prev, ct_f * c_prev, ct_o * c], axis=-1),
        jnp.concatenate([ct_i, ct_f, ct_g, ct_o], axis=-1),
        LSTMCarry(jnp.zeros_like(h), ct_prev),
    )


PEEPHOLE = Pointwise(_peephole, _peephole_forward, _peephole_backward, "peephole lstm")
