"""The files of a run: results, tables, pictures."""

from pathlib import Path
from typing import Any

from benchmarks import suites, work
from benchmarks.figures import plots, records, report, summary


def write(folder: Path, results: dict[str, Any]) -> None:
    """Derives what follows from all cases, and writes everything."""
    for record in results["cases"]:
        record["summary"] = summary.summarize(record)
    results["means"] = summary.geometric_means(results["cases"])
    if results["suite"] == "scaling":
        base = work.to_json(suites.SCALING_BASE)
        axes = suites.SCALING_SIZES
        results["scaling"] = summary.exponents(results["cases"], base, axes)
    records.write_json(folder / records.RESULTS, results)
    with records.replacing(folder / report.TABLE) as path:
        path.write_text(report.markdown(results))
    if results["cases"]:
        plots.draw(folder, results)
