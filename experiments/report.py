"""Sets runs side by side on one page: what they reached, their curves, what differs.

    python -m experiments.report RUN
    python -m experiments.report RUN RUN ... --out FILE

The page is one file that needs no network and no server. Of a single run it is what the
run itself leaves as report.html, as far as it has come.
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.lab import page, records
from experiments.lab.cli import need_packages
from experiments.lab.errors import UsageError, require
from experiments.lab.grid import MARK
from experiments.lab.options import Checked
from experiments.lab.pipe import until_closed
from experiments.lab.records import Record
from experiments.lab.storage import replace
from experiments.lab.study import Study

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Options(Checked):
    """Sets runs side by side on one page that needs no network and no server."""

    runs: tuple[Path, ...]
    """Folders of runs, finished or not; that of a table stands for all its runs."""
    out: Path = Path(page.NAME)
    """The page to write. Another file than such a page is never written over."""


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the page; exits with one message and status 2 after a mistake."""
    with until_closed():
        need_packages()
        import tyro

        positional = (tyro.conf.PositionalRequiredArgs,)
        program = "python -m experiments.report"
        try:
            options = tyro.cli(Options, args=argv, prog=program, config=positional)
            found = [records.read(path) for path in folders(options.runs)]
            write(options.out, made(found))
        except UsageError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        print(f"wrote {options.out}: {', '.join(one.state for one in found)}")


def folders(paths: Sequence[Path]) -> list[Path]:
    """The folders of the runs; that of a table gives all its runs, in order."""
    found = []
    for path in paths:
        is_table = (path / MARK).exists() and not (path / "config.json").exists()
        runs = [p.parent for p in sorted(path.glob("*/*/config.json"))]
        if is_table and not runs:
            raise UsageError(f"{path} is a table that has no runs yet")
        found += runs if is_table else [path]
    require(len(found) > 0, "runs", "the folder of a run", "none")
    places = [path.resolve() for path in found]
    for path, place in zip(found, places, strict=True):
        require(places.count(place) == 1, "runs", "each run once", f"{path} twice")
    return found


def made(found: Sequence[Record]) -> str:
    """The page of these runs."""
    try:
        if len(found) == 1:
            return page.of_run(found[0], study_of(found[0]))
        return page.of_runs(found)
    except records.DAMAGED as error:
        names = ", ".join(str(record.path) for record in found)
        raise UsageError(f"{names}: damaged: {error}") from error


def study_of(record: Record) -> Study | None:
    """The study that the run is of; None where there is none of this name here."""
    name = record.experiment
    if not name.isidentifier() or not (_HERE / f"{name}.py").exists():
        return None
    return getattr(importlib.import_module(f"experiments.{name}"), "STUDY", None)


def write(path: Path, html: str) -> None:
    """Writes the page, whole or not at all, over none but such a page."""
    try:
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                ours = f'content="{page.GENERATOR}"' in file.read(2000)
            require(ours, "out", "a new file, or a page of this program", path)
        replace(path, html)
    except OSError as error:
        raise UsageError(f"--out: cannot write to {path}: {error}") from None


if __name__ == "__main__":
    main()
