"""Scheduled sampling: a cell that reads some of its own outputs in training."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import step_of
from jaxrnn.checks import check_input, check_number, note_keyless
from jaxrnn.core import Cell, recorded
from jaxrnn.decode.choosers import check_logits
from jaxrnn.decode.inputs import TOKEN
from jaxrnn.lift import around


class SamplingCarry(NamedTuple):
    """Carry of `scheduled_sampling`."""

    cell: Any
    token: jax.Array  # [], drawn after the step before
    steps: jax.Array  # [], how many draws there have been
    key: jax.Array | None  # None in evaluation


@recorded
def scheduled_sampling(cell: Cell, rate: float | jax.Array) -> Cell:
    """In training, a cell reads some of its own outputs in place of the given tokens.

        x'_t = a draw from softmax(y_{t-1}), with probability rate, from the second on
        x'_t = x_t, otherwise

    So it learns to go on after its own mistakes. No gradient flows through a draw.
    Without a key, as in evaluation, there are no draws and it is the cell alone.

    Args:
      cell: from tokens to logits, with a `step`.
      rate: in [0, 1]; it may be a traced scalar, to rise in the course of training.

    Returns:
      A cell with the params of `cell`, and `SamplingCarry`.

    Raises:
      ValueError: if the cell has no step or the rate is outside [0, 1].

    References:
      Bengio et al., "Scheduled sampling for sequence prediction with recurrent neural
      networks", NIPS 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.lstm(3, 5), rnn.linear(5, 11))
      >>> params = model.init(jax.random.key(0))
      >>> mixed = rnn.scheduled_sampling(model, 0.25)
      >>> carry = mixed.initial_carry(params, jax.random.key(1))
      >>> mixed.unroll(params, carry, jnp.array([3, 1, 4, 1]))[1].shape
      (4, 11)
    """
    step_of("scheduled_sampling", cell)
    if not isinstance(rate, jax.Array):
        rate = check_number(
            "scheduled_sampling: rate",
            rate,
            "a number in [0, 1]",
            lambda value: 0 <= value <= 1,
        )
    elif rate.shape != () or not jnp.issubdtype(rate.dtype, jnp.floating):
        raise ValueError(
            "scheduled_sampling: rate: expected one floating number, got "
            f"{rate.dtype} {rate.shape}"
        )
    name = f"scheduled_sampling({cell.about.name})"

    def initial_carry(params, key=None):
        token, steps = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        if key is None:
            return SamplingCarry(cell.initial_carry(params), token, steps, None)
        cell_key, key = jax.random.split(key)
        return SamplingCarry(cell.initial_carry(params, cell_key), token, steps, key)

    def draw(at, params, carry, x):
        x = check_input(f"{name}: x", x, TOKEN, ())
        rate_key, draw_key = jax.random.split(
            jax.random.fold_in(carry.key, carry.steps)
        )
        own = jax.random.bernoulli(rate_key, rate) & (carry.steps > 0)
        x = jnp.where(own, carry.token.astype(x.dtype), x)
        inner, y = at.run(cell, params, carry.cell, x)
        logits = lax.stop_gradient(check_logits(name, y))
        token = jax.random.categorical(draw_key, logits).astype(jnp.int32)
        return SamplingCarry(inner, token, carry.steps + 1, carry.key), y

    def run(at, params, carry, xs):
        if not isinstance(carry, SamplingCarry):
            raise ValueError(
                f"{name}: carry: expected SamplingCarry, got {type(carry).__name__}"
            )
        if carry.key is None:
            note_keyless(name)
            inner, ys = at.run(cell, params, carry.cell, xs)
            return carry._replace(cell=inner), ys
        return at.scan(draw, initial_carry, cell.about.prepare(params), carry, xs)

    return around(name, cell, run, initial_carry=initial_carry)
