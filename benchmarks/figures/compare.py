"""What moved between two runs, and whether by more than the noise."""

from typing import Any

from benchmarks.figures.summary import best_settings, spread
from benchmarks.systems import system_of


def verdict(old: list[float], new: list[float]) -> str:
    """Whether the quartiles of the seconds of two runs are apart."""
    before, after = spread(old), spread(new)
    if after.high < before.low:
        return "faster"
    if after.low > before.high:
        return "slower"
    return "within noise"


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Compares each case of each system, in its best setting.

    Args:
      old, new: the contents of two `results.json`.

    Returns:
      Rows with `case`, `system`, `old` and `new` (median seconds, or None), `change`
      (new over old) and `verdict`: "faster", "slower", "within noise", "new", or
      "gone".
    """
    before, after = ({r["name"]: r["runs"] for r in run["cases"]} for run in (old, new))
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
            row: dict[str, Any] = {"case": case, "system": system, "change": None}
            row["old"] = spread(a).median if a else None
            row["new"] = spread(b).median if b else None
            if a and b:
                row["change"] = spread(b).median / spread(a).median
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


def text(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The comparison, to be printed."""
    lines = [f"differs in {line}" for line in differences(old, new)]
    rows = compare(old, new)
    moved = [row for row in rows if row["verdict"] != "within noise"]
    width = max((len(row["case"]) for row in rows), default=0)
    for row in rows:
        old_ms, new_ms = (_ms(row[k]) for k in ("old", "new"))
        change = "" if row["change"] is None else f"{100 * (row['change'] - 1):+6.1f} %"
        lines.append(
            f"{row['case']:{width}}  {row['system']:14} {old_ms:>10} -> {new_ms:>10} "
            f"ms {change:>9}  {row['verdict']}"
        )
    lines.append(f"{len(moved)} of {len(rows)} moved beyond the noise")
    return "\n".join(lines)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.3f}"
