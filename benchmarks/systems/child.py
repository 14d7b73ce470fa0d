"""A whole training as a process of its own, timed from its start to its end."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SUMMARY = "summary.json"
ACCURACY = "test_accuracy"


class Run:
    """A case of the kind `whole_run`.

    Args:
      command: the module to run, with its own options.
      case: the case; its values are added to the command as options.
      devices: host devices (JAX) or threads (torch).
      folder: where the process runs; None: where this one does.
    """

    compile_seconds = None
    memory_bytes = None
    calls = 1

    def __init__(
        self,
        command: Sequence[str],
        case: Any,
        devices: int,
        folder: Path | None = None,
    ):
        self.command = [sys.executable, "-m", *command, "--data-dir", case.data_dir]
        self.command += ["--epochs", str(case.epochs), "--devices", str(devices)]
        self.folder = folder
        self.results: dict[str, float] = {}

    def check(self, reference: Any) -> dict[str, float]:
        """There is nothing to check before the end; then the accuracy is reported."""
        del reference
        return {}

    def seconds(self, calls: int) -> float:
        """The time of so many trainings."""
        passed = 0.0
        env = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
        for _ in range(calls):
            with tempfile.TemporaryDirectory() as temporary:
                out = Path(temporary, "run")
                start = time.perf_counter()
                done = subprocess.run(
                    [*self.command, "--out", str(out)],
                    cwd=self.folder,
                    env=env,
                    stdout=sys.stderr,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                passed += time.perf_counter() - start
                if done.returncode:
                    lines = done.stderr.strip().splitlines() or ["it printed nothing"]
                    raise RuntimeError(f"exit status {done.returncode}: {lines[-1]}")
                summary = json.loads((out / SUMMARY).read_text())
                self.results = {ACCURACY: summary[ACCURACY]}
        return passed


def main(train: Callable[[Path, int, int], float]) -> None:
    """The command line of a peer's training: `train(data_dir, epochs, devices)`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    accuracy = train(options.data_dir, options.epochs, options.devices)
    options.out.mkdir()
    (options.out / SUMMARY).write_text(json.dumps({ACCURACY: accuracy}))
