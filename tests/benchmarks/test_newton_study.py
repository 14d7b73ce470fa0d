"""The study of Newton's method: it counts, compares and goes on where it stopped."""

import json
from typing import Any

import jax
import numpy as np
import pytest

import jaxrnn as rnn
from benchmarks.figures.newton import table
from benchmarks.newton import Config, measure
from benchmarks.trained import Net, parity_net


def net():
    cell = rnn.lstm(2, 3)
    noise = np.random.default_rng(0)
    xs = noise.normal(size=(4, 40, 2)).astype(np.float32)
    params, fresh = map(cell.init, jax.random.split(jax.random.key(0)))
    read = jax.numpy.asarray(xs)
    return Net("small", cell, params, fresh, lambda b, t: read[:b, :t], "good", 8)


@pytest.fixture
def config(tmp_path):
    out = tmp_path / "results"
    return Config(tmp_path, out, lengths=(16, 32), batches=(2,), rounds=1)


def test_a_table_tells_what_the_loop_computed_and_which_rate_draws_level():
    row = {"net": "small", "T": 16, "jacobian": "block", "trained": True}
    speed = {"net": "small", "T": 16, "B": 2, "iterations": 5, "operations": 10**9}
    loop = {"loop forward": [0.5], "loop gradient": [1.0]}
    both = loop | {"newton forward": [0.25], "newton gradient": [4.0]}
    results = {
        "product_rate": 2e11,
        "convergence": [row | {"iterations": [4, 7], "fell_back": [False, True]}],
        "speed": [
            speed | {"fell_back": False, "seconds": both},
            speed | {"fell_back": True, "seconds": loop},
        ],
    }
    lines = [line for line in table(results).splitlines() if "| small |" in line]
    assert lines == [
        "| small | 16 |  |  |  | loop, 1 of 2 |  |  |",
        "| small | 16 | 2 | 5 | 500.0 / 250.0 | 2.00 | 1,000.0 / 4,000.0 | 0.25 | 10 |",
        "| small | 16 | 2 | 5, then the loop | 500.0 / - | - | 1,000.0 / - | - | - |",
    ]


@pytest.mark.slow
def test_both_ways_compute_the_same_and_a_run_goes_on(config):
    made = []

    def make():
        made.append(1)
        return net()

    results = measure(config, [make])
    assert len(results["convergence"]) == 2 * 6
    for row in results["convergence"]:
        # The carry starts anew every 8 steps, and k evaluations settle k - 1 of them.
        assert max(row["iterations"]) <= 9
        assert not any(row["fell_back"])
        assert row["difference"] < 1e-4
    for row in results["speed"]:
        assert row["operations"] == 2 * (2 * 12 + 3 * 12) * 2 * row["T"]
        assert row["gradient_difference"] < 1e-4
        assert {name.split()[0] for name in row["seconds"]} == {"loop", "newton"}
    text = (config.out / "table.md").read_text()
    assert text == table(results) + "\n"
    assert text.count("| small |") == 4
    again = measure(config, [make])
    assert again == results == json.loads((config.out / "results.json").read_text())
    with pytest.raises(ValueError, match="expected no results of other settings"):
        measure(Config(**vars(config) | {"rounds": 2}), [make])


@pytest.mark.slow
def test_of_a_net_that_has_learned_parity_the_loop_computes_the_states():
    with jax.numpy_dtype_promotion("standard"):  # which optax counts on
        found = parity_net("elman")
    assert float(found.score.split("%")[0]) > 95
    xs, carry = found.read(1, 256)[0], found.cell.initial_carry(found.params)
    expected = found.cell.unroll(found.params, carry, xs)
    for jacobian in ("block", "diagonal"):
        *got, report = rnn.newton_unroll(
            found.cell, found.params, carry, xs, jacobian=jacobian
        )
        assert report.fell_back
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5),
            tuple(got),
            expected,
        )


@pytest.mark.slow
@pytest.mark.parametrize("jacobian", ["full", "block"])
def test_with_large_weights_the_values_are_right(jacobian):
    cell = rnn.gru(8, 32)
    params = jax.tree.map(lambda a: 5 * a, cell.init(jax.random.key(0)))
    carry, xs = (
        cell.initial_carry(params),
        jax.random.normal(jax.random.key(1), (99, 8)),
    )
    options: Any = {"jacobian": jacobian, "max_iterations": 20}
    with jax.enable_x64(True):  # or rounding alone grows to the size of the states
        args = jax.tree.map(
            lambda a: jax.numpy.asarray(np.asarray(a, np.float64)), (params, carry, xs)
        )
        *got, _ = rnn.newton_unroll(cell, *args, **options)
        expected = cell.unroll(*args)
        np.testing.assert_allclose(got[1], expected[1], 1e-6, 1e-6)
