"""From the seconds of every round to medians, ratios and shares."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import system_of
from benchmarks.systems import (
    COPY,
    JAX_PEERS,
    NOT_PEERS,
    PLAIN_SCAN,
    PRODUCT,
    SUBJECT,
)


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values: Any) -> Spread:
    """Of some numbers."""
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Of the ratios round by round, not the ratio of the medians.

    The two of a round ran one soon after the other, so what slowed the machine down
    slowed both.
    """
    if len(numerators) != len(denominators):
        raise ValueError(
            f"expected as many rounds, got {len(numerators)} and {len(denominators)}"
        )
    return spread(np.asarray(numerators, float) / np.asarray(denominators, float))


def best_settings(runs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """For each system that was timed, the worker with the smallest median."""
    best: dict[str, str] = {}
    for name, run in runs.items():
        if run["status"] == "ok" and run["seconds"]:
            system = system_of(name)
            if system not in best or _median(run) < _median(runs[best[system]]):
                best[system] = name
    return best


def _median(run: dict[str, Any]) -> float:
    return spread(run["seconds"]).median


def summarize(record: dict[str, Any]) -> dict[str, Any]:
    """What a case shows.

    Returns:
      For each system its best setting, times, rates, share of the roof, and
      `ratio`: its time over jaxrnn's, so that more than 1 means jaxrnn is faster.
    """
    runs, case = record["runs"], record["case"]
    best = best_settings(runs)
    steps = 1 if case["kind"] == "tick" else case["time"]
    found = {}
    for system, name in best.items():
        run = runs[name]
        if system in (PRODUCT, COPY):
            continue
        seconds = spread(run["seconds"])
        row: dict[str, Any] = {
            "setting": name,
            "seconds": seconds._asdict(),
            "steps_per_second": 1 / seconds.median,
            "sequences_per_second": case["batch"] / seconds.median,
            "tokens_per_second": case["batch"] * steps / seconds.median,
            "flops_per_second": record["flops"] / seconds.median,
            "compile_seconds": run["compile_seconds"],
            "memory_bytes": run["memory_bytes"],
            "roof": _shares(record, run["seconds"], best),
        }
        if SUBJECT in best:
            ratio = paired_ratio(run["seconds"], runs[best[SUBJECT]]["seconds"])
            row["ratio"] = ratio._asdict()
        found[system] = row
    return {
        "systems": found,
        "fastest_peer": fastest(found, _peers(found)),
        "to_plain_scan": _to_plain_scan(runs, found),
    }


def _to_plain_scan(runs, found) -> dict[str, float]:
    """What jaxrnn takes to compile, and its memory, over those of its plain scan."""
    if SUBJECT not in found:
        return {}
    setting = found[SUBJECT]["setting"]
    ours = runs[setting]
    scan = runs.get(setting.replace(SUBJECT, PLAIN_SCAN), {})
    return {
        what: ours[what] / scan[what]
        for what in ("compile_seconds", "memory_bytes")
        if ours.get(what) and scan.get(what)
    }


def _shares(record, seconds, best) -> dict[str, Any]:
    """How much of the measured rates is used: of products, of memory, of the nearer."""
    shares = {}
    for system, what in ((PRODUCT, "flops"), (COPY, "bytes")):
        if system in best:
            roof = record["runs"][best[system]]
            ideal = np.asarray(roof["seconds"]) * record[what] / roof[what]
            shares[what] = paired_ratio(ideal, seconds).median
    return shares | {"share": max(shares.values(), default=None)}


def _peers(systems: dict[str, Any]) -> list[str]:
    return [name for name in systems if name not in NOT_PEERS]


def fastest(systems: dict[str, Any], among: Sequence[str]) -> str | None:
    """The name of the one with the smallest median."""
    timed = [name for name in among if name in systems]
    return min(timed, key=lambda n: systems[n]["seconds"]["median"], default=None)


def geometric_means(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Over the training cases: of jaxrnn's ratio to each peer and to the best of some.

    Returns:
      For each, `mean`, the smallest ratio, and how many cases it is of.
    """
    ratios: dict[str, list[float]] = {}
    for record in records:
        if record["case"]["kind"] != "train":
            continue
        systems = record["summary"]["systems"]
        if SUBJECT not in systems:
            continue
        names = [name for name in systems if name != SUBJECT]
        groups = {
            "fastest peer": fastest(systems, _peers(systems)),
            f"best of {', '.join(JAX_PEERS)}": fastest(systems, JAX_PEERS),
        } | {name: name for name in names}
        for group, name in groups.items():
            if name is not None:
                ratio = systems[name]["ratio"]["median"]
                ratios.setdefault(group, []).append(ratio)
    return {
        group: {
            "mean": float(np.exp(np.mean(np.log(values)))),
            "smallest": min(values),
            "cases": len(values),
        }
        for group, values in ratios.items()
    }


def exponents(records: list[dict[str, Any]], base: Any, axes: Any) -> dict[str, Any]:
    """How time grows: the slope of log time over log size, on the three largest.

    Args:
      records: of the suite `scaling`.
      base: its base case, as a dict.
      axes: the fields that were doubled.

    Returns:
      For each field and system: the sizes, the medians, and the exponent (None below
      three sizes).
    """
    found: dict[str, Any] = {}
    for axis in axes:
        along = [
            record
            for record in records
            if record["case"] | {axis: 0} == base | {axis: 0}
        ]
        along.sort(key=lambda record: record["case"][axis])
        curves: dict[str, Any] = {}
        for record in along:
            for system, row in record["summary"]["systems"].items():
                curve = curves.setdefault(system, {"sizes": [], "seconds": []})
                curve["sizes"].append(record["case"][axis])
                curve["seconds"].append(row["seconds"]["median"])
        for curve in curves.values():
            sizes, seconds = (np.log(curve[k][-3:]) for k in ("sizes", "seconds"))
            enough = len(sizes) == 3
            slope = np.polyfit(sizes, seconds, 1)[0] if enough else None
            curve["exponent"] = None if slope is None else float(slope)
        if curves:
            found[axis] = curves
    return found
