"""What the JAX libraries share: layers to a stack, its logits, loss and reference."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.work.equal import LEARNING_RATE, Data, Reference, Weights


class Model(NamedTuple):
    """A stack of recurrent layers, as a library would have its user write it."""

    params: Callable[[Weights], Any]  # in the library's own layout
    # (params, xs [B, T, D], valid) -> [B, directions * H]; valid as in `Data`
    last: Callable[[Any, jax.Array, Any], jax.Array]
    carry: Callable[[Any, int], Any]  # of B streams, before the first tick
    tick: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]  # x [B, D], y [B, H]


class Layer(NamedTuple):
    """One direction of one layer; `stack` makes a model of it."""

    params: Callable[[Any], Any]  # of a block of the weights
    run: Callable[..., Any]  # (params, xs, reverse, final, valid) -> ys or the last y
    carry: Callable[[Any, int], Any]
    tick: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]


class Params(NamedTuple):
    """Weights of the whole model."""

    layers: Any
    w: jax.Array  # [directions * H, K]
    b: jax.Array  # [K]


def stack(layer: Layer) -> Model:
    """Layers one on top of the other, the outputs of two directions side by side."""

    def params(weights):
        return [[layer.params(block) for block in blocks] for blocks in weights.layers]

    def last(params, xs, valid):
        for i, blocks in enumerate(params):
            final = i == len(params) - 1
            ys = [layer.run(p, xs, bool(j), final, valid) for j, p in enumerate(blocks)]
            xs = ys[0] if len(ys) == 1 else jnp.concatenate(ys, axis=-1)
        return xs

    def carry(params, batch):
        return [layer.carry(blocks[0], batch) for blocks in params]

    def tick(params, carry, x):
        new = []
        for blocks, c in zip(params, carry, strict=True):
            c, x = layer.tick(blocks[0], c, x)
            new.append(c)
        return new, x

    return Model(params, last, carry, tick)


def mask_of(valid: Any, time: int) -> Any:
    """A mask [B, T] from lengths [B], from a mask, or None for all steps."""
    if valid is None or valid.ndim == 2:
        return valid
    return jnp.arange(time) < valid[:, None]


def params_of(model: Model, weights: Weights) -> Params:
    """The weights in the library's layout."""
    weights = jax.tree.map(jnp.asarray, weights)
    return Params(model.params(weights), weights.w, weights.b)


def logits_of(model: Model, params: Params, xs: jax.Array, valid=None) -> jax.Array:
    """[B, K]."""
    return model.last(params.layers, xs, valid) @ params.w + params.b


def loss_of(model: Model, params: Params, xs, labels, valid=None) -> jax.Array:
    """The mean over the batch."""
    logits = logits_of(model, params, xs, valid)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()


def descend(params: Any, grads: Any) -> Any:
    """The params after one step of SGD."""
    return jax.tree.map(
        lambda p, g: p - (LEARNING_RATE * g).astype(p.dtype), params, grads
    )


def batches(data: Data, updates: int) -> list[tuple[Any, Any, Any]]:
    """Inputs, labels and what is valid, for each of the updates."""
    if updates == 1:
        return [(data.xs, data.labels, data.valid)]
    xs, labels = np.split(data.xs, updates), np.split(data.labels, updates)
    return [(*batch, None) for batch in zip(xs, labels, strict=True)]


def reference(
    model: Model,
    data: Data,
    updates: int = 1,
    moved: Callable[[Weights, Weights], Weights] = lambda before, after: after,
) -> Reference:
    """Logits, loss and the weights after the updates, in float32 on one device.

    `moved` makes of the weights before and after an update those that count.
    """

    @jax.jit
    def step(weights, xs, labels, valid):
        def loss_fn(weights):
            return loss_of(model, params_of(model, weights), xs, labels, valid)

        logits = logits_of(model, params_of(model, weights), xs, valid)
        loss, grads = jax.value_and_grad(loss_fn)(weights)
        return logits, loss, descend(weights, grads)

    first, *others = batches(data, updates)
    logits, loss, after = step(data.weights, *first)
    after = moved(data.weights, after)
    for batch in others:
        before = after
        _, loss, after = step(before, *batch)
        after = moved(before, after)
    return Reference(*jax.tree.map(np.asarray, (logits, loss, after)))
