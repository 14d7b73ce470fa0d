"""Kills runs at random moments and resumes them: do they end as if left alone?

    python tests/kills.py --kills 100

Each trial starts a run, sends it SIGKILL at a moment drawn uniformly from the time a
whole run takes (again, if it had ended by then), resumes it with `--resume`, and
compares the params, the metrics, the summary and the page with those of a run that was
left alone, byte for byte; the page names the folder of its run.
"""

import argparse
import collections
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAME = ("params.safetensors", "metrics.jsonl", "summary.json", "report.html")
# A kill may fall into a write to the cache of compiled programs as well.
CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
OPTIONS = "--hidden-size 13 --seeds 2 --epochs 20 --checkpoint-steps 1"


def command(out: Path, *more: str) -> list[str]:
    rows = [sys.executable, "-m", "experiments.rows", "--out", str(out)]
    return [*rows, *OPTIONS.split(), *more]


def environment(out: Path) -> dict[str, str]:
    return {
        **os.environ,
        **CACHE,
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "cache"),
    }


def complete(out: Path, *more: str) -> float:
    """A whole run; returns its seconds."""
    start = time.monotonic()
    done = subprocess.run(
        command(out, *more),
        cwd=ROOT,
        env=environment(out),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise AssertionError(f"{out}: status {done.returncode}\n{done.stderr}")
    return time.monotonic() - start


def trial(out: Path, alone: Path, seconds: float, seed: int) -> str:
    """Kills at a random moment, resumes, compares; says when the kill fell."""
    draw = random.Random(seed)
    while not killed(out, draw.uniform(0, seconds)):
        shutil.rmtree(out)  # it had ended before: that is no kill
    moment = _moment(out)
    complete(out, "--resume")
    for name in SAME:
        if left(out, name) != left(alone, name):
            raise AssertionError(f"{out / name} differs after a kill {moment}")
    return moment


def left(out: Path, name: str) -> bytes:
    """What a run has left in a file, without the name of its folder."""
    content = (out / name).read_bytes()
    for path in (shlex.quote(str(out)), str(out)):
        content = content.replace(path.encode(), b"RUN")
    return content


def killed(out: Path, delay: float) -> bool:
    """Starts a run and kills it after so many seconds; whether it was still alive."""
    process = subprocess.Popen(
        command(out),
        cwd=ROOT,
        env=environment(out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def _moment(out: Path) -> str:
    folder = out / "checkpoints"
    if not folder.is_dir():
        return "before training"
    names = [path.name for path in folder.iterdir()]
    if any("tmp" in name for name in names):
        return "during a save"
    return "between saves" if names else "before the first save"


def run(
    kills: int, seed: int, folder: Path, workers: int = 2
) -> collections.Counter[str]:
    """Makes the trials, several at a time; counts them by when the kill fell."""
    complete(folder / "first")  # fills the cache of compiled programs
    counts: collections.Counter[str] = collections.Counter()
    with ThreadPoolExecutor(workers) as pool:
        # As many at a time as there will be, for the time that a whole run takes then.
        alone = [folder / f"alone-{i}" for i in range(workers)]
        seconds = max(pool.map(complete, alone))
        outs = [folder / f"kill-{i}" for i in range(kills)]
        same = [alone[:1] * kills, [seconds] * kills]
        for moment in pool.map(trial, outs, *same, range(seed, seed + kills)):
            counts[moment] += 1
            print(f"{counts.total()} of {kills} resumed and equal", flush=True)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kills runs and resumes them.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(dict(run(args.kills, args.seed, Path(folder), args.workers)))
