"""The LSTM and the GRU with dropout of their candidates, which loses no memory."""

from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.gated import dense, gated
from jaxrnn.cells.gru import gru, gru_weights
from jaxrnn.cells.lstm import lstm
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_flag, check_number, check_size, note_keyless
from jaxrnn.core import Cell, recorded
from jaxrnn.layers import DropoutCarry
from jaxrnn.loops.pointwise import Pointwise


class DropoutLSTMCarry(NamedTuple):
    """Carry of `dropout_lstm`."""

    h: jax.Array  # [H]
    c: jax.Array  # [H]
    noise: Any = ()  # `DropoutCarry`, or () in evaluation


class DropoutGRUCarry(NamedTuple):
    """Carry of `dropout_gru`."""

    h: jax.Array  # [H]
    noise: Any = ()  # `DropoutCarry`, or () in evaluation


@recorded
def dropout_lstm(
    input_size: int,
    hidden_size: int,
    rate: float,
    *,
    per_step: bool = True,
    forget_bias: float = 1.0,
    **options: Unpack[Options],
) -> Cell:
    """The LSTM with recurrent dropout without memory loss: of its candidate alone.

        i, f, g, o = split(x_t w_x + h_{t-1} w_h + b, 4)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) m_t tanh(g) / (1 - rate)
        h_t = sigmoid(o) tanh(c_t),    y_t = h_t,    m_t ~ Bernoulli(1 - rate)

    What c_{t-1} holds is never dropped, whatever the number of steps. Without a key it
    is `lstm`, whose weights it has. The paper scales down in evaluation; here training
    scales up, which has the same mean.

    Args:
      input_size: D.
      hidden_size: H.
      rate: in [0, 1), the share of the candidates that is left out.
      per_step: whether each step draws a mask, or one serves the whole sequence.
      forget_bias: see `lstm`.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `LSTMParams` and `DropoutLSTMCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or the rate is outside [0, 1); later, if an
        argument does not fit the cell.

    References:
      Semeniuta, Severyn and Barth, "Recurrent dropout without memory loss", COLING
      2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.dropout_lstm(3, 5, 0.25)
      >>> params = cell.init(jax.random.key(0))
      >>> carry = cell.initial_carry(params, jax.random.key(1))
      >>> cell.unroll(params, carry, jnp.ones((7, 3)))[1].shape
      (7, 5)
    """
    input_size = check_size("dropout_lstm: input_size", input_size)
    hidden_size = check_size("dropout_lstm: hidden_size", hidden_size)
    settings = check_options("dropout_lstm", options, hidden_size)
    plain = lstm(input_size, hidden_size, forget_bias=forget_bias, **options)
    name = f"dropout_lstm({input_size}, {hidden_size}, {rate})"
    dropped = _dropped("dropout_lstm", name, rate, per_step)

    def initial_carry(params, key=None):
        h, c = (jnp.zeros(hidden_size, params.w_x.dtype) for _ in range(2))
        return DropoutLSTMCarry(h, c, _noise(key))

    def part(theta, z, carry):
        del theta
        i, f, g, o = jnp.split(z, 4)
        g, noise = dropped(jnp.tanh(g), carry.noise)
        c = sigmoid(f) * carry.c + sigmoid(i) * g
        return DropoutLSTMCarry(sigmoid(o) * jnp.tanh(c), c, noise)

    return gated(
        name,
        Input((input_size,)),
        plain.init,
        initial_carry,
        lambda params: (dense(params), ()),
        Pointwise(part),
        settings=settings,
    )


@recorded
def dropout_gru(
    input_size: int,
    hidden_size: int,
    rate: float,
    *,
    per_step: bool = True,
    **options: Unpack[Options],
) -> Cell:
    """The GRU with recurrent dropout without memory loss: of its candidate alone.

        r, z, n_x, n_h: what the gates read, as in `gru`
        n = m_t tanh(n_x + sigmoid(r) n_h) / (1 - rate),    m_t ~ Bernoulli(1 - rate)
        h_t = (1 - sigmoid(z)) n + sigmoid(z) h_{t-1},    y_t = h_t

    Without a key it is `gru`, whose weights it has. See `dropout_lstm`.

    Args:
      input_size: D.
      hidden_size: H.
      rate: in [0, 1), the share of the candidates that is left out.
      per_step: whether each step draws a mask, or one serves the whole sequence.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `GRUParams` and `DropoutGRUCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or the rate is outside [0, 1); later, if an
        argument does not fit the cell.

    References:
      Semeniuta, Severyn and Barth, "Recurrent dropout without memory loss", COLING
      2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.dropout_gru(3, 5, 0.25, per_step=False)
      >>> params = cell.init(jax.random.key(0))
      >>> carry = cell.initial_carry(params, jax.random.key(1))
      >>> cell.unroll(params, carry, jnp.ones((7, 3)))[1].shape
      (7, 5)
    """
    input_size = check_size("dropout_gru: input_size", input_size)
    hidden_size = check_size("dropout_gru: hidden_size", hidden_size)
    settings = check_options("dropout_gru", options, hidden_size)
    plain = gru(input_size, hidden_size, **options)
    name = f"dropout_gru({input_size}, {hidden_size}, {rate})"
    dropped = _dropped("dropout_gru", name, rate, per_step)

    def initial_carry(params, key=None):
        h = jnp.zeros(hidden_size, params.w_x.dtype)
        return DropoutGRUCarry(h, _noise(key))

    def part(theta, z, carry):
        del theta
        r, z, n_x, n_h = jnp.split(z, 4)
        n, noise = dropped(jnp.tanh(n_x + sigmoid(r) * n_h), carry.noise)
        return DropoutGRUCarry(n + sigmoid(z) * (carry.h - n), noise)

    return gated(
        name,
        Input((input_size,)),
        plain.init,
        initial_carry,
        gru_weights,
        Pointwise(part),
        settings=settings,
    )


def _noise(key: jax.Array | None) -> Any:
    return () if key is None else DropoutCarry(key, jnp.zeros((), jnp.int32))


def _dropped(kind: str, name: str, rate: float, per_step: bool):
    """Makes (candidate, noise) -> the same after a step."""
    rate = check_number(
        f"{kind}: rate", rate, "a number in [0, 1)", lambda value: 0 <= value < 1
    )
    per_step = check_flag(f"{kind}: per_step", per_step)

    def dropped(g, noise):
        if not noise:
            if rate:
                note_keyless(name)
            return g, noise
        key = jax.random.fold_in(noise.key, noise.step) if per_step else noise.key
        keep = jax.random.bernoulli(key, 1 - rate, g.shape)
        g = jnp.where(keep, g / (1 - rate), jnp.zeros_like(g))
        return g, noise._replace(step=noise.step + 1)

    return dropped
