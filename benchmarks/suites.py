"""The suites: which cases are measured together, and how."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.work import epoch, gated, tick, update, whole_run

CPU_SIZES = (
    (100, 28, 28, 100),
    (32, 100, 64, 256),
    (16, 200, 32, 64),
    (20, 35, 200, 200),
    (64, 50, 128, 512),
    (1, 1000, 32, 128),
    (256, 20, 64, 128),
)
GPU_SIZES = (
    (16, 100, 128, 128),
    (64, 100, 128, 256),
    (256, 100, 256, 512),
    (16, 1000, 256, 512),
    (64, 200, 512, 1024),
    (256, 100, 512, 1024),
)
CELLS = ("lstm", "gru", "elman")


def quick() -> list[Any]:
    """One small case of training and one of streaming."""
    return [gated.Case("lstm", 32, 28, 28, 64), tick.Case("lstm", 1, 28, 28, 64)]


def cpu() -> list[Any]:
    """Training at the sizes people use on a CPU; some inference.

    Besides single layers: stacks, both directions, sequences of their own lengths and
    masks, and several updates in one call.
    """
    train = [gated.Case(cell, *sizes) for cell in CELLS for sizes in CPU_SIZES]
    second = [gated.Case(cell, *CPU_SIZES[1]) for cell in CELLS]
    train += [replace(case, layers=2) for case in second]
    train += [replace(case, directions=2) for case in second]
    for cell in ("lstm", "gru"):
        train += [gated.Case(cell, *CPU_SIZES[3], layers=4)]
        train += [
            gated.Case(cell, *CPU_SIZES[1], valid=valid)
            for valid in (gated.RAGGED, gated.MASKED)
        ]
        train += [epoch.Case(cell, *CPU_SIZES[0])]
    forward = [replace(case, mode="forward") for case in second]
    ticks = [tick.Case(cell, 1, 100, 32, 128) for cell in CELLS]
    return [*train, *forward, *ticks, tick.Case("lstm", 32, 100, 64, 256)]


def gpu() -> list[Any]:
    """Training at the sizes people use on a GPU, in two precisions."""
    base = [gated.Case("lstm", *sizes) for sizes in GPU_SIZES]
    others = [gated.Case(cell, *GPU_SIZES[2]) for cell in ("gru", "elman")]
    half = [replace(case, dtype="bfloat16") for case in base]
    more = [
        replace(base[2], layers=2),
        replace(base[2], directions=2),
        replace(base[2], mode="forward"),
    ]
    return [*base, *others, *half, *more, tick.Case("lstm", 16, 100, 256, 512)]


SCALING_BASE = gated.Case("lstm", 32, 64, 64, 128)
SCALING_SIZES = {
    "time": (16, 32, 64, 128, 256, 512, 1024),
    "batch": (4, 8, 16, 32, 64, 128, 256),
    "hidden_size": (16, 32, 64, 128, 256, 512, 1024),
}


def scaling() -> list[Any]:
    """One training step, with T, B and H doubled in turn."""
    cases = [
        replace(SCALING_BASE, **{axis: size})
        for axis, sizes in SCALING_SIZES.items()
        for size in sizes
    ]
    return list(dict.fromkeys(cases))


def devices() -> list[Any]:
    """One update of data-parallel training, on one device and on several."""
    return [
        update.Case("lstm", 32, 100, 64, 256),
        update.Case("lstm", 64, 50, 128, 512),
        update.Case("gru", 32, 100, 64, 256),
        update.Case("elman", 256, 20, 64, 128),
    ]


def whole(data_dir: Path, epochs: int) -> list[Any]:
    """One training as users run it."""
    return [whole_run.Case(str(data_dir.resolve()), epochs)]


class Suite(NamedTuple):
    """Which cases, and what is the default for the options of a run."""

    cases: Callable[..., list[Any]]
    platform: str = "cpu"
    rounds: int = 9
    timeout: float = 600.0  # seconds
    one_device: bool = True  # measured too, beside all devices


SUITES = {
    "quick": Suite(quick, rounds=5),
    "cpu": Suite(cpu, rounds=7),
    "gpu": Suite(gpu, platform="gpu"),
    "scaling": Suite(scaling),
    "devices": Suite(devices),
    "whole_run": Suite(whole, rounds=2, timeout=7200.0, one_device=False),
}
