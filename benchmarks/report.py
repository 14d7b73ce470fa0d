"""The tables that are printed and written, made from the results alone."""

from typing import Any

from benchmarks.measure import is_roof
from benchmarks.systems import NOT_PEERS, PRODUCT, SUBJECT

LEGEND = """\
ms: median of the rounds [quartiles], best setting (@ devices or threads). Ratios: time
of the peer over that of jaxrnn in the same round, so above 1 jaxrnn is faster; median
[quartiles]. roof: FLOPs of the products (counted from the sizes, pointwise work left
out) over the measured product rate, or the least bytes over the measured copy rate,
whichever is larger. memory: as planned by the compiler (JAX), or growth of the resident
set (torch); "/ scan" is over that of jaxrnn's plain scan. jaxrnn_batched is the same
recurrence written for a batch by hand: what vmap costs."""


def markdown(results: dict[str, Any]) -> str:
    """`table.md`."""
    parts = [
        f"# {results['suite']}",
        "`" + results["command"] + "`",
        _facts(results),
        *([] if results.get("finished", True) else ["Stopped before all cases ran."]),
        "## jaxrnn",
        _table(*_own(results)),
        "## Ratio to the others",
        _table(*_ratios(results)),
        _means(results),
    ]
    if results.get("scaling"):
        parts += ["## How time grows", _table(*_exponents(results))]
    problems = _problems(results)
    if problems:
        parts += ["## Not measured", "\n".join(f"- {line}" for line in problems)]
    return "\n\n".join([*parts, LEGEND]) + "\n"


def _facts(results) -> str:
    facts = results["machine"] | results["versions"] | results["settings"]
    return ", ".join(f"{k} {v}" for k, v in facts.items() if v != "")


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up, so that it can be read as text too."""
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]

    def line(cells):
        first, *rest = (c.ljust(w) for c, w in zip(cells, widths, strict=True))
        return (
            "| "
            + " | ".join(
                [
                    first,
                    *(
                        c.strip().rjust(w)
                        for c, w in zip(rest, widths[1:], strict=True)
                    ),
                ]
            )
            + " |"
        )

    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _own(results):
    head = ["case", "ms", "@", "steps/s", "sequences/s", "tokens/s", "GFLOP"]
    head += ["GFLOP/s", "roof", "compile s", "/ scan", "memory MB", "/ scan"]
    rows = []
    for record in results["cases"]:
        row = record["summary"]["systems"].get(SUBJECT)
        gflop = f"{record['flops'] / 1e9:.3g}"
        if row is None:
            rows.append([record["name"], "-", "-", "-", "-", "-", gflop, *["-"] * 6])
            continue
        share, memory = row["roof"]["share"], row["memory_bytes"]
        over_scan = [
            f"{found:.2f}" if found else "-"
            for what in ("compile_seconds", "memory_bytes")
            for found in [record["summary"]["to_plain_scan"].get(what)]
        ]
        rows.append(
            [
                record["name"],
                _spread(row["seconds"], 1e3),
                row["setting"].split("@")[-1],
                *(
                    f"{row[f'{what}_per_second']:.4g}"
                    for what in ("steps", "sequences", "tokens")
                ),
                gflop,
                f"{row['flops_per_second'] / 1e9:.3g}",
                "-" if share is None else f"{share:.0%}",
                f"{row['compile_seconds']:.2f}",
                over_scan[0],
                "-" if memory is None else f"{memory / 1e6:.1f}",
                over_scan[1],
            ]
        )
    return head, rows


def _spread(values, scale=1.0) -> str:
    low, median, high = (scale * values[k] for k in ("low", "median", "high"))
    return f"{median:.3g} [{low:.3g}, {high:.3g}]"


def _names(results) -> list[str]:
    found = [n for r in results["cases"] for n in r["summary"]["systems"]]
    return [name for name in dict.fromkeys(found) if name != SUBJECT]


def _ratios(results):
    names = _names(results)
    rows = []
    for record in results["cases"]:
        systems = record["summary"]["systems"]
        cells = []
        for name in names:
            row = systems.get(name, {})
            cells.append(_spread(row["ratio"]) if "ratio" in row else "-")
        rows.append([record["name"], record["summary"]["fastest_peer"] or "-", *cells])
    return ["case", "fastest peer", *names], rows


def _means(results) -> str:
    lines = [
        f"- {group}: {m['mean']:.2f} over {m['cases']} (smallest {m['smallest']:.2f})"
        for group, m in results["means"].items()
    ]
    return "Geometric means over the training cases:\n\n" + "\n".join(
        lines or ["- none"]
    )


def _exponents(results):
    axes = list(results["scaling"])
    systems = dict.fromkeys(name for a in axes for name in results["scaling"][a])
    rows = []
    for system in systems:
        found = [results["scaling"][a].get(system, {}).get("exponent") for a in axes]
        rows.append([system, *("-" if e is None else f"{e:.2f}" for e in found)])
    return ["time ~ size^", *axes], rows


def _problems(results) -> list[str]:
    """Everything that was asked for and has no time, once."""
    lines = [
        f"{name}: {found['status']}: {found['reason']}"
        for name, found in results["systems"].items()
        if found["status"] != "ok"
    ]
    for record in results["cases"]:
        for name, run in record["runs"].items():
            if run["status"] != "ok":
                lines.append(
                    f"{record['name']}: {name}: {run['status']}: {run['reason']}"
                )
    return lines


def roof_line(results: dict[str, Any]) -> str:
    """The measured rates, over all cases."""
    import numpy as np

    best: dict[str, float] = {}
    for record in results["cases"]:
        for name, run in record["runs"].items():
            if is_roof(name) and run["status"] == "ok" and run["seconds"]:
                what = "flops" if name.startswith(PRODUCT) else "bytes"
                rate = run[what] / float(np.median(run["seconds"]))
                best[what] = max(best.get(what, 0.0), rate)
    return ", ".join(f"{rate / 1e9:.0f} G{what}/s" for what, rate in best.items())


def peers(results: dict[str, Any]) -> list[str]:
    """The systems that jaxrnn is measured against."""
    return [name for name in _names(results) if name not in NOT_PEERS]
