"""The page of one run."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab import commands
from experiments.lab.options import Running
from experiments.lab.page import markup
from experiments.lab.page.document import Curves, document
from experiments.lab.page.markup import Element, element
from experiments.lab.records import Record, parted
from experiments.lab.study import Row, Study, Table


def of_run(record: Record, study: Study | None) -> str:
    """The page of a run, finished or not.

    Args:
      record: of the run.
      study: that it is a run of, which explains options and has questions; None where
        it is not known.
    """
    curves, name, path = Curves(), record.experiment, record.path.absolute()
    panels: dict[str, dict[str, tuple[Record, str]]] = {}
    for metric in record.metrics:
        measured, part = parted(metric)
        panels.setdefault(measured, {})[part or metric] = record, metric
    charts = [
        curves.chart(measured.replace("_", " "), lines)
        for measured, lines in panels.items()
    ]
    results = [markup.measured(table, mark=True) for table in record.tables]
    drawn = [markup.picture(p, p.stem) for p in markup.pictures(record.path)]
    texts = [path for path in sorted(record.path.glob("*.txt")) if path.name[0] != "."]
    body = [
        element("h1", name),
        element("p", element("code", str(path)), class_="soft"),
        _state(record),
        markup.section("Results", results),
        markup.section("Curves", markup.side_by_side(charts), _numbers(record)),
        markup.section("Pictures", markup.side_by_side(drawn)),
        markup.section("Texts", [markup.text(path) for path in texts]),
        markup.section("Configuration", _configuration(record, study)),
        markup.section("Go on, and ask", _commands(record, study, path)),
        markup.section("Made with", _made_with(record)),
    ]
    return document(f"{name}: {path}", body, curves)


def _state(record: Record) -> Element:
    """How far the run is, with which seeds, and which of them had to stop."""
    notes = [record.state]
    seeds, first = record.options.get("seeds"), record.options.get("seed")
    if isinstance(seeds, int) and isinstance(first, int):
        last = first + seeds - 1
        notes.append(f"seed {first}" if seeds == 1 else f"seeds {first} to {last}")
        stopped = record.summary.get("not_finite_at_update_per_seed") or []
        notes += [
            f"seed {first + number} stopped at update {update}, not finite"
            for number, update in enumerate(stopped)
            if update is not None
        ]
    if record.summary:
        return element("p", "; ".join(notes), class_="soft")
    return element("p", "; ".join(notes), ". This is what there is.", class_="notice")


def _numbers(record: Record) -> Element | None:
    """What the curves show, for those who read numbers."""
    rows = []
    for metric in record.metrics:
        lines = [line for line in record.history if metric in line]
        values = np.array([line[metric] for line in lines], float)  # [epochs, S]
        means = values.mean(axis=1)
        finite = np.flatnonzero(np.isfinite(means))
        ends = []
        for find in (np.argmin, np.argmax) if len(finite) else ():
            place = finite[find(means[finite])]
            ends.append(f"{means[place]:.4g} (epoch {lines[place]['epoch']})")
        rows.append(Row(metric, [lines[-1][metric], *(ends or ["", ""])]))
    names = ["last epoch", "lowest mean", "highest mean"]
    columns = dict.fromkeys(names, ".4g")
    return markup.measured(Table("metrics", columns, rows)) if rows else None


def _configuration(record: Record, study: Study | None) -> list[Element]:
    """The options that were chosen, and all of them with what they mean."""
    told: dict[str, str] = {}
    chosen = []
    if study is not None:
        base = study.recipes.base
        for kind in (type(base), type(base.train), Running):
            told |= commands.explained(kind)
        given = commands.given(study.recipes, record.options)
        title = "options that are not the default ones"
        chosen = [_options(title, given, told) if given else _all_default()]
    every = [_options("options that decide what is learned", record.options, told)]
    if record.running:
        title = "options of how it runs, where not as usual"
        every.append(_options(title, record.running, told))
    return [*chosen, markup.folded(f"All {len(record.options)} options", every)]


def _all_default() -> Element:
    return element("p", "All options are the default ones.")


def _options(title: str, options: dict[str, Any], told: dict[str, str]) -> Element:
    rows = [(n, markup.shown(v), told.get(n, "")) for n, v in options.items()]
    return markup.table(title, ("option", "value", "meaning"), rows)


def _commands(record: Record, study: Study | None, path: Path) -> list[Element]:
    """How to go on with the run, to ask it, to make it again and to compare it."""
    found = [resume(record)]
    if study is not None:
        for question in commands.questions(study, path):
            about = question.about or "Ask the finished run."
            found.append(markup.command(about, question.command))
        again = commands.again(record.experiment, study.recipes, record.options)
        found.append(markup.command("Make a run with the same options:", again))
    beside = commands.beside(path)
    found.append(markup.command("Set it beside other runs:", beside))
    if record.running.get("tensorboard"):
        board = commands.watching(path)
        found.append(markup.command("Look at it in TensorBoard:", board))
    return found


def resume(record: Record) -> Element:
    """How to go on with a run."""
    words = commands.resuming(record.experiment, record.path.absolute())
    if record.summary:
        return markup.command(
            "The run is finished. Had it been stopped, this would go on with it:",
            words,
        )
    return markup.command("Go on with the run from its last checkpoint:", words)


def _made_with(record: Record) -> Element | None:
    parts = [record.summary.get(name) or {} for name in ("versions", "device")]
    rows = [(n, markup.shown(value)) for part in parts for n, value in part.items()]
    return markup.table("versions and device", ("", ""), rows) if rows else None
