"""The process of one system: answers each JSON line with one, until the input ends.

python -m benchmarks.process.worker MODULE DEVICES PLATFORM
"""

import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from benchmarks import work
from benchmarks.systems import UnsupportedError
from benchmarks.work import equal


class Run(Protocol):
    """A case that a system is ready to be timed on.

    More attributes are optional: `calls`, how many make a round (otherwise found by
    timing); `results`, further figures of the last round; `flops` and `bytes` of one
    call, of a roof; `sent_bytes`, how much one call sends between devices;
    `temp_bytes`, the temporaries that the compiler plans; `peak_bytes`, by how much the
    process grows in a call.
    """

    compile_seconds: float | None
    memory_bytes: int | None

    def check(self, reference: Any) -> dict[str, float]:
        """The errors of the results, as benchmarks.work.equal measures them."""
        ...

    def seconds(self, calls: int) -> float:
        """The time of so many calls."""
        ...


class Server:
    """Answers for one system; each method is one thing to ask."""

    def __init__(self, module: str, devices: int, platform: str):
        self.name, self.devices, self.platform = module, devices, platform
        self.module: Any = None
        self.run: Run | None = None
        self.calls = 1

    def hello(self) -> dict[str, Any]:
        """Imports the system."""
        try:
            self.module = importlib.import_module(self.name)
        except ModuleNotFoundError as error:
            return {"status": "not installed", "reason": str(error)}
        answer = {"device": _device()}
        if "jaxrnn" in sys.modules:
            folder = Path(sys.modules["jaxrnn"].__file__ or "").parent.resolve()
            here = Path.cwd()
            inside = folder.is_relative_to(here)
            answer["library"] = str(folder.relative_to(here) if inside else folder)
        return answer

    def variant(self, case: dict[str, Any]) -> dict[str, Any]:
        """Which function the system's cell computes."""
        variant_of = getattr(self.module, "variant", lambda case: "")
        return {"variant": variant_of(work.from_json(case))}

    def reference(self, case: dict[str, Any], variant: str, path: str):
        """Writes what the other systems have to arrive at."""
        subject = work.from_json(case)
        data = work.kind(subject.work).make(subject, variant)
        equal.save(Path(path), self.module.reference(subject, data, variant))
        return {}

    def prepare(
        self, case: dict[str, Any], variant: str, path: str | None, min_seconds: float
    ) -> dict[str, Any]:
        """Compiles, checks, warms up, and finds how many calls make a round."""
        self.release()
        subject = work.from_json(case)
        if subject.work not in self.module.WORK:
            raise UnsupportedError(f"it does no work of the kind {subject.work}")
        data = work.kind(subject.work).make(subject, variant)
        run = self.module.start(subject, data, self.devices, self.platform)
        errors = {}
        if path is not None:
            errors = run.check(equal.load(Path(path), data.weights))
            limits = equal.tolerances(subject.dtype, self.platform)
            wrong = [k for k, error in errors.items() if not error <= limits[k]]
            if wrong:
                what = ", ".join(f"{k} by {errors[k]:.1e}" for k in wrong)
                reason = f"differs from jaxrnn in {what}"
                return {"status": "mismatch", "reason": reason, "errors": errors}
        self.run = run
        self.calls = getattr(run, "calls", 0) or calibrate(run.seconds, min_seconds)
        answer = {
            "errors": errors,
            "calls": self.calls,
            "compile_seconds": run.compile_seconds,
            "memory_bytes": run.memory_bytes,
        }
        optional = ("flops", "bytes", "sent_bytes", "temp_bytes", "peak_bytes")
        return answer | {k: getattr(run, k) for k in optional if hasattr(run, k)}

    def round(self) -> dict[str, Any]:
        """Seconds per call, over one round, and what else the run reports."""
        if self.run is None:
            raise RuntimeError("round: expected prepare before it")
        seconds = self.run.seconds(self.calls) / self.calls
        return {"seconds": seconds, "results": getattr(self.run, "results", {})}

    def release(self) -> dict[str, Any]:
        """Forgets the case."""
        self.run = None
        if "jax" in sys.modules:
            sys.modules["jax"].clear_caches()
        gc.collect()
        return {}


def calibrate(seconds: Callable[[int], float], min_seconds: float) -> int:
    """How many calls last `min_seconds`, by doubling; this also warms up."""
    calls = 1
    while True:
        elapsed = seconds(calls)
        if elapsed >= min_seconds or calls >= 1 << 20:
            return calls
        needed = 1.1 * calls * min_seconds / max(elapsed, 1e-9)
        calls = min(max(2 * calls, round(needed)), 16 * calls)


def _device() -> str:
    if "jax" in sys.modules:
        jax = sys.modules["jax"]
        return f"{jax.device_count()} {jax.devices()[0].device_kind}"
    return f"{os.cpu_count()} cpu"


def serve(server: Server, read: Any, write: Any) -> None:
    """Answers each line; an error is an answer too."""
    for line in read:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("ask"))(**request)
        except UnsupportedError as error:
            answer = {"status": "unsupported", "reason": str(error)}
        except Exception as error:
            traceback.print_exc()
            text = " ".join(str(error).split())[:300]
            reason = f"{type(error).__name__}: {text}"
            answer = {"status": "failed", "reason": reason}
        write.write(json.dumps({"status": "ok"} | answer) + "\n")
        write.flush()


def main() -> None:
    """Keeps the pipe for answers, so that what a library prints cannot spoil it."""
    module, devices, platform = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Server(module, int(devices), platform), sys.stdin, answers)


if __name__ == "__main__":
    main()
