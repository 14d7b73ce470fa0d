"""Training: from the loss of one example to jitted updates of a whole batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from jaxrnn.checks import (
    as_index,
    check_array,
    check_function,
    check_key,
    check_length,
    check_size,
    known,
)
from jaxrnn.core import is_key
from jaxrnn.means import Weighted
from jaxrnn.precision import narrowed, widened

CARRY = 0x6361_7272  # "carr": of the keys in a carry


class TrainState(NamedTuple):
    """All that training changes."""

    params: Any
    opt_state: Any
    step: jax.Array  # [], how many updates have been made
    key: jax.Array
    carry: Any = ()  # [B, ...], carried from one batch to the next, if anything is


class Metrics(NamedTuple):
    """What one update reports."""

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

    Args:
      params: of the model.
      optimizer: from optax.
      key: for all randomness of the training.
      carry: of each sequence of the batch, for an update with `has_carry`.

    Returns:
      The state.
    """
    _check_optimizer("train_state", optimizer)
    step = jnp.zeros((), jnp.int32)
    return TrainState(params, optimizer.init(params), step, key, carry)


def _check_optimizer(name: str, optimizer: Any) -> None:
    for part in ("init", "update"):
        if not callable(getattr(optimizer, part, None)):
            raise ValueError(
                f"{name}: optimizer: expected one of optax, with init and update, "
                f"got {optimizer!r}"
            )


def make_update(
    loss_fn: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    has_aux: bool = False,
    has_carry: bool = False,
    microbatches: int = 1,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Makes a jitted update for a batch from the loss of one example.

    Args:
      loss_fn: `(params, *example, key) -> loss`, or `-> (loss, aux)`. All examples of a
        batch weigh alike. Where the loss is a `Weighted` they weigh as it says, and so
        it is for each leaf of aux: the mean is that of the whole batch, however many
        microbatches and devices share it.
      optimizer: from optax.
      has_aux: whether the loss returns a pair.
      has_carry: truncated backpropagation through time. The loss is then that of the
        next piece of a long sequence, `(params, carry, *example, key) -> (loss,
        carry)`, or `-> (loss, (carry, aux))`; the carry goes on to the next batch, in
        `state.carry`, and no gradient flows through it. Its random keys do not: each
        piece of each sequence gets new ones, made of the old ones and the key of the
        example, so that dropout draws new masks.
      microbatches: how many equal parts of a batch (of each device's share of it) are
        worked on one after the other, to need the memory of one part only.
      mesh: a mesh, such as `jax.make_mesh((2,), ("batch",))`. Its first axis splits the
        batch into equal shares, and the gradients are averaged; its devices may belong
        to several processes. Over further axes the compiler splits what the layout of
        the params says, such as a large embedding.
        On a CPU, `jax.config.update("jax_num_cpu_devices", 2)` makes two devices of
        its cores, which is faster than one that uses both; there, wait for each update
        with `jax.block_until_ready`, since XLA may deadlock where several are queued.

    Returns:
      `update(state, *batch) -> (state, metrics)`, where each array of the batch has a
      leading axis B. Each example has a key of its own.

    Raises:
      ValueError: if `microbatches` is below 1; from `update`, if the arrays of a batch
        differ in their leading axis or do not divide evenly.

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

    check_function("make_update: loss_fn", loss_fn)
    _check_optimizer("make_update", optimizer)
    microbatches = check_size("make_update: microbatches", microbatches)
    if mesh is not None and not isinstance(mesh, Mesh):
        raise ValueError(f"make_update: mesh: expected a jax.sharding.Mesh, got {mesh}")
    shares = 1 if mesh is None else mesh.devices.shape[0]

    def example_loss(params, carry, example, key):
        carries = (_with_new_keys(carry, key),) if has_carry else ()
        out = loss_fn(params, *carries, *example, key)
        if has_carry:
            loss, rest = out
            return loss, *(rest if has_aux else (rest, ()))
        loss, aux = out if has_aux else (out, ())
        return loss, (), aux

    def batch_loss(params, carry, batch, keys):
        losses, carry, auxs = jax.vmap(example_loss, (None, 0, 0, 0))(
            params, carry, batch, keys
        )
        means = _each(_of_batch, (losses, auxs))
        return _ratio(means[0]), (means, carry)

    def gradients(params, carry, batch, keys):
        (_, ((loss, aux), carry)), grads = jax.value_and_grad(batch_loss, has_aux=True)(
            params, carry, batch, keys
        )
        grads = widened(grads)
        if isinstance(loss, Weighted):  # sums, as the loss is, until all is added up
            grads = jax.tree.map(lambda a: a * loss.weight.astype(a.dtype), grads)
        return widened((loss, aux, grads)), carry

    if microbatches > 1:
        gradients = _accumulated(microbatches, gradients)
    if mesh is not None:
        gradients = _averaged_over(mesh, gradients)

    @jax.jit
    def update(state: TrainState, *batch: Any) -> tuple[TrainState, Metrics]:
        if not isinstance(state, TrainState):
            raise ValueError(
                f"update: state: expected TrainState, got {type(state).__name__}"
            )
        size = check_length("update: batch", batch)
        if has_carry != bool(jax.tree.leaves(state.carry)):
            raise ValueError(
                f"update: state: expected {'a' if has_carry else 'no'} carry, since "
                f"has_carry={has_carry}, got {jax.tree.structure(state.carry)}"
            )
        if has_carry and check_length("update: state.carry", state.carry) != size:
            raise ValueError(
                f"update: state.carry: expected the {size} sequences of the batch, got "
                f"shapes {[a.shape for a in jax.tree.leaves(state.carry)]}"
            )
        if size % (shares * microbatches):
            raise ValueError(
                f"update: batch: expected a multiple of {shares * microbatches} "
                f"({shares} shares of the mesh, {microbatches} microbatches), "
                f"got {size} examples"
            )
        key, examples_key = jax.random.split(state.key)
        keys = jax.random.split(examples_key, size)
        means, carry = gradients(state.params, state.carry, batch, keys)
        loss, aux, grads = means
        if isinstance(loss, Weighted):
            of_all = Weighted(1.0, loss.weight)
            grads = jax.tree.map(lambda a: of_all._replace(value=a).ratio(), grads)
        grad_norm = optax.tree.norm(grads)
        grads = narrowed(grads, state.params)
        loss, aux = _each(_ratio, (loss, aux))
        # Some of optax relies on implicit promotion, which users may have turned off.
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        metrics = Metrics(loss, grad_norm, aux)
        return TrainState(params, opt_state, state.step + 1, key, carry), metrics

    return update


def _each(fun: Callable[[Any], Any], tree: Any) -> Any:
    """Applies a function to the leaves, of which a `Weighted` is one."""
    return jax.tree.map(fun, tree, is_leaf=lambda a: isinstance(a, Weighted))


def _of_batch(leaf: Any) -> Any:
    return leaf.sums() if isinstance(leaf, Weighted) else jnp.mean(leaf, axis=0)


def _ratio(leaf: Any) -> Any:
    return leaf.ratio() if isinstance(leaf, Weighted) else leaf


def _with_new_keys(carry: Any, key: jax.Array) -> Any:
    """The carry with keys made of its own and that of the example."""
    # The loss is given the same key, and may fold a small number into it.
    number = jax.random.bits(jax.random.fold_in(key, CARRY))

    def anew(leaf):
        if not is_key(leaf):
            return leaf
        flat = jax.vmap(jax.random.fold_in, (0, None))(leaf.ravel(), number)
        return flat.reshape(leaf.shape)

    return jax.tree.map(anew, carry)


def _accumulated(microbatches: int, gradients: Callable) -> Callable:
    """The mean over equal parts of the batch, one part at a time."""

    def of_all(params, *inputs):
        parts = jax.tree.map(
            lambda a: a.reshape(microbatches, -1, *a.shape[1:]), inputs
        )
        first, rest = (
            jax.tree.map(lambda a, part=part: a[part], parts)
            for part in (0, slice(1, None))
        )

        def body(total, part):
            means, carry = gradients(params, *part)
            return jax.tree.map(jnp.add, total, means), carry

        means, carry = gradients(params, *first)
        total, carries = lax.scan(body, means, rest)
        carry = jax.tree.map(
            lambda a, rest: jnp.concatenate([a, rest.reshape(-1, *a.shape[1:])]),
            carry,
            carries,
        )
        return jax.tree.map(lambda a: a / microbatches, total), carry

    return of_all


def _averaged_over(mesh: Mesh, gradients: Callable) -> Callable:
    mesh = Mesh(mesh.devices, mesh.axis_names)  # a batch need not be laid out on it
    axis = mesh.axis_names[0]
    whole, share = PartitionSpec(), PartitionSpec(axis)

    def of_share(params, *inputs):
        means, carry = gradients(params, *inputs)
        return lax.pmean(means, axis), carry

    return jax.shard_map(
        of_share,
        mesh=mesh,
        in_specs=(whole, share, share, share),
        out_specs=(whole, share),
        axis_names={axis},
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
