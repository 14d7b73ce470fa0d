"""An update of all params, from the loss of one example."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxrnn.checks import check_function, check_length, check_size, noting_keyless
from jaxrnn.core import is_key
from jaxrnn.means import Weighted
from jaxrnn.train.batch import accumulated, averaged_over
from jaxrnn.train.optimizer import advance, check_optimizer, single, trained
from jaxrnn.train.state import Metrics, TrainState

CARRY = 0x6361_7272  # "carr": of the keys in a carry


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
      optimizer: from optax or `optax.contrib`. It is given, if it asks for them, the
        mean loss of the batch (`value`), its gradient (`grad`), and the functions that
        compute both for other params and the same examples and keys (`value_fn`,
        `obj_fn`; `grad_fn`), as line searches do. Params in half precision have
        gradients and an optimizer state in single precision: only the params are
        rounded. For params whose gradient is complex it is conjugated, as optax reads
        it.
      has_aux: whether the loss returns a pair.
      has_carry: truncated backpropagation through time. The loss is then that of the
        next piece of a long sequence, `(params, carry, *example, key) -> (loss,
        carry)`, or `-> (loss, (carry, aux))`; the carry goes on to the next batch, in
        `state.carry`, and no gradient flows through it. Its random keys do not: each
        piece of each sequence gets new ones, made of the old ones and the key of the
        example, so that dropout draws new masks. A carry that was made without a key
        has none: dropout then does nothing, as in evaluation, and a warning says so.
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
        differ in their leading axis or do not divide evenly, the optimizer asks for
        anything else (`dpsgd`: the gradient of each example) or its state was not made
        by `train_state`.

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
    check_optimizer("make_update", optimizer)
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
        loss, aux = _each(_of_batch, single((losses, auxs)))
        return _ratio(loss), (loss, aux, carry)

    def gradients(params, *inputs):
        (_, (loss, aux, carry)), grads = jax.value_and_grad(batch_loss, has_aux=True)(
            params, *inputs
        )
        # That of JAX is the conjugate of the direction of steepest ascent.
        grads = single(jax.tree.map(jnp.conj, grads))
        if isinstance(loss, Weighted):  # a sum, as the loss is, until all parts are in
            grads = jax.tree.map(lambda a: a * loss.weight.astype(a.dtype), grads)
        return (loss, aux, grads), carry

    def value(params, *inputs):
        return batch_loss(params, *inputs)[1][0], ()

    if microbatches > 1:
        gradients = accumulated(microbatches, gradients)
        value = accumulated(microbatches, jax.checkpoint(value))
    if mesh is not None:
        gradients, value = (averaged_over(mesh, f) for f in (gradients, value))

    def value_of_all(params, *inputs):
        return _ratio(value(params, *inputs)[0])

    def gradients_of_all(params, *inputs):
        (loss, aux, grads), carry = gradients(params, *inputs)
        if isinstance(loss, Weighted):
            weight = loss.weight
            grads = jax.tree.map(lambda a: _ratio(Weighted(a, weight)), grads)
        loss, aux = _each(_ratio, (loss, aux))
        return (loss, aux, grads), carry

    def offered(params, loss, grads, inputs):
        """What an optimizer may ask for; its own params may be of more precision."""

        def of(fun):
            def at(others, *_):
                cast = jax.tree.map(lambda a, p: a.astype(p.dtype), others, params)
                return fun(cast, *inputs)

            return at

        value_fn, means_fn = of(value_of_all), of(gradients_of_all)
        return {
            "value": loss,
            "grad": grads,
            "value_fn": value_fn,
            "grad_fn": lambda *args: means_fn(*args)[0][2],
            "obj_fn": value_fn,
        }

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
        params, inputs = trained(state.params), (state.carry, batch, keys)
        with noting_keyless() as keyless:
            (loss, aux, grads), carry = gradients_of_all(params, *inputs)
        if has_carry and keyless:
            warnings.warn(
                f"update: state.carry: {', '.join(sorted(keyless))} does nothing, "
                "since the carry was made without a key: make it by initial_carry("
                "params, key), or give it new keys in the loss by rekeyed",
                stacklevel=2,
            )
        params, opt_state = advance(
            optimizer,
            grads,
            state.opt_state,
            state.params,
            offered(params, loss, grads, inputs),
        )
        metrics = Metrics(loss, optax.tree.norm(grads), aux)
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
