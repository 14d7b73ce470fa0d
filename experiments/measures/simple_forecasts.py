"""Forecasts that a network has to beat; C variables, N windows, L steps, H ahead."""

import math
from collections.abc import Callable, Sequence

import numpy as np

# What is best for a random walk.
WALKS = ("persistence", "persistence with drift")


def persistence(last: np.ndarray, horizon: int) -> np.ndarray:
    """The last value again: y_{t+h} = y_t.

    Args:
      last: [C, N], the last value of each window.
      horizon: H.

    Returns:
      [C, N, H].

    Example:
      >>> persistence(np.array([[3.0, 5.0]]), 2).tolist()
      [[[3.0, 3.0], [5.0, 5.0]]]
    """
    return np.repeat(last[..., None], horizon, axis=-1)


def drift(last: np.ndarray, horizon: int, history: np.ndarray) -> np.ndarray:
    """A random walk that grows as it did before: y_{t+h} = y_t + h g.

        g = (y_T - y_1) / (T - 1)

    Args:
      last: [C, N], the last value of each window.
      horizon: H.
      history: [T, C], from which the growth g is taken.

    Returns:
      [C, N, H].

    Example:
      >>> drift(np.array([[3.0]]), 2, np.array([[1.0], [0.0], [2.0]])).tolist()
      [[[3.5, 4.0]]]
    """
    growth = (history[-1] - history[0]) / (len(history) - 1)  # [C]
    steps = np.arange(1, horizon + 1, dtype=np.float32)
    ahead = np.multiply.outer(growth, steps).reshape(-1, 1, horizon)
    return last[..., None] + ahead


def seasonal(
    values: np.ndarray, origins: np.ndarray, period: int, horizon: int
) -> np.ndarray:
    """The last season again: y_{t+h} is the latest y_{t+h-ks} that is known at t.

    Args:
      values: [T, C], the whole series.
      origins: [N], the first step of each horizon, at least `period`.
      period: s, steps in a season.
      horizon: H.

    Returns:
      [C, N, H].

    Raises:
      ValueError: if there is no whole season before an origin.

    Example:
      >>> seasonal(np.arange(9.0)[:, None], np.array([4, 5]), 2, 3).tolist()
      [[[2.0, 3.0, 2.0], [3.0, 4.0, 3.0]]]
    """
    if np.min(origins) < period:
        raise ValueError(
            f"origins: expected {period} or more, the period, got {np.min(origins)}"
        )
    ahead = np.arange(horizon) % period - period
    return np.moveaxis(values[np.add.outer(origins, ahead)], -1, 0)


def naive(
    values: np.ndarray,
    origins: np.ndarray,
    horizon: int,
    *,
    history: np.ndarray | None = None,
    period: int | None = None,
) -> dict[str, np.ndarray]:
    """The forecasts above that can be made of a series, by name; [C, N, H] each.

    Args:
      values: [T, C], the whole series.
      origins: [N], the first step of each horizon, rising.
      horizon: H.
      history: [T, C], for `drift`; None: without it.
      period: s, for `seasonal`; None: without it. It is left out, too, where less than
        a season is known at the first origin.

    Example:
      >>> found = naive(np.arange(9.0)[:, None], np.array([4, 5]), 2, period=3)
      >>> {name: forecast[0, 0].tolist() for name, forecast in found.items()}
      {'persistence': [3.0, 3.0], 'seasonal persistence': [1.0, 2.0]}
    """
    last = values[origins - 1].T
    found = {WALKS[0]: persistence(last, horizon)}
    if history is not None:
        found[WALKS[1]] = drift(last, horizon, history)
    if period is not None and origins[0] >= period:
        found["seasonal persistence"] = seasonal(values, origins, period, horizon)
    return found


def ridge(
    train: np.ndarray,
    validation: np.ndarray,
    window: int,
    penalties: Sequence[float] = (1.0, 10.0, 100.0, 1e3, 1e4),
) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """Ridge regression of the horizon on the window, both less the window's last value.

        W, b = argmin sum |y - x W - b|^2 + penalty |W|^2

    One regression serves all variables, as one network does.

    Args:
      train: [C, N, L + H], windows to learn from, each with its horizon.
      validation: [C, N, L + H], windows on which the penalty is chosen.
      window: L.
      penalties: to choose from, by the mean squared error.

    Returns:
      The penalty, and a function from windows [C, N, L, or longer] to forecasts
      [C, N, H].

    Raises:
      ValueError: if there are no penalties.

    References:
      Hoerl and Kennard, "Ridge regression", Technometrics 12, 1970.

    Example:
      >>> waves = np.sin(np.arange(60.0))[np.add.outer(np.arange(50), np.arange(9))]
      >>> penalty, forecast = ridge(waves[None, :40], waves[None, 40:], 6, [1e-6, 1.0])
      >>> error = forecast(waves[None, 40:]) - waves[None, 40:, 6:]
      >>> penalty, bool(np.abs(error).max() < 1e-3)
      (1e-06, True)
    """
    from sklearn.linear_model import Ridge

    def inputs(windows):
        last = windows[..., window - 1 : window]
        xs = windows[..., : window - 1] - last
        return last, xs.reshape(-1, window - 1)

    def forecaster(model):
        def forecast(windows):
            last, xs = inputs(windows)
            return last + model.predict(xs).reshape(*last.shape[:2], -1)

        return forecast

    last, xs = inputs(train)
    ys = train[..., window:] - last
    ys = ys.reshape(-1, ys.shape[-1])
    truth = validation[..., window:]
    best = math.inf, 0.0, None
    for penalty in penalties:
        forecast = forecaster(Ridge(penalty).fit(xs, ys))
        error = float(np.square(forecast(validation) - truth).mean())
        if best[2] is None or error < best[0]:
            best = error, penalty, forecast
    _, penalty, forecast = best
    if forecast is None:
        raise ValueError("penalties: expected one or more, got none")
    return penalty, forecast
