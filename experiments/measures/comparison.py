"""Whether two forecasts are equally good: the test of Diebold and Mariano."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.measures.simple_forecasts import WALKS


class Comparison(NamedTuple):
    """A test of the hypothesis that two forecasts are equally good."""

    ratio: float  # of the mean losses
    p: float  # the p-value; NaN: there are too few windows

    def __str__(self) -> str:
        told = math.isfinite(self.p)
        p = f"p = {self.p:.2g}" if told else "too few windows to test"
        return f"ratio {self.ratio:.3f}, {p}"


def compare(losses: np.ndarray, others: np.ndarray, horizon: int) -> Comparison:
    """The test of Diebold and Mariano for forecasts from N successive origins.

    With d_n the difference of the losses, m its mean, g_k the autocovariance of d at
    lag k and H the horizon,

        t = m / sqrt(v / N) sqrt((N + 1 - 2 H + H (H - 1) / N) / N)

    since forecasts from neighboring origins share most of their future. v is the larger
    of two estimates: g_0 + 2 (g_1 + ... + g_{H-1}), as by Diebold and Mariano, and
    the sum over L >= H - 1 lags with the weights 1 - k / (L + 1) of Newey and West. The
    factor is the correction of Harvey, Leybourne and Newbold. t is held against
    Student's distribution with N / H - 1 degrees of freedom, one for each horizon that
    overlaps with no other.

    Args:
      losses: [N], such as squared errors.
      others: [N], of the forecast to compare with.
      horizon: H, in origins.

    Returns:
      The ratio of the mean losses, and the two-sided p-value, NaN if N <= 2 H.

    References:
      Diebold and Mariano, "Comparing predictive accuracy", 1995; Newey and West, "A
      simple, positive semi-definite, heteroskedasticity and autocorrelation consistent
      covariance matrix", 1987; Harvey, Leybourne and Newbold, "Testing the equality of
      prediction mean squared errors", 1997.

    Example:
      >>> losses, others = np.random.default_rng(0).random((2, 200))
      >>> print(compare(losses, others + 0.1, 1))
      ratio 0.868, p = 0.0073
      >>> print(compare(losses[:6], others[:6], 3))
      ratio 1.053, too few windows to test
    """
    from scipy import stats

    differences = losses - others
    count, mean = len(differences), differences.mean()
    ratio = float(losses.mean() / max(others.mean(), 1e-30))
    if not differences.any():
        return Comparison(ratio, 1.0)
    if count <= 2 * horizon:
        return Comparison(ratio, math.nan)
    centered = differences - mean
    lags = min(max(horizon - 1, int(4 * (count / 100) ** (2 / 9))), count - 1)
    products = np.array(
        [centered[lag:] @ centered[: count - lag] / count for lag in range(lags + 1)]
    )
    twice = np.where(np.arange(lags + 1), 2, 1) * products
    plain = twice[:horizon].sum()
    weighted = twice @ (1 - np.arange(lags + 1) / (lags + 1))
    shrink = (count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count
    variance = max(plain, weighted, 1e-30)
    statistic = mean / math.sqrt(variance / count) * math.sqrt(shrink)
    p = 2 * stats.t.sf(abs(statistic), count / horizon - 1)
    return Comparison(ratio, float(p))


def compare_steps(losses: np.ndarray, others: np.ndarray) -> dict[str, Comparison]:
    """Tests of the loss over the whole horizon, and of the loss at its first step.

    Args:
      losses: [N, H], for forecasts of H steps from N successive origins.
      others: [N, H], of the forecast to compare with.

    Example:
      >>> losses, others = np.random.default_rng(0).random((2, 200, 3))
      >>> for name, found in compare_steps(losses, others + 0.1).items():
      ...     print(f"{name}: ratio {found.ratio:.2f}")
      horizon: ratio 0.84
      first step: ratio 0.87
    """
    mean, other_mean = losses.mean(axis=1), others.mean(axis=1)
    return {
        "horizon": compare(mean, other_mean, losses.shape[1]),
        "first step": compare(losses[:, 0], others[:, 0], 1),
    }


def random_walk_verdict(against: Mapping[str, dict[str, Comparison]]) -> str:
    """Whether a network forecasts monthly prices better than random walks, in words.

    Args:
      against: of the network with other forecasts by name, from `compare_steps`.

    Example:
      >>> even = Comparison(1.0, 0.8)
      >>> told = random_walk_verdict({WALKS[0]: {"first step": even, "horizon": even}})
      >>> told.split(":")[0]
      'these prices are close to a random walk'
    """
    walks = [found for name, found in against.items() if name in WALKS]
    one, whole = (
        max((walk[where] for walk in walks), key=lambda c: c.ratio)
        for where in ("first step", "horizon")
    )
    measured = (
        "the network's squared error against that of the better random walk: one month "
        f"ahead {one}; over the whole horizon {whole}"
    )
    if any(c.ratio < 1 and c.p < 0.05 for c in (one, whole)):
        return f"on these windows the network beats a random walk: {measured}"
    return (
        f"these prices are close to a random walk: {measured}. The network is not "
        "measurably better than 'as last month, with the usual growth or without': do "
        "not trade on it"
    )
