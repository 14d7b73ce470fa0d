"""Pictures of the results: ratios, shares of the roof, how time grows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.figures.records import replacing
from benchmarks.figures.report import systems_in
from benchmarks.systems import SUBJECT, is_peer

AXES = {"time": "T", "batch": "B", "hidden_size": "H"}


def draw(folder: Path, results: dict[str, Any]) -> list[Path]:
    """Draws what the results have.

    Returns:
      The files, all `.png`.
    """
    pictures: dict[str, Callable] = {}
    summaries = [record["summary"] for record in results["cases"]]
    if any(summary["fastest_peer"] for summary in summaries):
        pictures["ratios"] = ratios
    rows = [row for summary in summaries for row in summary["systems"].values()]
    if any(row["roof"]["share"] for row in rows):
        pictures["roof"] = roof
    if results.get("scaling"):
        pictures["scaling"] = scaling
    written = []
    for name, picture in pictures.items():
        figure = picture(results)
        path = folder / f"{name}.png"
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120)
        plt.close(figure)
        written.append(path)
    return written


def _rows_figure(results):
    names = [record["name"] for record in results["cases"]]
    height = 1.6 + 0.34 * len(names)
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    axis.set_yticks(np.arange(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)
    return figure, axis


def ratios(results: dict[str, Any]) -> Any:
    """One row for each case, one mark for each peer, quartiles as bars."""
    figure, axis = _rows_figure(results)
    names = [name for name in systems_in(results) if is_peer(name)]
    for i, name in enumerate(names):
        marks = [
            (row, record["summary"]["systems"][name]["ratio"])
            for row, record in enumerate(results["cases"])
            if "ratio" in record["summary"]["systems"].get(name, {})
        ]
        if not marks:
            continue
        offset = 0.5 * ((i + 0.5) / len(names) - 0.5)
        rows = np.array([row + offset for row, _ in marks])
        median, low, high = (
            np.array([r[k] for _, r in marks]) for k in ("median", "low", "high")
        )
        error = [median - low, high - median]
        axis.errorbar(median, rows, xerr=error, fmt="o", ms=4, lw=1, label=name)
    axis.axvline(1, color="black", lw=1)
    axis.set_xscale("log")
    ticks = [0.5, 1, 1.5, 2, 3, 5, 10]
    low, high = axis.get_xlim()
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.set_xlim(min(low, 0.8), max(high, 1.5))
    axis.minorticks_off()
    axis.set_xlabel("time of the peer / time of jaxrnn (right of 1: jaxrnn is faster)")
    if names:
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def roof(results: dict[str, Any]) -> Any:
    """How much of the machine each case uses, by jaxrnn and the fastest peer."""
    figure, axis = _rows_figure(results)
    bars = {"jaxrnn": [], "fastest peer": []}
    for record in results["cases"]:
        summary = record["summary"]
        for label, name in (
            ("jaxrnn", SUBJECT),
            ("fastest peer", summary["fastest_peer"]),
        ):
            row = summary["systems"].get(name, {})
            bars[label].append(100 * (row.get("roof", {}).get("share") or 0))
    rows = np.arange(len(results["cases"]))
    for i, (label, widths) in enumerate(bars.items()):
        axis.barh(rows + 0.4 * i - 0.2, widths, height=0.38, label=label)
    axis.set_xlabel("share of the roof measured in the same run, %")
    axis.legend()
    return figure


def scaling(results: dict[str, Any]) -> Any:
    """Time against each size, both logarithmic, the exponent in the legend."""
    axes = list(results["scaling"])
    figure, plots = plt.subplots(
        1, len(axes), figsize=(5 * len(axes), 5), layout="constrained", squeeze=False
    )
    for axis, field in zip(plots[0], axes, strict=True):
        for name, curve in results["scaling"][field].items():
            exponent = curve["exponent"]
            label = name if exponent is None else f"{name} ({exponent:.2f})"
            axis.plot(
                curve["sizes"],
                1e3 * np.array(curve["seconds"]),
                "o-",
                ms=3,
                lw=2 if name == SUBJECT else 1,
                label=label,
            )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel(AXES[field])
        axis.set_ylabel("ms for a training step")
        axis.grid(alpha=0.3)
        axis.legend(title="system (exponent)", fontsize="small")
    return figure
