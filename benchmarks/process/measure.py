"""One case on all workers: references, checks, and rounds that take turns."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.process.pool import Asked, WorkerError
from benchmarks.systems import SUBJECT, system_of

PAUSE = 0.01  # seconds, in which the threads of the worker before go to sleep


def measure(
    case: Any,
    workers: Sequence[Asked],
    rounds: int,
    min_seconds: float,
    folder: Path,
    on_turn: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Times a case on all workers.

    Each worker has its first round before any has its second, so that a machine that
    slows down affects all alike. Every other round goes through the workers backwards,
    so that none always follows the same one.

    Args:
      case: the case.
      workers: the first worker of the subject also makes the references.
      rounds: the number of rounds of each worker.
      min_seconds: the least that a round lasts.
      folder: for the references, which the workers read.
      on_turn: called with what happens next.

    Returns:
      A record for `results.json`: the case, the work in it, and for each worker its
      status and the seconds of every round.
    """
    runs: dict[str, dict[str, Any]] = {}
    references = References(case, workers, folder)

    def attempt(worker: Asked, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except WorkerError as error:
            runs[worker.name] = {"status": error.status, "reason": error.reason}
            return None

    for worker in workers:
        on_turn(f"{worker.name}: compile and check")
        answer = attempt(
            worker, lambda worker=worker: _prepare(worker, references, min_seconds)
        )
        if answer is not None:
            runs[worker.name] = answer
    for i in range(rounds):
        for worker in workers if i % 2 == 0 else reversed(workers):
            if runs[worker.name]["status"] == "ok":
                on_turn(f"round {i + 1} of {rounds}")
                time.sleep(PAUSE)
                answer = attempt(worker, lambda worker=worker: worker.ask("round"))
                if answer is not None:
                    figures = {"seconds": answer["seconds"]} | answer.get("results", {})
                    for key, value in figures.items():
                        runs[worker.name].setdefault(key, []).append(value)
    for worker in workers:
        if runs[worker.name]["status"] == "ok":
            attempt(worker, lambda worker=worker: worker.ask("release"))
    return {
        "name": case.name,
        "mode": case.mode,
        "case": work.to_json(case),
        "flops": case.flops,
        "bytes": case.num_bytes,
        "sequences": case.sequences,
        "tokens": case.tokens,
        "runs": runs,
    }


class References:
    """What the systems have to arrive at in one case, made by the subject when asked.

    Args:
      case: the case.
      workers: the first one of the subject makes the references.
      folder: where it writes them.
    """

    def __init__(self, case: Any, workers: Sequence[Asked], folder: Path):
        self.fields, self.folder = work.to_json(case), folder
        self.wanted = case.checked
        self._subject = next((w for w in workers if system_of(w.name) == SUBJECT), None)
        self._made: dict[str, Path | WorkerError] = {}

    def path(self, variant: str) -> Path:
        """The file of the reference; raises `WorkerError` if there is none."""
        if variant not in self._made:
            try:
                self._made[variant] = self._make(variant)
            except WorkerError as error:
                reason = f"{SUBJECT} {error.status}: {error.reason}"
                self._made[variant] = WorkerError("no reference", reason)
        made = self._made[variant]
        if isinstance(made, WorkerError):
            raise made
        return made

    def _make(self, variant: str) -> Path:
        if self._subject is None:
            raise WorkerError("missing", "it is not running")
        name = "".join(c if c.isalnum() else "-" for c in variant or "plain")
        path = self.folder / f"{name}.npz"
        self._subject.ask(
            "reference", case=self.fields, variant=variant, path=str(path)
        )
        return path


def _prepare(
    worker: Asked, references: References, min_seconds: float
) -> dict[str, Any]:
    variant = worker.ask("variant", case=references.fields)["variant"]
    path = str(references.path(variant)) if references.wanted else None
    answer = worker.ask(
        "prepare",
        case=references.fields,
        variant=variant,
        path=path,
        min_seconds=min_seconds,
    )
    return answer | {"variant": variant, "seconds": []}
