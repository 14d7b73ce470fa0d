"""Zoneout, recurrent dropout, dropped weights, and penalties on activations."""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import (
    ALL_VALID,
    STARTS,
    D,
    H,
    T,
    assert_close,
    assert_refused,
    law,
    step_of,
)
from battery import quick_jit as jit

import jaxrnn as rnn
from jaxrnn.core import is_key

KEY = jax.random.key(7)
XS = jnp.asarray(np.random.default_rng(0).normal(size=(T, D)), jnp.float32)
MASK = jnp.array([True, True, False, True, False, True, True])
RATES: Any = rnn.LSTMCarry(*cast(Any, (0.25, 0.5)))  # h, c
LINEAR = rnn.elman(D, H, activation=lambda z: z)
CELLS = {
    "zoneout": rnn.zoneout(rnn.lstm(D, H), RATES),
    "zoneout of a gru": rnn.zoneout(rnn.gru(D, H), 0.3),
    "recurrent dropout": rnn.recurrent_dropout(rnn.gru(D, H), 0.4),
    "weight drop": rnn.weight_drop(rnn.lstm(D, H), 0.4),
    "weight drop of a learned carry": rnn.weight_drop(
        rnn.learned_carry(rnn.gru(D, H)), 0.4
    ),
    "candidates of an lstm": rnn.dropout_lstm(D, H, 0.4),
    "candidates of a gru": rnn.dropout_gru(D, H, 0.4, per_step=False),
    "candidates of an lstm with heads": rnn.dropout_lstm(D, 6, 0.4, heads=2),
    "candidates of a gru with heads": rnn.dropout_gru(D, 6, 0.4, heads=2),
    "recurrent dropout with heads": rnn.recurrent_dropout(rnn.gru(D, 6, heads=2), 0.4),
}
NOISY = [name for name in CELLS if "candidates" not in name]
every_cell = pytest.mark.parametrize("name", CELLS)


def drawn(cell, key=KEY):
    params = cell.init(jax.random.key(0))
    return params, cell.initial_carry(params, key)


@pytest.mark.parametrize("name", ["zoneout", "weight drop", "candidates of an lstm"])
def test_masks_starts_and_reverse_are_those_of_the_scanned_step(name):
    cell = CELLS[name]
    params, carry = drawn(cell)

    def scanned(params, carry, xs, **options):
        initial = cell.initial_carry(params, KEY)
        initial = jax.tree.map(lambda a, b: a if is_key(a) else b, carry, initial)
        return law(cell, params, carry, xs, initial, **options)

    def both(params, carry, xs, options):
        def total(run, params, xs):
            return (run(params, carry, xs, **options)[1] ** 2).sum()

        runs = cell.unroll, scanned
        grads = [jax.grad(partial(total, run), (0, 1))(params, xs) for run in runs]
        return *(run(params, carry, xs, **options) for run in runs), grads

    options = {"mask": MASK, "starts": STARTS, "reverse": True}
    got, expected, grads = jit(partial(both, options=options))(params, carry, XS)
    assert_close(got[1], expected[1], 1e-6)
    assert_close(grads[0], grads[1], 1e-5)


@pytest.mark.slow
@every_cell
def test_the_laws_hold(name):
    rnn.testing.check(CELLS[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap", [rnn.remat, lambda c: rnn.chain(c, rnn.activation(jnp.sin))]
)
@every_cell
def test_the_laws_hold_inside_of_others(name, wrap):
    rnn.testing.check(wrap(CELLS[name]))


def test_zoneout_keeps_a_unit_or_steps_it():
    plain, cell = rnn.lstm(D, 101), rnn.zoneout(rnn.lstm(D, 101), RATES)
    params, carry = drawn(cell)
    kept = {"h": [], "c": []}
    for x in XS:
        stepped, _ = step_of(plain)(params, carry.cell, x)
        new, y = step_of(cell)(params, carry, x)
        assert (y == new.cell.h).all()
        for field, shares in kept.items():
            old, other, mixed = (
                getattr(c, field) for c in (carry.cell, stepped, new.cell)
            )
            assert ((mixed == old) | (mixed == other)).all()
            shares.append((mixed == old).mean())
        carry = new
    for (
        field,
        shares,
    ) in kept.items():  # the first h and c are 0, and never stay by chance
        assert abs(np.mean(shares) - getattr(RATES, field)) < 0.06
        assert len(set(map(float, shares))) > 1  # each step draws


def test_zoneout_in_evaluation_is_the_mean():
    cell, plain = rnn.zoneout(rnn.lstm(D, H), RATES), rnn.lstm(D, H)
    params = cell.init(jax.random.key(0))
    h, c = np.zeros(H), np.zeros(H)
    _, ys = cell.unroll(params, cell.initial_carry(params), XS)
    for x, y in zip(XS, ys, strict=True):
        state = rnn.LSTMCarry(jnp.float32(h), jnp.float32(c))
        new, _ = step_of(plain)(params, state, x)
        h, c = 0.25 * h + 0.75 * np.asarray(new.h), 0.5 * c + 0.5 * np.asarray(new.c)
        np.testing.assert_allclose(y, h, atol=1e-6)


def test_zoneout_with_rate_zero_is_the_cell():
    cell = rnn.zoneout(rnn.gru(D, H), 0.0)
    params, carry = drawn(cell)
    plain = rnn.gru(D, H)
    expected = plain.unroll(params, plain.initial_carry(params), XS)[1]
    assert_close(cell.unroll(params, carry, XS)[1], expected, 1e-6)


def rows_of(cell, params, carry):
    """The recurrent weights with which a linear cell computes, row by row."""

    def row(h):
        state = carry._replace(cell=rnn.ElmanCarry(h))
        return cell.step(params, state, jnp.zeros(D))[1]

    return np.asarray(jax.vmap(row)(jnp.eye(params.w_h.shape[0])))


def test_weight_drop_leaves_out_single_weights():
    cell = rnn.weight_drop(rnn.elman(D, 53, activation=lambda z: z), 0.4)
    params, carry = drawn(cell)
    w, got = np.asarray(params.w_h), rows_of(cell, params, carry)
    assert (np.isclose(got, w / 0.6, rtol=1e-4) | (got == 0)).all()
    assert abs((got == 0).mean() - 0.4) < 0.04
    assert not (got == 0).all(axis=1).any()  # no whole row
    assert (
        rows_of(cell, params, cell.initial_carry(params, jax.random.key(8))) != got
    ).any()
    np.testing.assert_allclose(
        rows_of(cell, params, cell.initial_carry(params)), w, 1e-5
    )


def test_recurrent_dropout_leaves_out_units_of_the_state():
    cell = rnn.recurrent_dropout(rnn.elman(D, 199, activation=lambda z: z), 0.4)
    params, carry = drawn(cell)
    w, got = np.asarray(params.w_h), rows_of(cell, params, carry)
    gone = (got == 0).all(axis=1)
    np.testing.assert_allclose(got[~gone], w[~gone] / 0.6, rtol=1e-4)
    assert abs(gone.mean() - 0.4) < 0.1


def test_the_mask_of_the_weights_serves_the_whole_sequence():
    """With the weights that one step shows, the plain cell gives the same."""
    cell = rnn.weight_drop(LINEAR, 0.4)
    params, carry = drawn(cell)
    same = params._replace(w_h=jnp.asarray(rows_of(cell, params, carry)))
    expected = LINEAR.unroll(same, LINEAR.initial_carry(params), XS)[1]
    assert_close(cell.unroll(params, carry, XS)[1], expected, 1e-5)


def test_only_the_weights_that_are_named_are_dropped():
    layers = rnn.chain(rnn.lstm(D, H), rnn.linear(H, 2))
    cell = rnn.weight_drop(layers, 0.5, where=("w", "b"))  # of linear, and of lstm
    params, carry = drawn(cell)

    def total(params):
        return cell.unroll(params, carry, XS)[1].sum()

    lstm, linear = jax.grad(total)(params)
    assert (np.asarray(linear.w) == 0).any()
    assert (np.asarray(lstm.b) == 0).any()
    assert (np.asarray(lstm.w_h) != 0).all()


def test_dropped_weights_keep_the_fast_derivative():
    """The loops are those of the cell alone, and none is a plain scan."""
    plain = rnn.lstm(D, H)
    cell = rnn.weight_drop(plain, 0.4)
    params, carry = drawn(cell)

    def loops(cell, carry):
        def total(params):
            return cell.unroll(params, carry, XS)[1].sum()

        equations = jax.make_jaxpr(jax.grad(total))(params).jaxpr.eqns
        names = [equation.primitive.name for equation in equations]
        return names.count("substituted"), names.count("scan")

    assert loops(cell, carry) == loops(plain, plain.initial_carry(params)) == (3, 0)


def test_one_key_for_a_batch_gives_it_one_set_of_weights():
    cell = rnn.weight_drop(rnn.lstm(D, H), 0.4)
    params, carry = drawn(cell)
    batch = jnp.stack([XS, 2 * XS])
    together = jax.vmap(lambda xs: cell.unroll(params, carry, xs)[1])(batch)
    alone = jnp.stack([cell.unroll(params, carry, xs)[1] for xs in batch])
    assert_close(together, alone, 1e-5)


@pytest.mark.parametrize(
    ("make", "plain"), [(rnn.dropout_lstm, rnn.lstm), (rnn.dropout_gru, rnn.gru)]
)
@pytest.mark.parametrize("per_step", [True, False])
def test_dropped_candidates(make, plain, per_step):
    cell, plain = make(D, 101, 0.4, per_step=per_step), plain(D, 101)
    params, carry = drawn(cell)
    evaluated = cell.initial_carry(params)
    assert_close(
        cell.unroll(params, evaluated, XS)[1],
        plain.unroll(params, plain.initial_carry(params), XS)[1],
        1e-6,
    )
    # From a state of zeros all that a step adds is the candidate.
    field, masks = plain.initial_carry(params)._fields[-1], []
    expected = np.asarray(
        getattr(plain.step(params, plain.initial_carry(params), XS[0])[0], field)
    )
    for step in range(3):
        noise = carry.noise._replace(step=jnp.int32(step))
        new, _ = cell.step(params, carry._replace(noise=noise), XS[0])
        got = np.asarray(getattr(new, field))
        assert (np.isclose(got, expected / 0.6, rtol=1e-4) | (got == 0)).all()
        masks.append(got == 0)
    assert abs(np.mean(masks) - 0.4) < 0.12
    assert (masks[0] != masks[1]).any() == per_step


@pytest.mark.parametrize("name", NOISY)
def test_a_chain_with_noise_is_rekeyed_and_starts_anew(name):
    cell = rnn.chain(CELLS[name], rnn.dropout(0.5))
    params, carry = drawn(cell)
    carry, _ = cell.unroll(params, carry, XS)
    again = rnn.rekeyed(cell, params, carry, jax.random.key(9))
    assert_close(again[0].cell, carry[0].cell, 0)
    keys = [[a for a in jax.tree.leaves(c) if is_key(a)] for c in (carry, again)]
    assert all((a != b).all() for a, b in zip(*keys, strict=True))
    assert rnn.rekeyed(cell, params, carry)[0].noise == ()


def test_traced_outputs_are_those_of_the_cell():
    cell = rnn.weight_drop(rnn.chain(rnn.gru(D, H), rnn.linear(H, 2)), 0.4)
    params, carry = drawn(cell)
    hs, ys = rnn.trace(cell, params, carry, XS)
    assert hs.shape == (T, H)
    assert_close(ys, cell.unroll(params, carry, XS)[1], 1e-6)


def test_mistakes():
    lstm, key = rnn.lstm(D, H), jax.random.key(0)
    no_cell: Any = 3
    unknown: Any = {"biass": False}
    for make in (rnn.zoneout, rnn.weight_drop, rnn.recurrent_dropout):
        name = make.__name__
        wrong: list[Any] = [-0.1, 1.0, "x", True]
        for rate in wrong:
            expected = f"{name}: rate: expected a number in [0, 1), got {rate!r}"
            assert_refused(lambda m=make, r=rate: m(lstm, r), expected)
        assert_refused(
            lambda m=make, c=no_cell: m(c, 0.5), f"{name}: cell: expected a Cell, got 3"
        )
    for make in (rnn.dropout_lstm, rnn.dropout_gru):
        assert_refused(lambda m=make: m(D, H, 2), "rate: expected a number in [0, 1)")
    with pytest.raises(TypeError, match="biass"):
        rnn.dropout_lstm(D, H, 0.5, **unknown)

    def run(cell, carry=None):
        params = cell.init(key)
        carry = cell.initial_carry(params, key) if carry is None else carry
        return cell.unroll(params, carry, XS)

    both_ways = rnn.bidirectional(lstm, lstm)
    assert_refused(lambda: rnn.zoneout(both_ways, 0.5), "zoneout: cell", "step=None")
    reading = rnn.chain(lstm, rnn.linear(H, 2))
    assert_refused(
        lambda: run(rnn.zoneout(reading, 0.5)),
        "expected one whose output is a part of its carry",
    )
    assert_refused(
        lambda: run(rnn.zoneout(rnn.gru(D, H), RATES)),
        "zoneout(gru(3, 5)): rate: expected a number or a carry of rates",
    )
    dropped = rnn.weight_drop(lstm, 0.5, where="u")
    assert_refused(lambda: run(dropped), "weight_drop(lstm(3, 5)): where", "got u")
    places: list[Any] = [(), 3, ("w_h", 1)]
    for where in places:
        assert_refused(
            lambda w=where: rnn.weight_drop(lstm, 0.5, where=w),
            "weight_drop: where: expected names of weights",
        )
    assert_refused(
        lambda: rnn.weight_drop(rnn.chain(lstm, rnn.luong(H, 3)), 0.5),
        "weight_drop: cell: expected one without an attention that has no memory yet",
    )
    for cell in (rnn.zoneout(lstm, 0.5), rnn.weight_drop(lstm, 0.5)):
        wrong = lstm.initial_carry(lstm.init(key))
        assert_refused(
            lambda c=cell, w=wrong: run(c, w), "expected NoiseCarry, got LSTM"
        )


def test_activation_penalties():
    hs = np.random.default_rng(1).normal(size=(T, H))
    valid, starts = np.asarray(MASK), np.asarray(STARTS)
    ar = (hs[valid] ** 2).mean()
    pairs = [t for t in range(1, T) if valid[t] and valid[t - 1] and not starts[t]]
    tar = np.mean([(hs[t] - hs[t - 1]) ** 2 for t in pairs])
    hs = jnp.float32(np.where(valid[:, None], hs, np.nan))
    assert_close(rnn.activation_penalty(hs, MASK), jnp.float32(ar), 1e-6)
    slow = partial(rnn.temporal_activation_penalty, mask=MASK, starts=STARTS)
    assert_close(slow(hs), jnp.float32(tar), 1e-6)
    assert np.isfinite(jax.grad(slow)(hs)).all()
    assert slow(hs, weighted=True).weight == len(pairs) * H
    assert (
        rnn.activation_penalty(hs, MASK, weighted=True).weight == int(valid.sum()) * H
    )
    for length in (1, T):  # no pair
        nothing = jnp.zeros(length, bool) if length > 1 else None
        assert rnn.temporal_activation_penalty(hs[:length], nothing) == 0
    assert rnn.activation_penalty(hs, ~ALL_VALID) == 0


@pytest.mark.parametrize(
    "penalty", [rnn.activation_penalty, rnn.temporal_activation_penalty]
)
def test_mistakes_of_penalties(penalty):
    hs, name = jnp.ones((T, H)), penalty.__name__
    assert_refused(lambda: penalty(hs, jnp.ones(3, bool)), f"{name}: mask")
    assert_refused(
        lambda: penalty(jnp.ones((T, H), int)), f"{name}: hs: expected floating"
    )
    assert_refused(lambda: penalty(jnp.ones((0, H))), f"{name}: hs")
    assert_refused(
        lambda: penalty(hs, weighted=1), f"{name}: weighted: expected a bool"
    )
