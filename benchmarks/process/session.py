"""A run: starts a process for every system, measures the cases, writes the results."""

import contextlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.figures import records, summary
from benchmarks.figures.records import UsageError
from benchmarks.figures.write import write
from benchmarks.process.measure import measure
from benchmarks.process.pool import Worker, gather
from benchmarks.systems import SUBJECT, system_of


class Start(NamedTuple):
    """A worker to start."""

    name: str  # such as flax@2
    module: str
    devices: int
    baseline: bool = False  # whether it imports the library of the baseline
    variables: Mapping[str, str] = MappingProxyType({})  # of its environment


class Plan(NamedTuple):
    """All that a run needs to know."""

    suite: str
    command: str
    cases: list[Any]
    starts: list[Start]
    left_out: dict[str, dict[str, str]]  # systems, and why
    platform: str
    rounds: int
    min_seconds: float
    timeout: float
    devices: int
    out: Path | None = None
    baseline: Path | None = None  # a folder with another checkout's jaxrnn


def run(plan: Plan) -> Path:
    """Measures, and saves after every case.

    Returns:
      The folder with the results.
    """
    folder = records.make_folder(plan.out, plan.suite)
    started = time.perf_counter()
    results: dict[str, Any] = {
        "format": records.FORMAT,
        "suite": plan.suite,
        "command": plan.command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": records.machine(),
        "versions": records.versions(),
        "settings": {
            "rounds": plan.rounds,
            "min_ms": 1e3 * plan.min_seconds,
            "platform": plan.platform,
            "devices": plan.devices,
            "baseline": None if plan.baseline is None else str(plan.baseline),
        },
        "systems": dict(plan.left_out),
        "cases": [],
    }

    def on_ready(worker: Worker, answer: dict[str, Any]) -> None:
        results["systems"][worker.name] = answer

    def save(done: bool) -> None:
        results["seconds"] = time.perf_counter() - started
        results["finished"] = done
        write(folder, results)

    with contextlib.ExitStack() as exits:
        temporary = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        workers = _workers(plan, temporary)
        for worker in workers:
            exits.callback(worker.close)
        bar = exits.enter_context(
            tqdm(total=len(plan.cases), unit="case", disable=None)
        )
        bar.set_postfix_str("starting every system")
        gather(workers, on_ready)
        alive = [w for w in workers if results["systems"][w.name]["status"] == "ok"]
        _require_subject(workers, results["systems"])
        try:
            for case in plan.cases:
                bar.set_description(case.name)
                record = measure(
                    case,
                    alive,
                    plan.rounds,
                    plan.min_seconds,
                    temporary,
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


def _workers(plan: Plan, temporary: Path) -> list[Worker]:
    library = None
    if plan.baseline is not None:
        # Nothing but the library, so that the rest is this checkout's.
        library = temporary / "baseline"
        library.mkdir()
        (library / SUBJECT).symlink_to(plan.baseline / SUBJECT, True)
    return [
        Worker(
            start.name,
            start.module,
            start.devices,
            plan.platform,
            plan.timeout,
            library if start.baseline else None,
            start.variables,
        )
        for start in plan.starts
    ]


def _require_subject(workers: list[Worker], systems: dict[str, Any]) -> None:
    ours = [systems[w.name] for w in workers if system_of(w.name) == SUBJECT]
    if all(answer["status"] != "ok" for answer in ours):
        raise UsageError(f"{SUBJECT} does not start: {ours[0]['reason']}")
