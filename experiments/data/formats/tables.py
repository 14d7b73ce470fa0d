"""Tables as people have them: CSV, TSV, JSON and JSON lines, as records of text.

The end of a name says the form. In CSV a field may stand in quotes and have line ends
in it; the separator is a comma, a semicolon or a tab, whichever is most frequent in the
header. In TSV quotes are part of the text, and a record is a line.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data import DataError, files

FORMS = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json")


class Record(NamedTuple):
    """One row of a table."""

    where: str  # the file and the line, for messages
    fields: dict[str, Any]  # by the name of the column, or its number from 1


def read_rows(path: Path) -> list[tuple[str, list[str]]]:
    """The rows of a CSV or TSV file with their places; blank lines are left out.

    Raises:
      DataError: with the line, if the file is not as it should be.
    """
    text = files.read_text(path)
    form = Path(path.name.removesuffix(".gz")).suffix.lower()
    if form == ".csv":
        first = text.split("\n", 1)[0]
        separator = max(",;\t", key=first.count)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, strict=True
        )
        rows, line = [], 1
        try:
            for row in reader:
                rows.append((f"{path}, line {line}", row))
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}, line {line}: {error}") from error
    else:
        lines = enumerate(text.removesuffix("\n").split("\n"), 1)
        rows = [
            (f"{path}, line {n}", line.removesuffix("\r").split("\t"))
            for n, line in lines
        ]
    rows = [(where, row) for where, row in rows if any(field.strip() for field in row)]
    if not rows:
        raise DataError(f"{path}: has no data")
    return rows


def read_json(path: Path) -> Any:
    """What a JSON file holds; of JSON lines, a list of (place, value).

    Raises:
      DataError: with the line, if it is none.
    """
    text = files.read_text(path)
    try:
        if Path(path.name.removesuffix(".gz")).suffix.lower() == ".json":
            return json.loads(text)
        found = []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    found.append((f"{path}, line {number}", json.loads(line)))
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {error}") from error
        return found
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {error}") from error


def records(path: Path, known: Sequence[str]) -> list[Record]:
    """The records of a table.

    Args:
      path: a file of one of `FORMS`, or that packed by gzip.
      known: names of columns; where the first row of CSV or TSV has none of them, it is
        no header, and columns are named "1", "2" and so on.

    Raises:
      DataError: with the line, if the file is not as it should be.
    """
    form = Path(path.name.removesuffix(".gz")).suffix.lower()
    if form not in FORMS:
        raise DataError(f"{path}: expected a name that ends in {', '.join(FORMS)}")
    if form in (".json", ".jsonl", ".ndjson"):
        found = read_json(path)
        if form == ".json":
            values = found if isinstance(found, list) else [found]
            found = [(f"{path}, item {n}", value) for n, value in enumerate(values, 1)]
        for where, value in found:
            if not isinstance(value, dict):
                raise DataError(f"{where}: expected an object with names")
        if not found:
            raise DataError(f"{path}: has no data")
        return [Record(where, value) for where, value in found]
    rows = read_rows(path)
    where, header = rows[0]
    header = [name.strip().strip('"') for name in header]
    if {name.lower() for name in known} & {name.lower() for name in header}:
        rows = rows[1:]
        if len(set(header)) < len(header):
            raise DataError(f"{where}: has two columns of one name")
        if not rows:
            raise DataError(f"{path}: has no data")
    else:
        header = [str(n) for n in range(1, len(header) + 1)]
    for where, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{where}: expected {len(header)} columns ({', '.join(header)[:80]}), "
                f"found {len(row)} in {' '.join(row)[:40]!r}"
            )
    return [Record(where, dict(zip(header, row, strict=True))) for where, row in rows]


def column(
    fields: Sequence[str], names: Sequence[str], given: str | None
) -> str | None:
    """The column with one of the names, in small letters or large; the first name wins.

    Args:
      fields: the columns that there are.
      names: that it may have.
      given: the name that the user says it has.
    """
    if given is not None:
        return given if given in fields else None
    small = {field.lower(): field for field in fields}
    return next((small[name] for name in names if name in small), None)
