"""Writes the tables of the READMEs from the stored results.

    python -m benchmarks.figures.readme            # writes them
    python -m benchmarks.figures.readme --check    # status 1 if one would change

A generated part stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
"""

import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import records, report
from benchmarks.figures.records import UsageError
from benchmarks.pipe import until_closed
from benchmarks.systems import SUBJECT, is_peer

ROOT = records.FOLDER.parent.parent


def results_of(name: str) -> dict[str, Any]:
    """The stored results of this name."""
    return records.read(records.FOLDER / name)


def ratio_to_fastest(record: dict[str, Any]) -> dict[str, float]:
    """The spread of the fastest peer's time over jaxrnn's."""
    peer = record["summary"]["fastest_peer"]
    if peer is None:
        raise UsageError(f"{record['name']}: the pages need the time of a peer")
    return record["summary"]["systems"][peer]["ratio"]


def streams(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases of one step of a stream."""
    return [record for record in results["cases"] if record["mode"] == "tick"]


def ratio_to(record: dict[str, Any], system: str) -> str:
    """The median of a system's time over jaxrnn's, or "-" if it was not timed."""
    row = record["summary"]["systems"].get(system)
    return "-" if row is None else f"{row['ratio']['median']:.2f}"


def slower(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases without ticks in which jaxrnn is behind by more than the noise."""
    cases = [r for r in results["cases"] if r["mode"] != "tick"]
    cases = [r for r in cases if ratio_to_fastest(r)["high"] < 1]
    return sorted(cases, key=lambda r: ratio_to_fastest(r)["median"])


def cases() -> str:
    """Every case of the suite cpu but ticks."""
    rows = []
    for record in results_of("cpu")["cases"]:
        if record["mode"] == "tick":
            continue
        summary = record["summary"]
        ours = summary["systems"][SUBJECT]
        rows.append(
            [
                record["name"],
                f"{1e3 * ours['seconds']['median']:.3g}",
                f"{ours['roof']['share']:.0%}",
                summary["fastest_peer"],
                report.shown(ratio_to_fastest(record)),
                ratio_to(record, "torch"),
            ]
        )
    head = ["case", "ms", "roof", "fastest peer", "fastest peer / jaxrnn"]
    return report.text([*head, "torch / jaxrnn"], rows)


def means() -> str:
    """The geometric means over the training cases."""
    rows = [
        [group, f"{mean['mean']:.2f}", f"{mean['smallest']:.2f}", str(mean["cases"])]
        for group, mean in results_of("cpu")["means"].items()
    ]
    return report.text(["peer / jaxrnn", "mean", "smallest", "cases"], rows)


def versions() -> str:
    """Every stored run of the suite cpu, such as those of two versions of JAX."""
    rows = []
    for path in sorted(records.FOLDER.glob(f"*/{records.RESULTS}")):
        run = records.read(path)
        if run["suite"] != "cpu" or not run.get("means"):
            continue
        best = next((g for g in run["means"] if g.startswith("best of")), "")
        cells = [path.parent.name, run["versions"]["python"], run["versions"]["jax"]]
        for group in ("fastest peer", best):
            mean = run["means"].get(group)
            cells += [f"{mean[k]:.2f}" if mean else "-" for k in ("mean", "smallest")]
        rows.append(cells)
    head = ["results", "Python", "jax", "fastest peer / jaxrnn", "smallest"]
    return report.text([*head, "best on JAX / jaxrnn", "smallest"], rows)


def ticks() -> str:
    """One step of a stream."""
    rows = []
    for record in streams(results_of("cpu")):
        systems = record["summary"]["systems"]
        cells = [record["name"], f"{1e6 * systems[SUBJECT]['seconds']['median']:.3g}"]
        cells += [record["summary"]["fastest_peer"]]
        cells += [report.shown(ratio_to_fastest(record))]
        rows.append([*cells, ratio_to(record, "torch")])
    head = ["case", "µs", "fastest peer", "fastest peer / jaxrnn", "torch / jaxrnn"]
    return report.text(head, rows)


ENGLISH = (
    "Training, {cases} cases on {cores} cores of an {cpu}: the time of the fastest "
    "peer of each case over that of jaxrnn has the geometric mean {fastest}; by peer: "
    "{peers}.",
    "Slower than the fastest peer, by more than the noise, in {number} of {timed} "
    "cases{slower}.",
    "One step of a stream (D = 32, H = 128): {ticks}; the fastest peer takes "
    "{ticks_fastest} times as long.",
    "MNIST row by row, 20 epochs, the whole process: {runs}.",
)
KOREAN = (
    "학습({cpu} 코어 {cores}개, {cases}가지 경우): 경우마다 가장 빠른 상대의 시간을 "
    "jaxrnn의 시간으로 나눈 값의 기하평균은 {fastest}입니다. 상대별로는 {peers}입니다.",
    "가장 빠른 상대보다 오차 범위를 넘어 느린 경우는 {timed}가지 가운데 "
    "{number}가지입니다{slower}.",
    "스트림 한 스텝(D = 32, H = 128)은 {ticks}이고, 가장 빠른 상대는 그 "
    "{ticks_fastest}배 걸립니다.",
    "MNIST를 한 줄씩 읽는 20 에포크 학습의 프로세스 전체: {runs}.",
)


def facts(sentences: Sequence[str]) -> str:
    """Four lines from the stored results, in one of the languages."""
    cpu, whole = results_of("cpu"), results_of("whole_run")
    mean = {group: m["mean"] for group, m in cpu["means"].items()}
    peers = [name for name in report.systems_in(cpu) if is_peer(name)]
    peers.sort(key=lambda name: mean[name])
    behind = slower(cpu)
    single = [r for r in streams(cpu) if r["case"]["batch"] == 1]
    runs = whole["cases"][0]["summary"]["systems"]

    def time(record: dict[str, Any]) -> float:
        return record["summary"]["systems"][SUBJECT]["seconds"]["median"]

    def place(record: dict[str, Any]) -> str:
        peer, ratio = record["summary"]["fastest_peer"], ratio_to_fastest(record)
        name = record["name"].replace(" train", "")
        return f"{name} ({peer} {ratio['median']:.2f})"

    values = {
        "cases": cpu["means"]["fastest peer"]["cases"],
        "cores": cpu["machine"]["cores"],
        "cpu": cpu["machine"]["cpu"],
        "fastest": f"{mean['fastest peer']:.2f}",
        "peers": ", ".join(f"{name} {mean[name]:.2f}" for name in peers),
        "number": len(behind),
        "timed": sum(r["mode"] != "tick" for r in cpu["cases"]),
        "slower": ": " + ", ".join(map(place, behind)) if behind else "",
        "ticks": ", ".join(
            f"{r['case']['cell']} {1e6 * time(r):.0f} µs" for r in single
        ),
        "ticks_fastest": ", ".join(
            f"{ratio_to_fastest(r)['median']:.2f}" for r in single
        ),
        "runs": ", ".join(
            f"{name} {row['seconds']['median']:.0f} s" for name, row in runs.items()
        ),
    }
    lines = ["- " + sentence.format(**values) for sentence in sentences]
    return "\n".join(textwrap.fill(x, 96, subsequent_indent="  ") for x in lines)


# The generated parts of each page, by name.
PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"benchmarks": lambda: facts(ENGLISH)},
    "README.ko.md": {"benchmarks": lambda: facts(KOREAN)},
}
PAGES["benchmarks/README.md"] = PAGES["README.md"] | {
    "cases": cases,
    "means": means,
    "versions": versions,
    "ticks": ticks,
    "whole-run": lambda: report.text(*report.whole_runs(results_of("whole_run"))),
    "growth": lambda: report.text(*report.exponents(results_of("scaling"))),
    "devices": lambda: report.text(*report.devices(results_of("devices"))),
}


def filled(page: str) -> str:
    """The text of a page with every generated part made anew."""
    text = (ROOT / page).read_text()
    for name, make in PAGES[page].items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not begun or not ended:
            raise UsageError(f"{page}: expected {begin.strip()} and {end} after it")
        text = f"{before}{begin}{make()}\n{end}{after}"
    return text


def tables() -> dict[Path, str]:
    """What the pages and the tables beside the results should have in them."""
    pages = {ROOT / page: filled(page) for page in PAGES}
    for path in sorted(records.FOLDER.glob(f"*/{records.RESULTS}")):
        pages[path.parent / report.TABLE] = report.markdown(records.read(path))
    return pages


def main(argv: Sequence[str] | None = None) -> None:
    """Writes what has changed; with `--check` names it and exits with status 1."""
    argv = sys.argv[1:] if argv is None else argv
    if list(argv) not in ([], ["--check"]):
        sys.exit("usage: python -m benchmarks.figures.readme [--check]")
    try:
        changed = {p: t for p, t in tables().items() if not _same(p, t)}
    except UsageError as error:
        sys.exit(f"error: {error}")
    for path, text in changed.items():
        print(path.relative_to(ROOT))
        if not argv:
            with records.replacing(path) as temporary:
                temporary.write_text(text)
    if argv and changed:
        sys.exit("differs from the results: run python -m benchmarks.figures.readme")


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    with until_closed():
        main()
