"""A run in a few figures: ratios, ticks, shares of the machine, what kernels gain."""

from typing import Any

from benchmarks.figures.summary import COSTS, TRAINING, geometric_means
from benchmarks.systems import JAX_PEERS, LOOPS, SUBJECT

LARGE = 2e9  # FLOPs of a call above which a share of the roof is asked for
MEMORY = ("lstm train 64x50x128x512", "lstm train 32x100x64x256")
HEADS = ("compile", "planned memory", "temporaries", "growth of the process")


def lines(results: dict[str, Any]) -> list[str]:
    """What the run shows, a line for each figure that it has."""
    records = results["cases"]
    found = []
    for what, modes in (("training", TRAINING), ("forward passes", ("forward",))):
        means = geometric_means(records, modes)
        for group in ("fastest peer", f"best of {', '.join(JAX_PEERS)}"):
            if group in means:
                found.append(f"{what}, {group} / jaxrnn: {_mean(means[group])}")
    found += _ticks(records)
    found += _shares(records)
    gained = geometric_means(records, TRAINING).get(LOOPS)
    if gained:
        found.append(f"training, jaxrnn without kernels / with: {_mean(gained)}")
    for record in records:
        costs = record["summary"].get("to_loops", {})
        if record["name"] in MEMORY and costs:
            told = ", ".join(
                f"{head} {costs[cost]:.2f}"
                for cost, head in zip(COSTS, HEADS, strict=True)
                if cost in costs
            )
            found.append(f"{record['name']}, with kernels / without: {told}")
    return found


def _mean(mean: dict[str, Any]) -> str:
    worst = f"{mean['smallest']:.2f} in {mean['worst']}"
    return f"{mean['mean']:.2f} over {mean['cases']} cases (smallest {worst})"


def _ticks(records: list[dict[str, Any]]) -> list[str]:
    told = []
    for record in records:
        peer = record["summary"]["fastest_peer"]
        row = record["summary"]["systems"].get(peer, {})
        if record["mode"] == "tick" and "ratio" in row:
            share = 1 / row["ratio"]["median"]
            told.append(f"{record['name']} {share:.2f} of {peer}")
    return [f"time of a tick: {', '.join(told)}"] if told else []


def _shares(records: list[dict[str, Any]]) -> list[str]:
    """Of the large cases, the smallest share of each rate."""
    told = []
    for what, name in (("product", "flops"), ("multiply-adds", "fma")):
        shares = {}
        for record in records:
            row = record["summary"]["systems"].get(SUBJECT, {})
            if (record["flops"] or 0) > LARGE and row.get("roof", {}).get(name):
                shares[record["name"]] = row["roof"][name]
        if shares:
            worst = min(shares, key=shares.__getitem__)
            told.append(
                f"above {LARGE / 1e9:g} GFLOP, share of the rate of {what}: "
                f"{min(shares.values()):.0%} to {max(shares.values()):.0%}, "
                f"smallest in {worst}"
            )
    return told


def kernels(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """jaxrnn with its kernels and without, in the same run."""
    rows = []
    for record in results["cases"]:
        systems = record["summary"]["systems"]
        costs = record["summary"].get("to_loops", {})
        if LOOPS not in systems or "ratio" not in systems[LOOPS]:
            continue
        ours, ratio = systems[SUBJECT], systems[LOOPS]["ratio"]
        run = record["runs"][ours["setting"]]
        loops = record["runs"].get(ours["setting"].replace(SUBJECT, LOOPS), {})
        cells = [record["name"]]
        cells.append(f"{ratio['median']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]")
        for cost, scale in (
            ("temp_bytes", 1e-6),
            ("peak_bytes", 1e-6),
            ("compile_seconds", 1.0),
        ):
            with_kernels, without = run.get(cost), loops.get(cost)
            cells += [
                format(scale * value, ".3g") if value else "-"
                for value in (with_kernels, without)
            ]
            cells.append(f"{costs[cost]:.2f}" if cost in costs else "-")
        rows.append(cells)
    head = ["case", "loops / kernels"]
    for what in ("temporaries MB", "growth MB", "compile s"):
        head += [what, "without", "with / without"]
    return head, rows
