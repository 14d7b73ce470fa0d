"""Cells that are sent, carries that are given away, and traces that leave nothing."""

import multiprocessing
import pickle
from typing import Any

import chex
import cloudpickle
import jax
import jax.numpy as jnp
import optax
import pytest
from battery import CASES, LANGUAGE_MODEL, RECURRENT, D, H, T, V

import jaxrnn as rnn

KEY = jax.random.key(5)
# Made of functions in functions: an initializer, and a cell of a test's own.
BY_VALUE = {"lstm learned carry", "gru learned carry", "complex", "complex in parallel"}


def ran(cell, args):
    params, carry, xs = args
    if cell.step is None:
        return cell.unroll(params, carry, xs)
    return cell.step(params, carry, jax.tree.map(lambda a: a[0], xs))


def travelled(cell, module: Any):
    return module.loads(module.dumps(cell))


@pytest.mark.parametrize("name", CASES)
def test_a_cell_travels_between_processes(name):
    """By pickle, as `multiprocessing` sends, and by cloudpickle, as Ray and Dask do."""
    cell, args = CASES[name].cell, CASES[name].arguments()
    expected = ran(cell, args)  # it was used before it is sent
    modules = [cloudpickle] if name in BY_VALUE else [pickle, cloudpickle]
    for module in modules:
        copy = travelled(cell, module)
        chex.assert_trees_all_equal(ran(copy, args), expected)
        chex.assert_trees_all_equal(
            jax.eval_shape(copy.init, KEY), jax.eval_shape(cell.init, KEY)
        )
        assert repr(copy) == repr(cell)


@pytest.mark.parametrize("name", sorted(BY_VALUE))
def test_pickle_says_what_it_cannot_send(name):
    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(CASES[name].cell)


def test_a_changed_cell_is_not_sent_as_it_was_made():
    cell = rnn.gru(D, H)
    changed = cell._replace(initial_carry=_ones)
    copy = travelled(changed, cloudpickle)
    assert (copy.initial_carry(copy.init(KEY)).h == 1).all()
    named = cell._replace(about=cell.about._replace(name="mine"))
    assert repr(travelled(named, cloudpickle)) == "mine"


def _ones(params, key=None):
    return rnn.GRUCarry(jnp.ones(H))


def test_functions_of_jax_are_sent_by_name():
    for cell in (
        rnn.elman(D, H, activation=jax.nn.relu),
        rnn.activation(jnp.tanh),
        rnn.activation(fun=jax.nn.gelu),
    ):
        assert repr(travelled(cell, pickle)) == repr(cell)


def trained(cell, params, tokens):
    """One update, as a worker makes it."""
    optimizer = optax.sgd(0.1)

    def loss_fn(params, tokens, key):
        carry = cell.initial_carry(params, key)
        return rnn.cross_entropy(cell.unroll(params, carry, tokens)[1], tokens)

    update = rnn.make_update(loss_fn, optimizer)
    return update(rnn.train_state(params, optimizer, jax.random.key(1)), tokens)[0]


@pytest.mark.slow
def test_a_worker_trains_and_sends_params_back():
    params = LANGUAGE_MODEL.init(KEY)
    tokens = jnp.arange(2 * T).reshape(2, T) % V
    expected = trained(LANGUAGE_MODEL, params, tokens).params
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        args = LANGUAGE_MODEL, params, tokens
        got = pool.apply(_params_of_training, args)
    chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-6)


def _params_of_training(*args):
    return trained(*args).params


@pytest.mark.parametrize("name", CASES)
def test_an_initial_carry_owns_its_buffers(name):
    """Alone and in a batch: no two leaves share one, and none is one of the params."""
    cell, key = CASES[name].cell, CASES[name].key
    if key is not None:
        key = jax.random.clone(KEY)
    params = cell.init(KEY)
    carries = [cell.initial_carry(params, key)]
    if key is not None:
        keys = jax.random.split(key, 2)
        carries += [jax.vmap(lambda k: cell.initial_carry(params, k))(keys)]
    for carry in carries:
        leaves = jax.tree.leaves((carry, params))
        arrays = [a for a in leaves if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key)]
        buffers = [a.unsafe_buffer_pointer() for a in arrays]
        assert len(set(buffers)) == len(buffers)
        for i, leaf in enumerate(jax.tree.leaves(carry)):
            leaf.delete()
            later = jax.tree.leaves(carry)[i + 1 :]
            assert not any(a.is_deleted() for a in later)
    rest = jax.tree.leaves((params, key))
    assert not any(a.is_deleted() for a in rest)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_cell_leaks_a_tracer(name):
    cell = CASES[name].cell
    args = CASES[name].arguments()

    def loss(params, carry, xs):
        ys = cell.unroll(params, carry, xs)[1]
        return sum(jnp.sum(jnp.abs(y)) for y in jax.tree.leaves(ys))

    with jax.checking_leaks():
        jax.eval_shape(jax.jit(cell.init), KEY)
        jax.eval_shape(jax.jit(loss), *args)
        jax.eval_shape(jax.jit(cell.initial_carry), args[0])


def test_training_and_decoding_leak_no_tracer():
    model = rnn.chain(rnn.embedding(V, D), rnn.gru(D, H), rnn.linear(H, V))
    tokens = jnp.arange(2 * T).reshape(2, T) % V
    optimizer = optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau())

    def loss_fn(params, tokens, key):
        carry = model.initial_carry(params, key)
        return rnn.cross_entropy(model.unroll(params, carry, tokens)[1], tokens)

    with jax.checking_leaks():
        params = model.init(KEY)
        carry = model.initial_carry(params)
        update = rnn.make_update(loss_fn, optimizer)
        state = rnn.train_state(params, optimizer, KEY)
        jax.eval_shape(update, state, tokens)
        order = jnp.zeros((3, 2), int)
        jax.eval_shape(rnn.make_epoch(update), state, (tokens,), order)

        def decoded(params, carry):
            begun = rnn.prefill(model, params, carry, tokens[0])
            made = rnn.generate(model, params, *begun, 3, rnn.sample(), KEY)
            options: Any = {"beam_size": 2, "stop_token": 0}
            return made, rnn.beam_search(model, params, *begun, 3, **options)

        jax.eval_shape(decoded, params, carry)
        streamed = list(rnn.stream(model, params, carry, 1, 2, rnn.greedy))
    assert len(streamed) == 2


def test_every_recurrent_cell_knows_the_call_that_made_it():
    assert all(case.cell.about.made is not None for case in RECURRENT.values())
