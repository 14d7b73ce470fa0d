"""Tables of `python -m benchmarks.gpu`: the fused loops, and launches."""

from typing import Any


def kernels(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """How far the loops and their kernels are from the numbers in full precision."""
    rows = [
        [
            row["case"],
            f"{row['loop_error']:.1e}",
            f"{row['kernel_error']:.1e}",
            "yes" if row["right"] else "NO",
            row["why_not"] or "-",
        ]
        for row in results.get("kernels") or []
    ]
    return ["case", "error of the loop", "of the kernel", "right", "no kernel"], rows


def launches(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Launches of a training step."""
    rows = [
        [
            case,
            way,
            f"{row['launches']}",
            f"{row['launches_per_step']:.3g}",
            f"{row['microseconds_per_launch']:.3g}",
            f"{row['busy_milliseconds']:.3g}",
            f"{row['milliseconds']:.3g}",
        ]
        for way, cases in dict(results.get("launches") or {}).items()
        for case, row in cases.items()
    ]
    head = ["case", "by", "launches", "a time step", "µs a launch", "ms busy", "ms"]
    return head, rows
