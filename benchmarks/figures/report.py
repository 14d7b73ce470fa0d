"""The tables of a run, made from its results alone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import work
from benchmarks.figures import marks
from benchmarks.figures.summary import spread
from benchmarks.systems import BASELINE, PRODUCT, SUBJECT, WEAK, is_roof, system_of

TABLE = "table.md"
LEGEND = """\
ms, s: median of the rounds [quartiles], best setting (@ devices or threads). Ratios:
time of the system over that of jaxrnn in the same round, so above 1 jaxrnn is faster;
median [quartiles]. roof: FLOPs of the products (counted from the sizes, pointwise work
left out) over the measured product rate, or the least bytes over the measured copy
rate, whichever is larger. memory: as planned by the compiler (JAX), or growth of the
resident set (torch); "/ scan" is over that of jaxrnn's plain scan. FMA: FLOPs of the
products over the rate of multiply-adds that need no memory. temporaries: as planned by
the compiler; growth: of the process in a call. loops: jaxrnn without its kernels."""

Table = tuple[list[str], list[list[str]]]


def markdown(results: dict[str, Any]) -> str:
    """`table.md`."""
    parts = [
        f"# {results['suite']}",
        "`" + results["command"] + "`",
        _facts(results),
        *([] if results.get("finished", True) else ["Stopped before all cases ran."]),
    ]
    short = marks.lines(results)
    if short:
        parts += ["## In short", "\n".join(f"- {line}" for line in short)]
    parts += ["## jaxrnn", text(*own(results))]
    sections: dict[str, Callable[[dict[str, Any]], Table]] = {
        "Against the baseline": baseline,
        "Ratio to the others": ratios,
        "With kernels and without": marks.kernels,
        "How time grows": exponents,
        "How training grows with devices": devices,
        "Whole runs": whole_runs,
    }
    for title, table in sections.items():
        head, rows = table(results)
        if rows:
            parts += [f"## {title}", text(head, rows)]
    if results["means"]:
        parts += ["Geometric means over the training cases:", _means(results)]
    problems = _problems(results)
    if problems:
        parts += ["## Not measured", "\n".join(f"- {line}" for line in problems)]
    return "\n\n".join([*parts, LEGEND]) + "\n"


def _facts(results) -> str:
    facts = results["machine"] | results["versions"] | results["settings"]
    return ", ".join(f"{k} {v}" for k, v in facts.items() if v not in ("", None))


def text(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up, so that it can be read as text too.

    Columns with nothing but "-" are left out.
    """
    columns = [[h, *c] for h, *c in zip(head, *rows, strict=True) if {*c} != {"-"}]
    widths = [max(2, *map(len, column)) for column in columns]  # for :- and -:
    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]

    def line(cells):
        first, *rest = cells
        right = [c.rjust(w) for c, w in zip(rest, widths[1:], strict=True)]
        return "| " + " | ".join([first.ljust(widths[0]), *right]) + " |"

    lines = [line(cells) for cells in zip(*columns, strict=True)]
    return "\n".join([lines[0], line(rule), *lines[1:]])


def shown(values: dict[str, float], scale: float = 1.0) -> str:
    """Median [quartiles]."""
    low, median, high = (scale * values[k] for k in ("low", "median", "high"))
    return f"{median:.3g} [{low:.3g}, {high:.3g}]"


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return format(scale * value, form) if value else "-"


def own(results: dict[str, Any]) -> Table:
    """What jaxrnn does in each case."""
    summaries = [record["summary"] for record in results["cases"]]
    rows = [s["systems"][SUBJECT] for s in summaries if SUBJECT in s["systems"]]
    slow = any(row["seconds"]["median"] > 10 for row in rows)
    unit, scale = ("s", 1.0) if slow else ("ms", 1e3)
    head = ["case", unit, "@", "steps/s", "sequences/s", "tokens/s", "GFLOP"]
    head += ["GFLOP/s", "roof", "FMA", "compile s", "/ scan", "memory MB", "/ scan"]
    lines = []
    for record, summary in zip(results["cases"], summaries, strict=True):
        row, scan = summary["systems"].get(SUBJECT), summary["to_plain_scan"]
        gflop = _number(record["flops"], ".3g", 1e-9)
        if row is None:
            lines.append([record["name"], *["-"] * 5, gflop, *["-"] * 7])
            continue
        lines.append(
            [
                record["name"],
                shown(row["seconds"], scale),
                row["setting"].split("@")[-1],
                *(
                    f"{row[f'{what}_per_second']:.4g}"
                    for what in ("steps", "sequences", "tokens")
                ),
                gflop,
                _number(row.get("flops_per_second"), ".3g", 1e-9),
                _number(row["roof"]["share"], ".0%"),
                _number(row["roof"].get("fma"), ".0%"),
                _number(row["compile_seconds"], ".2f"),
                _number(scan.get("compile_seconds"), ".2f"),
                _number(row["memory_bytes"], ".1f", 1e-6),
                _number(scan.get("memory_bytes"), ".2f"),
            ]
        )
    return head, lines


def systems_in(results: dict[str, Any]) -> list[str]:
    """The systems that were timed beside jaxrnn."""
    names = [n for r in results["cases"] for n in r["summary"]["systems"]]
    return [name for name in dict.fromkeys(names) if name not in (SUBJECT, WEAK)]


def ratios(results: dict[str, Any]) -> Table:
    """The time of each system over that of jaxrnn."""
    names, rows = systems_in(results), []
    for record in results["cases"]:
        systems = record["summary"]["systems"]
        timed = [systems.get(name, {}).get("ratio") for name in names]
        cells = ["-" if ratio is None else shown(ratio) for ratio in timed]
        rows.append([record["name"], record["summary"]["fastest_peer"] or "-", *cells])
    return ["case", "fastest peer", *names], rows if names else []


def baseline(results: dict[str, Any]) -> Table:
    """jaxrnn of this checkout and of another, in each case and setting."""
    rows = []
    for record in results["cases"]:
        for name, row in record["summary"]["baseline"].items():
            ours, theirs = (
                spread(record["runs"][worker]["seconds"])._asdict()
                for worker in (name, name.replace(SUBJECT, BASELINE))
            )
            low, high = row["ratio"]["low"], row["ratio"]["high"]
            verdict = "faster" if low > 1 else "slower" if high < 1 else "within noise"
            cells = [record["name"], name.split("@")[-1], shown(theirs, 1e3)]
            cells += [shown(ours, 1e3), shown(row["ratio"]), verdict]
            cells += [
                _number(row.get(cost), ".2f")
                for cost in ("compile_seconds", "memory_bytes")
            ]
            rows.append(cells)
    head = ["case", "@", "baseline ms", "this ms", "baseline / this", "this is"]
    return [*head, "compile this / baseline", "memory this / baseline"], rows


def _means(results) -> str:
    return "\n".join(
        f"- {group}: {m['mean']:.2f} over {m['cases']} (smallest {m['smallest']:.2f})"
        for group, m in results["means"].items()
    )


def exponents(results: dict[str, Any]) -> Table:
    """How the time of each system grows with each size."""
    growth = results.get("scaling") or {}
    systems = dict.fromkeys(name for curves in growth.values() for name in curves)
    rows = []
    for system in systems:
        powers = [curves.get(system, {}).get("exponent") for curves in growth.values()]
        rows.append([system, *("-" if e is None else f"{e:.2f}" for e in powers)])
    return ["time ~ size^", *growth], rows


def devices(results: dict[str, Any]) -> Table:
    """Updates on one device and on several: the batch kept, and that of each device."""
    rows, n = [], results["settings"].get("devices", 2)
    for record in results["cases"]:
        names = f"{SUBJECT}@1", f"{SUBJECT}@{n}", f"{WEAK}@{n}"
        runs = [record["runs"].get(name, {}) for name in names]
        if record["mode"] != "update" or not all(run.get("seconds") for run in runs):
            continue
        one, strong, weak = (np.array(run["seconds"]) for run in runs)
        cells = [record["name"], f"{1 / np.median(one):.1f}"]
        for seconds, updates in ((strong, 1), (weak, n)):
            speedup = spread(updates * one / seconds)._asdict()
            cells += [f"{1 / np.median(seconds):.1f}", shown(speedup)]
        gradient = 4 * work.from_json(record["case"]).num_params
        rows.append([*cells, f"{runs[1]['sent_bytes']:,}", f"{gradient:,}"])
    head = ["case", "updates/s on 1", f"on {n}, same batch", "speedup"]
    head += [f"on {n}, {n} times the batch", "speedup in sequences"]
    return [*head, "bytes sent", "gradient"], rows


def whole_runs(results: dict[str, Any]) -> Table:
    """All rounds of whole runs, with the accuracy at their end."""
    rows = []
    for record in results["cases"]:
        for name, run in record["runs"].items():
            if run.get("test_accuracy"):
                seconds = ", ".join(f"{s:.0f}" for s in run["seconds"])
                accuracy = ", ".join(f"{a:.2%}" for a in run["test_accuracy"])
                rows.append([system_of(name), name.split("@")[-1], seconds, accuracy])
    return ["system", "@", "seconds", "test accuracy"], rows


def _problems(results) -> list[str]:
    """Everything that was asked for and has no time, once."""
    reasons: dict[str, list[str]] = {}
    for name, system in results["systems"].items():
        if system["status"] != "ok":
            reason = f"{system['status']}: {system['reason']}"
            reasons.setdefault(reason, []).append(name)
    lines = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    for record in results["cases"]:
        for name, run in record["runs"].items():
            if run["status"] != "ok":
                lines.append(
                    f"{record['name']}: {name}: {run['status']}: {run['reason']}"
                )
    return lines


def roof_line(results: dict[str, Any]) -> str:
    """The measured rates, over all cases."""
    best: dict[str, float] = {}
    for record in results["cases"]:
        for name, run in record["runs"].items():
            if is_roof(name) and run["status"] == "ok" and run["seconds"]:
                what = "flops" if name.startswith(PRODUCT) else "bytes"
                rate = run[what] / float(np.median(run["seconds"]))
                best[what] = max(best.get(what, 0.0), rate)
    return ", ".join(f"{rate / 1e9:.0f} G{what}/s" for what, rate in best.items())
