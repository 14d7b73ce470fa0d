"""Several processes that train together, and what becomes of them when one dies."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY = ["--hidden-size", "7", "--seeds", "2", "--batch-size", "32"]


def start(
    out: Path, processes: int, *options: str, room: str = "unlimited"
) -> list[subprocess.Popen]:
    """Starts them; the first one can write files of so many KiB only."""
    rows = [sys.executable, "-m", "experiments.rows", "--out", str(out), *TINY]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    together = ["--coordinator", address, "--num-processes", str(processes)]
    return [
        subprocess.Popen(
            [
                *["bash", "-c", f'ulimit -f {"unlimited" if i else room}; exec "$@"'],
                "bash",
                *rows,
                *options,
                *([*together, "--process-id", str(i)] if processes > 1 else []),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]


def finish(running: list[subprocess.Popen]) -> list[str]:
    errors = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), errors
    return errors


def metrics(out: Path) -> list[dict]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_losses(a: Path, b: Path) -> None:
    assert len(metrics(a)) == len(metrics(b))
    for one, other in zip(metrics(a), metrics(b), strict=True):
        for name in ("train_loss", "test_loss"):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_together_have_the_losses_of_one(tmp_path, processes):
    finish(start(tmp_path / "one", 1, "--epochs", "2"))
    finish(start(tmp_path / "all", processes, "--epochs", "2"))
    assert_same_losses(tmp_path / "one", tmp_path / "all")


@pytest.mark.slow
def test_an_error_in_one_process_ends_the_others(tmp_path):
    running = start(tmp_path / "run", 2, "--epochs", "100", room="0")
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [2, 1], errors
    assert "error: --out: cannot write to" in errors[0]
    assert "another process of this run is lost" in errors[1]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_killed_process_ends_the_others_and_the_run_resumes(tmp_path, victim, after):
    options = ["--epochs", "100", "--checkpoint-steps", "200"]
    out = tmp_path / "run"
    running = start(out, 2, *options)
    while not any(p.name.isdecimal() for p in (out / "checkpoints").glob("*")):
        assert all(process.poll() is None for process in running)
        time.sleep(0.1)
    running[victim].kill()
    died = time.monotonic()
    running[victim].communicate()
    other = running[1 - victim]
    _, error = other.communicate(timeout=60)
    print(f"the other one ended after {time.monotonic() - died:.1f} seconds")
    assert other.returncode not in (0, None)
    assert "another process of this run is lost" in error, error
    assert "--resume" in error

    finish(start(out, after, *options, "--resume"))
    finish(start(tmp_path / "one", 1, *options))
    assert len(metrics(out)) == 100
    for name in ("train_loss", "test_loss"):  # rounding has grown by the end
        one, both = metrics(tmp_path / "one")[5], metrics(out)[5]
        np.testing.assert_allclose(one[name], both[name], rtol=1e-3)
