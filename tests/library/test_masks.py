"""Masks and starts: padding is as if it were not there, and a start as a first step."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import (
    CARRIES,
    CASES,
    COMBINATIONS,
    LAYERS,
    OPTIONS,
    RECURRENT,
    SOME_VALID,
    STREAMS,
    D,
    H,
    T,
    V,
    assert_close,
    quick_jit,
    step_of,
    with_gradient,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

import jaxrnn as rnn
from jaxrnn.testing.trees import poisoned

NONE, ALL = [False] * T, [True] * T
masks = st.lists(st.booleans(), min_size=T, max_size=T)
few = partial(settings, deadline=None, derandomize=True)


@cache
def jitted(name, reverse=False, transform=lambda unroll: unroll):
    """The case's unroll, under a transform, as a function of the mask too."""
    case = CASES[name]
    return quick_jit(
        lambda mask, *args: transform(case.unroll(mask, reverse=reverse))(*args)
    )


@cache
def jitted_step(name):
    return quick_jit(step_of(CASES[name].cell))


def placed(mask, values):
    """The values at the valid steps and zeros elsewhere."""
    ys = np.zeros((T, *values.shape[1:]), values.dtype)
    ys[mask] = values
    return ys


@pytest.mark.parametrize(
    ("name", "reverse"),
    [
        *((name, False) for name in RECURRENT | LAYERS),
        *(
            pytest.param(name, True, marks=pytest.mark.slow)
            for name in STREAMS
            if name not in OPTIONS
        ),
    ],
)
@given(mask=masks)
@example(mask=NONE)
@example(mask=ALL)
@few(max_examples=8)
def test_only_valid_steps_are_taken(name, reverse, mask):
    params, carry, xs = CASES[name].arguments()
    got = jitted(name, reverse)(jnp.array(mask), params, carry, xs)

    valid = np.flatnonzero(mask)
    ys = np.zeros_like(got[1])
    for t in valid[::-1] if reverse else valid:
        carry, ys[t] = jitted_step(name)(params, carry, xs[t])
    assert_close(got, (carry, jnp.asarray(ys)), 1e-5)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", ["concatenated", "averaged", "tagger", "lstm"])
@pytest.mark.parametrize("valid", [[3], [0, 1, 2], [2, 3, 6], [1, 3, 4, 5, 6]])
def test_padded_equals_unpadded(name, reverse, valid):
    params, carry, xs = CASES[name].arguments()
    mask = np.isin(np.arange(T), valid)
    padded = jitted(name, reverse)(mask, params, carry, xs)

    everywhere = jnp.ones(len(valid), bool)
    carry, ys = jitted(name, reverse)(everywhere, params, carry, xs[mask])
    assert_close(padded, (carry, jnp.asarray(placed(mask, ys))), 1e-5)


@pytest.mark.parametrize("name", RECURRENT | LAYERS | COMBINATIONS)
@given(mask=masks, data=st.data())
@few(max_examples=8)
def test_padding_is_never_read(name, mask, data):
    """Not even by a gradient."""
    params, carry, xs = CASES[name].arguments()
    floats = jnp.issubdtype(xs.dtype, jnp.floating)
    fills = [np.nan, np.inf, -np.inf, 1e30] if floats else [-1, V]
    fill = data.draw(st.sampled_from(fills))
    run = jitted(name, transform=with_gradient)

    mask = jnp.array(mask)
    outside = jnp.expand_dims(~mask, range(1, xs.ndim))
    got = run(mask, params, carry, jnp.where(outside, jnp.asarray(fill, xs.dtype), xs))
    expected = run(mask, params, carry, jnp.where(outside, jnp.zeros_like(xs), xs))
    assert_close(got, expected, 0)
    if floats:
        d_xs = got[1][-1]
        assert not d_xs[~mask].any()
        assert d_xs[mask].any() == mask.any()


@pytest.mark.parametrize("name", [*RECURRENT, "nested", "tagger"])
def test_without_a_valid_step_the_carry_passes(name):
    params, carry, xs = CASES[name].arguments()
    nothing = jnp.zeros(T, bool)
    got = jitted(name, transform=with_gradient)(nothing, params, carry, xs)

    def identity(params, carry, xs):
        del params, xs
        return carry, jnp.zeros_like(got[0][1])

    assert_close(got, with_gradient(identity)(params, carry, xs), 0)


@cache
def started(name, reverse=False):
    """The case's unroll as a function of the mask and the starts too."""
    case = CASES[name]

    def run(mask, starts, *args):
        return case.unroll(mask, reverse=reverse, starts=starts)(*args)

    return quick_jit(run)


NEVER = np.zeros(T, bool)
ROW = np.array([0, 0, 0, 1, 2, 2, -1])  # which sequence stands where; there is padding


@pytest.mark.parametrize("name", [n for n in CASES if n not in OPTIONS])
def test_packed_equals_apart(name):
    case = CASES[name]
    params, _, xs = case.arguments()
    carry = case.cell.initial_carry(params, case.key)
    starts = NEVER.copy()
    starts[[0, 3, 4]] = True
    _, ys = started(name)(ROW >= 0, starts, params, carry, xs)
    apart = [started(name)(i == ROW, NEVER, params, carry, xs)[1] for i in range(3)]
    assert_close(ys, jax.tree.map(lambda *a: sum(a[1:], start=a[0]), *apart), 1e-5)


@pytest.mark.parametrize(
    ("name", "reverse"),
    [
        *((name, False) for name in CASES if name not in OPTIONS),
        *((name, True) for name in [*RECURRENT, *CARRIES, "nested", "tagger"]),
    ],
)
@pytest.mark.parametrize("masked", [False, True], ids=["valid", "masked"])
def test_nothing_before_a_start_reaches_what_is_after_it(name, reverse, masked):
    case, middle = CASES[name], 3
    params, carry, xs = case.arguments()
    starts, mask = NEVER.copy(), ~NEVER
    starts[middle], mask[middle] = True, not masked
    steps = np.arange(T)
    after = steps <= middle if reverse else steps >= middle
    run = partial(started(name, reverse), mask, starts, params)
    end, ys = run(carry, xs)
    if case.cell.step is not None:  # else it also begins at the other end
        carry = poisoned(carry, ..., tokens=False)
    got_end, got = run(carry, poisoned(xs, ~after))
    assert_close(got[after], ys[after], 0)
    if case.cell.step is not None:
        assert_close(got_end, end, 0)


@pytest.mark.parametrize("name", ["lstm", "dropout", "residual", "remat", "summed"])
def test_mask_of_numpy(name):
    params, carry, xs = CASES[name].arguments()
    got = CASES[name].unroll(np.array(SOME_VALID))(params, carry, xs)
    assert_close(got, jitted(name)(SOME_VALID, params, carry, xs), 1e-6)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", [*RECURRENT, "residual", "remat by two", "nested"])
def test_no_output_depends_on_the_future(name, reverse):
    params, carry, xs = CASES[name].arguments()

    def outputs(xs):
        return CASES[name].unroll(None, reverse=reverse)(params, carry, xs)[1]

    slopes = quick_jit(jax.jacrev(outputs))(xs)  # [T, H, T, D]
    depends = np.abs(slopes).max(axis=(1, 3)) > 0
    past = np.triu if reverse else np.tril
    np.testing.assert_array_equal(depends, past(np.ones((T, T), bool)))


def test_bidirectional_depends_on_the_future():
    params, carry, xs = CASES["summed"].arguments()
    slopes = jax.jacrev(lambda xs: CASES["summed"].unroll(None)(params, carry, xs)[1])
    assert (np.abs(slopes(xs)).max(axis=(1, 3)) > 0).all()


@given(mask=masks)
@example(mask=NONE)
@few(max_examples=20)
def test_last(mask):
    ys = {"a": np.arange(1.0, T + 1), "b": np.ones((T, H)) * np.arange(T)[:, None]}
    ys["b"][~np.array(mask)] = np.nan
    valid = np.flatnonzero(mask)
    got = rnn.last(jax.tree.map(jnp.asarray, ys), jnp.array(mask))
    expected = jax.tree.map(
        lambda y: jnp.asarray(y[valid[-1]] if len(valid) else 0 * y[0]), ys
    )
    if not len(valid):
        expected["b"] = jnp.zeros(H)
    assert_close(got, expected, 0)


def test_last_without_mask():
    assert rnn.last(jnp.arange(5.0)) == 4


@pytest.mark.parametrize(
    ("mask", "slope"), [([True, False], [1.0, 0.0]), ([False, False], [0.0, 0.0])]
)
def test_gradient_of_last(mask, slope):
    ys = jnp.array([2.0, jnp.nan])
    got = jax.grad(lambda ys: rnn.last(ys, jnp.array(mask)))(ys)
    np.testing.assert_array_equal(got, slope)


SHAPES = {  # of the values and of the targets
    rnn.cross_entropy: ((T, V), (T,), np.int32),
    rnn.accuracy: ((T, V), (T,), np.int32),
    rnn.sigmoid_cross_entropy: ((T, D), (T, D), np.float32),
    rnn.squared_error: ((T, D), (T, D), np.float32),
}


@cache
def jitted_loss(loss):
    return quick_jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("loss", SHAPES)
@given(mask=masks, fill=st.sampled_from([np.nan, np.inf, -np.inf]))
@example(mask=NONE, fill=np.nan)
@few(max_examples=10)
def test_loss_is_a_mean_over_valid_steps(loss, mask, fill):
    shape, targets_shape, dtype = SHAPES[loss]
    noise, mask = np.random.default_rng(0), np.array(mask)
    values = noise.normal(size=shape).astype(np.float32)
    targets = noise.integers(0, 2, targets_shape).astype(dtype)
    padded, padded_targets = values.copy(), targets.copy()
    padded[~mask] = fill
    padded_targets[~mask] = -1 if dtype == np.int32 else fill

    got = jitted_loss(loss)(padded, padded_targets, mask)
    losses, slopes = np.zeros(T, np.float32), np.zeros_like(values)
    for t in np.flatnonzero(mask):
        losses[t], slopes[t] = jitted_loss(loss)(values[t], targets[t])
    mean = jax.tree.map(lambda a: a / max(mask.sum(), 1), (losses.sum(), slopes))
    assert_close(got, jax.tree.map(jnp.float32, mean), 1e-6)
    np.testing.assert_array_equal(got[1][~mask], 0)
