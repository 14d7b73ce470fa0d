"""jaxrnn, as its README shows it: functions of one sequence, and vmap for the batch."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec as P

import jaxrnn as rnn
from benchmarks.systems import child, jax_model
from benchmarks.systems.jax_model import Model, mask_of
from benchmarks.systems.jax_run import Run
from benchmarks.work.equal import CLASSES, LEARNING_RATE, Data, Reference
from benchmarks.work.gated import (
    NO_INNER_BIAS,
    RESET_BEFORE,
    TWO_BIASES,
    Block,
    Case,
    moved_twice,
)

NAME = "jaxrnn"
WORK = ("gated", "tick", "update", "epoch", "whole_run")
PACKAGES = ("jax", "jaxlib", "optax")

FACTORIES = {"elman": rnn.elman, "gru": rnn.gru, "lstm": rnn.lstm}
PARAMS = {"elman": rnn.ElmanParams, "gru": rnn.GRUParams, "lstm": rnn.LSTMParams}


def network(case: Case, variant: str = "", *, plain_scan: bool = False) -> rnn.Cell:
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

    return rnn.chain(*map(layer, case.layer_inputs))


def last_of(cell: rnn.Cell, params: Any, xs: jax.Array, mask=None) -> jax.Array:
    """The last output of each direction of the top layer, for one sequence."""
    carry, _ = cell.unroll(params, cell.initial_carry(params), xs, mask=mask)
    top = carry[-1]
    if isinstance(top, rnn.Directions):
        return jnp.concatenate([top.forward.h, top.backward.h])
    return top.h


def model(case: Case, variant: str = "", *, plain_scan: bool = False) -> Model:
    """The network for a batch."""
    cell = network(case, variant, plain_scan=plain_scan)

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

    def carry(params, batch):
        one = cell.initial_carry(params)
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (batch, *a.shape)), one)

    def tick(params, carry, x):
        assert cell.step is not None
        return jax.vmap(cell.step, (None, 0, 0))(params, carry, x)

    def last(params, xs, valid):
        mask = mask_of(valid, xs.shape[1])
        return jax.vmap(partial(last_of, cell), (None, 0, 0))(params, xs, mask)

    return Model(params, last, carry, tick)


class Tick(Run):
    """A case of the kind `tick`: its readout is the layer `rnn.linear`."""

    def _tick(self):
        case = self.case
        linear = rnn.linear(case.hidden_size, CLASSES, dtype=jnp.dtype(case.dtype))
        read: Any = linear.step

        def tick(params, carry, x):
            carry, y = self.model.tick(params.layers, carry, x)
            readout = rnn.LinearParams(params.w, params.b)
            _, logits = jax.vmap(read, (None, None, 0))(readout, (), y)
            return carry, logits

        specs = (P(), P("batch"), P("batch"))
        program = self._jit(tick, specs, (P("batch"), P("batch")), donate=1)
        return program, (self._put(self.params), self._carry(), self.xs[:, 0])


class Update(Run):
    """A case of the kind `update`: `make_update`, with a mesh on several devices."""

    def _one_update(self):
        cell, optimizer = network(self.case), optax.sgd(LEARNING_RATE)

        def loss_fn(params, xs, label, key):
            del key  # there is no dropout
            logits = last_of(cell, params.layers, xs) @ params.w + params.b
            return rnn.cross_entropy(logits, label)

        mesh = self.mesh if self.parts > 1 else None
        return rnn.make_update(loss_fn, optimizer, mesh=mesh)

    def _update(self):
        self.batches = [(self.xs, self.labels)]
        program = jax.jit(self._one_update(), out_shardings=self.replicated)
        return program, (self._first_state(), *self.batches[0])

    def _first_state(self) -> Any:
        optimizer = optax.sgd(LEARNING_RATE)
        return self._put(rnn.train_state(self.params, optimizer, jax.random.key(0)))

    def _params_and_loss(self, state: Any, more: Any) -> tuple[Any, float]:
        return state.params, float(jnp.ravel(more.loss)[-1])


class Epoch(Update):
    """A case of the kind `epoch`: all updates in one program of `make_epoch`."""

    def _epoch(self):
        data = [jnp.concatenate(arrays) for arrays in zip(*self._arrays(), strict=True)]
        order = jnp.arange(len(data[0])).reshape(self.case.updates, -1)
        # One call reads all batches.
        self.batches = [self._put((tuple(data), order))]
        epoch = rnn.make_epoch(self._one_update())
        program = jax.jit(epoch, out_shardings=self.replicated)
        return program, (self._first_state(), *self.batches[0])

    def _arrays(self):
        return [jax.device_get((xs, labels)) for xs, labels, _ in self.batches]


def reference(case: Case, data: Data, variant: str) -> Reference:
    """What every other system has to arrive at."""
    of_variant, updates = model(case, variant), case.num_updates
    if variant == TWO_BIASES:
        moved = partial(moved_twice, case)
        return jax_model.reference(of_variant, data, updates, moved)
    return jax_model.reference(of_variant, data, updates)


def start(case: Any, data: Data, devices: int, platform: str) -> Run | child.Run:
    """Compiles the case."""
    if case.work == "whole_run":
        # The experiments beside the library, also where that is another checkout's.
        folder = Path(rnn.__file__).resolve().parent.parent
        command = ["experiments.rows", "--dataset", "mnist", "--seeds", "1"]
        return child.Run(command, case, devices, folder)
    kind = {"tick": Tick, "update": Update, "epoch": Epoch}.get(case.work, Run)
    return kind(model(case), case, data, devices, platform)
