"""From the seconds of every round to medians, ratios and shares."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import work
from benchmarks.systems import (
    BASELINE,
    COPY,
    FMA,
    JAX_PEERS,
    LOOPS,
    PLAIN_SCAN,
    PRODUCT,
    SUBJECT,
    is_peer,
    is_roof,
    system_of,
)

TRAINING = ("train", "epoch")  # the modes of training cases
COSTS = ("compile_seconds", "memory_bytes", "temp_bytes", "peak_bytes")


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values: Any) -> Spread:
    """Median and quartiles of some numbers."""
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return Spread(float(median), float(low), float(high))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """The spread of the ratios round by round, not the ratio of the medians.

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
        if _timed(run):
            system = system_of(name)
            if system not in best or _median(run) < _median(runs[best[system]]):
                best[system] = name
    return best


def _timed(run: dict[str, Any]) -> bool:
    return run.get("status") == "ok" and bool(run["seconds"])


def _median(run: dict[str, Any]) -> float:
    return spread(run["seconds"]).median


def summarize(record: dict[str, Any]) -> dict[str, Any]:
    """What a case shows.

    Returns:
      For each system its best setting, times, rates, share of the roof, and
      `ratio`: its time over jaxrnn's, so that more than 1 means jaxrnn is faster.
    """
    runs, systems = record["runs"], {}
    best = best_settings(runs)
    for system, name in best.items():
        if is_roof(system):
            continue
        run = runs[name]
        seconds = spread(run["seconds"])
        row: dict[str, Any] = {
            "setting": name,
            "seconds": seconds._asdict(),
            "steps_per_second": 1 / seconds.median,
            "sequences_per_second": record["sequences"] / seconds.median,
            "tokens_per_second": record["tokens"] / seconds.median,
            "compile_seconds": run["compile_seconds"],
            "memory_bytes": run["memory_bytes"],
            "roof": _shares(record, run["seconds"], best),
        }
        if record["flops"]:
            row["flops_per_second"] = record["flops"] / seconds.median
        if SUBJECT in best:
            ratio = paired_ratio(run["seconds"], runs[best[SUBJECT]]["seconds"])
            row["ratio"] = ratio._asdict()
        systems[system] = row
    return {
        "systems": systems,
        "fastest_peer": fastest(systems, [name for name in systems if is_peer(name)]),
        "to_loops": _costs_over(runs, best.get(SUBJECT), LOOPS),
        "to_plain_scan": _costs_over(runs, best.get(SUBJECT), PLAIN_SCAN),
        "baseline": against_baseline(runs),
    }


def against_baseline(runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """jaxrnn beside the baseline, in each setting.

    Returns:
      For each setting `ratio`, the baseline's time over jaxrnn's in the same rounds,
      and `compile_seconds` and `memory_bytes`, jaxrnn's over the baseline's.
    """
    settings = {}
    for name, run in runs.items():
        baseline = runs.get(name.replace(SUBJECT, BASELINE), {})
        if system_of(name) == SUBJECT and _timed(run) and _timed(baseline):
            ratio = paired_ratio(baseline["seconds"], run["seconds"])
            costs = _costs_over(runs, name, BASELINE)
            settings[name] = {"ratio": ratio._asdict()} | costs
    return settings


def _costs_over(runs, name: str | None, other: str) -> dict[str, float]:
    """Compile time and memory of a setting of jaxrnn over those of another system."""
    if name is None:
        return {}
    ours, theirs = runs[name], runs.get(name.replace(SUBJECT, other), {})
    return {
        cost: ours[cost] / theirs[cost]
        for cost in COSTS
        if ours.get(cost) and theirs.get(cost)
    }


def _shares(record, seconds, best) -> dict[str, Any]:
    """The shares of the rates measured in the same run.

    Of a large product, of a large copy, and of multiply-adds alone; `share` is the
    larger of the first two.
    """
    shares = {}
    for system, name, what in (
        (PRODUCT, "flops", "flops"),
        (COPY, "bytes", "bytes"),
        (FMA, "fma", "flops"),
    ):
        if system in best and record[what]:
            roof = record["runs"][best[system]]
            ideal = np.asarray(roof["seconds"]) * record[what] / roof[what]
            shares[name] = paired_ratio(ideal, seconds).median
    roofs = [share for name, share in shares.items() if name != "fma"]
    return shares | {"share": max(roofs, default=None)}


def fastest(systems: dict[str, Any], among: Sequence[str]) -> str | None:
    """The name of the system with the smallest median."""
    timed = [name for name in among if name in systems]
    return min(timed, key=lambda n: systems[n]["seconds"]["median"], default=None)


def geometric_means(
    records: list[dict[str, Any]], modes: Sequence[str] = TRAINING
) -> dict[str, dict[str, Any]]:
    """Means over the cases of some modes of jaxrnn's ratio to each system.

    Returns:
      For each system and for the fastest of some, `mean`, the smallest ratio and its
      case under `worst`, and the number of cases.
    """
    ratios: dict[str, dict[str, float]] = {}
    for record in records:
        systems = record["summary"]["systems"]
        if record["mode"] not in modes or SUBJECT not in systems:
            continue
        names = [name for name in systems if name != SUBJECT]
        groups = {
            "fastest peer": record["summary"]["fastest_peer"],
            f"best of {', '.join(JAX_PEERS)}": fastest(systems, JAX_PEERS),
        } | {name: name for name in names}
        for group, name in groups.items():
            if name is not None:
                ratio = systems[name]["ratio"]["median"]
                ratios.setdefault(group, {})[record["name"]] = ratio
    return {
        group: {
            "mean": geometric_mean(values.values()),
            "smallest": min(values.values()),
            "worst": min(values, key=values.__getitem__),
            "cases": len(values),
        }
        for group, values in ratios.items()
    }


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios."""
    return float(np.exp(np.mean(np.log(list(values)))))


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
    growth: dict[str, Any] = {}
    for axis in axes:
        along = [
            record
            for record in records
            if _fields(record) | {axis: 0} == base | {axis: 0}
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
            growth[axis] = curves
    return growth


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a case, also of one that was stored before a field was added."""
    return work.to_json(work.from_json(record["case"]))
