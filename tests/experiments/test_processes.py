"""Several processes that train together, and what becomes of them when one dies."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TINY = ["--hidden-size", "7", "--seeds", "2", "--batch-size", "32"]


def rows(out: Path) -> list[str]:
    return [sys.executable, "-m", "experiments.rows", "--out", str(out), *TINY]


def start(
    out: Path, processes: int, *options: str, room: str = "unlimited"
) -> list[subprocess.Popen]:
    """Starts them; the first one can write files of so many KiB only."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    together = ["--coordinator", address, "--num-processes", str(processes)]
    return [
        subprocess.Popen(
            [
                *["bash", "-c", f'ulimit -f {"unlimited" if i else room}; exec "$@"'],
                "bash",
                *rows(out),
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


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """Two epochs of one process."""
    out = tmp_path_factory.mktemp("runs") / "one"
    finish(start(out, 1, "--epochs", "2"))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_have_the_losses_of_one(tmp_path, one, processes):
    finish(start(tmp_path / "all", processes, "--epochs", "2"))
    assert_same_losses(one, tmp_path / "all")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed")
def test_the_processes_of_a_cluster_that_jax_detects_have_the_losses_of_one(
    tmp_path, one
):
    mpirun = ["mpirun", "-n", "2", "--oversubscribe", "--allow-run-as-root"]
    mpirun += ["--bind-to", "none", "--mca", "oob_tcp_if_include", "lo"]  # on loopback
    options = ["--epochs", "2", "--coordinator", "auto"]
    found = subprocess.run(
        [*mpirun, *rows(tmp_path / "all"), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("results in") == 1  # of two, the one with index 0
    assert_same_losses(one, tmp_path / "all")
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert summary["device"]["count"] == 2


@pytest.mark.slow
def test_without_a_cluster_the_detection_says_so(tmp_path):
    known = "OMPI_", "SLURM_", "KUBERNETES_", "JAX_COORDINATOR", "TPU_"
    env = {k: v for k, v in os.environ.items() if not k.startswith(known)}
    command = [*rows(tmp_path / "run"), "--coordinator", "auto"]
    found = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert found.returncode == 2
    assert "error: --coordinator: JAX detects no cluster here" in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()


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
