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
    last: Callable[[Any, jax.Array], jax.Array]  # [B, T, D] -> [B, directions * H]
    carry: Callable[[Any, int], Any]  # of B streams, before the first tick
    tick: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]  # x [B, D], y [B, H]


class Layer(NamedTuple):
    """One direction of one layer; `stack` makes a model of it."""

    params: Callable[[Any], Any]  # of a block of the weights
    run: Callable[..., Any]  # (params, xs, reverse, final) -> ys or the last y
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

    def last(params, xs):
        for i, blocks in enumerate(params):
            final = i == len(params) - 1
            ys = [layer.run(p, xs, bool(j), final) for j, p in enumerate(blocks)]
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


def params_of(model: Model, weights: Weights) -> Params:
    """The weights in the library's layout."""
    weights = jax.tree.map(jnp.asarray, weights)
    return Params(model.params(weights), weights.w, weights.b)


def logits_of(model: Model, params: Params, xs: jax.Array) -> jax.Array:
    """[B, K]."""
    return model.last(params.layers, xs) @ params.w + params.b


def loss_of(model: Model, params: Params, xs, labels) -> jax.Array:
    """The mean over the batch."""
    logits = logits_of(model, params, xs)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()


def descend(params: Any, grads: Any) -> Any:
    """The params after one step of SGD."""
    return jax.tree.map(
        lambda p, g: p - (LEARNING_RATE * g).astype(p.dtype), params, grads
    )


def reference(model: Model, data: Data) -> Reference:
    """Logits, loss and the weights after one step, in float32 on one device."""

    def step(weights, xs, labels):
        def loss_fn(weights):
            return loss_of(model, params_of(model, weights), xs, labels)

        logits = logits_of(model, params_of(model, weights), xs)
        loss, grads = jax.value_and_grad(loss_fn)(weights)
        return logits, loss, descend(weights, grads)

    return Reference(*jax.tree.map(np.asarray, jax.jit(step)(*data)))
