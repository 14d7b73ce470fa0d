"""The command: what runtimes do with a file, and a file on which they agree."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxrnn.interop.doctor import comparison, pages
from jaxrnn.interop.doctor.diagnosis import diagnose, loaded
from jaxrnn.interop.doctor.effects import RUNTIMES
from jaxrnn.interop.doctor.rewriting import rewrite


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the findings; 0 where all agree, 1 where some differ, 2 for bad input."""
    parser = argparse.ArgumentParser(
        "python -m jaxrnn.interop.doctor",
        description="Tells which ONNX runtimes compute a file otherwise, and why.",
    )
    parser.add_argument("model", nargs="?", help="an ONNX file")
    names = ", ".join(RUNTIMES)
    parser.add_argument(
        "--for", dest="runtimes", help=f"only these, with commas: {names}"
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    parser.add_argument("--rewrite", metavar="OUT", help="write a file that is right")
    parser.add_argument("--time", type=int, metavar="T", help="declare the length")
    parser.add_argument("--run", action="store_true", help="run what is installed")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs of --run")
    parser.add_argument("--table", action="store_true", help="print all rules")
    options = parser.parse_args(argv)
    if options.table:
        print(pages.table())
        return 0
    if options.model is None:
        parser.error("the following arguments are required: model")
    if options.time is not None and not (options.rewrite or options.run):
        parser.error("--time changes what --rewrite writes and --run compares")
    wanted = options.runtimes.split(",") if options.runtimes else RUNTIMES
    try:
        path = os.path.expanduser(options.model)
        model = loaded(path)
        found = diagnose(model, wanted)
        report: dict = {"findings": [finding._asdict() for finding in found]}
        text = pages.report(found)
        changed = None
        if options.rewrite or options.run:
            changed = rewrite(model, wanted, time=options.time)
            left = diagnose(changed, wanted)
            report["left"] = [finding._asdict() for finding in left]
        if options.run and changed is not None:
            run = comparison.compare(model, changed, wanted, options.seed)
            report["run"] = run
            text += "\n\n" + pages.compared(run)
        if options.rewrite and changed is not None:
            _write(Path(os.path.expanduser(options.rewrite)), changed)
            text += f"\n\n{options.rewrite}: " + pages.report(report["left"])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=1) if options.json else text)
    return int(bool(found))


def _write(path: Path, model) -> None:
    """Writes a file whole or not at all."""
    half = path.with_name(f".{path.name}.half")
    try:
        half.write_bytes(model.SerializeToString())
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)
