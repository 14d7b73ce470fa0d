"""Measures jaxrnn against other libraries.

    python -m benchmarks quick                        # two minutes
    python -m benchmarks cpu --out benchmarks/results/cpu
    python -m benchmarks cpu --compare OLD/results.json
    python -m benchmarks --compare OLD NEW            # runs nothing
    python -m benchmarks --redraw benchmarks/results/cpu

Every system has a process of its own that stays up, and rounds take turns. Writes
results.json, table.md and pictures.
"""

import contextlib
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from benchmarks import cases, compare, plots, records, report, summary
from benchmarks.measure import measure, system_of
from benchmarks.pool import Worker, gather
from benchmarks.records import UsageError
from benchmarks.systems import COPY, PRODUCT, SUBJECT, SYSTEMS

Suite = Literal["quick", "cpu", "gpu", "scaling"]


@dataclass(frozen=True)
class Config:
    """Measures jaxrnn against other libraries."""

    suite: tyro.conf.Positional[Suite | None] = None
    """Which cases to run. None: only --compare or --redraw."""
    systems: tuple[str, ...] = ()
    """Peers to measure, by name. None named: all; in quick without the slowest two."""
    filter: tuple[str, ...] = ()
    """Keep the cases whose name has every one of these words, such as lstm train."""
    rounds: int | None = None
    """Rounds for each system. None: 9, or 5 in quick."""
    min_ms: float = 50.0
    """The least milliseconds that a round lasts."""
    devices: int | None = None
    """Host devices (JAX) or threads (torch) to split a batch over. None: all cores."""
    platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Where to run. None: gpu in the suite gpu, else cpu."""
    timeout: float = 600.0
    """Seconds after which a system that does not answer counts as hung."""
    out: Path | None = None
    """Folder for the results. None: benchmarks/results/<suite>-<time>."""
    compare: tuple[Path, ...] = ()
    """A results.json to compare this run with; without a suite two of them."""
    redraw: Path | None = None
    """Make table and pictures again from the results.json in this folder."""

    def __post_init__(self):
        for name in self.systems:
            if name not in SYSTEMS:
                known = ", ".join(SYSTEMS)
                raise UsageError(f"--systems: expected some of {known}, got {name}")
        for name in ("rounds", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name}: expected at least 1, got {value}")
        for name in ("min_ms", "timeout"):
            if getattr(self, name) <= 0:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag}: expected above 0, got {getattr(self, name)}")
        if self.suite is not None and len(self.compare) > 1:
            raise UsageError("--compare: expected one file with a suite")
        idle = self.suite is None and self.redraw is None
        if idle and len(self.compare) != 2:
            raise UsageError(
                "expected a suite (quick, cpu, gpu, scaling), --compare OLD NEW, or "
                "--redraw FOLDER"
            )


def plan(config: Config) -> tuple[list[tuple[str, str, int]], dict[str, Any]]:
    """The workers to start (name, module, devices), and what is left out and why."""
    platform = config.platform or ("gpu" if config.suite == "gpu" else "cpu")
    count = config.devices or records.cores()
    settings = sorted({1, count}) if platform == "cpu" else [1]
    chosen = {SUBJECT, PRODUCT, COPY, *(config.systems or SYSTEMS)}
    workers, left_out = [], {}
    for system in SYSTEMS.values():
        reason = None
        if system.name not in chosen:
            reason = "not among --systems"
        elif platform not in system.platforms:
            reason = f"does not run on {platform}"
        elif (
            system.name in ("jaxrnn_batched", "torch_compile")
            and config.suite == "quick"
            and not config.systems
        ):
            reason = "takes too long for quick; name it in --systems"
        if reason:
            left_out[system.name] = {"status": "left out", "reason": reason}
        else:
            workers += [(f"{system.name}@{n}", system.module, n) for n in settings]
    return workers, left_out


def run(config: Config, argv: Sequence[str]) -> Path:
    """Runs a suite.

    Returns:
      The folder with the results.
    """
    assert config.suite is not None
    chosen = [
        case
        for case in cases.SUITES[config.suite]()
        if all(word in case.name for word in config.filter)
    ]
    if not chosen:
        raise UsageError(f"--filter: no case of {config.suite} has all of these words")
    platform = config.platform or ("gpu" if config.suite == "gpu" else "cpu")
    rounds = config.rounds or (5 if config.suite == "quick" else 9)
    names, systems = plan(config)
    folder = records.make_folder(config.out, config.suite)
    started = time.perf_counter()
    results: dict[str, Any] = {
        "suite": config.suite,
        "command": shlex.join(["python", "-m", "benchmarks", *argv]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": records.machine(),
        "versions": records.versions(),
        "settings": {"rounds": rounds, "min_ms": config.min_ms, "platform": platform},
        "systems": systems,
        "cases": [],
    }
    workers = [
        Worker(name, module, n, platform, config.timeout) for name, module, n in names
    ]

    def on_ready(worker: Worker, answer: dict[str, Any]) -> None:
        results["systems"][worker.name] = answer

    def save(done: bool) -> None:
        results["seconds"] = time.perf_counter() - started
        results["finished"] = done
        finish(folder, results)

    with contextlib.ExitStack() as exits:
        for worker in workers:
            exits.callback(worker.close)
        references = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        bar = exits.enter_context(tqdm(total=len(chosen), unit="case", disable=None))
        bar.set_postfix_str("starting every system")
        gather(workers, on_ready)
        alive = [w for w in workers if results["systems"][w.name]["status"] == "ok"]
        if not any(system_of(w.name) == SUBJECT for w in alive):
            reason = results["systems"][f"{SUBJECT}@1"]["reason"]
            raise UsageError(f"{SUBJECT} does not start: {reason}")
        try:
            for case in chosen:
                bar.set_description(case.name)
                record = measure(
                    case,
                    alive,
                    rounds,
                    config.min_ms / 1e3,
                    references,
                    bar.set_postfix_str,
                )
                record["summary"] = summary.summarize(record)
                results["cases"].append(record)
                records.write_json(folder / records.RESULTS, results)
                bar.update()
        except KeyboardInterrupt:
            save(done=False)
            raise
    save(done=True)
    return folder


def finish(folder: Path, results: dict[str, Any]) -> None:
    """Derives what follows from all cases, and writes everything."""
    for record in results["cases"]:
        record["summary"] = summary.summarize(record)
    results["means"] = summary.geometric_means(results["cases"])
    if results["suite"] == "scaling":
        results["scaling"] = summary.exponents(
            results["cases"], cases.to_json(cases.SCALING_BASE), cases.SCALING_SIZES
        )
    records.write_json(folder / records.RESULTS, results)
    with records.replacing(folder / "table.md") as path:
        path.write_text(report.markdown(results))
    if results["cases"]:
        plots.draw(folder, results)


def main(argv: Sequence[str] | None = None) -> None:
    """Exits with status 2 after a mistake of the user, with 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        config = tyro.cli(Config, args=argv, prog="python -m benchmarks")
        olds = [records.read(path) for path in config.compare]
        if config.redraw is not None:
            folder = config.redraw if config.redraw.is_dir() else config.redraw.parent
            finish(folder, records.read(folder))
            print((folder / "table.md").read_text())
        if config.suite is None:
            if olds:
                print(compare.text(*olds))
            return
        folder = run(config, argv)
        print((folder / "table.md").read_text())
        results = records.read(folder)
        print(f"measured roof: {report.roof_line(results)}")
        if olds:
            print(compare.text(olds[0], results))
        print(f"results in {folder}")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
