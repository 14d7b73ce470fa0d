"""jaxrnn, as its README shows it: functions of one sequence, and vmap for the batch."""

from functools import partial

import jax
import jax.numpy as jnp

import jaxrnn as rnn
from benchmarks.cases import Case
from benchmarks.data import NO_INNER_BIAS, RESET_BEFORE, Block, Data, Reference
from benchmarks.systems import training
from benchmarks.systems.training import Model

FACTORIES = {"elman": rnn.elman, "gru": rnn.gru, "lstm": rnn.lstm}
PARAMS = {"elman": rnn.ElmanParams, "gru": rnn.GRUParams, "lstm": rnn.LSTMParams}


def model(case: Case, variant: str = "", *, plain_scan: bool = False) -> Model:
    """A chain of cells; `plain_scan` unrolls each by scanning its step."""
    options = {"reset_after": False} if variant == RESET_BEFORE else {}

    def cell(input_size: int) -> rnn.Cell:
        cell = FACTORIES[case.cell](input_size, case.hidden_size, **options)
        if plain_scan:
            assert cell.step is not None
            return cell._replace(unroll=rnn.scan_unroll(cell.step))
        return cell

    def layer(input_size: int) -> rnn.Cell:
        if case.directions == 1:
            return cell(input_size)
        return rnn.bidirectional(cell(input_size), cell(input_size))

    network = rnn.chain(*map(layer, case.layer_inputs))

    def params(weights):
        def one(block: Block):
            extra = {} if block.b_h is None else {"b_h": block.b_h}
            if variant == NO_INNER_BIAS:  # a constant, so that nothing trains it
                extra = {"b_h": jnp.zeros(case.hidden_size, block.b.dtype)}
            return PARAMS[case.cell](block.w_x, block.w_h, block.b, **extra)

        return tuple(
            one(*blocks) if len(blocks) == 1 else rnn.Directions(*map(one, blocks))
            for blocks in weights.layers
        )

    @partial(jax.vmap, in_axes=(None, 0))
    def last(params, xs):
        carry, _ = network.unroll(params, network.initial_carry(params), xs)
        top = carry[-1]
        if case.directions == 1:
            return top.h
        return jnp.concatenate([top.forward.h, top.backward.h])

    def carry(params, batch):
        one = network.initial_carry(params)
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (batch, *a.shape)), one)

    def tick(params, carry, x):
        assert network.step is not None
        return jax.vmap(network.step, (None, 0, 0))(params, carry, x)

    return Model(params, last, carry, tick)


def reference(case: Case, data: Data, variant: str) -> Reference:
    """What every other system is held against."""
    return training.reference(model(case, variant), data)


def start(case: Case, data: Data, devices: int, platform: str) -> training.Run:
    """Compiles the case."""
    return training.Run(model(case), case, data, devices, platform)
