"""Stores the results of finished runs, and writes the tables of the pages from them.

python -m experiments.results                # writes the tables
python -m experiments.results --check        # status 1 if one would change
python -m experiments.results add RUN...     # stores runs first: RUN's name.json

A RUN may be the folder of a table of runs, too.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.lab.errors import UsageError
from experiments.lab.grid import MARK
from experiments.lab.pipe import until_closed
from experiments.results import pages, stored


def main(argv: Sequence[str] | None = None) -> None:
    """Writes what has changed, and names it; exits with 2 after a mistake."""
    parser = argparse.ArgumentParser(
        "python -m experiments.results",
        description="Writes the tables of the pages from the stored results.",
    )
    parser.add_argument("--check", action="store_true", help="status 1 if one changes")
    add = parser.add_subparsers(dest="do").add_parser("add", help="store runs first")
    add.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="its folder")
    add.add_argument("--note", help="about the time: with other work beside it")
    options = parser.parse_args(argv)
    if options.do and options.check:
        parser.error("--check stores nothing")
    try:
        if options.do == "add":
            found = {}
            for run in (run.expanduser() for run in options.runs):
                kept = stored.tabled if (run / MARK).exists() else stored.summarized
                found[run.resolve().name] = kept(run, options.note)
            for name, summary in found.items():
                text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
                _replace(stored.FOLDER / f"{name}.json", text)
        texts = {pages.ROOT / page: pages.filled(page) for page in pages.PAGES}
        changed = {p: text for p, text in texts.items() if p.read_text() != text}
        for path, text in changed.items():
            print(path.relative_to(pages.ROOT))
            if not options.check:
                _replace(path, text)
    except (OSError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if options.check and changed:
        sys.exit("differs from the results: run python -m experiments.results")


def _replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    half = path.with_name(f".{path.name}")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)


if __name__ == "__main__":
    with until_closed():
        main()
