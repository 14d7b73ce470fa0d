"""Many updates in one program, and the order in which they read the examples."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.checks import (
    as_index,
    check_array,
    check_key,
    check_length,
    check_size,
    known,
)
from jaxrnn.core import is_key
from jaxrnn.train.state import Metrics, TrainState


def make_epoch(
    update: Callable[..., tuple[TrainState, Metrics]],
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Makes one jitted `lax.scan` of many updates over data that is on the device.

    `jax.vmap(epoch, in_axes=(0, None, 0))` trains many seeds at once.

    Args:
      update: from `make_update`.

    Returns:
      `epoch(state, data, order) -> (state, metrics)`: `data` is a tuple of arrays with
      a leading axis of N examples, `order` `[S, B]` says which examples each of S
      updates reads, and the metrics have a leading axis S.

      An index outside 0..N-1 never reads another example. While a program around
      `epoch` is traced, the example is NaN, or the lowest integer, and the numbers of
      the metrics of its update are NaN.

    Raises:
      ValueError: from `epoch`, if the arrays of the data differ in their leading axis,
        the order is not an integer array `[S, B]`, or it has an index outside 0..N-1.
    """

    @jax.jit
    def updates(state: TrainState, data: tuple, order: jax.Array):
        size = check_length("epoch: data", data)

        def body(state, index):
            index = as_index(index)
            fits = (index >= 0) & (index < size)
            batch = jax.tree.map(lambda a: _examples(a, index, fits), data)
            state, metrics = update(state, *batch)
            return state, _or_nothing(fits.all(), metrics)

        return lax.scan(body, state, order)

    def epoch(state: TrainState, data: tuple, order: jax.Array):
        size = check_length("epoch: data", data)
        order = check_array("epoch: order", order)
        if order.ndim != 2 or not jnp.issubdtype(order.dtype, jnp.integer):
            raise ValueError(
                "epoch: order: expected integers of shape [S, B], "
                f"got {order.dtype} {order.shape}"
            )
        index = known(order)
        if index is not None and index.size:
            wrong = index[(index < 0) | (index >= size)]
            if wrong.size:
                raise ValueError(
                    f"epoch: order: expected 0 to {size - 1}, for {size} examples, got "
                    f"{wrong[0]}"
                )
        return updates(state, data, order)

    return epoch


def _examples(a: jax.Array, index: jax.Array, fits: jax.Array) -> jax.Array:
    """Those of the index, and nothing where there is none."""
    rows = a[index]
    return jax.vmap(_or_nothing)(fits, rows)


def _or_nothing(fits: jax.Array, tree: Any) -> Any:
    """The arrays if they fit, else NaN, or the lowest of the integers."""

    def lowest(a):
        if jnp.issubdtype(a.dtype, jnp.inexact):
            return jnp.full_like(a, jnp.nan)
        if jnp.issubdtype(a.dtype, jnp.integer):
            return jnp.full_like(a, jnp.iinfo(a.dtype).min)
        return a if is_key(a) else jnp.zeros_like(a)

    return jax.tree.map(lambda a: jnp.where(fits, a, lowest(a)), tree)


def shuffled(key: jax.Array, num_examples: int, batch_size: int) -> jax.Array:
    """A random order for `make_epoch`: every example once, in full batches.

    Args:
      key: fold the number of the epoch into a key of the run, and each epoch's order
        depends on nothing else.
      num_examples: N.
      batch_size: B; the N mod B examples left over are skipped this time.

    Returns:
      `[N // B, B]` int32.

    Raises:
      ValueError: unless 1 <= B <= N.

    Example:
      >>> import jax, jaxrnn as rnn
      >>> rnn.shuffled(jax.random.key(0), 23, 5).shape
      (4, 5)
    """
    check_key("shuffled: key", key)
    num_examples = check_size("shuffled: num_examples", num_examples)
    batch_size = check_size("shuffled: batch_size", batch_size)
    if batch_size > num_examples:
        raise ValueError(
            f"shuffled: batch_size: expected 1 to {num_examples}, the number of "
            f"examples, got {batch_size}"
        )
    steps = num_examples // batch_size
    order = jax.random.permutation(key, num_examples)[: steps * batch_size]
    return order.reshape(steps, batch_size).astype(jnp.int32)
