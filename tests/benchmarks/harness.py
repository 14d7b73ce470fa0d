"""What the tests of the benchmarks share."""

from typing import Any

from benchmarks import work
from benchmarks.figures import summary
from benchmarks.process.pool import WorkerError
from benchmarks.work import gated, tick

TINY = gated.Case("lstm", batch=4, time=5, input_size=3, hidden_size=6)
TICK = tick.Case("lstm", batch=4, time=5, input_size=3, hidden_size=6)


def timed(case: Any = TINY, **seconds):
    """A record with these rounds."""
    runs = {
        name.replace("_at_", "@"): {
            "status": "ok",
            "seconds": list(values),
            "compile_seconds": 1.0,
            "memory_bytes": None,
            "flops": 100,
            "bytes": 100,
        }
        for name, values in seconds.items()
    }
    record = {
        "name": case.name,
        "mode": case.mode,
        "case": work.to_json(case),
        "flops": 10,
        "bytes": 1,
        "sequences": case.sequences,
        "tokens": case.tokens,
        "runs": runs,
    }
    return record | {"summary": summary.summarize(record)}


class Scripted:
    """A worker that notes when it is asked."""

    def __init__(self, name, diary, fails=()):
        self.name, self.diary, self.fails = name, diary, fails

    def ask(self, what, /, **arguments):
        self.diary.append((what, self.name))
        if what in self.fails:
            raise WorkerError("failed", "as scripted")
        return {"status": "ok", "variant": "", "seconds": 1.0}
