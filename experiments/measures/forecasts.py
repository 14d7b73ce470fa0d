"""Forecasts with quantiles: calibrated on one part of a series, measured on the next.

C variables, N windows, L steps of a window, H steps ahead, Q quantiles.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.data.windows import Windowed
from experiments.measures.ahead import Ahead
from experiments.measures.comparison import Comparison, compare_steps
from experiments.measures.conformal import (
    Intervals,
    calibrated,
    conformal_margins,
    measure_intervals,
)
from experiments.measures.errors import Errors, errors_of
from experiments.measures.simple_forecasts import naive, ridge


class Measured(NamedTuple):
    """What a forecast is worth."""

    quantiles: np.ndarray  # [C, N, H, Q], calibrated
    margins: np.ndarray  # [C, 1, H, Q], by which they were moved
    errors: Errors  # of the median
    raw: Intervals  # before the calibration
    calibrated: Intervals

    def facts(self) -> dict[str, Any]:
        """The mean errors, and the coverage and width of each calibrated interval."""
        covered, width = (a.mean(axis=1) for a in self.calibrated)
        return {**self.errors.means(), "coverage": covered, "width": width}


def measure(
    before: np.ndarray,
    known: np.ndarray,
    after: np.ndarray,
    truth: np.ndarray,
    nominal: Sequence[float],
) -> Measured:
    """Calibrates quantiles on windows that went before, and measures later ones.

    Args:
      before: [C, N, H, Q], quantiles of the windows to calibrate on.
      known: [C, N, H], what came of them.
      after: [C, N, H, Q], quantiles of the windows to measure on; their N may differ.
      truth: [C, N, H], what came of these.
      nominal: coverage that the intervals are to have, from the outermost in.

    Example:
      >>> known, truth = np.ones((1, 9, 1)), np.ones((1, 2, 1))
      >>> zeros = only_median(np.zeros((1, 9, 1)), 3), only_median(0 * truth, 3)
      >>> found = measure(zeros[0], known, zeros[1], truth, [0.5])
      >>> found.raw.covered.tolist(), found.calibrated.covered.tolist()
      ([[0.0]], [[1.0]])
      >>> found.quantiles[0, 0, 0].tolist()
      [-1.0, 0.0, 1.0]
    """
    margins = conformal_margins(before, known, nominal)
    moved = calibrated(after, margins)
    return Measured(
        moved,
        margins,
        errors_of(after[..., after.shape[-1] // 2], truth),
        measure_intervals(after, truth),
        measure_intervals(moved, truth),
    )


def only_median(forecast: np.ndarray, count: int) -> np.ndarray:
    """A forecast of single values [...] as that many equal quantiles, [..., count]."""
    return np.repeat(forecast[..., None], count, axis=-1)


class Evaluation(NamedTuple):
    """What a network is worth, beside simpler forecasts."""

    seeds: list[Measured]
    mean: Measured  # over seeds, with the quantiles and margins of the first
    simpler: dict[str, Measured]  # ridge comes last
    against: dict[str, dict[str, Comparison]]  # the network against each of these
    penalty: float  # of ridge regression
    # Quantiles [H, Q] of each variable from the end of the test part, of the first
    # seed, calibrated and in the units of the series.
    ahead: list[np.ndarray]

    def per_seed(self) -> dict[str, list[float]]:
        """The mean squared error and the mean absolute error of each seed."""
        means = [seed.errors.means() for seed in self.seeds]
        return {name: [mean[name] for mean in means] for name in ("mse", "mae")}

    def rows(self, name: str, level: int) -> dict[str, list[Any]]:
        """What to set side by side, of the network by the given name and of the others.

        Six values each: the mean squared and the mean absolute error; the ratio of the
        network's squared error to that of the other forecast, and the p-value of the
        difference; and of the calibrated interval with the index `level` the coverage
        and the width. The network has one for each seed, [S].
        """

        def interval(measured):
            return [a[level].mean() for a in measured.calibrated]

        own = np.transpose([interval(seed) for seed in self.seeds])
        found = {name: [*self.per_seed().values(), None, None, *own]}
        for other, measured in self.simpler.items():
            ratio, p = self.against[other]["horizon"]
            told = p if np.isfinite(p) else "too few windows"
            means = measured.errors.means().values()
            found[other] = [*means, ratio, told, *interval(measured)]
        return found

    def facts(self, nominal: Sequence[float]) -> dict[str, Any]:
        """All that was measured, by name."""
        raw_covered, raw_width = (a.mean(axis=1) for a in self.mean.raw)
        covered, width = (a.mean(axis=1) for a in self.mean.calibrated)
        per_seed = self.per_seed()
        return {
            **{f"test_{name}": np.mean(values) for name, values in per_seed.items()},
            **{f"test_{name}_per_seed": values for name, values in per_seed.items()},
            "nominal_coverage": nominal,
            "coverage_before_calibration": raw_covered,
            "width_before_calibration": raw_width,
            "coverage": covered,
            "width": width,
            "baselines": {name: other.facts() for name, other in self.simpler.items()},
            "ridge_penalty": self.penalty,
            "squared_error_against": {
                name: {where: c._asdict() for where, c in pair.items()}
                for name, pair in self.against.items()
            },
        }


def evaluate(
    data: Windowed,
    forecast: Callable[[np.ndarray], Any],
    nominal: Sequence[float],
    *,
    period: int | None = None,
    drifts: bool = False,
) -> Evaluation:
    """Measures a network and simpler forecasts on the test part of a series.

    Args:
      data: the series.
      forecast: from windows [C, N, L] to quantiles of each seed, [S, C, N, H, Q].
      nominal: see `measure`.
      period, drifts: see `measure_simpler`.
    """
    _, validation, test = data.parts
    L, known, truth = data.window, data.truth(validation), data.truth(test)
    before = np.asarray(forecast(data.windows(validation)[..., :L]))
    after = np.asarray(forecast(data.windows(test)[..., :L]))
    pairs = zip(before, after, strict=True)
    seeds = [measure(b, known, a, truth, nominal) for b, a in pairs]
    mean = averaged(seeds)
    penalty, simpler = measure_simpler(data, nominal, period, drifts)
    against = {
        name: compare_steps(mean.errors.squared, other.errors.squared)
        for name, other in simpler.items()
    }
    end = data.values[test.stop - L : test.stop].T[:, None]  # [C, 1, L]
    told = np.asarray(forecast(end))[0]
    ahead = Ahead.of(data, mean.margins).quantiles(told)
    return Evaluation(seeds, mean, simpler, against, penalty, ahead)


def averaged(seeds: Sequence[Measured]) -> Measured:
    """The means over seeds of what was measured, beside the first seed's quantiles."""

    def mean(parts):
        arrays = zip(*parts, strict=True)
        return type(parts[0])(*(np.mean(array, axis=0) for array in arrays))

    return seeds[0]._replace(
        errors=mean([seed.errors for seed in seeds]),
        raw=mean([seed.raw for seed in seeds]),
        calibrated=mean([seed.calibrated for seed in seeds]),
    )


def measure_simpler(
    data: Windowed, nominal: Sequence[float], period: int | None, drifts: bool
) -> tuple[float, dict[str, Measured]]:
    """Measures forecasts that a network has to beat on the test part, by name.

    Their intervals are as wide as their errors on the validation part were. A forecast
    that cannot be made of both parts is left out.

    Args:
      data: the series.
      nominal: see `measure`.
      period: steps in a season; None: there is none.
      drifts: whether to forecast a random walk with drift, too.

    Returns:
      The penalty of ridge regression, and all that was measured; ridge comes last.
    """
    train, validation, test = data.parts
    history = data.values[train.start : train.stop] if drifts else None
    penalty, linear = ridge(data.windows(train), data.windows(validation), data.window)
    count = 2 * len(nominal) + 1

    def forecasts(part):
        options = {"history": history, "period": period}
        found = naive(data.values, data.origins(part), data.horizon, **options)
        found["ridge"] = linear(data.windows(part))
        return {name: only_median(f, count) for name, f in found.items()}

    before, after = forecasts(validation), forecasts(test)
    truth = data.truth(validation), data.truth(test)
    return penalty, {
        name: measure(before[name], truth[0], after[name], truth[1], nominal)
        for name in after
        if name in before
    }
