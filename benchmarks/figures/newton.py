"""The tables of the study of Newton's method."""

import itertools
from typing import Any

import numpy as np

JACOBIANS = "full", "block", "diagonal"


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = [
        "# Newton's method over time",
        "",
        "## Evaluations of all steps until the residual is within the tolerance",
        "",
    ]
    lines += _row(
        "net", "T", *(f"{j}, {w}" for j in JACOBIANS for w in ("drawn", "trained"))
    )
    lines += _row(*["---"] * 8)
    found = {
        (r["net"], r["T"], r["jacobian"], r["trained"]): r
        for r in results["convergence"]
    }
    for net, length in dict.fromkeys(key[:2] for key in found):
        cells = []
        for jacobian, trained in itertools.product(JACOBIANS, (False, True)):
            cells.append(_iterations(found.get((net, length, jacobian, trained))))
        lines += _row(net, f"{length:,}", *cells)
    rate = results["product_rate"]
    lines += ["", "## Time", "", f"One large product: {rate / 1e9:,.0f} GFLOP/s.", ""]
    lines += _row(
        *("net", "T", "B", "evaluations", "forward, loop / Newton, ms", "ratio"),
        *("gradient, loop / Newton, ms", "ratio", "rate that draws level, GFLOP/s"),
    )
    lines += _row(*["---"] * 9)
    for r in results["speed"]:
        cells = [*_times(r, "forward"), *_times(r, "gradient")]
        level = (
            r["iterations"] * r["operations"] / np.median(r["seconds"]["loop forward"])
        )
        count, level = r["iterations"], f"{level / 1e9:,.0f}"
        if r["fell_back"]:
            count, level = f"{count}, then the loop", "-"
        lines += _row(r["net"], f"{r['T']:,}", r["B"], count, *cells, level)
    return "\n".join(lines)


def _times(result: dict[str, Any], what: str) -> tuple[str, str]:
    """Milliseconds of the loop and of Newton's method, and how they compare."""
    loop, newton = (
        np.median(result["seconds"].get(f"{way} {what}", np.nan)) * 1e3
        for way in ("loop", "newton")
    )
    if np.isnan(newton):
        return f"{loop:,.1f} / -", "-"
    return f"{loop:,.1f} / {newton:,.1f}", f"{loop / newton:.2f}"


def _row(*cells: Any) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |"]


def _iterations(result: dict[str, Any] | None) -> str:
    """Such as `7-9`, or how many of the sequences the loop had to compute."""
    if result is None:
        return ""
    failed, count = sum(result["fell_back"]), len(result["fell_back"])
    if failed:
        return f"loop, {failed} of {count}"
    low, high = min(result["iterations"]), max(result["iterations"])
    return str(low) if low == high else f"{low}-{high}"
