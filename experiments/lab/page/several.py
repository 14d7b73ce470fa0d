"""Several runs side by side on one page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.lab.page import markup
from experiments.lab.page.document import Curves, document
from experiments.lab.page.markup import Element, element
from experiments.lab.page.one import resume
from experiments.lab.records import Record
from experiments.lab.study import Row, Table


def of_runs(records: Sequence[Record]) -> str:
    """The page of several runs, by the names of their folders."""
    curves, runs = Curves(), dict(zip(names(records), records, strict=True))
    metrics = dict.fromkeys(metric for one in records for metric in one.metrics)
    charts = [
        curves.chart(m.replace("_", " "), {n: (one, m) for n, one in runs.items()})
        for m in metrics
    ]
    states = [(name, one.experiment, one.state) for name, one in runs.items()]
    ended = _last(runs, list(metrics)) if metrics else None
    body = [
        element("h1", f"{len(runs)} runs side by side"),
        markup.table("runs", ("run", "experiment", "state"), states),
        markup.section("Results", _results(runs)),
        markup.section("Curves", markup.side_by_side(charts), ended),
        markup.section("Options", _options(runs)),
        markup.section("Time", _times(runs)),
        markup.section("Pictures", _pictures(runs)),
        markup.section("Go on", [resume(one) for one in records if not one.summary]),
    ]
    return document(", ".join(runs), body, curves)


def names(records: Sequence[Record]) -> list[str]:
    """The names of the folders, with those above them where two are alike."""
    paths = [record.path.resolve() for record in records]
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    above = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(above).as_posix() for path in paths]


def _results(runs: Mapping[str, Record]) -> list[Element]:
    """The tables of all runs in one: what is their own, then what all of them have."""
    made: dict[Any, dict[str, Table]] = {}
    for name, record in runs.items():
        for place, table in enumerate(record.tables):
            alike = record.experiment, place, tuple(table.columns.items())
            made.setdefault(alike, {})[name] = table
    found = []
    for tables in made.values():
        first, *others = tables.values()
        common = [
            row
            for row in first.rows[1:]  # the first is the run itself
            if others and all(row in other.rows for other in others)
        ]
        own = [
            Row(f"{name}: {row.name}", row.values)
            for name, table in tables.items()
            for place, row in enumerate(table.rows)
            if place == 0 or row not in common
        ]
        titles = dict.fromkeys(table.title for table in tables.values())
        whole = Table(" / ".join(titles), first.columns, [*own, *common])
        found.append(markup.measured(whole))
    return found


def _last(runs: Mapping[str, Record], metrics: list[str]) -> Element:
    """The metrics of the last epoch of each run."""
    ends = {n: one.history[-1] if one.history else {} for n, one in runs.items()}
    rows = [Row(n, [line.get(m) for m in metrics]) for n, line in ends.items()]
    columns = dict.fromkeys(metrics, ".4g")
    return markup.measured(Table("after the last epoch", columns, rows))


def _options(runs: Mapping[str, Record]) -> list[Element]:
    """The options that differ, side by side, and the others once."""
    every = dict.fromkeys(name for one in runs.values() for name in one.options)
    differ, same = [], []
    for name in every:
        values = [
            markup.shown(one.options[name]) if name in one.options else ""
            for one in runs.values()
        ]
        alike = len(set(values)) == 1
        (same if alike else differ).append((name, *(values[:1] if alike else values)))
    return [
        markup.table("options that differ", ("option", *runs), differ)
        if differ
        else element("p", "All options are the same."),
        markup.folded(
            f"{len(same)} options that are the same",
            markup.table("options of every run", ("option", "value"), same),
        ),
    ]


def _times(runs: Mapping[str, Record]) -> Element | None:
    """How long each run took; the clock of a resumed one did not run from its start."""
    forms = {"seconds": ".1f", "train_seconds": ".1f", "examples_per_second": ",.0f"}
    rows = []
    for name, record in runs.items():
        device = record.summary.get("device") or {}
        values: list[Any] = [record.timing.get(field) for field in forms]
        values = [v if isinstance(v, int | float) else None for v in values]
        if record.timing.get("updates") != record.summary.get("steps"):
            values = ["resumed", None, None] if record.timing else [None, None, None]
        rows.append(Row(name, [*values, str(device.get("kind", ""))]))
    if not any(record.timing for record in runs.values()):
        return None
    columns = {name.replace("_", " "): form for name, form in forms.items()}
    return markup.measured(Table("time", columns | {"device": ""}, rows))


def _pictures(runs: Mapping[str, Record]) -> list[Element]:
    """The pictures of one name beside each other."""
    found: dict[str, list[Element]] = {}
    for name, record in runs.items():
        for path in markup.pictures(record.path):
            about = f"{path.stem}, {name}"
            found.setdefault(path.stem, []).append(markup.picture(path, about))
    return [markup.folded(n, markup.side_by_side(ones)) for n, ones in found.items()]
