"""`jax.experimental.rnn`: cuDNN's LSTM, called from JAX on a GPU.

torch's gates and its two biases, all in one array.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from benchmarks.systems import UnsupportedError
from benchmarks.systems.jax_model import Model
from benchmarks.systems.jax_run import Run
from benchmarks.work.equal import Data, Weights
from benchmarks.work.gated import MASKED, Case

WORK = ("gated",)
PACKAGES = ("jax",)
PLATFORMS = ("gpu",)


def packed(weights: Weights, rest: float = 0.0) -> jax.Array:
    """All matrices, then all biases; `rest` fills the second of each pair."""
    blocks = [block for layer in weights.layers for block in layer]
    parts = []
    for block in blocks:
        parts += [block.w_x.T, block.w_h.T]
    for block in blocks:
        parts += [block.b, jnp.full_like(block.b, rest)]
    return jnp.concatenate([part.ravel() for part in parts])


def model(case: Case, unroll: Any = rnn.lstm) -> Model:
    """The whole stack is one call."""

    def last(params, xs, valid):
        batch, length, _ = xs.shape
        shape = (case.layers * case.directions, batch, case.hidden_size)
        zeros = jnp.zeros(shape, xs.dtype)
        _, h, _ = unroll(
            xs,
            zeros,
            zeros,
            params,
            jnp.full(batch, length, jnp.int32) if valid is None else valid,
            case.input_size,
            case.hidden_size,
            case.layers,
            0.0,
            case.directions == 2,
        )
        return jnp.concatenate(list(h[-case.directions :]), axis=-1)

    def tick(*args):
        raise UnsupportedError("it has no single step")

    return Model(packed, last, tick, tick)


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    if case.cell != "lstm" or case.dtype != "float32":
        raise UnsupportedError("it has only a whole LSTM in float32")

    if case.valid == MASKED:
        raise UnsupportedError("it takes lengths; it has no masks")

    def goal(weights):
        return packed(weights, rest=float("nan"))

    return Run(model(case), case, data, devices, platform, goal=goal)
