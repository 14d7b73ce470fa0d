"""Errors of forecasts: of single values, and of quantiles."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Errors(NamedTuple):
    """Errors for each window and step of the horizon, as means over the variables."""

    squared: np.ndarray  # [N, H]
    absolute: np.ndarray  # [N, H]

    def means(self) -> dict[str, float]:
        """The mean squared error and the mean absolute error."""
        return {"mse": float(self.squared.mean()), "mae": float(self.absolute.mean())}


def errors_of(forecast: np.ndarray, truth: np.ndarray) -> Errors:
    """Errors e = forecast - truth, as means of e^2 and |e| over the variables.

    Args:
      forecast: [C, N, H].
      truth: [C, N, H].

    Example:
      >>> errors_of(np.array([[[1.0, 5.0]]]), np.array([[[2.0, 2.0]]])).means()
      {'mse': 5.0, 'mae': 2.0}
    """
    errors = forecast.astype(np.float64) - truth
    return Errors(np.square(errors).mean(axis=0), np.abs(errors).mean(axis=0))


def quantile_scores(
    quantiles: np.ndarray, truth: np.ndarray, levels: Sequence[float]
) -> dict[str, float]:
    """The quantile loss, and the errors of the median.

        loss = mean of 2 max(q e, (q - 1) e),    e = y - y_q

    over all levels q and values y; for the median it is the absolute error.

    Args:
      quantiles: [..., Q], y_q.
      truth: [...], y.
      levels: the Q levels q, rising; the middle one is the median.

    Returns:
      "loss", and "mse" and "mae" of the median.

    References:
      Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.

    Example:
      >>> scores = quantile_scores(np.array([[1.0, 2.0, 4.0]]), np.array([3.0]),
      ...                          [0.1, 0.5, 0.9])
      >>> {name: round(value, 3) for name, value in scores.items()}
      {'loss': 0.533, 'mse': 1.0, 'mae': 1.0}
    """
    errors = truth[..., None] - quantiles
    of_levels = np.array(levels, errors.dtype)
    middle = errors[..., len(levels) // 2]
    losses = np.maximum(of_levels * errors, (of_levels - 1) * errors)
    return {
        "loss": 2 * float(losses.mean()),
        "mse": float(np.square(middle).mean()),
        "mae": float(np.abs(middle).mean()),
    }
