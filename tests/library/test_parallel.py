"""Unrolls by Newton's method: the loop's values and gradients, or the loop itself."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn as rnn
from jaxrnn.loops.blocks import identity, product, solve
from tests.library.battery import SOME_VALID, STARTS, T, quick_jit

D, H = 3, 5
FORMS = "full", "block", "diagonal"


def flip_flop(size=3, gain=5.0):
    """Keeps a sign, or turns it over: s_t = tanh(gain x_t s_{t-1}), with x of +-1.

    In exact numbers the state comes near tanh(gain) times the product of all x.
    """

    def init(key):
        del key
        return jnp.full(size, gain)

    def initial_carry(params, key=None):
        del key
        return jnp.ones_like(params)

    def step(params, carry, x):
        carry = jnp.tanh(params * x * carry)
        return carry, carry

    return rnn.leaf("flip_flop", rnn.Input((size,)), init, initial_carry, step)


def signs(length, size=3, seed=0):
    draw = np.random.default_rng(seed).integers(0, 2, (length, size))
    return jnp.asarray(2 * draw - 1, jnp.float32)


def as_double(tree):
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), tree)


def loop_of(cell):
    return rnn.scan_unroll(cell.step, cell.initial_carry)


@pytest.mark.parametrize("jacobian", FORMS)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_recurrence_with_matrices_is_solved(jacobian, transposed):
    fields, n, length = {"full": None, "block": 2, "diagonal": 1}[jacobian], 6, 9
    noise = np.random.default_rng(0)
    a = noise.normal(size=(length, *identity(fields, n, jnp.float32).shape))
    b, starts = noise.normal(size=(length, n)), np.arange(length) % 4 == 2
    a[5], a[2] = a[5], np.nan  # nothing comes through a start, NaN included
    dense = np.zeros((length, n, n))
    for t in range(length):
        columns = [product(fields, jnp.asarray(a[t]), jnp.asarray(e)) for e in np.eye(n)]
        dense[t] = np.stack(columns, axis=1)
    expected, e = np.zeros((length, n)), np.zeros(n)
    for t in range(length)[:: -1 if transposed else 1]:
        if transposed:
            ends = t + 1 == length or starts[t + 1]
            e = b[t] + (0 if ends else dense[t + 1].T @ e)
        else:
            e = b[t] + (0 if starts[t] or t == 0 else dense[t] @ e)
        expected[t] = e
    for platform in ("cpu", "cuda"):
        run = lambda a, b: solve(  # noqa: E731
            fields, a, b, jnp.asarray(starts), transposed=transposed
        )
        got = run(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
        del platform


@pytest.mark.parametrize("jacobian", FORMS)
def test_values_and_gradients_are_the_loops(jacobian):
    cell = rnn.lstm(D, H)
    with jax.enable_x64(True):
        params = as_double(cell.init(jax.random.key(0)))
        params = jax.tree.map(lambda a: 2 * a, params)
        noise = np.random.default_rng(0)
        carry = as_double(jax.tree.map(np.array, rnn.LSTMCarry(*noise.normal(size=(2, H)))))
        xs = jnp.asarray(noise.normal(size=(T, D)))
        options = {"mask": SOME_VALID, "starts": STARTS, "reverse": True}

        def loss(unroll, params, carry, xs):
            carry, ys = unroll(params, carry, xs, **options)
            return (carry.h * carry.c).sum() + (ys**2).sum(), (carry, ys)

        def both(unroll):
            find = jax.value_and_grad(lambda *a: loss(unroll, *a), (0, 1, 2), True)
            return quick_jit(find)(params, carry, xs)

        fast = rnn.parallel(cell, jacobian=jacobian)
        got, expected = both(fast.unroll), both(loop_of(cell))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10),
            got,
            expected,
        )
