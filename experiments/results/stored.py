"""Summaries of finished runs, one small file each: NAME.json in this folder.

A summary has the experiment, the command, the date, the seconds that the run took (null
where it was resumed), the versions, the device and the tables. Where a table of the run
has a number for each seed, the summary has their mean, median, lowest, highest and
count. Where a summary is not made of the files of a run, its "origin" says so. That of
a table of runs has the tables of all, and the command of each.
"""

import datetime
import importlib
import json
import statistics
from pathlib import Path
from typing import Any

from experiments.lab import commands
from experiments.lab.errors import UsageError
from experiments.lab.grid import MARK

FOLDER = Path(__file__).parent


def summarized(run: Path, note: str | None = None) -> dict[str, Any]:
    """The summary of a finished run.

    Args:
      run: its folder.
      note: what else to know about the time, such as "with other work beside it".

    Raises:
      UsageError: if there is no finished run in the folder.
    """
    try:
        path = run / "summary.json"
        summary = json.loads(path.read_text())
        timing = json.loads((run / "timing.json").read_text())
        name, config = summary["experiment"], summary["config"]
        whole = timing["updates"] == summary["steps"]  # else it was resumed
        return {
            "experiment": name,
            "command": command(name, config),
            "measured": str(datetime.date.fromtimestamp(path.stat().st_mtime)),
            "seconds": round(timing["seconds"]) if whole else None,
            "note": note,
            "versions": summary["versions"],
            "device": summary["device"],
            "tables": [_condensed(table) for table in summary["tables"]],
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = error if isinstance(error, OSError) else f"{type(error).__name__} {error}"
        raise UsageError(f"{run} holds no finished run: {why}") from None


def tabled(folder: Path, note: str | None = None) -> dict[str, Any]:
    """The summary of the runs that make a table.

    Args:
      folder: of the table, with a run in each FOLDER/COLUMN/ROW.
      note: as in `summarized`.

    Raises:
      UsageError: if there is no table of finished runs in the folder.
    """
    paths = sorted(path.parent for path in folder.glob("*/*/summary.json"))
    runs = [summarized(path) for path in paths]
    try:
        tables = json.loads((folder / MARK).read_text())["tables"]
        seconds = [run["seconds"] for run in runs]
        return {
            "experiment": runs[0]["experiment"],
            "commands": [run["command"] for run in runs],
            "measured": max(run["measured"] for run in runs),
            "seconds": None if None in seconds else sum(seconds),
            "note": note,
            "versions": runs[0]["versions"],
            "device": runs[0]["device"],
            "tables": [_condensed(table) for table in tables],
        }
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        why = error if isinstance(error, OSError) else f"{type(error).__name__} {error}"
        raise UsageError(f"{folder} holds no table of runs: {why}") from None


def command(name: str, config: dict[str, Any]) -> str:
    """The command with the options of a run that are not the default ones."""
    recipes = importlib.import_module(f"experiments.{name}").STUDY.recipes
    return commands.again(name, recipes, config)


def _condensed(table: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {**row, "values": [condensed(value) for value in row["values"]]}
        for row in table["rows"]
    ]
    return {**table, "rows": rows}


def condensed(value: Any) -> Any:
    """Numbers of several seeds as a few; of one seed, as the number.

    Example:
      >>> condensed([0.98, 0.99, 0.97])["median"], condensed([0.98]), condensed("new")
      (0.98, 0.98, 'new')
    """
    if not isinstance(value, list):
        return value
    finite = [number for number in value if number is not None]
    if len(value) == 1 or not finite:
        return finite[0] if finite else None
    return {
        "mean": statistics.fmean(finite),
        "median": statistics.median(finite),
        "lowest": min(finite),
        "highest": max(finite),
        "seeds": len(value),
        **(
            {"not_finite": len(value) - len(finite)} if len(finite) < len(value) else {}
        ),
    }


def read(name: str) -> dict[str, Any]:
    """The summary that is stored under this name.

    Raises:
      UsageError: if there is none, or it is damaged.
    """
    path = FOLDER / f"{name}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the summary {path}: {error}") from None


def value(name: str, row: str | None = None, column: str | None = None) -> Any:
    """A value of the first table that is stored under this name.

    Args:
      name: of the summary.
      row: its name; None for the first, which is the run itself.
      column: its name; None for the first.

    Raises:
      UsageError: if there is no such row or column.
    """
    table = read(name)["tables"][0]
    rows = {r["name"]: r["values"] for r in table["rows"]}
    columns = list(table["columns"])
    for kind, key, known in (("row", row, rows), ("column", column, columns)):
        if key is not None and key not in known:
            raise UsageError(f"{name}: expected a {kind} {key!r}, got {list(known)}")
    values = next(iter(rows.values())) if row is None else rows[row]
    return values[0 if column is None else columns.index(column)]


def mean(value: Any) -> float:
    """Of a value that is one number, or condensed from several."""
    return value["mean"] if isinstance(value, dict) else value
