"""Windows of a series, and the parts for training, validation and test."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from experiments.data import DataError
from experiments.data.series import Series


class Scale(NamedTuple):
    """How a series is standardised: (x - mean) / deviation, x or its logarithm."""

    log: bool
    mean: np.ndarray  # [C]
    deviation: np.ndarray  # [C]

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Values [T, C] in the units of the series, standardised."""
        values = np.log(values) if self.log else values
        return (values - self.mean) / self.deviation

    def undo(self, values: np.ndarray, variable: int) -> np.ndarray:
        """Standardised values of a variable in its own units."""
        values = values * self.deviation[variable] + self.mean[variable]
        return np.exp(values) if self.log else values


def make_scale(series: Series, train: range, log: bool = False) -> Scale:
    """The scale of a series, taken from its training part alone.

    Args:
      series: to be standardised.
      train: the steps for training.
      log: whether to take the logarithm first.

    Raises:
      DataError: if there is no logarithm, or if a variable does not vary in the
        training part.
    """
    for name, lowest in zip(series.names, series.values.min(axis=0), strict=True):
        if log and not lowest > 0:
            raise DataError(
                f"--log: expected values above 0, got {lowest:g} in column {name} of "
                f"{series.source}"
            )
    values = np.log(series.values) if log else series.values
    values = values[train.start : train.stop]
    for name, size in zip(series.names, np.ptp(values, axis=0), strict=True):
        if size == 0:
            raise DataError(
                f"{series.source}: column {name} is constant in the training part"
            )
    return Scale(log, values.mean(axis=0), values.std(axis=0))


class Parts(NamedTuple):
    """Which steps are for what, one part after the other."""

    train: range
    validation: range
    test: range


def make_parts(
    series: Series,
    window: int,
    horizon: int,
    lengths: tuple[int, int, int] | None = None,
) -> Parts:
    """Cuts a series into its parts.

    Args:
      series: to be cut.
      window: L, steps that a forecast is made from.
      horizon: H, steps that are forecast.
      lengths: of the parts, where they are published; None: three, one and one fifths.

    Raises:
      DataError: if the series is shorter than the published parts, or if a window and
        its horizon do not fit into the parts.
    """
    length = len(series.values)
    if lengths is None:
        three, one = length * 3 // 5, length // 5
        lengths = (three, one, length - three - one)
    elif sum(lengths) > length:
        raise DataError(
            f"{series.source}: has {length:,} rows, expected {sum(lengths):,} or "
            f"more: {lengths[0]:,} for training, then {lengths[1]:,} and "
            f"{lengths[2]:,} for validation and test"
        )
    ends = np.cumsum(lengths).tolist()
    parts = Parts(
        *(range(stop - size, stop) for stop, size in zip(ends, lengths, strict=True))
    )
    whole = window + horizon
    fewest = min(len(parts.train) - whole, len(parts.validation) - horizon) + 1
    if fewest < 1:
        raise DataError(
            f"--window, --horizon: {window} + {horizon} steps do not fit into "
            f"{len(parts.train)} steps for training and {len(parts.validation)} for "
            f"validation, of the {length} in {series.source}"
        )
    return parts


def windows(values: np.ndarray, part: range, window: int, horizon: int) -> np.ndarray:
    """All windows whose horizon lies within a part, a view [C, N, L + H].

    What a forecast is made from may lie before the part, what it is measured on not.

    Args:
      values: [T, C].
      part: steps.
      window: L.
      horizon: H.

    Example:
      >>> windows(np.arange(7)[:, None], range(4, 7), 2, 2).tolist()
      [[[2, 3, 4, 5], [3, 4, 5, 6]]]
    """
    first = max(part.start - window, 0)
    inside = values[first : part.stop].T
    return sliding_window_view(inside, window + horizon, axis=1)


class Windowed(NamedTuple):
    """A series, standardised and cut; C variables, N windows of a part."""

    series: Series
    scale: Scale
    values: np.ndarray  # [T, C] float32, standardised
    parts: Parts
    window: int  # L
    horizon: int  # H

    def windows(self, part: range) -> np.ndarray:
        """The windows of a part, each with its horizon, [C, N, L + H]."""
        return windows(self.values, part, self.window, self.horizon)

    def truth(self, part: range) -> np.ndarray:
        """The horizons of these windows, [C, N, H]."""
        return self.windows(part)[..., self.window :]

    def origins(self, part: range) -> np.ndarray:
        """The first step of each of these horizons, [N]."""
        first = max(part.start, self.window)
        return np.arange(first, part.stop - self.horizon + 1)


def make_windows(
    series: Series,
    window: int,
    horizon: int,
    *,
    log: bool = False,
    lengths: tuple[int, int, int] | None = None,
) -> Windowed:
    """Cuts and standardises a series.

    Args:
      series: of C variables.
      window: L, steps that a forecast is made from.
      horizon: H, steps that are forecast.
      log: whether to take the logarithm first.
      lengths: see `make_parts`.

    Raises:
      DataError: see `make_parts` and `make_scale`.
    """
    parts = make_parts(series, window, horizon, lengths)
    scale = make_scale(series, parts.train, log)
    values = scale.standardise(series.values).astype(np.float32)
    return Windowed(series, scale, values, parts, window, horizon)
