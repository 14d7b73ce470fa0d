"""What training changes, and what it reports."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrnn.checks import check_array
from jaxrnn.core import owned
from jaxrnn.train.optimizer import begin, check_optimizer


class TrainState(NamedTuple):
    """All that training changes."""

    params: Any
    opt_state: Any
    step: jax.Array  # [], how many updates have been made
    key: jax.Array
    carry: Any = ()  # [B, ...], carried from one batch to the next, if anything is


class Metrics(NamedTuple):
    """What one update reports, in single precision at least."""

    loss: jax.Array  # [], mean over the batch, before the update
    grad_norm: jax.Array  # [], global norm of the gradient, before the optimizer
    aux: Any = ()  # mean over the batch of what the loss returns besides


def train_state(
    params: Any,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    carry: Any = (),
) -> TrainState:
    """The state before the first update.

    It owns its arrays, so that its buffers may be donated. For params in half precision
    the optimizer begins with single precision, in which its moments add up.

    Args:
      params: of the model; for `optax.lookahead` an `optax.LookaheadParams`.
      optimizer: from optax.
      key: for all randomness of the training.
      carry: of each sequence of the batch, for an update with `has_carry`.

    Returns:
      The state.

    Raises:
      ValueError: if a param is no array, if the optimizer is none, or one that
        `make_update` refuses.
    """
    check_optimizer("train_state", optimizer)
    params = jax.tree.map(partial(check_array, "train_state: params"), params)
    opt_state = begin("train_state", optimizer, params)
    step = jnp.zeros((), jnp.int32)
    return TrainState(*owned((params, opt_state, step, key, carry)))
