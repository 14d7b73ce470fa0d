"""Mistakes: each is a ValueError that names the argument, what was expected, what came.

A row of a table is a mistake and the three parts of its message.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from battery import CASES, RECURRENT, B, D, H, T, V, assert_refused, janet, step_of

import jaxrnn as rnn
from jaxrnn import interop

KEY = jax.random.key(0)


def table(rows):
    """Arguments of `parametrize` for {name: (mistake, argument, expected, came)}."""
    return {
        "argnames": ("mistake", "parts"),
        "argvalues": [(mistake, parts) for mistake, *parts in rows.values()],
        "ids": list(rows),
    }


FACTORIES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "elman": (rnn.elman, ("input_size", "hidden_size")),
    "gru": (rnn.gru, ("input_size", "hidden_size")),
    "lstm": (rnn.lstm, ("input_size", "hidden_size")),
    "recurrent": (
        lambda d, h, **options: rnn.recurrent(d, h, janet, gates=2, **options),
        ("input_size", "hidden_size"),
    ),
    "linear": (rnn.linear, ("input_size", "output_size")),
    "embedding": (rnn.embedding, ("vocab_size", "size")),
    "layer_norm": (rnn.layer_norm, ("size",)),
    "tied_embedding": (
        lambda v, d, **options: rnn.tied_embedding(v, d, rnn.gru(3, 3), **options),
        ("vocab_size", "size"),
    ),
}


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3", None])
@pytest.mark.parametrize("factory", FACTORIES)
def test_size(factory, size):
    make, names = FACTORIES[factory]
    for i, name in enumerate(names):
        sizes = [3] * len(names)
        sizes[i] = size
        assert_refused(
            lambda: make(*sizes),
            f"{factory}: {name}: ",
            "expected an integer of at least 1",
            f"got {size!r}",
        )


@pytest.mark.parametrize("factory", FACTORIES)
def test_sizes_may_be_of_numpy(factory):
    make, names = FACTORIES[factory]
    make(*[np.int64(3)] * len(names)).init(KEY)


@pytest.mark.parametrize("dtype", [int, jnp.int32, bool, jnp.complex64])
@pytest.mark.parametrize("factory", FACTORIES)
def test_dtype(factory, dtype):
    make, names = FACTORIES[factory]
    assert_refused(
        lambda: make(*[3] * len(names), dtype=dtype),
        f"{factory}: dtype: ",
        "expected a floating dtype",
        f"got {dtype!r}",
    )


@pytest.mark.parametrize("factory", ["elman", "gru", "lstm", "recurrent"])
def test_compute_dtype(factory):
    make, names = FACTORIES[factory]
    assert_refused(
        lambda: make(*[3] * len(names), compute_dtype=jnp.int32),
        f"{factory}: compute_dtype: ",
        "expected a floating dtype",
        f"got {jnp.int32!r}",
    )


@pytest.mark.parametrize("rate", [-0.1, 1, 1.0, 1.5, np.nan, True, "0.5", None])
def test_rate(rate):
    assert_refused(
        lambda: rnn.dropout(rate),
        "dropout: rate: ",
        "expected a number in [0, 1)",
        f"got {rate!r}",
    )


@pytest.mark.parametrize("epsilon", [0, -1e-6, np.nan, "1e-6", None])
def test_epsilon(epsilon):
    assert_refused(
        lambda: rnn.layer_norm(D, epsilon=epsilon),
        "layer_norm: epsilon: ",
        "expected a positive number",
        f"got {epsilon!r}",
    )


class NoHiddenState(NamedTuple):
    c: jax.Array


LSTM, GRU, LINEAR = rnn.lstm(D, H), rnn.gru(D, H), rnn.linear(H, V)
BOTH = rnn.bidirectional(LSTM, LSTM)

CONSTRUCTION = {
    "activation of elman": (
        lambda: rnn.elman(D, H, activation="tanh"),  # pyright: ignore
        "elman: activation: ",
        "expected a function",
        "got 'tanh'",
    ),
    "activation": (
        lambda: rnn.activation(None),  # pyright: ignore
        "activation: fun: ",
        "expected a function",
        "got None",
    ),
    "apply": (
        lambda: rnn.recurrent(D, H, 3),  # pyright: ignore
        "recurrent: apply: ",
        "expected a function",
        "got 3",
    ),
    "gates": (
        lambda: rnn.recurrent(D, H, janet, gates=0),
        "recurrent: gates: ",
        "expected an integer of at least 1",
        "got 0",
    ),
    "carry type without h": (
        lambda: rnn.recurrent(D, H, janet, carry_type=NoHiddenState),
        "recurrent: carry_type: ",
        "expected a NamedTuple class with a field h",
        "NoHiddenState",
    ),
    "carry type of no fields": (
        lambda: rnn.recurrent(D, H, janet, carry_type=tuple),
        "recurrent: carry_type: ",
        "expected a NamedTuple class with a field h",
        "tuple",
    ),
    "steps in a turn": (
        lambda: rnn.lstm(D, H, unroll=0),
        "lstm: unroll: ",
        "expected an integer of at least 1",
        "got 0",
    ),
    "empty chain": (rnn.chain, "chain: ", "expected at least one cell", "got none"),
    "chain of a function": (
        lambda: rnn.chain(LSTM, jnp.tanh),  # pyright: ignore
        "chain: cell 1: ",
        "expected a Cell",
        "tanh",
    ),
    "chain of a list": (
        lambda: rnn.chain([LSTM, LINEAR]),  # pyright: ignore
        "chain: cell 0: ",
        "expected a Cell",
        "got [",
    ),
    "residual of no cell": (
        lambda: rnn.residual(3),  # pyright: ignore
        "residual: cell: ",
        "expected a Cell",
        "got 3",
    ),
    "tied embedding of no cell": (
        lambda: rnn.tied_embedding(V, D, 3),  # pyright: ignore
        "tied_embedding: cell: ",
        "expected a Cell",
        "got 3",
    ),
    "scheduled sampling of no cell": (
        lambda: rnn.scheduled_sampling(3, 0.5),  # pyright: ignore
        "scheduled_sampling: cell: ",
        "expected a Cell",
        "got 3",
    ),
    "scheduled sampling of a cell that reads the future": (
        lambda: rnn.scheduled_sampling(BOTH, 0.5),
        "scheduled_sampling: cell: ",
        "expected one with a step",
        "got bidirectional(",
    ),
    "scheduled sampling, rate": (
        lambda: rnn.scheduled_sampling(LSTM, 1.5),
        "scheduled_sampling: rate: ",
        "expected a number in [0, 1]",
        "got 1.5",
    ),
    "scheduled sampling, rates": (
        lambda: rnn.scheduled_sampling(LSTM, jnp.ones(3)),
        "scheduled_sampling: rate: ",
        "expected one floating number",
        "got float32 (3,)",
    ),
    "remat of no cell": (
        lambda: rnn.remat(3),  # pyright: ignore
        "remat: cell: ",
        "expected a Cell",
        "got 3",
    ),
    "bidirectional of no cell forward": (
        lambda: rnn.bidirectional(3, LSTM),  # pyright: ignore
        "bidirectional: forward: ",
        "expected a Cell",
        "got 3",
    ),
    "bidirectional of no cell backward": (
        lambda: rnn.bidirectional(LSTM, 3),  # pyright: ignore
        "bidirectional: backward: ",
        "expected a Cell",
        "got 3",
    ),
    "merge": (
        lambda: rnn.bidirectional(LSTM, LSTM, merge="max"),  # pyright: ignore
        "bidirectional: merge: ",
        "expected one of concatenate, sum, mean",
        "got 'max'",
    ),
    "segment": (
        lambda: rnn.remat(LSTM, segment=0),
        "remat: segment: ",
        "expected an integer of at least 1",
        "got 0",
    ),
    "remat of the future": (
        lambda: rnn.remat(BOTH),
        "remat(bidirectional(lstm(3, 5), lstm(3, 5)))",
        "a cell that reads the future cannot be cut in time",
    ),
}


@pytest.mark.parametrize(**table(CONSTRUCTION))
def test_construction(mistake, parts):
    assert_refused(mistake, *parts)


def identity(x):
    return x


NEIGHBORS = {
    "sizes": (
        (LSTM, rnn.linear(7, V)),
        "linear(7, 11): x",
        "expected size 7 on the last axis",
    ),
    "floats into tokens": (
        (LSTM, rnn.embedding(V, D)),
        "embedding(11, 3): x",
        "expected integer numbers, got dtype float32",
    ),
    "two directions": (
        (BOTH, LINEAR),
        "linear(5, 11): xs: expected size 5 on the last axis",
        "10)",
    ),
    "after tokens": (
        (rnn.embedding(V, D), rnn.gru(7, H)),
        "gru(7, 5): x",
        "expected size 7 on the last axis",
    ),
    "within a chain": (
        (LSTM, rnn.chain(rnn.dropout(0.5), rnn.linear(7, V))),
        "linear(7, 11): x",
        "expected size 7 on the last axis",
    ),
    "around an activation": (
        (LSTM, rnn.activation(jnp.tanh), rnn.linear(7, V)),
        "linear(7, 11): x",
        "expected size 7 on the last axis",
    ),
}


@pytest.mark.parametrize("name", NEIGHBORS)
def test_neighbors_that_do_not_fit(name):
    """Found by `init`, and by a run with params from elsewhere."""
    cells, *parts = NEIGHBORS[name]
    model = rnn.chain(*cells)
    assert_refused(lambda: model.init(KEY), *parts)

    params = tuple(cell.init(KEY) for cell in cells)
    carry = model.initial_carry(params)
    x = jnp.array(1) if name == "after tokens" else jnp.ones(D)
    assert_refused(lambda: model.unroll(params, carry, x[None]), *parts)
    if model.step is not None:
        assert_refused(lambda: step_of(model)(params, carry, x), *parts)


def test_neighbors_that_init_cannot_see():
    """What the first cell reads is not known before the run."""
    model = rnn.chain(rnn.activation(jnp.tanh), LINEAR)
    params = model.init(KEY)
    carry = model.initial_carry(params)
    parts = "linear(5, 11): x", "expected size 5 on the last axis, got shape"
    assert_refused(lambda: model.unroll(params, carry, jnp.ones((T, D))), *parts)
    assert_refused(lambda: step_of(model)(params, carry, jnp.ones(D)), *parts)


def test_outputs_that_cannot_be_added_or_merged():
    residual = rnn.residual(LSTM)
    params = residual.init(KEY)
    carry = residual.initial_carry(params)
    name = "residual(lstm(3, 5)): "
    assert_refused(
        lambda: step_of(residual)(params, carry, jnp.ones(D)),
        name,
        "expected an output of the input's shape (3,)",
        "got (5,)",
    )
    assert_refused(
        lambda: residual.unroll(params, carry, jnp.ones((T, D))),
        name,
        "expected an output of the input's shape (7, 3)",
        "got (7, 5)",
    )
    assert_refused(
        lambda: rnn.chain(rnn.gru(H, D), residual).init(KEY), name, "expected", "got"
    )

    summed = rnn.bidirectional(LSTM, rnn.gru(D, 2), merge="sum")
    params = summed.init(KEY)
    assert_refused(
        lambda: summed.unroll(params, summed.initial_carry(params), jnp.ones((T, D))),
        "bidirectional(lstm(3, 5), gru(3, 2)): merge='sum': ",
        "expected outputs of one shape",
        "got (7, 5) forward and (7, 2) backward",
    )


def test_the_future_has_no_step():
    for cell in (BOTH, rnn.residual(BOTH), rnn.chain(BOTH, LINEAR), rnn.chain(BOTH)):
        assert cell.step is None


READERS = {  # of floating numbers [D]
    **{name: case.cell for name, case in RECURRENT.items()},
    "linear": CASES["linear"].cell,
    "layer_norm": CASES["layer_norm"].cell,
    "chain": rnn.chain(LSTM, LINEAR),
    "residual": rnn.residual(LSTM),
    "remat": rnn.remat(LSTM),
    "remat of a chain": rnn.remat(rnn.chain(LSTM, LINEAR)),
    "bidirectional": BOTH,
}

XS, MANY = jnp.ones((T, D)), 11

UNROLL_INPUTS = {  # (xs, mask), argument, expected, came
    "batch": (
        (jnp.ones((MANY, T, D)), None),
        "xs: ",
        "expected one sequence of shape [T, 3]",
        "got shape (11, 7, 3); for a batch use jax.vmap",
    ),
    "one step": (
        (jnp.ones(D), None),
        "xs: ",
        "expected one sequence of shape [T, 3]",
        "got shape (3,)",
    ),
    "number": (
        (jnp.ones(()), None),
        "xs: ",
        "expected one sequence of shape [T, 3]",
        "got shape ()",
    ),
    "wrong size": (
        (jnp.ones((T, 4)), None),
        "xs: ",
        "expected size 3 on the last axis",
        "got shape (7, 4)",
    ),
    "integers": (
        (jnp.ones((T, D), int), None),
        "xs: ",
        "expected floating numbers",
        "got dtype int32; convert it with x.astype(float)",
    ),
    "no time": (
        (jnp.ones((0, D)), None),
        "xs: ",
        "expected at least one time step",
        "got shape (0, 3)",
    ),
    "short mask": (
        (XS, jnp.ones(T - 1, bool)),
        "mask: ",
        "expected shape [T] = (7,)",
        "got (6,)",
    ),
    "masks of a batch": (
        (XS, jnp.ones((B, T), bool)),
        "mask: ",
        "expected shape [T] = (7,)",
        "got (2, 7); for a batch use jax.vmap",
    ),
    "mask of integers": (
        (XS, jnp.ones(T, int)),
        "mask: ",
        "expected dtype bool",
        "got int32",
    ),
}


@pytest.mark.parametrize("mistake", UNROLL_INPUTS)
@pytest.mark.parametrize("name", READERS)
def test_input_of_unroll(name, mistake):
    cell = READERS[name]
    params = cell.init(KEY)
    carry = cell.initial_carry(params)
    (xs, mask), *parts = UNROLL_INPUTS[mistake]
    assert_refused(lambda: cell.unroll(params, carry, xs, mask=mask), *parts)
    assert_refused(lambda: jax.jit(cell.unroll)(params, carry, xs, mask=mask), *parts)


STEP_INPUTS = {
    "sequence": (
        jnp.ones((T, D)),
        "x: ",
        "expected one step of shape [3]",
        "got shape (7, 3); for a batch use jax.vmap",
    ),
    "number": (jnp.ones(()), "x: ", "expected one step of shape [3]", "got shape ()"),
    "wrong size": (
        jnp.ones(4),
        "x: ",
        "expected size 3 on the last axis",
        "got shape (4,)",
    ),
    "integers": (
        jnp.ones(D, int),
        "x: ",
        "expected floating numbers",
        "got dtype int32; convert it with x.astype(float)",
    ),
}


@pytest.mark.parametrize("mistake", STEP_INPUTS)
@pytest.mark.parametrize("name", [name for name in READERS if READERS[name].step])
def test_input_of_step(name, mistake):
    cell = READERS[name]
    params = cell.init(KEY)
    carry = cell.initial_carry(params)
    x, *parts = STEP_INPUTS[mistake]
    assert_refused(lambda: step_of(cell)(params, carry, x), *parts)


EMBEDDING = CASES["embedding"].cell
EMBEDDING_PARAMS = EMBEDDING.init(KEY)

LAYER_INPUTS = {
    "floating tokens": (
        lambda: EMBEDDING.unroll(EMBEDDING_PARAMS, (), jnp.ones(T)),
        "embedding(11, 5): xs: ",
        "expected integer numbers",
        "got dtype float32",
    ),
    "one-hot tokens": (
        lambda: EMBEDDING.unroll(EMBEDDING_PARAMS, (), jnp.eye(T, dtype=bool)),
        "embedding(11, 5): xs: ",
        "expected integer numbers",
        "got dtype bool",
    ),
    "batch of tokens": (
        lambda: EMBEDDING.unroll(EMBEDDING_PARAMS, (), jnp.ones((B, T), int)),
        "embedding(11, 5): xs: ",
        "expected one sequence of shape [T]",
        "got shape (2, 7); for a batch use jax.vmap",
    ),
    "sequence to one step": (
        lambda: step_of(EMBEDDING)(EMBEDDING_PARAMS, (), jnp.ones(T, int)),
        "embedding(11, 5): x: ",
        "expected one step of shape []",
        "got shape (7,)",
    ),
    "dropout of tokens": (
        lambda: rnn.dropout(0.5).unroll((), (), jnp.ones((T, D), int)),
        "dropout(0.5): xs: ",
        "expected floating numbers",
        "got dtype int32",
    ),
    "dropout of a number": (
        lambda: rnn.dropout(0.5).unroll((), (), jnp.ones(())),
        "dropout(0.5): xs: ",
        "expected one sequence",
        "got shape ()",
    ),
    "activation of no time": (
        lambda: rnn.activation(jnp.tanh).unroll((), (), jnp.ones((0, D))),
        "activation(tanh): xs: ",
        "expected at least one time step",
        "got shape (0, 3)",
    ),
}


@pytest.mark.parametrize(**table(LAYER_INPUTS))
def test_input_of_layers(mistake, parts):
    assert_refused(mistake, *parts)


def stacked(tree):
    return jax.tree.map(lambda a: jnp.stack([a] * B), tree)


PARAMS = LSTM.init(KEY)
CARRY = LSTM.initial_carry(PARAMS)

LSTM_ARGUMENTS = {  # (params, carry), argument, expected, came
    "params of another cell": (
        (GRU.init(KEY), CARRY),
        "lstm(3, 5): params: ",
        "expected LSTMParams",
        "got GRUParams",
    ),
    "params of another size": (
        (rnn.lstm(D, 7).init(KEY), CARRY),
        "lstm(3, 5): params.w_x: ",
        "expected shape (3, 20)",
        "got (3, 28)",
    ),
    "params without bias": (
        (rnn.lstm(D, H, bias=False).init(KEY), CARRY),
        "lstm(3, 5): params: ",
        "expected the structure PyTreeDef",
        "got PyTreeDef",
    ),
    "no params": (
        ((), CARRY),
        "lstm(3, 5): params: ",
        "expected LSTMParams",
        "got tuple",
    ),
    "params of many seeds": (
        (stacked(PARAMS), CARRY),
        "lstm(3, 5): params.w_x: ",
        "expected shape (3, 20)",
        "got (2, 3, 20); for a batch use jax.vmap",
    ),
    "carry of another cell": (
        (PARAMS, rnn.GRUCarry(jnp.zeros(H))),
        "lstm(3, 5): carry: ",
        "expected LSTMCarry",
        "got GRUCarry",
    ),
    "carry of another size": (
        (PARAMS, rnn.LSTMCarry(jnp.zeros(H), jnp.zeros(D))),
        "lstm(3, 5): carry.c: ",
        "expected shape (5,)",
        "got (3,)",
    ),
    "carry of a batch": (
        (PARAMS, stacked(CARRY)),
        "lstm(3, 5): carry.h: ",
        "expected shape (5,)",
        "got (2, 5); for a batch use jax.vmap",
    ),
    "carry of integers": (
        (PARAMS, jax.tree.map(lambda a: a.astype(int), CARRY)),
        "lstm(3, 5): carry.h: ",
        "expected dtype float32",
        "got int32",
    ),
    "no carry": (
        (PARAMS, None),
        "lstm(3, 5): carry: ",
        "expected LSTMCarry",
        "got NoneType",
    ),
}


@pytest.mark.parametrize("mistake", LSTM_ARGUMENTS)
@pytest.mark.parametrize("around", ["nothing", "remat", "residual", "chain", "both"])
def test_params_and_carry(around, mistake):
    """Of the cell, wherever it stands."""
    (params, carry), *parts = LSTM_ARGUMENTS[mistake]
    if around == "chain":
        cell, params, carry = rnn.chain(LSTM), (params,), (carry,)
    elif around == "both":
        cell = BOTH
        params = rnn.Directions(PARAMS, params)
        carry = rnn.Directions(CARRY, carry)
    else:
        wrap = {"nothing": lambda c: c, "remat": rnn.remat, "residual": rnn.residual}
        cell = wrap[around](LSTM)
    assert_refused(lambda: cell.unroll(params, carry, XS), *parts)
    if cell.step is not None:
        assert_refused(lambda: step_of(cell)(params, carry, XS[0]), *parts)


MODEL = rnn.chain(LSTM, LINEAR)
MODEL_PARAMS = MODEL.init(KEY)
MODEL_CARRY = MODEL.initial_carry(MODEL_PARAMS)
BOTH_PARAMS = BOTH.init(KEY)
BOTH_CARRY = BOTH.initial_carry(BOTH_PARAMS)
ENTRIES = "expected a tuple with one entry for each of 2 cells"
DROPOUT = rnn.dropout(0.5)

STRUCTURES = {
    "chain, short params": (
        lambda: MODEL.unroll(MODEL_PARAMS[:1], MODEL_CARRY, XS),
        "chain: params: ",
        ENTRIES,
        "got PyTreeDef",
    ),
    "chain, short params, one step": (
        lambda: step_of(MODEL)(MODEL_PARAMS[:1], MODEL_CARRY, XS[0]),
        "chain: params: ",
        ENTRIES,
        "got PyTreeDef",
    ),
    "chain, short params, first carry": (
        lambda: MODEL.initial_carry(MODEL_PARAMS[:1]),
        "chain: params: ",
        ENTRIES,
        "got PyTreeDef",
    ),
    "chain, no params": (
        lambda: MODEL.unroll(None, MODEL_CARRY, XS),
        "chain: params: ",
        ENTRIES,
        "got PyTreeDef(None)",
    ),
    "chain, no params, first carry": (
        lambda: MODEL.initial_carry(None),
        "chain: params: ",
        ENTRIES,
        "got PyTreeDef(None)",
    ),
    "chain, long carry": (
        lambda: MODEL.unroll(MODEL_PARAMS, (*MODEL_CARRY, ()), XS),
        "chain: carry: ",
        ENTRIES,
        "got PyTreeDef",
    ),
    "chain, no carry": (
        lambda: MODEL.unroll(MODEL_PARAMS, None, XS),
        "chain: carry: ",
        ENTRIES,
        "got PyTreeDef(None)",
    ),
    "bidirectional, params of one": (
        lambda: BOTH.unroll(BOTH_PARAMS.forward, BOTH_CARRY, XS),
        "bidirectional(lstm(3, 5), lstm(3, 5)): params: ",
        "expected Directions",
        "got LSTMParams",
    ),
    "bidirectional, params of one, first carry": (
        lambda: BOTH.initial_carry(BOTH_PARAMS.forward),
        "bidirectional(lstm(3, 5), lstm(3, 5)): params: ",
        "expected Directions",
        "got LSTMParams",
    ),
    "bidirectional, carry of one": (
        lambda: BOTH.unroll(BOTH_PARAMS, BOTH_CARRY.forward, XS),
        "bidirectional(lstm(3, 5), lstm(3, 5)): carry: ",
        "expected Directions",
        "got LSTMCarry",
    ),
    "lstm, no params, first carry": (
        lambda: LSTM.initial_carry(()),
        "lstm(3, 5): params: ",
        "expected LSTMParams",
        "got tuple",
    ),
    "dropout, carry of another cell": (
        lambda: DROPOUT.unroll((), CARRY, XS),
        "dropout(0.5): carry: ",
        "expected",
        "got LSTMCarry",
    ),
    "dropout, carry of another cell, one step": (
        lambda: step_of(DROPOUT)((), CARRY, XS[0]),
        "dropout(0.5): carry: ",
        "expected",
        "got LSTMCarry",
    ),
    "dropout, a key for a carry": (
        lambda: DROPOUT.unroll((), KEY, XS),
        "dropout(0.5): carry: ",
        "expected",
        "got",
    ),
    "linear, carry of another cell": (
        lambda: LINEAR.unroll(LINEAR.init(KEY), CARRY, jnp.ones((T, H))),
        "linear(5, 11): carry: ",
        "expected",
        "got LSTMCarry",
    ),
}


@pytest.mark.parametrize(**table(STRUCTURES))
def test_structure(mistake, parts):
    assert_refused(mistake, *parts)


def running_sum(params, carry, x):
    del params
    return carry + x, carry + x


UNROLL = rnn.scan_unroll(running_sum)
ZERO = jnp.zeros(())
OWN = rnn.Cell(lambda key: (), lambda params, key=None: ZERO, running_sum, UNROLL)

SEQUENCES = {
    "scan_unroll, no time": (
        lambda: UNROLL((), ZERO, jnp.ones(0)),
        "xs: ",
        "expected arrays with one common, non-empty leading axis",
        "got shapes [(0,)]",
    ),
    "scan_unroll, a number": (
        lambda: UNROLL((), ZERO, jnp.ones(())),
        "xs: ",
        "expected arrays with one common, non-empty leading axis",
        "got shapes [()]",
    ),
    "scan_unroll, lengths": (
        lambda: UNROLL((), ZERO, {"a": jnp.ones(T), "b": jnp.ones((D, T))}),
        "xs: ",
        "expected arrays with one common, non-empty leading axis",
        "got shapes [(7,), (3, 7)]",
    ),
    "scan_unroll, nothing": (
        lambda: UNROLL((), ZERO, ()),
        "xs: ",
        "expected arrays with one common, non-empty leading axis",
        "got shapes []",
    ),
    "scan_unroll, mask": (
        lambda: UNROLL((), ZERO, jnp.ones(T), mask=jnp.ones(D, bool)),
        "mask: ",
        "expected shape [T] = (7,)",
        "got (3,)",
    ),
    "remat of a cell of one's own, no time": (
        lambda: rnn.remat(OWN).unroll((), ZERO, jnp.ones(0)),
        "xs: ",
        "expected arrays with one common, non-empty leading axis",
        "got shapes [(0,)]",
    ),
    "remat of a cell of one's own, a number": (
        lambda: rnn.remat(OWN).unroll((), ZERO, jnp.ones(())),
        "xs: ",
        "expected arrays with one common, non-empty leading axis",
        "got shapes [()]",
    ),
    "last, a number": (
        lambda: rnn.last(jnp.ones(())),
        "last: ys: ",
        "expected",
        "got",
    ),
    "last, no time": (
        lambda: rnn.last(jnp.ones((0, D))),
        "last: ys: ",
        "expected",
        "got",
    ),
    "last, mask": (
        lambda: rnn.last(XS, jnp.ones(D, bool)),
        "last: mask: ",
        "expected shape [T] = (7,)",
        "got (3,)",
    ),
    "last, mask of integers": (
        lambda: rnn.last(XS, jnp.ones(T, int)),
        "last: mask: ",
        "expected dtype bool",
        "got int32",
    ),
}


@pytest.mark.parametrize(**table(SEQUENCES))
def test_sequences(mistake, parts):
    assert_refused(mistake, *parts)


LABELED = {"cross_entropy": rnn.cross_entropy, "accuracy": rnn.accuracy}
PAIRED = {
    "sigmoid_cross_entropy": (rnn.sigmoid_cross_entropy, "logits"),
    "squared_error": (rnn.squared_error, "predictions"),
}


@pytest.mark.parametrize("name", LABELED)
def test_labels(name):
    loss = LABELED[name]
    logits, labels = jnp.ones((T, V)), jnp.ones(T, int)
    shape = "labels: expected the shape of logits"
    assert_refused(
        lambda: loss(logits, jnp.ones(D, int)), name, shape, "(7, 11)", "got (3,)"
    )
    assert_refused(
        lambda: loss(logits, jnp.ones((T, V), int)), name, shape, "got (7, 11)"
    )
    assert_refused(lambda: loss(logits, jnp.array(1)), name, shape, "got ()")
    assert_refused(lambda: loss(jnp.ones(()), jnp.array(1)), name, shape, "()")
    assert_refused(
        lambda: loss(logits, jnp.ones(T)),
        f"{name}: labels: ",
        "expected integers",
        "got float32",
    )
    check_loss(loss, name, "logits", logits, labels)
    assert_refused(
        lambda: loss(logits[0], labels[0], jnp.array(True)),
        f"{name}: mask: ",
        "no time axis",
    )


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, True, None, "0.1", float("nan")])
def test_label_smoothing(smoothing):
    assert_refused(
        lambda: rnn.cross_entropy(jnp.ones(V), jnp.array(1), label_smoothing=smoothing),
        "cross_entropy: label_smoothing: ",
        "expected a number in [0, 1)",
        f"got {smoothing!r}",
    )


def test_a_tied_embedding_needs_outputs_of_its_size():
    model = rnn.tied_embedding(V, D, rnn.lstm(D, H))
    params = model.init(KEY)
    carry = model.initial_carry(params)
    assert_refused(
        lambda: model.unroll(params, carry, jnp.ones(T, int)),
        "tied_embedding(11, 3, lstm(3, 5)): ",
        "expected outputs of the cell of size 3",
        "got (7, 5)",
    )


@pytest.mark.parametrize("name", PAIRED)
def test_targets(name):
    loss, what = PAIRED[name]
    values = jnp.ones((T, D))
    assert_refused(
        lambda: loss(values, jnp.ones(T)),
        f"{name}: targets: ",
        f"expected the shape of {what} (7, 3)",
        "got (7,)",
    )
    check_loss(loss, name, what, values, values)
    assert_refused(
        lambda: loss(values[0, 0], values[0, 0], jnp.array(True)),
        f"{name}: mask: ",
        "no time axis",
    )


def check_loss(loss, name, what, values, targets):
    """What all losses have in common."""
    assert_refused(
        lambda: loss(values.astype(int), targets),
        f"{name}: {what}: ",
        "expected floating numbers",
        "got int32",
    )
    assert_refused(
        lambda: loss(values[:0], targets[:0]),
        f"{name}: {what}: ",
        "expected some values",
        "got (0, ",
    )
    assert_refused(
        lambda: loss(values, targets, jnp.ones(D, bool)),
        f"{name}: mask: ",
        "expected shape [T] = (7,)",
        "got (3,)",
    )
    assert_refused(
        lambda: loss(values, targets, jnp.ones(T)),
        f"{name}: mask: ",
        "expected dtype bool",
        "got float32",
    )


SGD = optax.sgd(0.1)
UPDATE = rnn.make_update(lambda params, x, y, key: params * jnp.sum(x) * y, SGD)
EPOCH = rnn.make_epoch(UPDATE)
STATE = rnn.train_state(jnp.ones(()), SGD, KEY)
ORDER = jnp.zeros((2, 5), int)
MESH = jax.make_mesh((2,), ("batch",))
COMMON = "expected arrays with one common, non-empty leading axis"

TRAINING = {
    "batch of two sizes": (
        lambda: UPDATE(STATE, jnp.ones((T, D)), jnp.ones(D)),
        "update: batch: ",
        COMMON,
        "got shapes [(7, 3), (3,)]",
    ),
    "batch of nothing": (lambda: UPDATE(STATE), "update: batch: ", COMMON, "[]"),
    "empty batch": (
        lambda: UPDATE(STATE, jnp.ones((0, D)), jnp.ones(0)),
        "update: batch: ",
        COMMON,
        "got shapes [(0, 3), (0,)]",
    ),
    "a number in the batch": (
        lambda: UPDATE(STATE, jnp.ones((T, D)), jnp.ones(())),
        "update: batch: ",
        COMMON,
        "got shapes [(7, 3), ()]",
    ),
    "batch that does not divide": (
        lambda: rnn.make_update(jnp.dot, SGD, mesh=MESH)(STATE, jnp.ones(T)),
        "update: batch: ",
        "expected a multiple of 2",
        "got 7 examples",
    ),
    "a carry that is not asked for": (
        lambda: UPDATE(STATE._replace(carry=jnp.ones((T, H))), jnp.ones((T, D))),
        "update: state: ",
        "expected no carry, since has_carry=False",
        "got PyTreeDef(*)",
    ),
    "no carry where there should be one": (
        lambda: rnn.make_update(jnp.dot, SGD, has_carry=True)(STATE, jnp.ones(T)),
        "update: state: ",
        "expected a carry, since has_carry=True",
        "got PyTreeDef(())",
    ),
    "a carry of another batch": (
        lambda: rnn.make_update(jnp.dot, SGD, has_carry=True)(
            STATE._replace(carry=jnp.ones((3, H))), jnp.ones(T)
        ),
        "update: state.carry: ",
        "expected the 7 sequences of the batch",
        "got shapes [(3, 5)]",
    ),
    "no microbatches": (
        lambda: rnn.make_update(jnp.dot, SGD, microbatches=0),
        "make_update: microbatches: ",
        "expected an integer of at least 1",
        "got 0",
    ),
    "microbatches that do not divide": (
        lambda: rnn.make_update(jnp.dot, SGD, microbatches=3, mesh=MESH)(
            STATE, jnp.ones(8)
        ),
        "update: batch: ",
        "expected a multiple of 6 (2 shares of the mesh, 3 microbatches)",
        "got 8 examples",
    ),
    "data of two sizes": (
        lambda: EPOCH(STATE, (jnp.ones((T, D)), jnp.ones(D)), ORDER),
        "epoch: data: ",
        COMMON,
        "got shapes [(7, 3), (3,)]",
    ),
    "order of one axis": (
        lambda: EPOCH(STATE, (jnp.ones((T, D)), jnp.ones(T)), ORDER[0]),
        "epoch: order: ",
        "expected integers of shape [S, B]",
        "got int32 (5,)",
    ),
    "order of floats": (
        lambda: EPOCH(STATE, (jnp.ones((T, D)), jnp.ones(T)), ORDER.astype(float)),
        "epoch: order: ",
        "expected integers of shape [S, B]",
        "got float32 (2, 5)",
    ),
}


@pytest.mark.parametrize(**table(TRAINING))
def test_training(mistake, parts):
    assert_refused(mistake, *parts)


@pytest.mark.parametrize("batch_size", [0, -1, T + 1, 2.0, "2", None])
def test_batch_size(batch_size):
    assert_refused(
        lambda: rnn.shuffled(KEY, T, batch_size),
        "shuffled: batch_size: ",
        "expected",
        f"got {batch_size!r}",
    )


ANY: Any = rnn  # a type checker would see some of these mistakes
ANY_LSTM: Any = LSTM

BELOW = {  # what JAX or Python would have complained about, found by fuzz.py
    "no key": (
        lambda: ANY_LSTM.init(None),
        "lstm(3, 5): key: ",
        "one key",
        "got NoneType",
    ),
    "two keys": (
        lambda: LSTM.init(jax.random.split(KEY)),
        "lstm(3, 5): key: ",
        "expected one key",
        "got (2,)",
    ),
    "a number for a key": (
        lambda: ANY.chain(LSTM, LINEAR).initial_carry(
            rnn.chain(LSTM, LINEAR).init(KEY), 0
        ),
        "chain(lstm(3, 5), linear(5, 11)): key: ",
        "expected one key",
        "got int",
    ),
    "text for numbers": (
        lambda: LSTM.unroll(LSTM.init(KEY), LSTM.initial_carry(LSTM.init(KEY)), "xs"),
        "lstm(3, 5): xs: ",
        "expected an array",
        "got str",
    ),
    "text in the carry": (
        lambda: ANY_LSTM.step(LSTM.init(KEY), ANY.LSTMCarry("h", "c"), jnp.ones(D)),
        "lstm(3, 5): carry.h: ",
        "expected shape (5,)",
        "got ()",
    ),
    "no labels": (
        lambda: ANY.cross_entropy(jnp.ones((T, V)), None),
        "cross_entropy: labels: ",
        "expected an array",
        "got NoneType",
    ),
    "a flag that is text": (
        lambda: ANY.lstm(D, H, bias="no"),
        "lstm: bias: ",
        "expected a bool",
        "got 'no'",
    ),
    "an array for a dtype": (
        lambda: ANY.lstm(D, H, dtype=jnp.ones(3)),
        "lstm: dtype: ",
        "expected a floating dtype",
        "got Array",
    ),
    "no initializer": (
        lambda: ANY.lstm(D, H, w_x_init=None),
        "lstm: w_x_init: ",
        "expected a function",
        "got None",
    ),
    "reverse of many": (
        lambda: ANY.bidirectional(LSTM, LSTM).unroll(
            BOTH.init(KEY),
            BOTH.initial_carry(BOTH.init(KEY)),
            jnp.ones((T, D)),
            reverse=jnp.ones(T, bool),
        ),
        "bidirectional(lstm(3, 5), lstm(3, 5)): reverse: ",
        "expected a bool",
        "got Array",
    ),
    "many layers": (
        lambda: interop.load_torch("lstm", {}, num_layers=10**12),
        "load_torch: num_layers: ",
        "expected no more than the 0 entries",
        "got 1000000000000",
    ),
}


@pytest.mark.parametrize(**table(BELOW))
def test_what_would_fail_below(mistake, parts):
    assert_refused(mistake, *parts)
