"""Training: updates, epochs, orders, many seeds, and losses that fall."""

from functools import cache, partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from battery import D, H, T, V, assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxrnn as rnn

N, BATCH, CLASSES = 23, 5, 2
KEY = jax.random.key(7)
MODEL = rnn.chain(rnn.elman(D, H), rnn.dropout(0.2), rnn.linear(H, CLASSES))


def sign_data():
    """Whether the first input of the sequence is positive: a thing to remember."""
    xs = np.random.default_rng(0).normal(size=(N, T, D)).astype(np.float32)
    return jnp.asarray(xs), jnp.asarray(xs[:, 0, 0] > 0).astype(jnp.int32)


def loss_fn(params, xs, label, key):
    carry = MODEL.initial_carry(params, key)
    _, logits = MODEL.unroll(params, carry, xs)
    return rnn.cross_entropy(rnn.last(logits), label)


@cache
def initial_params():
    return jax.jit(MODEL.init)(KEY)


def tiny_loss(params, x, key):
    del key
    return jnp.vdot(params, x) ** 2


def start(optimizer):
    return rnn.train_state(initial_params(), optimizer, KEY)


CLIPPED = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02))
UPDATE = rnn.make_update(loss_fn, CLIPPED)
EPOCH = rnn.make_epoch(UPDATE)


def test_one_trace_for_all_updates():
    traced = chex.assert_max_traces(tiny_loss, n=1)
    update = rnn.make_update(traced, CLIPPED)
    state = rnn.train_state(jnp.ones(D), CLIPPED, KEY)
    for step in range(3):
        state, _ = update(state, jnp.full((N, D), step))
    assert state.step == 3


def test_update_is_the_mean_over_the_batch():
    """The batch's gradient is the mean of those of its examples, each with its key."""
    optimizer, (xs, labels) = optax.sgd(1.0), sign_data()
    batch = xs[:BATCH], labels[:BATCH]
    state = start(optimizer)
    after, metrics = rnn.make_update(loss_fn, optimizer)(state, *batch)

    _, examples_key = jax.random.split(state.key)
    keys = jax.random.split(examples_key, BATCH)
    one = jax.jit(jax.value_and_grad(loss_fn))
    losses, gradients = zip(
        *(one(state.params, *example) for example in zip(*batch, keys, strict=True)),
        strict=True,
    )
    mean = jax.tree.map(lambda *g: sum(g) / BATCH, *gradients)
    expected = jax.tree.map(jnp.subtract, state.params, mean)
    assert_close(after.params, expected, 1e-5)
    assert_close(metrics.loss, jnp.stack(losses).mean(), 1e-5)
    assert_close(metrics.grad_norm, optax.tree.norm(mean), 1e-5)


def test_update_split_over_a_mesh():
    """Two devices, half of the batch each, and the same keys for the same examples."""
    mesh = jax.make_mesh((2,), ("batch",))
    update = rnn.make_update(loss_fn, CLIPPED, mesh=mesh)
    xs, labels = sign_data()
    batch = xs[:6], labels[:6]
    assert_close(update(start(CLIPPED), *batch), UPDATE(start(CLIPPED), *batch), 1e-5)

    order = jnp.arange(2 * 6).reshape(2, 6)
    epoch = rnn.make_epoch(update)
    args = start(CLIPPED), (xs, labels), order
    assert_close(epoch(*args), EPOCH(*args), 1e-5)


@pytest.mark.parametrize("mesh", [None, jax.make_mesh((2,), ("batch",))])
def test_microbatches_give_the_update_of_the_whole_batch(mesh):
    """The same keys for the same examples, and the aux of all."""

    def with_aux(params, xs, label, key):
        return loss_fn(params, xs, label, key), {"label": label}

    make = partial(rnn.make_update, with_aux, CLIPPED, has_aux=True)
    xs, labels = sign_data()
    batch = xs[:12], labels[:12]
    whole = make()(start(CLIPPED), *batch)
    for microbatches in (2, 3, 6):
        update = make(microbatches=microbatches, mesh=mesh)
        assert_close(update(start(CLIPPED), *batch), whole, 1e-5)


def test_microbatches_need_the_memory_of_one():
    model = rnn.chain(rnn.lstm(D, 61), rnn.linear(61, 2))

    def loss_fn(params, xs, key):
        carry = model.initial_carry(params, key)
        return jnp.sum(model.unroll(params, carry, xs)[1] ** 2)

    optimizer = optax.sgd(0.1)
    state = rnn.train_state(model.init(KEY), optimizer, KEY)
    xs = jnp.ones((32, 97, D))

    def temporaries(n):
        update = jax.jit(rnn.make_update(loss_fn, optimizer, microbatches=n))
        found: Any = update.lower(state, xs).compile().memory_analysis()
        return found.temp_size_in_bytes

    assert temporaries(8) < temporaries(1) / 4


@pytest.mark.parametrize(
    ("microbatches", "mesh"), [(1, None), (2, jax.make_mesh((2,), ("batch",)))]
)
def test_truncated_backpropagation_carries_on(mesh, microbatches):
    """Piece by piece as a loop over sequences would, written out here."""
    cell = rnn.chain(rnn.lstm(D, H), rnn.linear(H, 1))
    params = cell.init(KEY)
    carries = jax.tree.map(
        lambda a: jnp.zeros((8, *a.shape)), cell.initial_carry(params)
    )
    xs = jax.random.normal(KEY, (8, 2 * T, D))

    def loss_fn(params, carry, xs, key):
        del key
        carry, ys = cell.unroll(params, carry, xs)
        return jnp.mean((ys - 1) ** 2), (carry, {"mean": jnp.mean(ys)})

    optimizer = optax.sgd(0.1)
    update = rnn.make_update(
        loss_fn,
        optimizer,
        has_aux=True,
        has_carry=True,
        mesh=mesh,
        microbatches=microbatches,
    )
    state = rnn.train_state(params, optimizer, KEY, carries)
    for start in range(0, 2 * T, T):
        piece = xs[:, start : start + T]
        state, metrics = update(state, piece)

        def mean_loss(params, carries=carries, piece=piece):
            found = [
                loss_fn(params, jax.tree.map(lambda a, i=i: a[i], carries), x, KEY)
                for i, x in enumerate(piece)
            ]
            losses, rest = zip(*found, strict=True)
            return sum(losses) / 8, [carry for carry, _ in rest]

        (loss, rest), grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
        carries = jax.tree.map(lambda *a: jnp.stack(a), *rest)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        assert_close(metrics.loss, loss, 1e-5)
        assert_close(state.carry, carries, 1e-5)
        assert_close(state.params, params, 1e-5)


MESH = jax.make_mesh((2,), ("batch",))


class Keyed(NamedTuple):
    """A carry with keys of two kinds, and a memory."""

    key: jax.Array
    more: jax.Array  # [3] keys
    h: jax.Array


def keyed_carries(size):
    keys = jax.random.split(KEY, size)
    more = jax.vmap(
        lambda key: jax.random.split(
            jax.random.wrap_key_data(jnp.tile(jax.random.key_data(key), 2), impl="rbg"),
            3,
        )
    )(keys)
    return Keyed(keys, more, jnp.zeros(size))


def all_bits(keys):
    """Of an array of keys, as a list of tuples."""
    return [tuple(row) for row in np.asarray(jax.random.key_data(keys.ravel()))]


@pytest.mark.parametrize(
    ("microbatches", "mesh"), [(1, None), (2, None), (2, MESH)], ids=str
)
def test_the_keys_of_a_carry_are_new_for_each_update_and_example(microbatches, mesh):
    """The others stay, and so does the key that the loss is given."""

    def loss_fn(params, carry, x, key):
        return jnp.sum(params) * x, (carry._replace(h=carry.h + x), key)

    def keys_seen(params, carry, x, key):
        loss, (carry, key) = loss_fn(params, carry, x, key)
        return loss, (carry, jax.random.uniform(key))

    optimizer = optax.sgd(0.1)
    options: Any = {"microbatches": microbatches, "mesh": mesh}
    update = rnn.make_update(
        keys_seen, optimizer, has_carry=True, has_aux=True, **options
    )
    carries = [keyed_carries(8)]
    state = rnn.train_state(jnp.ones(D), optimizer, KEY, carries[0])
    for _ in range(3):
        _, examples_key = jax.random.split(state.key)
        drawn = jax.vmap(jax.random.uniform)(jax.random.split(examples_key, 8))
        state, metrics = update(state, jnp.arange(8.0))
        carries.append(state.carry)
        assert_close(metrics.aux, drawn.mean(), 1e-6)
    for field, count in (("key", 8), ("more", 24)):
        keys = [getattr(carry, field) for carry in carries]
        assert {key.dtype for key in keys} == {keys[0].dtype}
        found = [bits for key in keys for bits in all_bits(key)]
        assert len(set(found)) == len(found) == 4 * count
    assert_close(state.carry.h, 3 * jnp.arange(8.0), 1e-6)


def test_dropout_draws_new_masks_for_each_piece():
    model = rnn.chain(rnn.embedding(V, 61), rnn.dropout(0.5), rnn.linear(61, V))
    params = model.init(KEY)

    def loss_fn(params, carry, tokens, key):
        carry, logits = model.unroll(params, carry, tokens)
        return jnp.mean(logits**2), carry

    optimizer = optax.sgd(0.0)
    update = rnn.make_update(loss_fn, optimizer, has_carry=True)
    start = jax.vmap(lambda key: model.initial_carry(params, key))
    state = rnn.train_state(params, optimizer, KEY, start(jax.random.split(KEY, 2)))
    losses = set()
    for _ in range(4):
        state, metrics = update(state, jnp.ones((2, T), int))
        losses.add(metrics.loss.item())
    assert len(losses) == 4


class NoiseCarry(NamedTuple):
    """Carry of `noise`: a key, or None in evaluation."""

    key: jax.Array | None
    h: jax.Array


def noise():
    """A cell of a user's own that adds the same noise to each step of a sequence."""

    def initial_carry(params, key=None):
        return NoiseCarry(key, jnp.zeros(()))

    def step(params, carry, x):
        if carry.key is None:
            return carry, x
        return carry, x + jax.random.normal(carry.key, x.shape)

    unroll = rnn.scan_unroll(step, initial_carry)
    return rnn.Cell(lambda key: (), initial_carry, step, unroll)


WIDE = 31  # units, so that no two masks are alike
CORE = rnn.chain(rnn.dropout(0.5), rnn.gru(WIDE, WIDE))
STOCHASTIC = {
    "dropout": rnn.dropout(0.5),
    "dropout per step": rnn.dropout(0.5, per_step=True),
    "chain": rnn.chain(rnn.gru(WIDE, WIDE), rnn.dropout(0.5)),
    "residual": rnn.residual(rnn.dropout(0.5)),
    "remat": rnn.remat(CORE),
    "starting": rnn.starting(CORE, ((), rnn.GRUCarry(jnp.ones(WIDE)))),
    "learned start": rnn.chain(
        rnn.learned_carry(rnn.gru(WIDE, WIDE)), rnn.dropout(0.5)
    ),
    "input feeding": rnn.input_feeding(
        rnn.chain(rnn.dropout(0.5), rnn.gru(2 * WIDE, WIDE)), WIDE
    ),
    "bidirectional": rnn.bidirectional(CORE, rnn.gru(WIDE, WIDE)),
    "a user's own": noise(),
}
TOKENS_AND_NOISE = {
    name: rnn.chain(rnn.embedding(V, WIDE), cell, rnn.linear(size, V))
    for name, cell in STOCHASTIC.items()
    for size in [2 * WIDE if name == "bidirectional" else WIDE]
}
TOKENS_AND_NOISE["tied embedding"] = rnn.tied_embedding(V, WIDE, CORE)
TOKENS_AND_NOISE["scheduled sampling"] = rnn.scheduled_sampling(
    rnn.chain(rnn.embedding(V, WIDE), rnn.gru(WIDE, WIDE), rnn.linear(WIDE, V)), 0.5
)


def truncated(name, **options):
    """An update that leaves the params as they are, and its first state."""
    model = TOKENS_AND_NOISE[name]

    def loss_fn(params, carry, tokens, key):
        carry, logits = model.unroll(params, carry, tokens)
        return jnp.mean(logits**2), carry

    optimizer = optax.sgd(0.0)
    params = model.init(KEY)

    def start(key):
        return model.initial_carry(params, key)

    return (
        rnn.make_update(loss_fn, optimizer, has_carry=True, **options),
        lambda carry: rnn.train_state(params, optimizer, KEY, carry),
        start,
    )


QUICK = {"chain", "scheduled sampling", "a user's own"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in TOKENS_AND_NOISE
    ],
)
def test_what_is_random_in_a_carry_is_drawn_anew(name):
    """In an epoch of two seeds on a mesh: from the second piece on, no loss is one that
    was before, and a carry begun with the same keys gives the same."""
    update, begin, start = truncated(name, mesh=MESH)
    state = begin(jax.vmap(start)(jax.random.split(KEY, 2)))
    states = jax.tree.map(lambda a: jnp.stack([a, a]), state)
    states = states._replace(key=jax.random.split(KEY))
    tokens = jnp.ones((2, 2 * T), int)
    order = jnp.tile(jnp.arange(2), (3, 1))
    epoch = jax.vmap(rnn.make_epoch(update), (0, None, None))
    after, metrics = epoch(states, (tokens,), order)
    losses = metrics.loss
    if name in ("dropout", "dropout per step", "residual", "a user's own"):
        assert len(set(losses.ravel().tolist())) == 6  # there is no memory beside
    assert jnp.abs(losses[0] - losses[1]).min() > 0
    kinds = jax.tree.map(lambda a: (a.shape, a.dtype), (states.carry, after.carry))
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("name", ["chain", "scheduled sampling"])
def test_a_carry_without_a_key_is_told_of(name):
    update, begin, start = truncated(name)
    state = begin(jax.vmap(lambda i: start(None))(jnp.arange(2)))
    with pytest.warns(UserWarning, match="does nothing, since the carry was made with"):
        update(state, jnp.ones((2, T), int))


def test_no_word_where_the_loss_gives_new_keys():
    model = TOKENS_AND_NOISE["chain"]

    def loss_fn(params, carry, tokens, key):
        carry = rnn.rekeyed(model, params, carry, key)
        carry, logits = model.unroll(params, carry, tokens)
        return jnp.mean(logits**2), rnn.rekeyed(model, params, carry)

    optimizer = optax.sgd(0.0)
    params = model.init(KEY)
    carry = jax.vmap(lambda i: model.initial_carry(params))(jnp.arange(2))
    update = rnn.make_update(loss_fn, optimizer, has_carry=True)
    state = rnn.train_state(params, optimizer, KEY, carry)
    state, first = update(state, jnp.ones((2, T), int))
    assert first.loss != update(state, jnp.ones((2, T), int))[1].loss


def test_an_embedding_split_over_a_second_axis_of_the_mesh():
    """Each device has half of the table and half of the batch, and none more."""
    mesh = jax.make_mesh((2, 2), ("batch", "model"), axis_types=(AxisType.Auto,) * 2)
    vocab_size = 10_000
    model = rnn.chain(
        rnn.embedding(vocab_size, D), rnn.gru(D, H), rnn.linear(H, CLASSES)
    )

    def loss_fn(params, tokens, label, key):
        carry = model.initial_carry(params, key)
        return rnn.cross_entropy(
            rnn.last(model.unroll(params, carry, tokens)[1]), label
        )

    optimizer = optax.adam(0.1)
    params = model.init(KEY)
    tokens = jax.random.randint(KEY, (6, T), 0, vocab_size)
    batch = tokens, jnp.arange(6) % CLASSES
    plain = rnn.make_update(loss_fn, optimizer)
    expected = plain(rnn.train_state(params, optimizer, KEY), *batch)

    rows = NamedSharding(mesh, PartitionSpec("model", None))
    embedding = jax.tree.map(lambda a: jax.device_put(a, rows), params[0])
    split = rnn.train_state((embedding, *params[1:]), optimizer, KEY)
    update = rnn.make_update(loss_fn, optimizer, mesh=mesh)
    for _ in range(2):
        found = update(split, *batch)
        assert_close(found, expected, 1e-4)
        (table,) = jax.tree.leaves(found[0].params[0])
        assert {s.data.shape for s in table.addressable_shards} == {
            (vocab_size // 2, D)
        }
        split = found[0]
        expected = plain(expected[0], *batch)
    text = str(jax.jit(update).lower(split, *batch).compile().as_text())
    assert f"f32[{vocab_size},{D}]" not in text


def test_each_example_and_each_update_has_a_key_of_its_own():
    def keys_of(params, x, key):
        del x
        drawn = jax.random.uniform(key)
        return jnp.sum(params) * 0, {"sum": drawn, "square": drawn**2}

    optimizer = optax.sgd(0.1)
    update = rnn.make_update(keys_of, optimizer, has_aux=True)
    state = rnn.train_state(jnp.ones(D), optimizer, KEY)
    state, first = update(state, jnp.zeros(N))
    _, second = update(state, jnp.zeros(N))
    for metrics in (first, second):
        variance = metrics.aux["square"] - metrics.aux["sum"] ** 2
        assert variance > 0.01  # that of a uniform draw is 1/12
    assert first.aux["sum"] != second.aux["sum"]


def test_aux_is_the_mean_over_the_batch():
    def with_aux(params, x, key):
        del key
        return jnp.sum(params) * x, {"x": x, "xs": jnp.stack([x, 2 * x])}

    optimizer = optax.sgd(0.1)
    update = rnn.make_update(with_aux, optimizer, has_aux=True)
    xs = jnp.array([1.0, 2.0, 6.0])
    _, metrics = update(rnn.train_state(jnp.ones(D), optimizer, KEY), xs)
    assert_close(metrics.aux, {"x": jnp.float32(3), "xs": jnp.array([3.0, 6.0])}, 1e-6)
    assert_close(metrics.loss, jnp.float32(9), 1e-6)


def test_state_is_a_pytree_of_arrays():
    state = start(CLIPPED)
    leaves, structure = jax.tree.flatten(state)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert_close(structure.unflatten(leaves), state)


def test_epoch_is_a_loop_of_updates():
    data = sign_data()
    order = rnn.shuffled(KEY, N, BATCH)
    state, metrics = EPOCH(start(CLIPPED), data, order)

    looped, steps = start(CLIPPED), []
    for batch in order:
        looped, step = UPDATE(looped, *(a[batch] for a in data))
        steps.append(step)
    assert_close(state, looped, 1e-5)
    assert_close(metrics, jax.tree.map(lambda *a: jnp.stack(a), *steps), 1e-5)


def test_many_seeds_at_once():
    """One vmap trains 16 models; each is what it would be alone."""
    data = sign_data()
    keys = jax.random.split(KEY, 16)

    @jax.jit
    @jax.vmap
    def begin(key):
        state = rnn.train_state(MODEL.init(key), CLIPPED, key)
        return state, rnn.shuffled(key, N, BATCH)

    states, orders = begin(keys)
    together = jax.vmap(EPOCH, (0, None, 0))(states, data, orders)
    for seed in range(len(keys)):
        state, order = jax.tree.map(lambda a: a[seed], (states, orders))
        alone = EPOCH(state, data, order)
        assert_close(jax.tree.map(lambda a: a[seed], together), alone, 1e-4)


@given(num_examples=st.integers(1, 20), data=st.data())
@settings(max_examples=10, deadline=None, derandomize=True)
def test_shuffled_is_a_permutation(num_examples, data):
    batch_size = data.draw(st.integers(1, num_examples))
    order = rnn.shuffled(jax.random.key(num_examples), num_examples, batch_size)
    steps = num_examples // batch_size
    assert order.shape == (steps, batch_size)
    assert order.dtype == jnp.int32
    distinct = set(order.flatten().tolist())
    assert len(distinct) == steps * batch_size
    assert distinct <= set(range(num_examples))


def test_shuffled_depends_on_the_key():
    orders = [rnn.shuffled(jax.random.key(seed), N, BATCH) for seed in (0, 0, 1)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()
    assert (orders[0] != jnp.arange(BATCH * (N // BATCH)).reshape(-1, BATCH)).any()


def train(loss_fn, params, optimizer, *data, updates):
    """The losses of updates on the whole of the data."""
    state = rnn.train_state(params, optimizer, KEY)
    epoch = rnn.make_epoch(rnn.make_update(loss_fn, optimizer))
    order = jnp.tile(jnp.arange(len(data[0])), (updates, 1))
    state, metrics = epoch(state, data, order)
    return state, metrics.loss


def test_a_classifier_learns():
    """It remembers the first input to the end."""
    xs, labels = sign_data()
    params = initial_params()
    state, losses = train(loss_fn, params, CLIPPED, xs, labels, updates=300)
    assert losses[0] > 0.5
    assert losses[-1] < 0.1

    def predict(xs):
        carry = MODEL.initial_carry(state.params)
        return rnn.last(MODEL.unroll(state.params, carry, xs)[1])

    assert rnn.accuracy(jax.vmap(predict)(xs), labels) == 1


def test_the_language_model_of_the_design():
    """The program in the documentation, and a text that it learns."""
    model = rnn.chain(
        rnn.embedding(V, D),
        rnn.lstm(D, H),
        rnn.dropout(0.1),
        rnn.residual(rnn.lstm(H, H)),
        rnn.linear(H, V),
    )

    def loss_fn(params, tokens, key):  # one sequence, [T]
        carry = model.initial_carry(params, key)  # all randomness enters here
        _, logits = model.unroll(params, carry, tokens[:-1])
        return rnn.cross_entropy(logits, tokens[1:])

    texts = jnp.asarray(np.add.outer(np.arange(4), np.arange(3 * V)) % V)  # they count
    params = model.init(KEY)
    _, losses = train(loss_fn, params, optax.adam(0.03), texts, updates=150)
    assert losses[0] == pytest.approx(np.log(V), rel=0.2)
    assert losses[-1] < 0.5


def test_truncated_backpropagation():
    """The carry goes on; the gradient stops at the cut."""
    params = initial_params()
    xs = sign_data()[0][0]

    def outputs(xs, cut):
        carry, first = MODEL.unroll(params, MODEL.initial_carry(params, KEY), xs[:cut])
        carry = jax.tree.map(jax.lax.stop_gradient, carry)
        return jnp.concatenate([first, MODEL.unroll(params, carry, xs[cut:])[1]])

    whole = MODEL.unroll(params, MODEL.initial_carry(params, KEY), xs)[1]
    assert_close(jax.jit(outputs, static_argnums=1)(xs, 3), whole, 1e-6)
    slopes = jax.jit(jax.jacrev(lambda xs: outputs(xs, 3)[-1]))(xs)
    assert not slopes[:, :3].any()
    assert slopes[:, 3:].any()


@pytest.mark.parametrize("clip", [0.5, 1e-3])
def test_clipping(clip):
    optimizer = optax.chain(optax.clip_by_global_norm(clip), optax.sgd(1.0))
    state = rnn.train_state(jnp.ones(D), optimizer, KEY)
    xs = sign_data()[0][:, 0]
    after, metrics = rnn.make_update(tiny_loss, optimizer)(state, xs)
    assert metrics.grad_norm > clip
    moved = jnp.linalg.norm(after.params - state.params)
    assert moved == pytest.approx(clip, rel=1e-3)


def masked_loss(params, xs, labels, key):
    del key
    aux = {"share": rnn.accuracy(xs @ params, labels, ignore_label=-100, weighted=True)}
    loss = rnn.cross_entropy(xs @ params, labels, ignore_label=-100, weighted=True)
    return loss, aux | {"plain": labels.sum()}


def tokens_alike(params, xs, labels):
    """The mean over all tokens, its gradient, and the share that is right."""
    keep = labels.ravel() != -100
    xs, labels = xs.reshape(-1, xs.shape[-1])[keep], labels.ravel()[keep]
    z = xs @ params
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    rows = np.arange(len(z))
    hits = (z.argmax(1) == labels).mean()
    loss = -np.log(p[rows, labels]).mean()
    p[rows, labels] -= 1
    return loss, xs.T @ p / len(z), hits


@pytest.mark.parametrize(("devices", "microbatches"), [(0, 1), (0, 4), (2, 2)])
def test_weighted_losses_weigh_all_tokens_alike(devices, microbatches):
    rng = np.random.default_rng(0)
    params, xs = rng.normal(size=(3, 5)), rng.normal(size=(8, 7, 3))
    lengths = np.array([7, 1, 0, 3, 2, 7, 5, 1])
    labels = rng.integers(0, 5, (8, 7))
    labels[np.arange(7) >= lengths[:, None]] = -100
    mesh = jax.make_mesh((devices,), ("batch",)) if devices else None
    update = rnn.make_update(
        *(masked_loss, optax.sgd(1.0)),
        **{"has_aux": True, "mesh": mesh, "microbatches": microbatches},
    )
    w = jnp.asarray(params, jnp.float32)
    state = rnn.train_state(w, optax.sgd(1.0), jax.random.key(0))
    batch = jnp.asarray(xs, jnp.float32), jnp.asarray(labels)
    after, metrics = update(state, *batch)
    loss, grads, hits = tokens_alike(params, xs, labels)
    np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
    np.testing.assert_allclose(w - after.params, grads, atol=1e-6)
    np.testing.assert_allclose(metrics.grad_norm, np.sqrt((grads**2).sum()), rtol=1e-5)
    np.testing.assert_allclose(metrics.aux["share"], hits, rtol=1e-5)
    assert metrics.aux["plain"] == labels.sum(1).mean()
    nothing, metrics = update(state, batch[0], jnp.full((8, 7), -100))
    assert metrics.loss == 0
    assert (nothing.params == state.params).all()
    if not devices:
        epoch = rnn.make_epoch(update)
        states = jax.tree.map(lambda a: jnp.stack([a, a]), state)
        order = jnp.arange(8)[None]
        _, seeds = jax.vmap(epoch, (0, None, None))(states, batch, order)
        np.testing.assert_allclose(seeds.loss, np.full((2, 1), loss), rtol=1e-5)


@pytest.mark.parametrize("wrong", [-1, 4])
def test_an_order_out_of_range_reads_no_other_example(wrong):
    def loss(w, *example):
        *numbers, _ = example
        return (w * sum(a.astype(w.dtype) for a in numbers)) ** 2

    optimizer = optax.sgd(0.1)
    epoch = rnn.make_epoch(rnn.make_update(loss, optimizer))
    state = rnn.train_state(jnp.float32(1), optimizer, jax.random.key(0))
    data = jnp.ones(4), jnp.ones(4, jnp.uint8)
    order = jnp.array([[0, 1], [2, wrong]])
    with pytest.raises(ValueError, match="epoch: order: expected 0 to 3, for 4 exam"):
        epoch(state, data, order)
    after, metrics = jax.jit(epoch)(state, data, order)
    assert np.isfinite(metrics.loss[0])
    assert np.isnan(metrics.loss[1])
    assert np.isnan(after.params)
    _, metrics = jax.jit(epoch)(state, data[1:] * 2, order)  # of integers alone
    assert np.isnan(metrics.loss[1])


def test_the_norm_and_the_sum_of_microbatches_in_half_precision():
    def loss(w, x, key):
        del key
        return (w * x).sum()

    sgd = optax.sgd(1.0)
    for dtype in (jnp.bfloat16, jnp.float16):
        state = rnn.train_state(jnp.zeros(4, dtype), sgd, jax.random.key(0))
        update = rnn.make_update(loss, sgd, microbatches=512)
        xs = jnp.full((512, 4), 300, dtype)  # whose squares are too large for float16
        after, metrics = update(state, xs)
        np.testing.assert_allclose(np.asarray(after.params, np.float32), -300)
        np.testing.assert_allclose(metrics.grad_norm, 600, rtol=1e-6)
