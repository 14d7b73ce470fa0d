"""The page of a table of runs."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from experiments.lab.page import markup
from experiments.lab.page.document import Curves, document
from experiments.lab.page.markup import element
from experiments.lab.records import Record, parted
from experiments.lab.study import Table


def of_table(
    folder: Path,
    command: str,
    parts: Iterable[str | Table],
    columns: Mapping[str, Mapping[str, Record]],
) -> str:
    """The page of a table: its results, its pictures, and curves for each column.

    Args:
      folder: of the table.
      command: that goes on with it.
      parts: texts and tables of results.
      columns: by the name of a column, its finished runs by the names of their rows.
    """
    curves, charts = Curves(), []
    for column, runs in columns.items():
        metrics = dict.fromkeys(m for one in runs.values() for m in one.metrics)
        for metric in metrics:
            if parted(metric)[1] != "train":
                lines = {row: (one, metric) for row, one in runs.items()}
                title = f"{column}: {metric.replace('_', ' ')}"
                charts.append(curves.chart(title, lines))
    results = [
        markup.measured(part) if isinstance(part, Table) else element("p", part)
        for part in parts
    ]
    drawn = [markup.picture(path, path.stem) for path in markup.pictures(folder)]
    count = sum(len(runs) for runs in columns.values())
    path = folder.absolute()
    body = [
        element("h1", f"A table of {count} runs"),
        element("p", element("code", str(path)), class_="soft"),
        markup.section("Results", results),
        markup.section("Pictures", markup.side_by_side(drawn)),
        markup.section("Curves", markup.side_by_side(charts)),
        markup.section("Go on", markup.command("Make what is missing:", command)),
    ]
    return document(f"A table of runs: {path}", body, curves)
