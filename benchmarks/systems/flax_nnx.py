"""flax nnx: `nnx.RNN` around `OptimizedLSTMCell`, `GRUCell` and `SimpleCell`.

One kernel for all gates. Its GRU has no bias inside the reset, so it is held against
jaxrnn's without that bias.
"""

import jax
from flax import nnx

from benchmarks.systems import UnsupportedError
from benchmarks.systems.jax_model import Layer, stack
from benchmarks.systems.jax_run import Run
from benchmarks.work.equal import Data
from benchmarks.work.gated import MASKED, NO_INNER_BIAS, Block, Case

WORK = ("gated", "tick", "epoch")
PACKAGES = ("flax",)

CELLS = {"elman": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


def variant(case: Case) -> str:
    """Which function its cell computes."""
    return NO_INNER_BIAS if case.cell == "gru" else ""


def layer(case: Case) -> Layer:
    """One direction of one layer."""

    def make(input_size: int, **options):
        cell = CELLS[case.cell](input_size, case.hidden_size, rngs=nnx.Rngs(0))
        return nnx.RNN(cell, rngs=False, **options)

    def params(block: Block):
        dense_i, dense_h = {"kernel": block.w_x}, {"kernel": block.w_h}
        (dense_h if case.cell == "lstm" else dense_i)["bias"] = block.b
        return {"dense_i": dense_i, "dense_h": dense_h}

    def merged(params, **options):
        # The abstract module has the structure; the weights are the caller's.
        size = params["dense_i"]["kernel"].shape[0]
        rnn = nnx.eval_shape(lambda: make(size, **options))
        nnx.update(rnn.cell, params)
        return rnn

    def run(params, xs, reverse, final, valid):
        rnn = merged(params, reverse=reverse, keep_order=True, return_carry=True)
        start = zeros(params, xs.shape[0])
        carry, ys = rnn(xs, initial_carry=start, seq_lengths=valid)
        return (carry[1] if case.cell == "lstm" else carry) if final else ys

    def zeros(params, batch):
        h = jax.numpy.zeros(
            (batch, case.hidden_size), params["dense_h"]["kernel"].dtype
        )
        return (h, h) if case.cell == "lstm" else h

    def tick(params, carry, x):
        return merged(params).cell(carry, x)

    return Layer(params, run, zeros, tick)


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    if case.valid == MASKED:
        raise UnsupportedError("nnx.RNN takes lengths; it has no masks")
    model = stack(layer(case))
    return Run(model, case, data, devices, platform)
