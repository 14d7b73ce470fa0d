"""CSV files with a column of dates and columns of numbers."""

import csv
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from experiments.data import DataError, files


def read_columns(
    path: Path,
    columns: Sequence[str] = (),
    *,
    keep: Callable[[datetime], bool] = lambda date: True,
) -> tuple[tuple[str, ...], list[datetime], list[list[float]]]:
    """Reads a header and rows of a date (ISO 8601, or year and month) and numbers.

    Args:
      path: of the file, `.csv` or `.csv.gz`; comments, with #, may precede the header.
      columns: which to read; none: all but the first, which has the dates.
      keep: (date) -> whether to read a row.

    Returns:
      The names of the columns, and for each row its date and its numbers.

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
    return names, list(dates), list(values)


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
