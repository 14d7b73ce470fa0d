"""Unrolls by Newton's method: the loop's values and gradients, or the loop itself."""

import logging
from typing import Any, cast

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from battery import SOME_VALID, STARTS, T, quick_jit

import jaxrnn as rnn
from jaxrnn.loops import blocks

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
@pytest.mark.parametrize("way", ["in_turn", "together"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_recurrence_with_matrices_is_solved(monkeypatch, jacobian, way, transposed):
    fields, n, length = {"full": None, "block": 2, "diagonal": 1}[jacobian], 6, 9
    noise = np.random.default_rng(0)
    a = noise.normal(size=(length, *blocks.identity(fields, n, jnp.float32).shape))
    b, starts = noise.normal(size=(length, n)), np.arange(length) % 4 == 2
    a[2] = np.nan  # nothing comes through a start, NaN included
    dense = np.zeros((length, n, n))
    for t in range(length):
        columns = [
            blocks.product(fields, jnp.asarray(a[t]), jnp.asarray(e)) for e in np.eye(n)
        ]
        dense[t] = np.stack(columns, axis=1)
    expected, e = np.zeros((length, n)), np.zeros(n)
    for t in range(length)[:: -1 if transposed else 1]:
        if transposed:
            ends = t + 1 == length or starts[t + 1]
            e = b[t] + (0 if ends else dense[t + 1].T @ e)
        else:
            e = b[t] + (0 if starts[t] or t == 0 else dense[t] @ e)
        expected[t] = e
    monkeypatch.setattr(blocks, "in_turn", getattr(blocks, way))
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    got = blocks.solve(fields, a, b, jnp.asarray(starts), transposed=transposed)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("jacobian", FORMS)
def test_values_and_gradients_are_the_loops(jacobian):
    cell = rnn.lstm(D, H)
    with jax.enable_x64(True):
        params = as_double(cell.init(jax.random.key(0)))
        params = jax.tree.map(lambda a: 2 * a, params)
        noise = np.random.default_rng(0)
        carry = as_double(
            jax.tree.map(np.array, rnn.LSTMCarry(*noise.normal(size=(2, H))))
        )
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


def test_what_the_loop_had_to_compute_is_right_and_said(caplog):
    cell, xs = flip_flop(), signs(300)
    params = cell.init(jax.random.key(0))
    carry = cell.initial_carry(params)
    expected = loop_of(cell)(params, carry, xs)
    exact = np.cumprod(np.asarray(xs), axis=0)
    assert np.array_equal(np.sign(expected[1]), exact)
    options = {"jacobian": "diagonal", "max_iterations": 20}
    *got, report = rnn.newton_unroll(cell, params, carry, xs, **options)
    assert bool(report.fell_back)
    assert int(report.iterations) == 20
    assert not report.residual < 1e-5
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-6), tuple(got), expected
    )
    fast = rnn.parallel(cell, **options)
    with caplog.at_level(logging.WARNING, "jaxrnn"):
        fast.unroll(params, carry, xs)
        found = fast.unroll(params, carry, xs)
        jax.effects_barrier()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6), found, expected)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "parallel(flip_flop)"
    ]


def test_a_batch_falls_back_where_it_must_and_reports_each():
    cell = flip_flop()
    params = cell.init(jax.random.key(0))
    carry = cell.initial_carry(params)
    xs = jnp.stack([signs(60), jnp.zeros((60, 3))])  # of the second all states are 0

    def both(unroll):
        def loss(params, xs):
            (_, ys), *report = unroll(params, carry, xs)
            return (ys**2).sum(), (ys, report)

        run = jax.value_and_grad(loss, has_aux=True)
        return jax.jit(jax.vmap(run, (None, 0)))(params, xs)

    def newton(params, carry, xs):
        *found, report = rnn.newton_unroll(
            cell, params, carry, xs, jacobian="diagonal", max_iterations=20
        )
        return found, report

    (_, (ys, (report,))), slopes = both(newton)
    (_, (expected, _)), expected_slopes = both(lambda *args: (loop_of(cell)(*args),))
    assert report.fell_back.tolist() == [True, False]
    assert report.iterations.tolist()[0] == 20 > report.iterations.tolist()[1]
    np.testing.assert_allclose(ys, expected, 1e-5, 1e-6)
    np.testing.assert_allclose(slopes, expected_slopes, 1e-3)  # 1 - tanh^2


def test_a_linear_cell_takes_one_correction():
    def step(params, carry, x):
        carry = params * carry + x
        return carry, carry

    cell = rnn.leaf(
        "average",
        rnn.Input((2,)),
        lambda key: jnp.array([0.9, -0.8]),
        lambda params, key=None: jnp.zeros_like(params),
        step,
    )
    params = cell.init(jax.random.key(0))
    run = (params, cell.initial_carry(params), signs(200, 2))
    for jacobian in FORMS:
        *got, report = rnn.newton_unroll(cell, *run, jacobian=jacobian)
        assert int(report.iterations) == 2  # one finds that the residual is small
        np.testing.assert_allclose(got[1], loop_of(cell)(*run)[1], 1e-5, 1e-5)


@pytest.mark.parametrize(
    "cell",
    [
        *(rnn.elman(D, H), rnn.gru(D, H), rnn.lstm(D, H), rnn.slstm(D, H)),
        *(rnn.indrnn(D, H), rnn.lstm(D, H, heads=5)),
    ],
    ids=repr,
)
def test_what_a_unit_gives_itself_is_in_the_whole_jacobian(cell):
    params = cell.init(jax.random.key(0))
    noise = np.random.default_rng(0)
    carry = jax.tree.map(
        lambda a: jnp.asarray(noise.normal(size=a.shape), a.dtype),
        cell.initial_carry(params),
    )
    x = jnp.asarray(noise.normal(size=D), jnp.float32)
    new, push = cell.about.local(params, carry, x)
    whole = jax.jacfwd(lambda carry: cell.step(params, carry, x)[0])(carry)
    for field in carry._fields:
        one = jax.tree.map(jnp.zeros_like, carry)._replace(**{field: jnp.ones(H)})
        for got, of in zip(push(one), whole, strict=True):
            expected = jnp.diagonal(getattr(of, field))
            np.testing.assert_allclose(got, expected, 1e-5, 1e-6)
    expected = cell.step(params, carry, x)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6), new, expected)


def test_a_layer_norm_mixes_units_so_none_is_by_itself():
    assert rnn.layer_norm_lstm(D, H).about.local is None


def test_what_does_not_fit_is_told():
    cell = rnn.lstm(D, H)
    with pytest.raises(ValueError, match='jacobian: expected "full", "block"'):
        rnn.parallel(cell, jacobian=cast(Any, "whole"))
    with pytest.raises(ValueError, match="damping: expected a number from 0 to 1"):
        rnn.parallel(cell, damping=1.5)
    with pytest.raises(TypeError, match="speed: there is no such option"):
        rnn.parallel(cell, **cast(Any, {"speed": 2}))
    with pytest.raises(ValueError, match="reads the future"):
        rnn.parallel(rnn.bidirectional(cell, cell))
    projected = rnn.projected_lstm(D, H, 2)
    params = projected.init(jax.random.key(0))
    carry, xs = projected.initial_carry(params), jnp.ones((T, D))
    with pytest.raises(ValueError, match=r'sizes \[2, 5\], got "block"'):
        rnn.parallel(projected, jacobian="block").unroll(params, carry, xs)
    dropped = rnn.parallel(rnn.chain(cell, rnn.dropout(0.5)))
    params = dropped.init(jax.random.key(0))
    carry = dropped.initial_carry(params, jax.random.key(1))
    with pytest.raises(ValueError, match=r"key.*put parallel around the recurrent"):
        dropped.unroll(params, carry, xs)


def test_a_complex_carry_is_two_fields():
    a = jnp.array([0.9 + 0.3j, -0.5j])

    def step(params, carry, x):
        shrink = jnp.exp(-abs(carry)).astype(carry.dtype)
        carry = params * carry * shrink + x.astype(carry.dtype)
        return carry, carry.real + carry.imag

    cell = rnn.leaf(
        "spiral",
        rnn.Input((2,)),
        lambda key: a,
        lambda params, key=None: jnp.zeros_like(params),
        step,
    )
    run = (a, a, signs(30, 2))
    for jacobian in FORMS:
        carry, ys, report = rnn.newton_unroll(cell, *run, jacobian=jacobian)
        assert not report.fell_back
        expected = loop_of(cell)(*run)
        np.testing.assert_allclose(carry, expected[0], 1e-4, 1e-5)
        np.testing.assert_allclose(ys, expected[1], 1e-4, 1e-5)


def test_a_program_without_the_warning_can_be_exported():
    cell = rnn.parallel(rnn.gru(D, H), warn=False)
    params = cell.init(jax.random.key(0))
    args = params, cell.initial_carry(params), jnp.ones((T, D))
    file = jax.export.export(jax.jit(cell.unroll))(*args).serialize()
    ys = jax.export.deserialize(file).call(*args)[1]
    np.testing.assert_allclose(ys, loop_of(cell)(*args)[1], 1e-4, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("jacobian", FORMS)
@pytest.mark.parametrize(
    "cell",
    [
        rnn.elman(D, H),
        rnn.gru(D, H),
        rnn.gru(D, H, reset_after=False),
        rnn.lstm(D, H, carry_init=jax.nn.initializers.normal(0.1)),
        rnn.chain(rnn.lstm(D, H), rnn.gru(H, H), rnn.linear(H, D)),
        flip_flop(3, 1.5),
    ],
    ids=repr,
)
def test_the_laws_hold(cell, jacobian):
    rnn.testing.check(rnn.parallel(cell, jacobian=jacobian))
