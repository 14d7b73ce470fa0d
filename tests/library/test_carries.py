"""Where a carry comes from, and what is computed once for a sequence."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import (
    CASES,
    LANGUAGE_MODEL,
    MEMORY,
    SOME_VALID,
    STREAMS,
    B,
    Case,
    D,
    H,
    M,
    T,
    V,
    assert_close,
    assert_refused,
    quick_jit,
    with_gradient,
)

import jaxrnn as rnn

KEY, OTHER = jax.random.key(7), jax.random.key(8)
NORMAL = jax.nn.initializers.normal(1.0)
STARTS = jnp.arange(T) % 3 == 2
GRU_START = rnn.GRUCarry(jnp.linspace(-1, 1, H))


def reader(start=GRU_START, memory=MEMORY):
    """A decoder as of a translator: its start and its memory are given."""
    core = rnn.chain(
        rnn.starting(rnn.gru(D + H, H), start), rnn.luong(H, M, memory=memory)
    )
    return rnn.chain(
        rnn.embedding(V, D),
        rnn.dropout(0.3),
        rnn.input_feeding(core, H),
        rnn.linear(H, V),
    )


OWN = {
    "starting": Case(rnn.starting(rnn.gru(D, H), GRU_START)),
    "starting a chain": Case(
        rnn.starting(
            rnn.chain(rnn.gru(D, H), rnn.dropout(0.4), rnn.linear(H, V)),
            (GRU_START, (), ()),
        ),
        key=KEY,
    ),
    "learned carry": Case(rnn.learned_carry(rnn.lstm(D, H), carry_init=NORMAL)),
    "learned carry in a chain": Case(
        rnn.chain(rnn.learned_carry(rnn.gru(D, H), carry_init=NORMAL), rnn.linear(H, V))
    ),
    "remat of a learned carry": Case(
        rnn.remat(rnn.learned_carry(rnn.gru(D, H), carry_init=NORMAL))
    ),
    "reader": Case(reader(), size=None, key=KEY),
    "sampling reader": Case(rnn.scheduled_sampling(reader(), 0.6), size=None, key=KEY),
}
ALL = CASES | OWN
PREPARING = [
    name for name in ALL if ALL[name].cell.about.prepare is not rnn.About().prepare
]


def key_data(tree):
    """The bits of every key in a tree, as a set."""
    keys = [a for a in jax.tree.leaves(tree) if is_key(a)]
    return {tuple(np.asarray(jax.random.key_data(k)).ravel().tolist()) for k in keys}


def is_key(a):
    return jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key)


def floats(tree):
    return [a for a in jax.tree.leaves(tree) if not is_key(a)]


@pytest.mark.parametrize("way", ["whole", "masked reverse"])
@pytest.mark.parametrize("name", OWN)
def test_unroll_is_scan_of_step(name, way):
    mask, reverse = (None, False) if way == "whole" else (SOME_VALID, True)
    case, args = OWN[name], OWN[name].arguments()
    got = quick_jit(with_gradient(case.unroll(mask, reverse=reverse)))(*args)
    expected = quick_jit(with_gradient(case.expected(mask, reverse=reverse)))(*args)
    assert_close(got, expected, 1e-4)


@pytest.mark.parametrize("name", OWN)
def test_a_start_begins_with_the_initial_carry(name):
    """As if each piece between two starts were a sequence of its own; NaN stays out."""
    case = OWN[name]
    params, carry, xs = case.arguments()
    carry = case.cell.initial_carry(params, case.key)
    run = quick_jit(case.cell.unroll)
    cuts = [0, *np.flatnonzero(STARTS).tolist(), T]
    pieces = [run(params, carry, xs[i:j]) for i, j in itertools.pairwise(cuts)]
    expected = jnp.concatenate([ys for _, ys in pieces])
    if case.size is not None:
        xs = xs.at[0].set(jnp.nan)
    got_carry, got = run(params, carry, xs, starts=STARTS)
    first = cuts[1] if case.size is not None else 0
    assert_close(got[first:], expected[first:], 1e-5)
    assert_close(got_carry, pieces[-1][0], 1e-5)


def test_what_reads_the_future_has_no_other_start():
    both = rnn.bidirectional(rnn.gru(D, H), rnn.gru(D, H))
    start = rnn.Directions(GRU_START, GRU_START)
    for cell in (rnn.starting(both, start), rnn.learned_carry(both)):
        params = cell.init(KEY)
        carry = cell.initial_carry(params)
        cell.unroll(params, carry, jnp.ones((T, D)))
        assert_refused(
            lambda cell=cell, params=params, carry=carry: cell.unroll(
                params, carry, jnp.ones((T, D)), starts=STARTS
            ),
            "starts: expected None, since bidirectional(gru(3, 5), gru(3, 5)) reads",
        )


@pytest.mark.parametrize("name", PREPARING)
def test_what_is_prepared_stands_for_the_params(name):
    """In the initial carry, the step, the unroll, the trace, and once more."""
    case = ALL[name]
    params, carry, xs = case.arguments()

    @quick_jit
    def run(params, carry, xs):
        found = [
            case.cell.initial_carry(params, case.key),
            case.cell.unroll(params, carry, xs, mask=SOME_VALID, starts=STARTS),
            rnn.trace(case.cell, params, carry, xs),
        ]
        if case.cell.step is not None:
            found.append(case.cell.step(params, carry, xs[0]))
        return found

    prepared = quick_jit(case.cell.about.prepare)(params)
    once_more = case.cell.about.prepare(prepared)
    assert jax.tree.structure(once_more) == jax.tree.structure(prepared)
    assert_close(run(prepared, carry, xs), run(params, carry, xs), 1e-5)


@pytest.mark.parametrize("name", STREAMS | OWN)
def test_a_trace_ends_with_what_the_cell_gives(name):
    """And traces a sequence as it does one step after the other."""
    case = ALL[name]
    params, carry, xs = case.arguments()
    whole = quick_jit(partial(rnn.trace, case.cell))(params, carry, xs)

    def step(carry, x):
        outputs = rnn.trace(case.cell, params, carry, x[None])
        carry, _ = case.cell.unroll(params, carry, x[None])
        return carry, jax.tree.map(lambda a: a[0], outputs)

    _, by_step = quick_jit(lambda carry, xs: jax.lax.scan(step, carry, xs))(carry, xs)
    assert_close(whole, by_step, 1e-4)
    assert all(len(a) == T for a in jax.tree.leaves(whole))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("with_key", [False, True])
def test_an_initial_carry_owns_its_buffers(name, with_key):
    """So that it may be donated: none is in the params, none there twice."""
    cell = ALL[name].cell
    params = cell.init(KEY)
    key = KEY if with_key else None
    for carry in (cell.initial_carry(params, key), jit_start(cell)(params, key)):
        given = pointers((params, key, GRU_START))
        mine = pointers(carry)
        assert len(set(mine)) == len(mine)
        assert not set(mine) & set(given)


def jit_start(cell):
    return jax.jit(cell.initial_carry)


def pointers(tree):
    arrays = [jax.random.key_data(a) if is_key(a) else a for a in jax.tree.leaves(tree)]
    return [a.unsafe_buffer_pointer() for a in arrays if a.size]


@pytest.mark.parametrize("name", ALL)
def test_new_randomness_and_old_memory(name):
    """With a key, without one, and with another again."""
    case = ALL[name]
    params, _, xs = case.arguments()
    run = quick_jit(case.cell.unroll)
    carry, _ = run(params, case.cell.initial_carry(params, KEY), xs)
    evaluated = rnn.rekeyed(case.cell, params, carry)
    again = rnn.rekeyed(case.cell, params, evaluated, OTHER)
    structure_of = lambda *key: jax.tree.structure(  # noqa: E731
        case.cell.initial_carry(params, *key)
    )
    assert jax.tree.structure(evaluated) == structure_of()
    assert jax.tree.structure(again) == structure_of(OTHER)
    assert key_data(again) == key_data(case.cell.initial_carry(params, OTHER))
    assert not key_data(evaluated)
    assert not key_data(again) & key_data(carry)
    straight = rnn.rekeyed(case.cell, params, carry, OTHER)
    assert key_data(straight) == key_data(again)
    assert_close(floats(straight), floats(carry), 0)
    # What counts the steps of a dropout is not kept by what has no key.
    for a, b in zip(memory(again), memory(carry), strict=True):
        np.testing.assert_array_equal(a, b)
    run(params, evaluated, xs)
    run(params, again, xs)


def memory(tree):
    return [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.floating)]


def test_new_masks():
    params = LANGUAGE_MODEL.init(KEY)
    start = LANGUAGE_MODEL.initial_carry(params, KEY)
    tokens = jnp.arange(T) % V
    carries = [rnn.rekeyed(LANGUAGE_MODEL, params, start, k) for k in (KEY, OTHER)]
    same, other = (LANGUAGE_MODEL.unroll(params, c, tokens)[1] for c in carries)
    assert_close(same, LANGUAGE_MODEL.unroll(params, start, tokens)[1], 0)
    assert (same != other).any()


def test_a_gradient_reaches_a_given_and_a_learned_start():
    xs = jnp.ones((T, D))
    params = rnn.gru(D, H).init(KEY)

    def of_given(start, starts=None):
        cell = rnn.starting(rnn.gru(D, H), start)
        carry = cell.initial_carry(params)
        return cell.unroll(params, carry, xs, starts=starts)[1][-1].sum()

    cell = rnn.learned_carry(rnn.gru(D, H))

    def of_learned(start, starts=None):
        learned = rnn.LearnedParams(params, start)
        carry = cell.initial_carry(learned)
        return cell.unroll(learned, carry, xs, starts=starts)[1][-1].sum()

    for starts in (None, STARTS):
        given, learned = (
            quick_jit(jax.grad(f))(GRU_START, starts) for f in (of_given, of_learned)
        )
        assert_close(given, learned, 1e-6)
        assert jnp.abs(given.h).min() > 0

    def from_the_last_start(start):
        return rnn.gru(D, H).unroll(params, start, xs[5:])[1][-1].sum()

    expected = jax.grad(from_the_last_start)(GRU_START)  # STARTS has its last at 5
    assert_close(given, expected, 1e-5)


def test_a_start_and_a_memory_for_each_example():
    params = reader().init(KEY)
    noise = np.random.default_rng(0)
    starts = rnn.GRUCarry(jnp.asarray(noise.normal(size=(B, H)), jnp.float32))
    memories = jnp.asarray(noise.normal(size=(B, 13, M)), jnp.float32)
    tokens = jnp.asarray(noise.integers(0, V, (B, T)))

    def run(start, memory, tokens):
        def loss(params, start, memory):
            cell = reader(start, memory)
            carry = cell.initial_carry(params, KEY)
            return (cell.unroll(params, carry, tokens)[1] ** 2).sum()

        return jax.value_and_grad(loss, (0, 1, 2))(params, start, memory)

    got = quick_jit(jax.vmap(run))(starts, memories, tokens)
    one = quick_jit(run)
    alone = [
        one(*jax.tree.map(lambda a, i=i: a[i], (starts, memories, tokens)))
        for i in range(B)
    ]
    assert_close(got, jax.tree.map(lambda *a: jnp.stack(a), *alone), 1e-4)


def test_a_start_in_another_precision():
    ones: Any = np.ones(H)
    cell = rnn.starting(rnn.gru(D, H), rnn.GRUCarry(ones))
    start = cell.initial_carry(cell.init(KEY))
    assert_close(start, rnn.GRUCarry(jnp.ones(H, jnp.float32)), 0)


def test_a_leaf_that_prepares_begins_anew_with_its_own_carry():
    """Whose initial carry reads the params, not what is made of them."""
    cell = rnn.leaf(
        "decay",
        rnn.Input((H,)),
        lambda key: {"rate": jnp.full(H, 0.5), "start": jnp.arange(1.0, H + 1)},
        lambda params, key=None: params["start"],
        lambda made, carry, x: (made * carry + x, made * carry + x),
        prepare=lambda params: jnp.exp(-params["rate"]),
    )
    params = cell.init(KEY)
    xs = jnp.ones((T, H))
    carry = cell.initial_carry(params)
    _, ys = cell.unroll(params, carry, xs, starts=STARTS)
    for t in np.flatnonzero(STARTS):
        assert_close(ys[t], ys[0], 1e-6)
    assert_close(cell.about.prepare(params).made, jnp.full(H, np.exp(-0.5)), 1e-6)


GRU, MODEL = rnn.gru(D, H), LANGUAGE_MODEL
PARAMS = GRU.init(KEY)
MISTAKES = {
    "starting no cell": (lambda: rnn.starting(3, ()), "starting: cell: expected a"),  # pyright: ignore
    "starting with another shape": (
        lambda: rnn.starting(GRU, rnn.GRUCarry(jnp.ones(D))).initial_carry(PARAMS),
        "starting: carry: expected shape (5,)",
        "got (3,)",
    ),
    "starting with another carry": (
        lambda: rnn.starting(GRU, rnn.ElmanCarry(jnp.ones(H))).initial_carry(PARAMS),
        "starting: carry: expected the structure",
        "ElmanCarry",
    ),
    "starting with complex numbers": (
        lambda: rnn.starting(GRU, rnn.GRUCarry(jnp.ones(H, complex))).initial_carry(
            PARAMS
        ),
        "starting: carry: expected dtype float32",
        "got complex64",
    ),
    "starting with no array": (
        lambda: rnn.starting(GRU, rnn.GRUCarry("h")).initial_carry(PARAMS),  # pyright: ignore
        "starting: carry: expected an array",
        "got str",
    ),
    "rekeying no cell": (
        lambda: rnn.rekeyed(3, PARAMS, (), KEY),  # pyright: ignore
        "rekeyed: cell: expected a Cell",
    ),
    "rekeying without a key": (
        lambda: rnn.rekeyed(GRU, PARAMS, GRU_START, 3),  # pyright: ignore
        "rekeyed: key: expected one key",
    ),
    "rekeying another carry": (
        lambda: rnn.rekeyed(GRU, PARAMS, (), KEY),
        "rekeyed: carry: expected the structure",
    ),
    "rekeying the carry of more cells": (
        lambda: rnn.rekeyed(
            rnn.dropout(0.5), (), MODEL.initial_carry(MODEL.init(KEY), KEY)
        ),
        "rekeyed: carry: expected the structure",
    ),
    "learned carry of no cell": (
        lambda: rnn.learned_carry(3),  # pyright: ignore
        "learned_carry: cell: expected a Cell",
    ),
    "learned carry of tokens": (
        lambda: rnn.learned_carry(rnn.scheduled_sampling(MODEL, 0.5)).init(KEY),
        "learned_carry(scheduled_sampling(",
        "expected a carry of floating arrays, got int32",
    ),
    "learned params": (
        lambda: rnn.learned_carry(GRU).unroll(PARAMS, GRU_START, jnp.ones((T, D))),
        "learned_carry(gru(3, 5)): params: expected LearnedParams",
        "got GRUParams",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    assert_refused(*MISTAKES[name])
