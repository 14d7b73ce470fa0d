"""Whether two forecasts are equally good: the test of Diebold and Mariano."""

import math
from typing import NamedTuple

import numpy as np


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
