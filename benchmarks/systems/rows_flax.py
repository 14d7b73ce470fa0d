"""The training of benchmarks.work.whole_run, as a user of flax would write it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.systems import child
from benchmarks.work.whole_run import (
    BATCH,
    CLIP,
    DECAY,
    DROPOUT,
    HIDDEN,
    RATE,
    images,
)


class Net(nn.Module):
    """An LSTM and a readout of its last output."""

    @nn.compact
    def __call__(self, xs, train):
        """Logits [B, K]."""
        hs: Any = nn.RNN(nn.OptimizedLSTMCell(HIDDEN))(xs)
        h = nn.Dropout(DROPOUT, deterministic=not train)(hs[:, -1])
        return nn.Dense(10)(h)


def train(data_dir: Path, epochs: int, devices: int) -> float:
    """Returns the test accuracy."""
    jax.config.update("jax_num_cpu_devices", devices)
    xs, labels, test_xs, test_labels = map(jnp.asarray, images(data_dir))
    net: Any = Net()
    key = jax.random.key(0)
    steps = len(xs) // BATCH
    rate = optax.warmup_cosine_decay_schedule(
        0.0, RATE, max(1, epochs * steps // 20), epochs * steps + 1
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(CLIP), optax.adamw(rate, weight_decay=DECAY)
    )
    params = net.init(key, xs[:1], False)
    state = params, optimizer.init(params), key
    auto = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(auto,))
    place = NamedSharding(mesh, PartitionSpec("batch"))

    def update(state, index):
        params, opt_state, key = state
        key, dropout_key = jax.random.split(key)
        batch = jax.lax.with_sharding_constraint((xs[index], labels[index]), place)

        def loss_fn(params):
            logits = net.apply(params, batch[0], True, rngs={"dropout": dropout_key})
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
            return losses.mean()

        grads = jax.grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, key), None

    @jax.jit
    def epoch(state, order):
        return jax.lax.scan(update, state, order)[0]

    @jax.jit
    def evaluate(params):
        def hits(part):
            return net.apply(params, part[0], False).argmax(-1) == part[1]

        parts = test_xs.reshape(-1, 500, 28, 28), test_labels.reshape(-1, 500)
        return jax.lax.map(hits, parts).mean()

    accuracy, orders = 0.0, np.random.default_rng(0)
    for _ in range(epochs):
        order = orders.permutation(len(xs))[: steps * BATCH].reshape(steps, BATCH)
        state = jax.block_until_ready(epoch(state, jnp.asarray(order)))
        accuracy = float(evaluate(state[0]))
    return accuracy


if __name__ == "__main__":
    child.main(train)
