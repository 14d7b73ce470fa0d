"""Many updates in one program, and the order in which they read the examples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.checks import check_key, check_length, check_size
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

    Raises:
      ValueError: from `epoch`, if the arrays of the data differ in their leading axis
        or the order is not an integer array `[S, B]`.
    """

    @jax.jit
    def epoch(state: TrainState, data: tuple, order: jax.Array):
        check_length("epoch: data", data)
        order = jnp.asarray(order)
        if order.ndim != 2 or not jnp.issubdtype(order.dtype, jnp.integer):
            raise ValueError(
                "epoch: order: expected integers of shape [S, B], "
                f"got {order.dtype} {order.shape}"
            )
        return lax.scan(
            lambda state, i: update(state, *jax.tree.map(lambda a: a[i], data)),
            state,
            order,
        )

    return epoch


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
