"""equinox: `eqx.nn.LSTMCell` and `GRUCell` under `lax.scan` and `vmap`, as documented.

Both compute what jaxrnn's do. It has no Elman cell; `ElmanCell` is one in the manner of
the other two.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.systems.jax_model import Layer, mask_of, stack
from benchmarks.systems.jax_run import Run
from benchmarks.work.equal import Data
from benchmarks.work.gated import Block, Case

NAME = "equinox"
WORK = ("gated", "tick", "epoch")
PACKAGES = ("equinox",)


class ElmanCell(eqx.Module):
    """The cell that equinox lacks."""

    weight_ih: jax.Array
    weight_hh: jax.Array
    bias: jax.Array

    def __init__(self, input_size: int, hidden_size: int, *, key: jax.Array):
        del key
        self.weight_ih = jnp.zeros((hidden_size, input_size))
        self.weight_hh = jnp.zeros((hidden_size, hidden_size))
        self.bias = jnp.zeros(hidden_size)

    def __call__(self, input: jax.Array, hidden: jax.Array) -> jax.Array:
        """One step."""
        return jnp.tanh(self.weight_ih @ input + self.weight_hh @ hidden + self.bias)


CELLS = {"elman": ElmanCell, "gru": eqx.nn.GRUCell, "lstm": eqx.nn.LSTMCell}


def layer(case: Case) -> Layer:
    """One direction of one layer; its params are an equinox module."""

    def params(block: Block):
        size = block.w_x.shape[0]
        cell = CELLS[case.cell](size, case.hidden_size, key=jax.random.key(0))
        new = {"weight_ih": block.w_x.T, "weight_hh": block.w_h.T, "bias": block.b}
        if case.cell == "gru":
            new["bias_n"] = block.b_h
        return eqx.tree_at(
            lambda cell: [getattr(cell, name) for name in new],
            cell,
            list(new.values()),
        )

    def zeros(cell):
        h = jnp.zeros(case.hidden_size, cell.bias.dtype)
        return (h, h) if case.cell == "lstm" else h

    def h(state):
        return state[0] if case.cell == "lstm" else state

    def run(cell, xs, reverse, final, valid):
        def one(xs, mask):
            def body(state, inputs):
                x, read = inputs
                new = cell(x, state)
                if read is not None:  # as one would write it in a scan of one's own
                    new = jax.tree.map(partial(jnp.where, read), new, state)
                return new, None if final else h(new)

            state, ys = lax.scan(body, zeros(cell), (xs, mask), reverse=reverse)
            return h(state) if final else ys

        return jax.vmap(one)(xs, mask_of(valid, xs.shape[1]))

    def carry(cell, batch):
        return jax.tree.map(
            lambda a: jnp.zeros((batch, *a.shape), a.dtype), zeros(cell)
        )

    def tick(cell, state, x):
        state = jax.vmap(cell)(x, state)
        return state, h(state)

    return Layer(params, run, carry, tick)


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    model = stack(layer(case))
    return Run(model, case, data, devices, platform)
