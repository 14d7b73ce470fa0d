"""Everything that is to be known of a GPU, in less than ten minutes.

    python -m benchmarks.gpu --out benchmarks/results/gpu
    python -m benchmarks.gpu --dry-run --out FOLDER      # tiny sizes, on a CPU

In turn: the outputs and gradients of the fused loops, beside those of the loops and
those in full precision; a trace of a training step with the loops and with the fused
ones, for the launches; the suite `gpu` against flax, equinox, torch (cuDNN) and
`jax.experimental.rnn`, from the cases that matter most, until the time is up. Results
are saved after every case, and say what was left out.

A dry run does the same on a CPU, where the fused loops are interpreted.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.figures import records, report
from benchmarks.figures.records import UsageError
from benchmarks.options import Config as SuiteConfig
from benchmarks.options import plan
from benchmarks.paths import at_home
from benchmarks.pipe import until_closed
from benchmarks.process import session
from benchmarks.process.pool import ROOT, environment
from benchmarks.work import gated

SWITCH = "JAXRNN_KERNELS"
PEERS = ("flax", "equinox", "torch", "jax_cudnn", "jaxrnn_loops")
TINY = [
    gated.Case("lstm", 3, 4, 5, 5, mode, dtype)
    for mode, dtype in (("train", "float32"), ("forward", "bfloat16"))
]
TIMES_THE_LOOP = 3.0  # how much farther from the exact numbers a kernel may be
ROUNDING = 1e-5  # an error that is none


@dataclass(frozen=True)
class Config:
    """Measures a GPU."""

    minutes: float = 9.5
    """No case is begun that may not end in this time."""
    dry_run: bool = False
    """Tiny sizes on a CPU, with kernels that are interpreted."""
    systems: tuple[str, ...] = PEERS
    """Systems to measure beside jaxrnn."""
    out: Path | None = None
    """Folder for the results. None: benchmarks/results/gpu-<time>."""


def kernels(dry: bool, platform: str) -> list[dict[str, Any]]:
    """The fused loops against the loops.

    Returns:
      For each case the largest errors of both, relative to the largest number of an
      array, and `why_not`, of a loop that did not run as a kernel.
    """
    ways = {"exact": "off", "loop": "off", "kernel": "interpret" if dry else "all"}
    with tempfile.TemporaryDirectory() as folder:
        told, found = {}, {}
        for way, switch in ways.items():
            path = Path(folder, f"{way}.npz")
            options = ["--exact"] * (way == "exact") + ["--small"] * dry
            told[way] = child("outputs", [str(path), *options], switch, platform)
            with np.load(path, allow_pickle=False) as arrays:
                found[way] = dict(arrays)
    rows = []
    for name, paths in told["kernel"].items():
        keys = [key for key in found["exact"] if key.startswith(f"{name}/")]
        errors = {
            way: max(_error(found[way][key], found["exact"][key]) for key in keys)
            for way in ("loop", "kernel")
        }
        loops = [path for path in paths if path["loop"].endswith("_loop")]
        why_not = "; ".join(sorted({p["why_not"] for p in loops if not p["kernel"]}))
        near = errors["kernel"] <= TIMES_THE_LOOP * errors["loop"] + ROUNDING
        row = {"case": name, "right": near, "why_not": why_not}
        rows.append(row | {f"{way}_error": e for way, e in errors.items()})
    return rows


def _error(got: np.ndarray, exact: np.ndarray) -> float:
    error = np.abs(got - exact).max() / max(1e-30, np.abs(exact).max())
    return float(error) if np.isfinite(error) else float("inf")


def launches(dry: bool, platform: str) -> dict[str, Any]:
    """Launches of a training step, with the loops and with the fused ones."""
    ways = {"loops": "off", "fused": "interpret" if dry else "all"}
    options = ["--small"] * dry
    return {
        way: child("launches", options, switch, platform)
        for way, switch in ways.items()
    }


def child(module: str, options: list[str], switch: str, platform: str) -> Any:
    """The JSON that a module of this folder prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.gpu.{module}", *options],
        cwd=ROOT,
        env=environment(1, platform) | {SWITCH: switch},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        raise UsageError(f"{module} with {SWITCH}={switch} failed: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(config: Config, argv: Sequence[str]) -> Path:
    """Measures everything; returns the folder with the results."""
    began = time.perf_counter()
    dry = config.dry_run
    platform = "cpu" if dry else "gpu"
    more: dict[str, Any] = {}
    for part in (kernels, launches):
        try:
            more[part.__name__] = part(dry, platform)
        except UsageError as error:  # the rest is worth having without it
            print(f"error: {error}", file=sys.stderr)
            more[part.__name__] = []
        print(json.dumps(more[part.__name__], indent=1), flush=True)
    os.environ[SWITCH] = "interpret" if dry else "all"
    minutes = config.minutes - (time.perf_counter() - began) / 60
    suite = SuiteConfig(
        "gpu",
        systems=config.systems,
        platform=platform,
        devices=1,
        rounds=2 if dry else 5,
        min_ms=1.0 if dry else 20.0,
        timeout=120.0,
        minutes=max(minutes, 1e-3),
        out=config.out,
    )
    made = plan(suite, argv)._replace(more=more)
    made = made._replace(command=" ".join(["python -m benchmarks.gpu", *argv]))
    return session.run(made._replace(cases=TINY) if dry else made)


def main(argv: Sequence[str] | None = None) -> None:
    """Exits with status 2 after a mistake of the user, with 1 if a kernel is wrong."""
    argv = list(sys.argv[1:] if argv is None else argv)
    config = at_home(tyro.cli(Config, args=argv, prog="python -m benchmarks.gpu"))
    try:
        folder = measure(config, argv)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print((folder / report.TABLE).read_text())
    print(f"results in {folder}")
    found = records.read(folder)["kernels"]
    if not found or not all(row["right"] and not row["why_not"] for row in found):
        sys.exit(1)


if __name__ == "__main__":
    with until_closed():
        main()
