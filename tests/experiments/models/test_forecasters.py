"""Networks that forecast: what they read, and what they tell."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made import made_series

import jaxrnn as rnn
from experiments.data.windows import make_windows
from experiments.models.forecasters import Forecaster, direct, relative, stepwise


def made(structure: str) -> Forecaster:
    """Of windows of 15 steps and a horizon of 6, in patches of 3."""
    options: Any = {"variables": 2, "quantiles": 9, "dropout": 0.5}
    if structure == "direct":
        return direct(15, 6, 3, 11, **options)
    return stepwise(6, 3, 11, **options)


def test_sizes_that_patches_do_not_fill_are_refused():
    options: Any = {"variables": 2, "quantiles": 9}
    with pytest.raises(ValueError, match="window: expected a multiple of 3, got 16"):
        direct(16, 6, 3, 11, **options)
    with pytest.raises(ValueError, match="horizon: expected a multiple of 3, got 7"):
        stepwise(7, 3, 11, **options)


def some_values() -> jax.Array:
    data = make_windows(made_series(), 15, 6)
    return jnp.asarray(data.windows(data.parts.train)[1, 5])


@pytest.mark.parametrize("structure", ["direct", "stepwise"])
def test_forecasts_move_with_the_series_and_read_no_future(structure):
    net, values = made(structure), some_values()
    params = jax.jit(net.init)(jax.random.key(0))
    variable = jnp.int32(1)
    forecast = jax.jit(net.forecast)
    low = forecast(params, variable, values[:15])
    assert low.shape == (6, 9)
    assert bool((jnp.diff(low, axis=1) >= 0).all())
    high = forecast(params, variable, values[:15] + 7)
    np.testing.assert_allclose(high, low + 7, rtol=1e-4)

    @jax.jit
    @jax.jacobian
    def jacobian(values):
        return net.outputs(params, variable, values)[0].sum(axis=1)

    reads = np.asarray(jacobian(values)) != 0  # [K, L + H]
    start = 15 if structure == "direct" else 3
    targets = range(start, 21)
    outputs = jax.jit(net.outputs)(params, variable, jnp.arange(21.0))
    np.testing.assert_array_equal(outputs[1], targets)
    for row, target in zip(reads, targets, strict=True):
        patch_start = 15 if structure == "direct" else target - target % 3
        assert not row[patch_start:].any()
        assert row[:patch_start].any()


def test_stepwise_forecasts_are_those_of_a_loop_over_steps():
    net, window = made("stepwise"), some_values()[:15]
    params, variable = jax.jit(net.init)(jax.random.key(1)), jnp.int32(0)
    outputs, values, found = jax.jit(net.outputs), np.asarray(window), []
    for _ in range(2):
        padded = jnp.asarray([*values, 0, 0, 0], jnp.float32)  # a target to ignore
        quantiles = outputs(params, variable, padded)[0][-3:]
        found.append(np.sort(np.asarray(quantiles), axis=1))
        values = np.append(values, found[-1][:, 4])
    forecast = jax.jit(net.forecast)(params, variable, window)
    np.testing.assert_allclose(forecast, np.concatenate(found), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_relative_cell_keeps_the_law():
    inner = rnn.chain(rnn.linear(3, 5), rnn.gru(5, 5), rnn.linear(5, 3 * 9))
    cell = relative(inner, 3)
    rnn.testing.check(cell)
    params = cell.init(jax.random.key(0))
    carry, xs = cell.initial_carry(params), jax.random.normal(jax.random.key(1), (7, 4))
    _, ys = jax.jit(cell.unroll)(params, carry, xs)
    np.testing.assert_array_equal(ys[:, 0], np.repeat(xs[:, -1:], 9, axis=1))


@pytest.mark.parametrize("structure", ["direct", "stepwise"])
def test_every_weight_has_a_gradient_and_a_key_leaves_units_out(structure):
    net, values = made(structure), some_values()
    params = jax.jit(net.init)(jax.random.key(0))
    params = jax.tree.map(lambda a: a + 0.1, params)  # some weights begin as zeros
    outputs = jax.jit(net.outputs)
    told = [outputs(params, jnp.int32(0), values, jax.random.key(i))[0] for i in (1, 2)]
    assert bool((told[0] != told[1]).any())

    @jax.jit
    @jax.grad
    def grads(params):
        quantiles, targets = net.outputs(params, jnp.int32(1), values)
        return jnp.square(quantiles - targets[:, None]).mean()

    found = grads(params)
    start = found.start.w
    assert not start[0].any()  # of the other variable
    assert bool(start[1].any())
    for leaf in jax.tree.leaves(found):
        assert bool(jnp.isfinite(leaf).all())
        assert bool(leaf.any())
