"""A table of runs: one for each value of two options, each in a folder of its own.

    python -m experiments.memory --out FOLDER --cells gru lstm --tasks copy parity

makes FOLDER/copy/gru, FOLDER/copy/lstm and so on, each a run as any other, with the
options of the command. A run that is finished is not made again, one that was stopped
goes on, and one that cannot go on is told at the end. The table is written anew after
each run, of all finished runs in its folder, those of earlier commands too.
"""

import json
import shlex
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.lab import results
from experiments.lab.cli import main, parse
from experiments.lab.errors import RunError, Stopped, UsageError, require, say
from experiments.lab.folder import saved_options
from experiments.lab.lock import InUse, locked
from experiments.lab.options import Config, identity
from experiments.lab.run import DAMAGED, run
from experiments.lab.storage import replace, retried
from experiments.lab.study import Report, Study, Table

MARK = "table.json"  # the file by which the folder of a table is known


class Done(NamedTuple):
    """What a finished run has left."""

    summary: dict[str, Any]
    timing: dict[str, Any]
    history: list[dict[str, Any]]  # of metrics.jsonl


class Grid(NamedTuple):
    """A study whose runs make a table."""

    study: Study
    row: str  # an option of one run; that of the table has an s at its end
    column: str
    # (config) -> the rows and the columns of the table
    places: Callable[[Any], tuple[Sequence[str], Sequence[str]]]
    # (config, {(row, column): Done}) -> what is known so far
    report: Callable[[Any, Mapping[tuple[str, str], Done]], Report]


def main_of(grid: Grid, argv: Sequence[str] | None = None) -> None:
    """Makes the table, or one run where the command names a row or a column.

    Exits as `lab.main` does; with status 1 where a run of the table could not go on.
    """

    def carry_out(study: Study, config: Config, argv: Sequence[str]) -> None:
        first = _options(grid, "append")
        given, _ = first.parse_known_args(list(argv))
        named = getattr(given, grid.row) or getattr(given, grid.column)
        out = config.run.out
        if named or (out is not None and (out / "config.json").exists()):
            run(study, config)
        else:
            _make(grid, config, argv)

    main(grid.study, argv, carry_out)


def _options(grid: Grid, action: str) -> ArgumentParser:
    """Reads the options that a table and its runs do not share."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for name in (grid.row, grid.column):
        parser.add_argument(f"--{name}", action=action)
        parser.add_argument(f"--{name}s", nargs="*")
    for name in ("resume", "overwrite"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--out")
    return parser


def _make(grid: Grid, config: Config, argv: Sequence[str]) -> None:
    """Makes all runs of the table, one after the other."""
    study, running = grid.study, config.run
    _, shared = _options(grid, "store").parse_known_args(list(argv))
    alone = "none: the runs of a table are made by one process"
    require(running.coordinator is None, "coordinator", alone, running.coordinator)
    rows, columns = grid.places(config)
    out = running.out or Path("runs") / f"{study.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    configs = {}
    how = "--overwrite" if running.overwrite else "--resume"
    for column in columns:
        for row in rows:
            here = [f"--{grid.row}={row}", f"--{grid.column}={column}"]
            where = [f"--out={out / column / row}", how]
            configs[row, column] = parse(study, [*shared, *here, *where])
    missing = {place: c for place, c in configs.items() if not _is_done(study, c)}
    for one in {column: one for (_, column), one in missing.items()}.values():
        study.load(one)  # a mistake in the options or the data leaves no folder
    named = {f"--{grid.row}s": rows, f"--{grid.column}s": columns}
    listed = [word for option in named.items() for word in (option[0], *option[1])]
    command = ["python", "-m", f"experiments.{study.name}", "--out", str(out)]
    command = shlex.join([*command, *shared, *listed])
    lock = _opened(out)
    failed, done = {}, _finished(out, configs)
    try:
        for number, (place, one) in enumerate(configs.items(), 1):
            say(f"{' '.join(reversed(place))}: run {number} of {len(configs)}")
            try:
                if place in missing:
                    run(study, one)
                    jax.clear_caches()
            except RunError as error:
                failed[place] = str(error)
                say(f"error: {error}")
                continue
            except (Stopped, KeyboardInterrupt) as stopped:
                say(str(stopped) or "interrupted")
                say(f"go on with the table: {command}")
                raise
            done[place] = _read(one.run.out)
            _write(grid.report(config, done), out)
    finally:
        lock.release()
    if done:
        results.show(grid.report(config, done))
    print(f"results in {out}")
    if failed:
        listed = "; ".join(f"{' '.join(reversed(p))}: {e}" for p, e in failed.items())
        raise RunError(f"{len(failed)} runs could not go on: {listed}")


def _opened(out: Path) -> Any:
    """Locks the folder of the table, new or one of a table before."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = locked(out / ".lock")
        found = {path.name for path in out.iterdir()} - {".lock"}
        if found and MARK not in found:
            lock.release()
            raise UsageError(f"--out: {out} is not empty and holds no table")
        if not found:
            replace(out / MARK, "{}\n")
        return lock
    except InUse as holder:
        raise UsageError(f"--out: {out} is in use by a table, {holder}") from None
    except OSError as error:
        raise UsageError(f"--out: cannot write to {out}: {error}") from None


def _finished(out: Path, places: Mapping[tuple[str, str], Any]) -> dict[Any, Done]:
    """The finished runs in the folder of a table but those of these places."""
    found = {}
    for path in sorted(out.glob("*/*/summary.json")):
        place = path.parent.name, path.parent.parent.name
        if place not in places:
            found[place] = _read(path.parent)
    return found


def _is_done(study: Study, config: Any) -> bool:
    """Whether the run is finished, and has the options that are asked for."""
    path = config.run.out / "summary.json"
    if config.run.overwrite or not path.exists():
        return False
    saved = study.recipes.completed(saved_options(config.run.out)[0])
    return saved == identity(config)  # else the run itself says what differs


def _read(folder: Path) -> Done:
    """What a finished run has left."""
    try:
        texts = {
            name: retried(f"reading {name}", (folder / name).read_text)
            for name in ("summary.json", "timing.json", "metrics.jsonl")
        }
        summary, timing = (json.loads(texts[n]) for n in list(texts)[:2])
        lines = texts["metrics.jsonl"].splitlines()
        return Done(summary, timing, [json.loads(line) for line in lines])
    except DAMAGED as error:
        raise UsageError(f"--out: {folder} is damaged: {error}") from None


def _write(report: Report, out: Path) -> None:
    """Writes the tables and the pictures, each whole or not at all."""
    tables = [part for part in report.body if isinstance(part, Table)]
    stored = {**report.facts, "tables": [results.stored(table) for table in tables]}
    texts = [results.text(p) if isinstance(p, Table) else p for p in report.body]
    files = {
        "table.txt": "\n".join(texts) + "\n",
        **report.files,
        **report.figures,
        MARK: json.dumps(results.plain(stored), indent=2) + "\n",
    }
    for name, content in files.items():
        try:
            replace(out / name, content)
        except OSError as error:
            raise RunError(f"cannot write {out / name}: {error}") from error
