"""Intervals between quantiles: how often they hold, and how to make them hold.

An array of quantiles [..., Q] has an odd number of them, rising. The i-th and the i-th
from the end are the ends of an interval, from the outermost in; the one in the middle
is the median.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def conformal_margins(
    quantiles: np.ndarray, truth: np.ndarray, nominal: Sequence[float]
) -> np.ndarray:
    """By how much quantiles must move for their intervals to hold.

        s_n = max(l_n - y_n, y_n - u_n)

    says by how much an interval [l, u] misses y. The margin, which is added on both
    sides, is the s_n of rank ceil((N + 1) coverage) among N. Where N is too small for
    such a rank the largest s_n is taken, and the interval may hold less often.

    Args:
      quantiles: [C, N, H, Q], of forecasts that were not trained on.
      truth: [C, N, H].
      nominal: coverage that the intervals are to have, from the outermost in.

    Returns:
      [C, 1, H, Q], to be added to other quantiles; zero for the median.

    Raises:
      ValueError: if there are not two quantiles for each coverage, and a median.

    References:
      Romano, Patterson and Candes, "Conformalized quantile regression", NeurIPS 2019.

    Example:
      >>> truth = np.arange(1.0, 10.0).reshape(1, 9, 1)
      >>> conformal_margins(np.zeros((1, 9, 1, 3)), truth, [0.5])[0, 0, 0].tolist()
      [-5.0, 0.0, 5.0]
    """
    if quantiles.shape[-1] != 2 * len(nominal) + 1:
        raise ValueError(
            f"quantiles: expected {2 * len(nominal) + 1} for {len(nominal)} nominal "
            f"coverages, got shape {quantiles.shape}"
        )
    count = truth.shape[1]
    margins = np.zeros((truth.shape[0], 1, *quantiles.shape[2:]), quantiles.dtype)
    for i, coverage in enumerate(nominal):
        low, high = quantiles[..., i], quantiles[..., -1 - i]
        rank = min(math.ceil((count + 1) * coverage), count)
        scores = np.partition(np.maximum(low - truth, truth - high), rank - 1, axis=1)
        margins[:, 0, :, i] = -scores[:, rank - 1]
        margins[:, 0, :, -1 - i] = scores[:, rank - 1]
    return margins


def calibrated(quantiles: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Quantiles moved by margins, each interval at least as wide as those within it.

    Args:
      quantiles: [..., Q].
      margins: of a shape that broadcasts against it, from `conformal_margins`.

    Example:
      >>> calibrated(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 1.0])).tolist()
      [0.0, 2.0, 4.0]
    """
    middle = quantiles.shape[-1] // 2
    moved = quantiles + margins
    lower = np.minimum.accumulate(moved[..., middle::-1], axis=-1)
    upper = np.maximum.accumulate(moved[..., middle + 1 :], axis=-1)
    upper = np.maximum(upper, moved[..., middle, None])
    return np.concatenate([lower[..., ::-1], upper], axis=-1)


class Intervals(NamedTuple):
    """How often intervals held and how wide they were, from the outermost in."""

    covered: np.ndarray  # [levels, H], shares
    width: np.ndarray  # [levels, H]


def measure_intervals(quantiles: np.ndarray, truth: np.ndarray) -> Intervals:
    """The coverage and the mean width of intervals, over variables and windows.

    Args:
      quantiles: [C, N, H, Q].
      truth: [C, N, H].

    Example:
      >>> quantiles = np.broadcast_to([0.0, 1.0, 3.0], (1, 4, 1, 3))
      >>> found = measure_intervals(quantiles, np.arange(1.0, 5.0).reshape(1, 4, 1))
      >>> found.covered.tolist(), found.width.tolist()
      ([[0.75]], [[3.0]])
    """
    covered, width = [], []
    for i in range(quantiles.shape[-1] // 2):
        low, high = quantiles[..., i], quantiles[..., -1 - i]
        covered.append(((low <= truth) & (truth <= high)).mean(axis=(0, 1)))
        width.append((high - low).mean(axis=(0, 1)))
    return Intervals(np.stack(covered), np.stack(width))
