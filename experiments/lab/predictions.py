"""What a finished run says of new files: printed, and all of it in a table."""

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from experiments.lab.study import Report

SHOWN = 20  # lines; the file has them all


def free(folder: Path, name: str, taken: Collection[str] = ()) -> str:
    """A name that is not taken by a file of the folder: `name`, or it with a number.

    Example:
      >>> free(Path("nowhere"), "predictions.csv")
      'predictions.csv'
    """
    path, number = Path(name), 1
    while name in taken or (folder / name).exists():
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    return name


def predictions(
    folder: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]], shown: int = 3
) -> Report:
    """Answers as a CSV file in the folder of a run, beside those that are there.

    Args:
      folder: of the run.
      columns: their names, that of what was asked first.
      rows: of the table; a number has six digits.
      shown: how many of the columns are printed, of the first rows.
    """
    cells = [[f"{v:.6g}" if isinstance(v, float) else str(v) for v in r] for r in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *cells])
    name = free(folder, "predictions.csv")
    body = ["\t".join(row[:shown]) for row in cells[:SHOWN]]
    if len(rows) > SHOWN:
        body.append(f"... and {len(rows) - SHOWN:,} more")
    body.append(f"{len(rows):,} answers in {folder / name}")
    return Report(body, files={name: text.getvalue()})
