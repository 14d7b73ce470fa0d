"""How far apart the times of a series are, which are missing, and what fills them."""

from typing import Literal, NamedTuple

import numpy as np

from experiments.data import DataError

MOST = 10_000_000  # steps; a hole that needs more is a wrong date
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Spacing(NamedTuple):
    """The time from one row to the next, in the terms of the calendar."""

    unit: Literal["second", "weekday", "month"]
    size: int  # in units
    day: int = 1  # of the month; where a month is shorter, its last one

    def __str__(self) -> str:
        count, name = self.size, self.unit
        if name == "second":
            unit, name = next(u for u in _UNITS if count % u[0] == 0)
            count //= unit
        elif name == "month" and count % 12 == 0:
            count, name = count // 12, "year"
        return f"{count} {name}{'s' if count > 1 else ''}"

    def ticks(self, dates: np.ndarray) -> np.ndarray:
        """The number of units before each date, [T] int64."""
        if self.unit == "month":
            return dates.astype("datetime64[M]").astype(np.int64)
        if self.unit == "weekday":
            days = dates.astype("datetime64[D]")
            return np.busday_count(np.datetime64("1970-01-01"), days).astype(np.int64)
        return dates.astype("datetime64[s]").astype(np.int64)

    def dates(self, ticks: np.ndarray, like: np.datetime64) -> np.ndarray:
        """The dates of these ticks, at the time of day of `like`; [T]."""
        if self.unit == "second":
            return ticks.astype("datetime64[s]")
        time = like - like.astype("datetime64[D]")
        if self.unit == "weekday":
            days = np.busday_offset(np.datetime64("1970-01-01"), ticks)
        else:
            months = ticks.astype("datetime64[M]")
            day = np.minimum(self.day, _length(months)) - 1
            days = months.astype("datetime64[D]") + day
        return days.astype("datetime64[s]") + time

    def after(self, last: np.datetime64, steps: int) -> np.ndarray:
        """The dates of the next steps, [steps].

        Example:
          >>> found = Spacing("month", 1, 31).after(np.datetime64("2023-12-31"), 2)
          >>> found.astype("datetime64[D]").astype(str).tolist()
          ['2024-01-31', '2024-02-29']
        """
        first = self.ticks(np.array([last]))
        return self.dates(first + self.size * np.arange(1, steps + 1), last)


def find_spacing(dates: np.ndarray) -> Spacing:
    """The most usual spacing of dates.

    Args:
      dates: [T] datetime64[s], rising.

    Example:
      >>> months = np.array(["1949-01", "1949-02", "1949-04"], "datetime64[s]")
      >>> str(find_spacing(months))
      '1 month'
    """
    kind = Spacing("second", 1)
    days = dates.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    in_month = (days - months.astype("datetime64[D]")).astype(int) + 1
    day = int(in_month.max(initial=1))
    at_one_time = len(np.unique(dates - days)) == 1
    steps = np.diff(days).astype(int)
    if at_one_time and len(steps):
        if steps.min() >= 28 and (in_month == np.minimum(day, _length(months))).all():
            kind = Spacing("month", 1, day)
        elif (
            len(dates) >= 8
            and np.bincount(np.minimum(steps, 4)).argmax() == 1
            and np.is_busday(days).all()
            and (steps == 3).sum() >= len(steps) // 10
        ):
            kind = Spacing("weekday", 1)
    sizes, counts = np.unique(np.diff(kind.ticks(dates)), return_counts=True)
    return kind._replace(size=int(sizes[counts.argmax()]) if len(sizes) else 1)


def _length(months: np.ndarray) -> np.ndarray:
    days = (months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")
    return days.astype(int)


class Gaps(NamedTuple):
    """Where times are missing between rows."""

    steps: int  # that are missing
    holes: int
    longest: int  # steps
    place: int  # of the row before the longest
    uneven: int  # rows that are no whole number of steps after the one before


def find_gaps(dates: np.ndarray, spacing: Spacing) -> Gaps:
    """Counts the times that are missing.

    Example:
      >>> days = np.array(["2020-01-01", "2020-01-02", "2020-01-05"], "datetime64[s]")
      >>> find_gaps(days, Spacing("second", 86400))
      Gaps(steps=2, holes=1, longest=2, place=1, uneven=0)
    """
    apart = np.diff(spacing.ticks(dates))
    if not len(apart):
        return Gaps(0, 0, 0, 0, 0)
    uneven = apart % spacing.size != 0
    lost = np.where(uneven, 0, apart // spacing.size - 1)
    place = int(lost.argmax())
    holes = int((lost > 0).sum())
    return Gaps(int(lost.sum()), holes, int(lost[place]), place, int(uneven.sum()))


def unique(
    dates: np.ndarray, values: np.ndarray, which: Literal["mean", "first", "last"]
) -> tuple[np.ndarray, np.ndarray]:
    """One row for each date, from dates [T] in order and values [T, C].

    A value that is missing in one row is taken from the others.

    Example:
      >>> days = np.array(["2020-01-01", "2020-01-01"], "datetime64[s]")
      >>> unique(days, np.array([[1.0], [3.0]]), "mean")[1].tolist()
      [[2.0]]
    """
    found, first, count = np.unique(dates, return_index=True, return_counts=True)
    made = values[first].copy()
    for i in np.flatnonzero(count > 1):
        for column, same in enumerate(values[first[i] : first[i] + count[i]].T):
            known = same[~np.isnan(same)]
            if len(known):
                pick = {"mean": known.mean(), "first": known[0], "last": known[-1]}
                made[i, column] = pick[which]
    return found, made


def fill(
    dates: np.ndarray,
    values: np.ndarray,
    spacing: Spacing,
    how: Literal["linear", "last", "zero"],
    source: str,
) -> tuple[np.ndarray, np.ndarray]:
    """A row for every time, and a value for every NaN.

    Args:
      dates: [T], rising.
      values: [T, C].
      spacing: of the dates.
      how: on the straight line between the known neighbours; the last known value; 0.
      source: for messages.

    Raises:
      DataError: if rows do not stand at whole steps, or there is nothing to fill from.

    Example:
      >>> days = np.array(["2020-01-01", "2020-01-03"], "datetime64[s]")
      >>> known, daily = np.array([[1.0], [2.0]]), Spacing("second", 86400)
      >>> fill(days, known, daily, "linear", "a file")[1].tolist()
      [[1.0], [1.5], [2.0]]
    """
    gaps = find_gaps(dates, spacing)
    if gaps.uneven:
        raise DataError(
            f"{source}: --fill needs times at whole steps of {spacing}; "
            f"{gaps.uneven:,} of {len(dates):,} rows are not"
        )
    ticks = spacing.ticks(dates)
    places = (ticks - ticks[0]) // spacing.size
    if places[-1] >= MOST:
        raise DataError(
            f"{source}: from {dates[0]} to {dates[-1]} there are {places[-1]:,} "
            f"steps of {spacing}, too many to fill"
        )
    whole = ticks[0] + spacing.size * np.arange(places[-1] + 1)
    made = np.full((len(whole), values.shape[1]), np.nan)
    made[places] = values
    every = np.arange(len(whole))
    for column in made.T:  # views: what is set stays
        known = np.flatnonzero(~np.isnan(column))
        if how == "zero":
            column[np.isnan(column)] = 0.0
        elif not len(known):
            raise DataError(f"{source}: a column has no value at all to fill from")
        elif how == "linear":
            column[:] = np.interp(every, known, column[known])
        elif known[0] > 0:
            raise DataError(
                f"{source}: --fill last: the first {known[0]:,} steps of a column have "
                "no value before them"
            )
        else:
            column[:] = column[known[np.searchsorted(known, every, "right") - 1]]
    return spacing.dates(whole, dates[0]), made
