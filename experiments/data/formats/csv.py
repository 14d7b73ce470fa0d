"""CSV files with a column of dates and columns of numbers, as people have them."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from experiments.data import DataError, files
from experiments.data.formats import dates as dates_
from experiments.data.formats.encodings import decode
from experiments.data.formats.numbers import decimal_sign, number

T = TypeVar("T")

_SEPARATORS = ("\t", ";", "|", ",")  # of which a comma may be part of a number


class Form(NamedTuple):
    """How a file is written; None where the file shows it."""

    date_column: str | None = None  # its name, or its number from 1
    date_format: str | None = None  # as `datetime.strptime` takes it
    timezone: str | None = None  # of times without an offset from UTC
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None


class Columns(NamedTuple):
    """What is in a file, in its own order."""

    names: tuple[str, ...]
    clock: dates_.Clock
    values: list[list[float]]  # NaN where one is missing
    lines: list[int]  # of the file, one for each date
    remarks: list[str]


class _Row(NamedTuple):
    line: int
    fields: list[str]


def read_columns(
    path: Path,
    columns: Sequence[str] = (),
    form: Form = Form(),  # noqa: B008 - it cannot change
    *,
    keep: Callable[[datetime], bool] = lambda date: True,
) -> Columns:
    """Reads rows of a date and numbers, below a header or without one.

    Dates are ISO 8601, years, or years and months, unless the form says more. Blank
    lines, and comments with # before the header, are passed over.

    Args:
      path: of the file, `.csv` or `.csv.gz`.
      columns: which to read, by name or by number from 1; none: all but the dates.
      form: of the file.
      keep: (date) -> whether to read a row.

    Raises:
      DataError: with the name of the file and the number of the line, if there is a
        wrong number of columns, or what is no date or no number.
    """
    text = decode(path, files.read_bytes(path), form.encoding)
    separator, rows = _rows(path, text, form.separator)
    top = rows[0].line if rows else text.count("\n") + 1
    width = len(rows[0].fields) if rows else 0
    if width < 2:
        found = separator.join(rows[0].fields)[:80] if rows else ""
        raise DataError(
            f"{path}, line {top}: expected the names of a column of dates and of "
            f"columns of numbers, found {found!r}; --separator names what is between "
            "columns"
        )
    for row in rows:
        if len(row.fields) != width:
            raise DataError(
                f"{path}, line {row.line}: expected {width} columns "
                f"({', '.join(rows[0].fields)[:80]}), found {len(row.fields)} in "
                f"{separator.join(row.fields)[:40]!r}"
            )
    where = _date_column(path, rows, form)
    remarks, header = [], rows[0].fields
    if _is_date(header[where], form.date_format):
        header = [f"column {place}" for place in range(1, width + 1)]
        remarks.append("has no header: its columns are named column 1, column 2, ...")
    else:
        rows = rows[1:]
    chosen = _chosen(f"{path}, line {top}", header, columns, where)

    def parsed(row: _Row, part: Callable[..., T], *args: Any) -> T:
        try:
            return part(*args)
        except ValueError as error:
            raise DataError(f"{path}, line {row.line}: {error}") from error

    found = []
    for row in rows:
        date = parsed(row, dates_.parse, row.fields[where], form.date_format)
        if keep(date):
            found.append((row, date))
    if not found:
        raise DataError(f"{path}: has no data")
    texts = (row.fields[i].strip() for row, _ in found for _, i in chosen)
    decimal = form.decimal or parsed(found[0][0], decimal_sign, texts, separator)

    def numbers(row: _Row) -> list[float]:
        values = []
        for name, i in chosen:
            try:
                values.append(number(row.fields[i], decimal))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return values

    values = [parsed(row, numbers, row) for row, _ in found]
    return Columns(
        tuple(name for name, _ in chosen),
        _clock(path, found, form.timezone),
        values,
        [row.line for row, _ in found],
        remarks,
    )


def _rows(path: Path, text: str, separator: str | None) -> tuple[str, list[_Row]]:
    """The separator, and the lines that are not blank, the header first."""
    top, lines = 0, text.splitlines(keepends=True)
    while top < len(lines) and (lines[top][:1] == "#" or not lines[top].strip()):
        top += 1
    first = lines[top].strip().lower() if top < len(lines) else ""
    if len(first) == 5 and first.startswith("sep="):  # a spreadsheet says so
        top, separator = top + 1, separator or first[4]
    body = "".join(lines[top:])
    separator = {"\\t": "\t", "tab": "\t", "space": " "}.get(separator or "", separator)
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise DataError(
            f"--separator: expected one character, or tab or space, got {separator}"
        )
    chosen = separator or _separator(body)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=chosen, strict=True)
    rows, line = [], 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append(_Row(top + line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {top + line}: is not CSV: {error}") from error
    if rows:
        rows[0] = _Row(rows[0].line, [field.strip() for field in rows[0].fields])
    return chosen, rows


def _separator(body: str) -> str:
    """The first that cuts each of the first lines into as many columns, two or more."""
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator)
        widths = set()
        try:
            for fields, _ in zip(reader, range(30), strict=False):
                if any(field.strip() for field in fields):
                    widths.add(len(fields))
        except csv.Error:
            continue
        if len(widths) == 1 and min(widths) > 1:
            return separator
    return ","


def _is_date(text: str, form: str | None) -> bool:
    try:
        dates_.parse(text, form)
    except ValueError:
        return False
    return True


def _place(header: Sequence[str], name: str) -> int | None:
    """The index of a column that is named, or numbered from 1."""
    if name in header:
        return header.index(name)
    place = int(name) - 1 if name.isascii() and name.isdigit() else -1
    return place if 0 <= place < len(header) else None


def _date_column(path: Path, rows: Sequence[_Row], form: Form) -> int:
    header = rows[0].fields
    if form.date_column is not None:
        where = _place(header, form.date_column)
        if where is None:
            raise DataError(
                f"{path}, line {rows[0].line}: has no column {form.date_column} "
                f"(--date-column); there are {', '.join(header)[:200]}"
            )
        return where
    below = rows[1].fields if len(rows) > 1 else header
    fits = (i for i, field in enumerate(below) if _is_date(field, form.date_format))
    return next(fits, 0)


def _chosen(
    top: str, header: Sequence[str], columns: Sequence[str], where: int
) -> list[tuple[str, int]]:
    """The names and the indices of the columns to read."""
    named = [name for name in header if name]  # an index of rows has no name
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise DataError(f"{top}: has two columns {twice[0][:40]!r}")
    usual = [name for i, name in enumerate(header) if name and i != where]
    places = [_place(header, name) for name in columns or usual]
    wrong = [
        name
        for name, place in zip(columns or usual, places, strict=True)
        if place is None or place == where
    ]
    if wrong or not usual:
        raise DataError(
            f"{top}: has no column {', '.join(wrong)[:80]}; there are "
            f"{', '.join(usual)[:200]}"
        )
    return [
        (header[place] or str(place + 1), place)
        for place in places
        if place is not None
    ]


def _clock(path: Path, found: Sequence[tuple[_Row, datetime]], name: str | None):
    aware = [date.utcoffset() is not None for _, date in found]
    for (row, date), is_aware in zip(found, aware, strict=True):
        if is_aware != aware[0]:
            some = "an" if aware[0] else "no"
            raise DataError(
                f"{path}, line {row.line}: expected a time with {some} offset from "
                f"UTC, as in line {found[0][0].line}, found {date}"
            )
    try:
        local = None if name is None else dates_.zone(name)
    except ValueError as error:
        raise DataError(f"--timezone: {error}") from None
    try:
        return dates_.one_clock([date for _, date in found], local)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: {error}") from error


def missing(columns: Columns) -> tuple[int, str, int]:
    """How many values are missing; the column and the line of the first."""
    count, first = 0, ("", 0)
    for line, row in zip(columns.lines, columns.values, strict=True):
        for name, value in zip(columns.names, row, strict=True):
            if math.isnan(value):
                count += 1
                first = first if count > 1 else (name, line)
    return count, *first
