"""Two runs side by side, and what moved between them by more than the noise."""

from typing import Any

import numpy as np

from benchmarks.figures.records import UsageError
from benchmarks.figures.report import shown, text
from benchmarks.figures.summary import Spread, best_settings, geometric_mean, spread
from benchmarks.systems import SUBJECT, is_roof, system_of

FILE = "comparison.md"


def verdict(old: list[float], new: list[float]) -> str:
    """Whether the quartiles of the seconds of two runs are apart."""
    before, after = spread(old), spread(new)
    if after.high < before.low:
        return "faster"
    if after.low > before.high:
        return "slower"
    return "within noise"


def ratio(old: list[float], new: list[float]) -> Spread:
    """The old time over the new one, above 1 where the new run is faster.

    Rounds of different runs make no pairs, so the spread is that of every old round
    over every new one.
    """
    return spread(np.divide.outer(np.asarray(old, float), np.asarray(new, float)))


def require_common(old: dict[str, Any], names: list[str]) -> None:
    """Raises `UsageError` if no case of the names is among the old ones."""
    before = [record["name"] for record in old["cases"]]
    if not set(before) & set(names):
        examples = " and ".join(
            f"{len(cases)} such as {cases[0]!r}" if cases else "none"
            for cases in (before, names)
        )
        raise UsageError(f"--compare: the runs have no case in common: {examples}")


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Compares each case of each system, in its best setting.

    Args:
      old, new: the contents of two `results.json`.

    Returns:
      Rows with `case`, `system`, `old`, `new` and `ratio` (a `Spread` of seconds, or of
      old over new; or None) and `verdict`: "faster", "slower", "within noise", "new",
      or "gone".

    Raises:
      UsageError: if the runs have no case in common.
    """
    before, after = ({r["name"]: r["runs"] for r in run["cases"]} for run in (old, new))
    require_common(old, list(after))
    rows = []
    for case in dict.fromkeys([*before, *after]):
        runs = before.get(case, {}), after.get(case, {})
        best = [best_settings(r) for r in runs]
        for system in dict.fromkeys(system_of(name) for r in runs for name in r):
            a, b = (
                r[names[system]]["seconds"] if system in names else []
                for r, names in zip(runs, best, strict=True)
            )
            if not a and not b:
                continue
            row: dict[str, Any] = {"case": case, "system": system, "ratio": None}
            row["old"] = spread(a) if a else None
            row["new"] = spread(b) if b else None
            if a and b:
                row["ratio"] = ratio(a, b)
                row["verdict"] = verdict(a, b)
            else:
                row["verdict"] = "new" if b else "gone"
            rows.append(row)
    return rows


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What else differs: machine, versions, settings."""
    lines = []
    for part in ("machine", "versions", "settings"):
        a, b = old.get(part, {}), new.get(part, {})
        for key in dict.fromkeys([*a, *b]):
            if a.get(key) != b.get(key):
                lines.append(f"{part}: {key}: {a.get(key)} -> {b.get(key)}")
    return lines


def means(rows: list[dict[str, Any]]) -> list[str]:
    """For each system the geometric mean of old over new, over the cases of both."""
    lines = []
    for system in dict.fromkeys(row["system"] for row in rows):
        found = [r for r in rows if r["system"] == system and r["ratio"] is not None]
        if found:
            worst = min(found, key=lambda row: row["ratio"].median)
            mean = geometric_mean(row["ratio"].median for row in found)
            lines.append(
                f"{system}: {mean:.2f} over {len(found)} "
                f"(smallest {worst['ratio'].median:.2f} in {worst['case']})"
            )
    return lines


def to_peers(old: dict[str, Any], new: dict[str, Any]) -> list[list[str]]:
    """What each run says of jaxrnn beside the others, the means of both in one row."""
    groups = dict.fromkeys([*old.get("means", {}), *new.get("means", {})])

    def told(run: dict[str, Any], group: str) -> list[str]:
        mean = run.get("means", {}).get(group)
        if mean is None:
            return ["-", "-"]
        return [f"{mean['mean']:.2f}", f"{mean['smallest']:.2f}"]

    return [[group, *told(old, group), *told(new, group)] for group in groups]


def markdown(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The comparison, to be printed or kept."""
    rows = compare(old, new)
    parts = ["# The run before and this one"]
    parts.append("\n".join(f"- differs in {x}" for x in differences(old, new)) or "")
    sides = to_peers(old, new)
    if sides:
        head = ["peer / jaxrnn, training", "before", "smallest", "now", "smallest"]
        parts.append(text(head, sides))
    parts.append("Time before over time now, geometric means over the cases of both:")
    parts.append("\n".join(f"- {line}" for line in means(rows)))
    slower = [row for row in rows if row["verdict"] == "slower"]
    slower = [row for row in slower if row["system"] == SUBJECT]
    names = ", ".join(f"{r['case']} ({r['ratio'].median:.2f})" for r in slower)
    parts.append(
        f"jaxrnn became slower, by more than the spread, in: {names or 'none'}."
    )
    table = [
        [
            row["case"],
            row["system"],
            *("-" if s is None else _ms(s) for s in (row["old"], row["new"])),
            "-" if row["ratio"] is None else shown(row["ratio"]._asdict()),
            row["verdict"],
        ]
        for row in sorted(rows, key=lambda row: is_roof(row["system"]))
    ]
    head = ["case", "system", "ms before", "ms now", "before / now", "now"]
    parts.append(text(head, table))
    moved = sum(row["verdict"] != "within noise" for row in rows)
    parts.append(f"{moved} of {len(rows)} moved beyond the noise")
    return "\n\n".join(part for part in parts if part) + "\n"


def _ms(seconds: Spread) -> str:
    return shown(seconds._asdict(), 1e3)
