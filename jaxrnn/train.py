"""Training: from the loss of one example to jitted updates of a whole batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from jaxrnn.core import check_length, check_size


class TrainState(NamedTuple):
    """All that training changes."""

    params: Any
    opt_state: Any
    step: jax.Array  # [], how many updates have been made
    key: jax.Array


class Metrics(NamedTuple):
    """What one update reports."""

    loss: jax.Array  # [], mean over the batch, before the update
    grad_norm: jax.Array  # [], global norm of the gradient, before the optimizer
    aux: Any = ()  # mean over the batch of what the loss returns besides


def train_state(
    params: Any, optimizer: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """The state before the first update.

    Args:
      params: of the model.
      optimizer: from optax.
      key: for all randomness of the training.

    Returns:
      The state.
    """
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), key)


def make_update(
    loss_fn: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    has_aux: bool = False,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Makes a jitted update for a batch from the loss of one example.

    Args:
      loss_fn: `(params, *example, key) -> loss`, or `-> (loss, aux)`.
      optimizer: from optax.
      has_aux: whether the loss returns a pair.
      mesh: a mesh with one axis, such as `jax.make_mesh((2,), ("batch",))`. Each of its
        devices works on an equal share of the batch, and the gradients are averaged.
        On a CPU, `jax.config.update("jax_num_cpu_devices", 2)` makes two devices of
        its cores, which is faster than one that uses both; there, wait for each update
        with `jax.block_until_ready`, since XLA may deadlock where several are queued.

    Returns:
      `update(state, *batch) -> (state, metrics)`, where each array of the batch has a
      leading axis B. Each example has a key of its own.

    Raises:
      ValueError: if the mesh has more than one axis; from `update`, if the arrays of a
        batch differ in their leading axis or do not divide evenly over the mesh.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn, optax
      >>> model = rnn.chain(rnn.elman(3, 5), rnn.linear(5, 2))
      >>> def loss_fn(params, xs, label, key):
      ...     carry = model.initial_carry(params, key)
      ...     _, logits = model.unroll(params, carry, xs)
      ...     return rnn.cross_entropy(rnn.last(logits), label)
      >>> optimizer = optax.sgd(0.1)
      >>> update = rnn.make_update(loss_fn, optimizer)
      >>> key = jax.random.key(0)
      >>> state = rnn.train_state(model.init(key), optimizer, key)
      >>> state, metrics = update(state, jnp.ones((11, 7, 3)), jnp.zeros(11, int))
      >>> int(state.step), metrics.loss.shape
      (1, ())
    """

    if mesh is not None and len(mesh.axis_names) != 1:
        raise ValueError(f"make_update: mesh: expected one axis, got {mesh.axis_names}")

    def example_loss(params, example, key):
        out = loss_fn(params, *example, key)
        return out if has_aux else (out, ())

    def batch_loss(params, batch, keys):
        outs = jax.vmap(example_loss, (None, 0, 0))(params, batch, keys)
        loss, aux = jax.tree.map(lambda a: jnp.mean(a, axis=0), outs)
        return loss, aux

    gradients = jax.value_and_grad(batch_loss, has_aux=True)
    if mesh is not None:
        gradients = _averaged_over(mesh, gradients)

    @jax.jit
    def update(state: TrainState, *batch: Any) -> tuple[TrainState, Metrics]:
        size = check_length("update: batch", batch)
        if mesh is not None and size % mesh.size:
            raise ValueError(
                f"update: batch: expected a multiple of the {mesh.size} devices of the "
                f"mesh, got {size} examples"
            )
        key, examples_key = jax.random.split(state.key)
        keys = jax.random.split(examples_key, size)
        (loss, aux), grads = gradients(state.params, batch, keys)
        # Some of optax relies on implicit promotion, which users may have turned off.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        metrics = Metrics(loss, optax.tree.norm(grads), aux)
        return TrainState(params, opt_state, state.step + 1, key), metrics

    return update


def _averaged_over(mesh: Mesh, gradients: Callable) -> Callable:
    mesh = Mesh(mesh.devices, mesh.axis_names)  # a batch need not be laid out on it
    (axis,) = mesh.axis_names
    whole, share = PartitionSpec(), PartitionSpec(axis)

    def of_share(params, batch, keys):
        return lax.pmean(gradients(params, batch, keys), axis)

    return jax.shard_map(
        of_share,
        mesh=mesh,
        in_specs=(whole, share, share),
        out_specs=whole,
        check_vma=False,  # with it, JAX would sum gradients that are averaged here
    )


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
    batch_size = check_size("shuffled: batch_size", batch_size)
    if batch_size > num_examples:
        raise ValueError(
            f"shuffled: batch_size: expected 1 to {num_examples}, the number of "
            f"examples, got {batch_size}"
        )
    steps = num_examples // batch_size
    order = jax.random.permutation(key, num_examples)[: steps * batch_size]
    return order.reshape(steps, batch_size).astype(jnp.int32)
