"""The study of Newton's method: it counts, compares and goes on where it stopped."""

import json

import jax
import numpy as np
import pytest

import jaxrnn as rnn
from benchmarks.newton import Config, measure, table
from benchmarks.trained import Net


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
