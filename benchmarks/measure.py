"""One case after the other: references, checks, and rounds that take turns."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.pool import Asked, WorkerError
from benchmarks.systems import COPY, PRODUCT, SUBJECT

PAUSE = 0.01  # seconds, for the threads of the one before to go to sleep


def system_of(worker: str) -> str:
    """`flax` of `flax@2`."""
    return worker.split("@")[0]


def measure(
    case: Case,
    workers: Sequence[Asked],
    rounds: int,
    min_seconds: float,
    folder: Path,
    on_turn: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Times a case on all workers.

    Rounds alternate: each worker has its first round before any has its second, so
    that a machine that slows down hits all alike.

    Args:
      case: the case.
      workers: the first of the subject's is also asked for the reference.
      rounds: how many each has.
      min_seconds: the least that a round lasts.
      folder: for the references, which the workers read.
      on_turn: told what happens next.

    Returns:
      A record for `results.json`: the case, what it asks for, and for each worker its
      status, and the seconds of every round.
    """
    runs: dict[str, dict[str, Any]] = {}
    references: dict[str, Path | WorkerError] = {}
    fields = cases.to_json(case)
    subject = next((w for w in workers if system_of(w.name) == SUBJECT), None)

    def make_reference(variant: str) -> Path:
        if variant not in references:
            try:
                if subject is None:
                    raise WorkerError("no reference", f"{SUBJECT} is not running")
                name = "".join(c if c.isalnum() else "-" for c in variant or "plain")
                path = folder / f"{name}.npz"
                subject.ask("reference", case=fields, variant=variant, path=str(path))
                references[variant] = path
            except WorkerError as failed:
                reason = f"{SUBJECT} {failed.status}: {failed.reason}"
                references[variant] = WorkerError("no reference", reason)
        found = references[variant]
        if isinstance(found, WorkerError):
            raise found
        return found

    def prepare(worker: Asked) -> dict[str, Any]:
        variant = worker.ask("variant", case=fields)["variant"]
        path = make_reference(variant)
        answer = worker.ask(
            "prepare",
            case=fields,
            variant=variant,
            path=str(path),
            min_seconds=min_seconds,
        )
        return answer | {"variant": variant, "seconds": []}

    def attempt(worker: Asked, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except WorkerError as failed:
            runs[worker.name] = {"status": failed.status, "reason": failed.reason}
            return None

    for worker in workers:
        on_turn(f"{worker.name}: compile and check")
        found = attempt(worker, lambda worker=worker: prepare(worker))
        if found is not None:
            runs[worker.name] = found
    for i in range(rounds):
        for worker in workers:
            if runs[worker.name]["status"] == "ok":
                on_turn(f"round {i + 1} of {rounds}")
                time.sleep(PAUSE)
                answer = attempt(worker, lambda worker=worker: worker.ask("round"))
                if answer is not None:
                    runs[worker.name]["seconds"].append(answer["seconds"])
    for worker in workers:
        if runs[worker.name]["status"] == "ok":
            attempt(worker, lambda worker=worker: worker.ask("release"))
    work = {"flops": cases.flops(case), "bytes": cases.num_bytes(case)}
    return {"name": case.name, "case": fields, **work, "runs": runs}


def is_roof(worker: str) -> bool:
    """Whether the worker measures the machine and not a system."""
    return system_of(worker) in (PRODUCT, COPY)
