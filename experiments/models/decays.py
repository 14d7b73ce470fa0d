"""Linear cells that differ in one thing: what the decay of their state may be.

    h_t = a_t h_{t-1} + (1 - a_t^2) (x_t w + b),    y_t = h_t

    fixed_decay       a_t = sigmoid(p)             in (0, 1), the same at all steps
    positive_decay    a_t = sigmoid(x_t v + p)     in (0, 1)
    signed_decay      a_t = tanh(x_t v + p)        in (-1, 1)

What is read can change the sign of a state only in the last one, and parity needs that
(Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues",
ICLR 2025).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

import jaxrnn as rnn


class DecayParams(NamedTuple):
    """Weights of a linear cell."""

    w: jax.Array  # [D, H]
    b: jax.Array  # [H]
    p: jax.Array  # [H]
    v: jax.Array | None  # [D, H]; None where the decay is fixed


def decaying(
    input_size: int,
    hidden_size: int,
    decay: Literal["fixed", "positive", "signed"] = "signed",
) -> rnn.Cell:
    """One of the cells above.

    Example:
      >>> cell = decaying(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))[1].shape
      (7, 5)
    """
    squash = jnp.tanh if decay == "signed" else jax.nn.sigmoid
    sizes = input_size, hidden_size

    def init(key):
        w_key, p_key, v_key = jax.random.split(key, 3)
        draw = jax.nn.initializers.lecun_normal()
        low, high = (-1.0, 1.0) if decay == "signed" else (1.0, 5.0)
        p = jax.random.uniform(p_key, (hidden_size,), minval=low, maxval=high)
        v = None if decay == "fixed" else draw(v_key, sizes)
        return DecayParams(draw(w_key, sizes), jnp.zeros(hidden_size), p, v)

    def initial_carry(params, key=None):
        del key
        return rnn.ElmanCarry(jnp.zeros_like(params.b))

    def terms(params, x):
        w, b, p, v = params
        a = squash(p if v is None else x @ v + p)
        return rnn.ElmanCarry(a), rnn.ElmanCarry((1 - a * a) * (x @ w + b))

    name = f"{decay}_decay({input_size}, {hidden_size})"
    return rnn.linear_recurrence(
        *(name, rnn.Input((input_size,)), init, initial_carry, terms),
        lambda params, carry, x: carry.h,
    )


DECAYS = {
    f"{decay}_decay": partial(decaying, decay=decay)
    for decay in ("fixed", "positive", "signed")
}
