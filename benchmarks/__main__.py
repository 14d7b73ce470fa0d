"""Measures jaxrnn against other libraries.

    python -m benchmarks quick                        # two minutes
    python -m benchmarks cpu --out benchmarks/results/cpu
    python -m benchmarks cpu --compare OLD/results.json
    python -m benchmarks cpu --systems jaxrnn --baseline OTHER_CHECKOUT
    python -m benchmarks --compare OLD NEW            # runs nothing
    python -m benchmarks --redraw benchmarks/results/cpu

Every system has a process of its own that stays up, and rounds take turns. Writes
results.json, table.md and pictures.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from benchmarks.pipe import until_closed

PACKAGES = ("matplotlib", "numpy", "tqdm", "tyro")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Exits with status 1 if a package is missing, with 2 after a mistake of the user,
    with 130 after Ctrl-C, and with 141, without a word, when nobody reads on.
    """
    with until_closed():
        _main(list(sys.argv[1:] if argv is None else argv))


def _main(argv: list[str]) -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        sys.exit(f"the benchmarks need {names}: pip install -e '.[benchmarks]'")
    from benchmarks.figures.records import UsageError

    try:
        _run(argv)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _run(argv: list[str]) -> None:
    import tyro

    from benchmarks.figures import compare, records, report
    from benchmarks.figures.write import write
    from benchmarks.options import Config, plan
    from benchmarks.process import session

    config = tyro.cli(Config, args=argv, prog="python -m benchmarks")
    olds = [records.read(path, seconds_only=True) for path in config.compare]
    if config.redraw is not None:
        folder = config.redraw if config.redraw.is_dir() else config.redraw.parent
        write(folder, records.read(folder))
        print((folder / report.TABLE).read_text())
    if config.suite is None:
        if olds:
            print(compare.markdown(*olds))
        return
    planned = plan(config, argv)
    for old in olds:
        compare.require_common(old, [case.name for case in planned.cases])
    folder = session.run(planned)
    results = records.read(folder)
    print((folder / report.TABLE).read_text())
    print(f"measured roof: {report.roof_line(results) or 'none'}")
    if olds:
        comparison = compare.markdown(olds[0], results)
        (folder / compare.FILE).write_text(comparison)
        print(comparison)
    print(f"results in {folder}")


if __name__ == "__main__":
    main()
