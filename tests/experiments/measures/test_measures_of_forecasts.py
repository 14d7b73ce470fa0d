"""Measures of forecasts: what they claim, against definitions and made data."""

import numpy as np
import pytest

from experiments.measures.comparison import compare
from experiments.measures.conformal import (
    calibrated,
    conformal_margins,
    measure_intervals,
)
from experiments.measures.errors import errors_of, quantile_scores
from experiments.measures.simple_forecasts import drift, persistence, ridge, seasonal

NOMINAL = (0.95, 0.9, 0.8, 0.5)
LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


def made_windows(seed: int = 0) -> np.ndarray:
    """Windows of 15 steps and a horizon of 6 of two noisy waves, [2, N, 21]."""
    rng = np.random.default_rng(seed)
    steps = np.arange(151)[:, None]
    values = np.sin(2 * np.pi * steps / 7 + np.arange(2))
    values = (values + 0.1 * rng.standard_normal(values.shape)).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(values.T, 21, axis=1)


def test_scores_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    quantiles, truth = rng.standard_normal((2, 7, 3, 9)), rng.standard_normal((2, 7, 3))
    found = quantile_scores(quantiles, truth, LEVELS)
    losses = [
        level * max(y - q, 0) + (1 - level) * max(q - y, 0)
        for of_one, y in zip(quantiles.reshape(-1, 9), truth.ravel(), strict=True)
        for q, level in zip(of_one, LEVELS, strict=True)
    ]
    np.testing.assert_allclose(found["loss"], 2 * np.mean(losses))
    median = quantiles[..., 4] - truth
    np.testing.assert_allclose(found["mse"], np.mean(median**2))
    np.testing.assert_allclose(found["mae"], np.mean(abs(median)))
    errors = errors_of(quantiles[..., 4], truth)
    assert errors.squared.shape == errors.absolute.shape == (7, 3)
    np.testing.assert_allclose(errors.means()["mse"], found["mse"])
    np.testing.assert_allclose(errors.means()["mae"], found["mae"])
    # The loss of the median alone is its absolute error.
    alone = quantile_scores(quantiles[..., 4:5], truth, [0.5])
    np.testing.assert_allclose(alone["loss"], alone["mae"])


def test_simple_forecasts_are_those_of_loops():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((31, 2))
    origins = np.arange(17, 25)
    last = values[origins - 1].T
    again = persistence(last, 5)
    grown = drift(last, 5, values[:17])
    season = seasonal(values, origins, 3, 5)
    assert again.shape == grown.shape == season.shape == (2, 8, 5)
    growth = np.diff(values[:17], axis=0).mean(axis=0)
    for c, n, h in np.ndindex(2, 8, 5):
        origin = origins[n]
        assert again[c, n, h] == values[origin - 1, c]
        expected = values[origin - 1, c] + (h + 1) * growth[c]
        np.testing.assert_allclose(grown[c, n, h], expected)
        known = [t for t in range(origin) if (origin + h - t) % 3 == 0]
        assert season[c, n, h] == values[known[-1], c]
    with pytest.raises(ValueError, match="origins: expected 18 or more, the period"):
        seasonal(values, origins, 18, 5)


def test_ridge_is_that_of_the_normal_equations():
    windows = made_windows()
    train, validation, test = np.split(windows, [81, 107], axis=1)
    penalty, forecast = ridge(train, validation, 15)

    def arrays(part):
        part = part.astype(float).reshape(-1, 21)
        return part[:, :14] - part[:, 14:15], part[:, 15:], part[:, 14:15]

    def solved(penalty, part):
        xs, ys, last = arrays(train)
        ys = ys - last
        x_mean, y_mean = xs.mean(axis=0), ys.mean(axis=0)
        gram = (xs - x_mean).T @ (xs - x_mean) + penalty * np.eye(14)
        weights = np.linalg.solve(gram, (xs - x_mean).T @ (ys - y_mean))
        xs, _, last = arrays(part)
        return (last + y_mean + (xs - x_mean) @ weights).reshape(2, -1, 6)

    np.testing.assert_allclose(forecast(test), solved(penalty, test), atol=1e-4)
    # It reads no future, and the penalty is the best one on the validation part.
    np.testing.assert_array_equal(forecast(test[..., :15]), forecast(test))
    errors = {
        p: np.mean((solved(p, validation) - validation[..., 15:]) ** 2)
        for p in (1.0, 10.0, 100.0, 1e3, 1e4)
    }
    assert penalty == min(errors, key=lambda p: errors[p])
    with pytest.raises(ValueError, match="penalties: expected one or more"):
        ridge(train, validation, 15, [])


def test_coverage_is_that_of_a_made_gaussian():
    from scipy import stats

    rng = np.random.default_rng(0)
    truth = rng.standard_normal((2, 2, 3001, 5))  # validation and test, [C, N, H]
    exact = stats.norm.ppf(LEVELS)
    nominal = np.array(NOMINAL)[:, None]
    for scale in (1.0, 0.5, 2.0):
        quantiles = np.broadcast_to(scale * exact, (2, 3001, 5, 9))
        raw = measure_intervals(quantiles, truth[1])
        assert raw.covered.shape == raw.width.shape == (4, 5)
        expected = 2 * stats.norm.cdf(scale * exact[8:4:-1]) - 1
        np.testing.assert_allclose(raw.covered - expected[:, None], 0, atol=0.03)
        np.testing.assert_allclose(
            raw.width, np.repeat(2 * scale * exact[8:4:-1, None], 5, axis=1)
        )
        margins = conformal_margins(quantiles, truth[0], NOMINAL)
        fixed = calibrated(quantiles, margins)
        measured = measure_intervals(fixed, truth[1])
        np.testing.assert_allclose(measured.covered - nominal, 0, atol=0.03)


def test_margins_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.standard_normal((1, 19, 1, 9)), axis=-1)
    truth = 2 * rng.standard_normal((1, 19, 1))
    margins = conformal_margins(quantiles, truth, NOMINAL)
    for i, nominal in enumerate(NOMINAL):
        low, high = quantiles[0, :, 0, i], quantiles[0, :, 0, 8 - i]
        scores = np.sort(np.maximum(low - truth[0, :, 0], truth[0, :, 0] - high))
        expected = scores[int(np.ceil(20 * nominal)) - 1]
        np.testing.assert_allclose(margins[0, 0, 0, i], -expected)
        np.testing.assert_allclose(margins[0, 0, 0, 8 - i], expected)
    np.testing.assert_array_equal(margins[..., 4], 0)

    with pytest.raises(ValueError, match="quantiles: expected 7 for 3 nominal"):
        conformal_margins(quantiles, truth, NOMINAL[1:])

    moved = calibrated(quantiles, margins)
    assert (np.diff(moved, axis=-1) >= 0).all()
    np.testing.assert_array_equal(moved[..., 4], quantiles[..., 4])
    assert (moved[..., :4] <= (quantiles + margins)[..., :4]).all()
    assert (moved[..., 5:] >= (quantiles + margins)[..., 5:]).all()


@pytest.mark.parametrize(("count", "horizon"), [(401, 5), (67, 12), (101, 1)])
def test_equal_forecasts_are_rarely_told_apart(count, horizon):
    """Differences as correlated as those of overlapping horizons."""
    rng = np.random.default_rng(0)
    rejected = []
    for _ in range(500):
        noise = rng.standard_normal(count + horizon - 1)
        losses = np.convolve(noise, np.ones(horizon), "valid")
        same = np.full(count, 1e-9)
        rejected.append(compare(losses, same, horizon).p < 0.05)
    assert 0.02 < np.mean(rejected) < 0.08


def test_forecasts_that_differ_are_told_apart():
    rng = np.random.default_rng(0)
    losses = 10 + np.convolve(rng.standard_normal(405), np.ones(5), "valid")
    better = compare(losses, losses + rng.uniform(1, 2, 401), 5)
    assert better.ratio < 1
    assert better.p < 1e-6
    same = compare(losses, losses, 5)
    assert (same.ratio, same.p) == (1.0, 1.0)
    few = compare(losses[:10], losses[:10] + 1, 5)
    assert str(few) == f"ratio {few.ratio:.3f}, too few windows to test"
