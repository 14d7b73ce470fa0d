"""Tables as text and in JSON's own types: several seeds as their mean and range."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.lab.options import plain
from experiments.lab.seeds import spread
from experiments.lab.study import Row, Table


def stored(table: Table) -> dict[str, Any]:
    """A table in JSON's own types."""
    rows = [{"name": row.name, "values": row.values} for row in table.rows]
    return plain({"title": table.title, "columns": table.columns, "rows": rows})


def restored(saved: Mapping[str, Any]) -> Table:
    """The table that was `stored`.

    Raises:
      ValueError, TypeError, LookupError, AttributeError: if it is none.
    """
    rows = [Row(str(row["name"]), row["values"]) for row in saved["rows"]]
    table = Table(str(saved["title"]), dict(saved["columns"]), rows)
    if any(len(form) > 8 for form in table.columns.values()):
        raise ValueError("a format that is no format")  # such as one of a gigabyte
    for row in rows:
        cells(table, row)
    return table


def text(table: Table) -> str:
    """A table as text: its title, the names of its columns, and a line for each row.

    Example:
      >>> rows = [Row("lstm", [[0.97, 0.99], 0.9]), Row("by chance", [0.1, None])]
      >>> print(text(Table("accuracy", {"all": ".0%", "first 100": ".0%"}, rows)))
      accuracy (mean over 2 seeds, lowest and highest)
                              all  first 100
      lstm       98% (97% to 99%)        90%
      by chance               10%
    """
    lines = [
        ("", *table.columns),
        *((row.name, *cells(table, row)) for row in table.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    printed = [caption(table)]
    for name, *values in lines:
        aligned = zip(values, widths[1:], strict=True)
        padded = [name.ljust(widths[0]), *(v.rjust(width) for v, width in aligned)]
        printed.append("  ".join(padded).rstrip())
    return "\n".join(printed)


def caption(table: Table) -> str:
    """The title, and what stands for several seeds."""
    seeds = max((np.size(v) for row in table.rows for v in row.values), default=1)
    over = f" (mean over {seeds} seeds, lowest and highest)" if seeds > 1 else ""
    return table.title + over


def cells(table: Table, row: Row) -> list[str]:
    """The values of a row as text, several seeds as their mean and their range."""
    forms = table.columns.values()
    return [cell(v, form) for v, form in zip(row.values, forms, strict=True)]


def cell(value: Any, form: str) -> str:
    """A value as text; nothing for None."""
    if value is None or isinstance(value, str):
        return value or ""
    return spread(value, form) if np.ndim(value) else f"{value:{form}}"
