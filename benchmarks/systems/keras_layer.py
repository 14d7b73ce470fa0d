"""Keras 3 on JAX: `SimpleRNN`, `GRU` and `LSTM` through `stateless_call`.

Gates are i, f, c, o and z, r, h; its GRU (`reset_after=True`) has a second bias, of
which only the part of gate h does something the first does not.
"""

import functools

import jax
import jax.numpy as jnp
import keras

from benchmarks.systems.jax_model import Layer, mask_of, stack
from benchmarks.systems.jax_run import Run
from benchmarks.work.equal import Data
from benchmarks.work.gated import TWO_BIASES, Block, Case, one_of_two

NAME = "keras"
WORK = ("gated", "tick", "epoch")
PACKAGES = ("keras",)

LAYERS = {
    "elman": keras.layers.SimpleRNN,
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
}


def variant(case: Case) -> str:
    """Which function its cell trains: both biases of the GRU learn."""
    return TWO_BIASES if case.work == "epoch" and case.cell == "gru" else ""


def layer(case: Case, rest: float = 0.0) -> Layer:
    """One direction of one layer; `rest` fills what the function does not need."""
    keras.config.set_floatx(case.dtype)

    @functools.cache
    def made(input_size: int, reverse: bool, final: bool):
        with jax.ensure_compile_time_eval():
            layer = LAYERS[case.cell](
                case.hidden_size, return_sequences=not final, go_backwards=reverse
            )
            layer.build((None, None, input_size))
        return layer

    def params(block: Block):
        if case.cell != "gru":
            return [block.w_x, block.w_h, block.b]

        def z_first(a):
            r, z, n = jnp.split(a, 3, axis=-1)
            return jnp.concatenate([z, r, n], axis=-1)

        others = jnp.full(2 * case.hidden_size, rest, block.b.dtype)
        bias = [z_first(block.b), jnp.concatenate([others, block.b_h])]
        return [z_first(block.w_x), z_first(block.w_h), jnp.stack(bias)]

    def run(params, xs, reverse, final, valid):
        layer = made(xs.shape[-1], reverse, final)
        others = [v.value for v in layer.non_trainable_variables]
        ys, _ = layer.stateless_call(
            params, others, xs, mask=mask_of(valid, xs.shape[1])
        )
        return jnp.flip(ys, axis=1) if reverse and not final else ys

    def carry(params, batch):
        del params
        h = jnp.zeros((batch, case.hidden_size), case.dtype)
        return [h, h] if case.cell == "lstm" else [h]

    def tick(params, states, x):
        cell = made(x.shape[-1], False, True).cell
        others = [v.value for v in cell.non_trainable_variables]
        (y, states), _ = cell.stateless_call(params, others, x, states)
        return states, y

    return Layer(params, run, carry, tick)


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    model = stack(layer(case))
    goal = stack(layer(case, rest=float("nan")))

    def expected(weights):
        if variant(case):
            weights = one_of_two(case, data.weights, weights)
        return goal.params(weights)

    return Run(model, case, data, devices, platform, goal=expected)
