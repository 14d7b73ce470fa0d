"""Time series: the known ones, and CSV files of your own."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from experiments.data import DataError, files, times
from experiments.data.files import Files
from experiments.data.formats.csv import Columns, Form, missing, read_columns


class Series(NamedTuple):
    """Several variables over time."""

    dates: np.ndarray  # [T] datetime64, rising
    values: np.ndarray  # [T, C] float64
    names: tuple[str, ...]  # of the C variables
    source: str = "the series"  # the file, for messages
    zone: tzinfo | None = None  # to write dates in; None: without an offset from UTC
    utc: bool = False  # whether the dates are counted in UTC
    remarks: tuple[str, ...] = ()  # what was found amiss, with counts

    @property
    def spacing(self) -> times.Spacing:
        """The most usual time from one date to the next."""
        return times.find_spacing(self.dates)

    def after(self, last: np.datetime64, steps: int) -> list[str]:
        """The dates of the steps that follow `last`, as text (ISO 8601)."""
        spacing = self.spacing
        found = spacing.after(last, steps).astype("datetime64[s]").tolist()
        texts = [self._written(date) for date in found]
        if spacing.unit == "second" and spacing.size % 86400:
            return texts
        return [text.removesuffix("T00:00:00") for text in texts]

    def _written(self, date: datetime) -> str:
        if self.utc:
            date = date.replace(tzinfo=UTC).astimezone(self.zone)
        elif self.zone is not None:
            date = date.replace(tzinfo=self.zone)
        return date.isoformat()


class SeriesSet(NamedTuple):
    """A known data set: one file, and what is known of it."""

    title: str
    files: Files | None  # None: matplotlib comes with it
    columns: tuple[str, ...] = ()  # to read; none: all
    keep: Callable[[datetime], bool] = lambda date: True  # whether to read a row
    parts: tuple[int, int, int] | None = None  # published lengths; None: 3, 1, 1 fifths
    random_walk: bool = False  # whether it may be one, so that nothing can be forecast


def _classic(name: str, digest: str, origin: str) -> Files:
    base = "https://raw.githubusercontent.com/jbrownlee/Datasets/master"
    get = f"curl -L --create-dirs -o series/{name} {base}/{name}"
    return Files("series", {name: digest}, f"{origin}, as jbrownlee/Datasets", get)


DATASETS = {
    "etth1": SeriesSet(
        "hourly load and oil temperature of a transformer",
        Files(
            "ett",
            {"ETTh1.csv.gz": "f18de3ad269cef59"},
            "Zhou et al., 2021: github.com/zhouhaoyi/ETDataset",
            "mkdir -p ett; curl -L https://raw.githubusercontent.com/zhouhaoyi/"
            "ETDataset/main/ETT-small/ETTh1.csv | gzip > ett/ETTh1.csv.gz",
        ),
        parts=(8640, 2880, 2880),  # twelve, four and four months of 30 days
    ),
    "stocks": SeriesSet(
        "monthly prices of shares, and two indices",
        None,
        # Those that were traded in all months of the file.
        columns=("IBM", "AAPL", "MSFT", "XRX", "ADBE", "^GSPC", "^IXIC"),
        # Rows within a month are days of dividends, without prices, or a last price
        # that is there already.
        keep=lambda date: date.day == 1,
        random_walk=True,
    ),
    "airline": SeriesSet(
        "monthly airline passengers",
        _classic(
            "airline-passengers.csv",
            "8cb51be753a718d9",
            "Box and Jenkins, 1976",
        ),
    ),
    "sunspots": SeriesSet(
        "monthly sunspots",
        _classic(
            "monthly-sunspots.csv",
            "c4ec8cc57d9f6fb6",
            "Andrews and Herzberg, 1985",
        ),
    ),
    "temperatures": SeriesSet(
        "daily lowest temperatures in Melbourne; two days are missing",
        _classic(
            "daily-min-temperatures.csv",
            "8b9de63ed6789492",
            "Bureau of Meteorology, Australia",
        ),
    ),
}


def load_series(name: str, data_dir: Path | None = None) -> Series:
    """Reads one of `DATASETS`.

    Args:
      name: of the data set.
      data_dir: see `files.find`.

    Raises:
      DataError: if the name is unknown, or the file is not found or not as it should
        be.
    """
    known = files.record(DATASETS, name)
    if known.files is None:
        from matplotlib.cbook import get_sample_data

        path = Path(str(get_sample_data("Stocks.csv", asfileobj=False)))
    else:
        (path,) = known.files.find(data_dir)
    return read_csv(path, known.columns, keep=known.keep)


def read_csv(
    path: Path,
    columns: Sequence[str] = (),
    form: Form = Form(),  # noqa: B008 - it cannot change
    *,
    keep: Callable[[datetime], bool] = lambda date: True,
    duplicates: Literal["mean", "first", "last", "refuse"] = "mean",
    fill: Literal["linear", "last", "zero"] | None = None,
) -> Series:
    """Reads a file with a column of dates and columns of numbers.

    What is amiss and can be mended is, and `Series.remarks` says so, with counts: rows
    out of order, times that come twice, times that are missing.

    Args:
      path: as `formats.csv.read_columns` takes it, and so are the others.
      columns: which to read; none: all but the dates.
      form: of the file.
      keep: (date) -> whether to read a row.
      duplicates: which value to take where a time comes twice.
      fill: what to put where times or values are missing; see `times.fill`. None:
        rows stay as they are.

    Raises:
      DataError: if the file is not found or not as it should be, if values are missing
        and `fill` is None, or if times come twice and `duplicates` is "refuse".
    """
    found = read_columns(path, columns, form, keep=keep)
    remarks = [*found.remarks, *filter(None, [found.clock.remark])]
    count, name, line = missing(found)
    if count and fill is None:
        raise DataError(
            f"{path}, line {line}: {name}: expected a finite number, found none; in "
            f"all {count:,} values are missing (--fill puts some in their place)"
        )
    dates, values = _in_order(path, found, duplicates, remarks)
    spacing = times.find_spacing(dates)
    gaps = times.find_gaps(dates, spacing)
    if fill is not None:
        dates, values = times.fill(dates, values, spacing, fill, str(path))
        if gaps.steps or count:
            remarks.append(
                f"filled {gaps.steps:,} missing times in {gaps.holes:,} gaps and "
                f"{count:,} missing values ({fill})"
            )
    else:
        if gaps.steps:
            remarks.append(
                f"{gaps.steps:,} times are missing in {gaps.holes:,} gaps, the longest "
                f"({gaps.longest:,}) after {dates[gaps.place]}; times are else "
                f"{spacing} apart, and a forecast takes rows as they stand: --fill "
                "fills the gaps"
            )
        if gaps.uneven:
            remarks.append(
                f"its times are not evenly spaced: {gaps.uneven:,} of {len(dates):,} "
                f"rows are no whole number of steps of {spacing} after the one before"
            )
    clock = found.clock
    return Series(
        *(dates, values, found.names, str(path), clock.zone, clock.utc, tuple(remarks))
    )


def _in_order(
    path: Path,
    found: Columns,
    duplicates: Literal["mean", "first", "last", "refuse"],
    remarks: list[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Dates that rise, and their values."""
    dates, values = np.array(found.clock.dates, "datetime64[s]"), np.array(found.values)
    back = int((np.diff(dates).astype(int) < 0).sum())
    if back:
        newest = "newest first" if back == len(dates) - 1 else "out of order"
        remarks.append(f"its rows are {newest} ({back:,} go back in time): sorted")
    order = np.argsort(dates, kind="stable")
    dates, values = dates[order], values[order]
    same = np.flatnonzero(np.diff(dates).astype(int) == 0)
    if len(same):
        line, date = found.lines[order[same[0] + 1]], dates[same[0]]
        if duplicates == "refuse":
            raise DataError(
                f"{path}, line {line}: the time {date} comes twice; in all "
                f"{len(same):,} rows do (--duplicates)"
            )
        dates, values = times.unique(dates, values, duplicates)
        remarks.append(
            f"{len(same):,} rows have a time that was there before, the first in line "
            f"{line} ({date}): the {duplicates} is taken (--duplicates; where summer "
            "time ended, --timezone tells them apart)"
        )
    return dates, values


def forecast_csv(
    names: Sequence[str],
    dates: Sequence[str],
    quantiles: Sequence[np.ndarray],
    levels: Sequence[float],
) -> str:
    """A forecast as the text of a CSV file.

    Args:
      names: of C variables.
      dates: of the H steps.
      quantiles: [H, Q] of each variable, in its own units.
      levels: of the Q quantiles.

    Example:
      >>> rows = [np.array([[1.5, 2.0]])]
      >>> forecast_csv(["load"], ["2020-01-01"], rows, (0.1, 0.9)).splitlines()
      ['variable,date,steps_ahead,0.1,0.9', 'load,2020-01-01,1,1.5,2']
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["variable", "date", "steps_ahead", *map(str, levels)])
    for name, rows in zip(names, quantiles, strict=True):
        for step, (date, row) in enumerate(zip(dates, rows, strict=True), 1):
            writer.writerow([name, date, step, *(f"{value:.6g}" for value in row)])
    return text.getvalue()
