"""Time series in CSV files: a column of dates and columns of numbers."""

import csv
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files

# Shares that were traded in all months of matplotlib's file, and two indices.
STOCKS = ("IBM", "AAPL", "MSFT", "XRX", "ADBE", "^GSPC", "^IXIC")
SOURCES = {
    "etth1": ("ett", "ETTh1.csv.gz"),
    "airline": ("series", "airline-passengers.csv"),
    "sunspots": ("series", "monthly-sunspots.csv"),
    "temperatures": ("series", "daily-min-temperatures.csv"),
}


class Series(NamedTuple):
    """Several variables over time."""

    dates: np.ndarray  # [T] datetime64, rising
    values: np.ndarray  # [T, C] float64
    names: tuple[str, ...]  # of the C variables
    source: str = "the series"  # the file, for messages


def load_series(dataset: str, data_dir: Path | None = None) -> Series:
    """One of the known data sets, "stocks" or one of `SOURCES`.

    The share prices are monthly. The temperatures lack two days, which are passed over.

    Raises:
      DataError: if the file is not found or not as it should be.
    """
    if dataset == "stocks":
        from matplotlib.cbook import get_sample_data

        path = Path(str(get_sample_data("Stocks.csv", asfileobj=False)))
        # Rows within a month are days of dividends, without prices, or a last price
        # that is there already.
        return read_csv(path, STOCKS, keep=lambda date: date.day == 1)
    folder, name = SOURCES[dataset]
    return read_csv(files.find(folder, data_dir, name)[0])


def read_csv(
    path: Path,
    columns: Sequence[str] = (),
    *,
    keep: Callable[[datetime], bool] = lambda date: True,
) -> Series:
    """Reads a header and rows of a date (ISO 8601, or year and month) and numbers.

    Args:
      path: of the file, `.csv` or `.csv.gz`; comments, with #, may precede the header.
      columns: which to read; none: all but the first, which has the dates.
      keep: (date) -> whether to read a row.

    Raises:
      DataError: with the name of the file and the number of the line, if there is a
        wrong number of columns, a date that is none or not later than the one before,
        or a number that is missing or not finite.
    """
    lines = files.read_lines(path)
    top = next((i for i, s in enumerate(lines) if not s.startswith("#")), len(lines))
    try:
        header = _fields(lines[top]) if top < len(lines) else []
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise ValueError(f"has two columns {twice[0][:40]!r}")
        if len(header) < 2:
            raise ValueError(
                "expected the names of a column of dates and of columns of numbers, "
                f"found {', '.join(header)[:80]!r}"
            )
    except ValueError as error:
        raise DataError(f"{path}, line {top + 1}: {error}") from error
    names = tuple(columns) or tuple(header[1:])
    unknown = [name for name in names if name not in header[1:]]
    if unknown:
        raise DataError(
            f"{path}, line {top + 1}: has no column {', '.join(unknown)[:80]}; "
            f"there are {', '.join(header[1:])[:200]}"
        )
    chosen = [(name, header.index(name)) for name in names]
    before = datetime.min

    def parse(line):
        nonlocal before
        fields = _fields(line)
        if len(fields) != len(header):
            raise ValueError(
                f"expected {len(header)} columns ({', '.join(header)[:80]}), "
                f"found {len(fields)} in {line[:40]!r}"
            )
        date = _date(fields[0])
        if not keep(date):
            return None
        if date <= before:
            raise ValueError(f"expected a date after {before}, found {fields[0]!r}")
        before = date
        return date, [_number(name, fields[i]) for name, i in chosen]

    rows = [row for row in files.each_line(path, parse, skip=top + 1) if row]
    if not rows:
        raise DataError(f"{path}: has no data")
    dates, values = zip(*rows, strict=True)
    return Series(np.array(dates, "datetime64[s]"), np.array(values), names, str(path))


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"is not CSV: {error}") from error


def _date(text: str) -> datetime:
    month_only = len(text) == len("1949-01")
    try:
        date = datetime.fromisoformat(text + "-01" if month_only else text)
    except ValueError:
        raise ValueError(
            f"expected a date such as 2016-07-01 or 2016-07, found {text[:40]!r}"
        ) from None
    return date.replace(tzinfo=None)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, found {text[:40]!r}")
    return value
