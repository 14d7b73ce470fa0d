"""Prints, stores and draws a report, in which each number is given once."""

from typing import Any

import numpy as np

from experiments.lab.folder import Folder
from experiments.lab.options import Config, plain
from experiments.lab.seeds import spread
from experiments.lab.study import Outcome, Report, Row, Table


def write(report: Report, folder: Folder) -> None:
    """Writes the files and draws the figures of a report."""
    for name, content in [*report.files.items(), *report.figures.items()]:
        folder.write(name, content)


def conclude(
    report: Report, folder: Folder, config: Config, outcome: Outcome, steps: int
) -> None:
    """Writes all that a run leaves, last of all the summary, and prints the report.

    Args:
      report: of the study.
      folder: of the run.
      config: of the run.
      outcome: of the training.
      steps: updates in an epoch.
    """
    training, guard = config.train, outcome.guard
    write(report, folder)
    folder.save_params(outcome.params)
    seconds, updates = outcome.times["train_seconds"], outcome.times["updates"]
    examples = updates * training.batch_size * training.seeds
    folder.time(
        **outcome.times,
        steps_per_second=updates / seconds if updates else None,
        examples_per_second=examples / seconds if updates else None,
    )
    folder.summarize(
        epochs_done=len(outcome.history),
        steps=training.epochs * steps,
        **report.facts,
        not_finite_at_update_per_seed=[
            int(step) + 1 if stopped else None
            for stopped, step in zip(guard.stopped, guard.step, strict=True)
        ],
        tables=[stored(part) for part in report.body if isinstance(part, Table)],
    )
    if folder.writes:
        show(report)
        print(f"results in {folder.path}")


def stored(table: Table) -> dict[str, Any]:
    """A table in JSON's own types."""
    rows = [{"name": row.name, "values": row.values} for row in table.rows]
    return plain({"title": table.title, "columns": table.columns, "rows": rows})


def show(report: Report) -> None:
    """Prints the body of a report."""
    for part in report.body:
        print(text(part) if isinstance(part, Table) else part)


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
    seeds = max((np.size(v) for row in table.rows for v in row.values), default=1)
    over = f" (mean over {seeds} seeds, lowest and highest)" if seeds > 1 else ""
    printed = [table.title + over]
    for name, *values in lines:
        aligned = zip(values, widths[1:], strict=True)
        padded = [name.ljust(widths[0]), *(v.rjust(width) for v, width in aligned)]
        printed.append("  ".join(padded).rstrip())
    return "\n".join(printed)


def cells(table: Table, row: Row) -> list[str]:
    """The values of a row as text, several seeds as their mean and their range."""
    forms = table.columns.values()
    return [cell(v, form) for v, form in zip(row.values, forms, strict=True)]


def cell(value: Any, form: str) -> str:
    """A value as text; nothing for None."""
    if value is None or isinstance(value, str):
        return value or ""
    return spread(value, form) if np.ndim(value) else f"{value:{form}}"
