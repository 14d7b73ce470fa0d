"""flax linen: `nn.RNN` around `OptimizedLSTMCell`, `GRUCell` and `SimpleCell`.

Its GRU is cuDNN's, with the bias inside the reset, so all three compute what jaxrnn's
do. A kernel for each gate; the bias is on the hidden side for the LSTM.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from benchmarks.systems import UnsupportedError, child
from benchmarks.systems.jax_model import Layer, stack
from benchmarks.systems.jax_run import Run
from benchmarks.work.equal import Data
from benchmarks.work.gated import GATES, MASKED, Block, Case

NAME = "flax"
WORK = ("gated", "tick", "epoch", "whole_run")
PACKAGES = ("flax",)

CELLS = {"elman": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


def layer(case: Case) -> Layer:
    """One direction of one layer."""
    cell = CELLS[case.cell](case.hidden_size)

    def params(block: Block):
        if case.cell == "elman":
            return {"i": {"kernel": block.w_x, "bias": block.b}, "h": _no_bias(block)}
        names = "rzn" if case.cell == "gru" else "ifgo"
        dense = {}
        w_x, w_h, b = (
            jnp.split(a, GATES[case.cell], axis=-1)
            for a in (block.w_x, block.w_h, block.b)
        )
        for i, gate in enumerate(names):
            dense[f"i{gate}"] = {"kernel": w_x[i]}
            dense[f"h{gate}"] = {"kernel": w_h[i]}
            side = "i" if case.cell == "gru" else "h"
            dense[f"{side}{gate}"]["bias"] = b[i]
        if case.cell == "gru":
            dense["hn"]["bias"] = block.b_h
        return dense

    def run(params, xs, reverse, final, valid):
        # return_carry and keep_order, as in `nn.Bidirectional`.
        rnn = nn.RNN(cell, reverse=reverse, keep_order=True, return_carry=True)
        carry, ys = rnn.apply({"params": {"cell": params}}, xs, seq_lengths=valid)
        return _h(carry) if final else ys

    def _h(carry):
        return carry[1] if case.cell == "lstm" else carry

    def carry(params, batch):
        del params
        shape = (batch, case.input_size)
        return cell.initialize_carry(jax.random.key(0), shape)

    def tick(params, carry, x):
        return cell.apply({"params": params}, carry, x)

    return Layer(params, run, carry, tick)


def _no_bias(block: Block):
    return {"kernel": block.w_h}


def start(case: Any, data: Data, devices: int, platform: str) -> Run | child.Run:
    """Compiles the case."""
    if case.work == "whole_run":
        return child.Run(["benchmarks.systems.rows_flax"], case, devices)
    if case.valid == MASKED:
        raise UnsupportedError("nn.RNN takes lengths; it has no masks")
    model = stack(layer(case))
    return Run(model, case, data, devices, platform)
