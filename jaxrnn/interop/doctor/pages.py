"""Findings and rules as text."""

from collections.abc import Sequence
from typing import Any

from jaxrnn.interop.doctor.effects import DIFFERS, REFUSES, RUNTIMES, VERSIONS
from jaxrnn.interop.doctor.rules import RULES


def report(found: Sequence[Any]) -> str:
    """A table for each node: what is in it, which runtime does what, and the remedy."""
    rows = [f if isinstance(f, dict) else f._asdict() for f in found]
    if not rows:
        return "All of these runtimes compute it alike."
    lines = []
    for node in dict.fromkeys(row["node"] for row in rows):
        lines += ["", node] if lines else [node]
        mine = [row for row in rows if row["node"] == node]
        for feature in dict.fromkeys(row["feature"] for row in mine):
            same = [row for row in mine if row["feature"] == feature]
            lines.append(f"  {feature}")
            lines += [
                f"    {r['runtime']:<12} {r['kind']:<17} {r['what']}" for r in same
            ]
            lines.append(f"    remedy: {same[0]['remedy']}")
    return "\n".join(lines)


def compared(run: dict[str, Any]) -> str:
    """The largest differences, before and after."""

    def cell(value: float | str) -> str:
        return value if isinstance(value, str) else f"{value:.1e}"

    lines = [f"{'runtime':<12} {'this file':<22} rewritten"]
    for runtime, (before, after) in run["runtimes"].items():
        lines.append(f"{runtime:<12} {cell(before):<22} {cell(after)}")
    return "\n".join(lines)


def table() -> str:
    """All rules as a table in Markdown."""
    head = "| feature | " + " | ".join(f"{r} {VERSIONS[r]}" for r in RUNTIMES)
    lines = [head + " | remedy |", "|---" * (len(RUNTIMES) + 2) + "|"]
    for rule in RULES:
        cells = []
        for runtime in RUNTIMES:
            kinds = [e for e in rule.effects if e.runtime == runtime]
            words = [
                e.what
                if e.kind == DIFFERS
                else f"**{e.what}**"
                if e.kind != REFUSES
                else e.what
                for e in kinds
            ]
            cells.append("; ".join(dict.fromkeys(words)) or "right")
        lines.append(f"| {rule.feature} | " + " | ".join(cells) + f" | {rule.remedy} |")
    return "\n".join(lines)
