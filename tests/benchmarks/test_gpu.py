"""The script for a GPU: what it measures, in what order, and a dry run of all of it."""

import json
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from harness import TINY, Scripted, timed

from benchmarks import suites
from benchmarks.figures import report
from benchmarks.gpu.__main__ import PEERS, Config, _error
from benchmarks.process import session
from benchmarks.process.pool import ROOT
from benchmarks.systems import SYSTEMS


def test_the_suite_has_all_sizes_and_begins_with_what_matters():
    cases = suites.gpu()
    assert len({case.name for case in cases}) == len(cases)
    sizes = {(c.hidden_size, c.batch, c.time, c.dtype, c.mode) for c in cases}
    for size in (128, 256, 512, 1024):
        for batch in (16, 64, 256):
            for time in (100, 1000):
                for dtype in ("float32", "bfloat16"):
                    for mode in ("train", "forward"):
                        assert (size, batch, time, dtype, mode) in sizes
    first = cases[:8]
    assert {(c.mode, c.time, c.cell) for c in first} == {("train", 100, "lstm")}
    assert Counter(c.dtype for c in first) == {"float32": 4, "bfloat16": 4}
    assert {c.cell for c in cases[8:12]} == {"gru", "elman"}


def test_its_peers_are_systems():
    assert Config().systems == PEERS
    assert set(PEERS) <= set(SYSTEMS)


def test_an_error_that_is_no_number_is_an_error():
    exact = np.array([1.0, -4.0])
    assert _error(exact + 1, exact) == 0.25
    assert _error(np.array([1.0, np.nan]), exact) == float("inf")


def test_a_run_ends_in_time_and_says_what_it_left_out(tmp_path, monkeypatch):
    class Ready(Scripted):
        def start(self):
            pass

        def ready(self):
            return {"status": "ok", "device": "one"}

        close = start

    ticks = count(step=30)  # seconds between two looks at the clock
    monkeypatch.setattr(session.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(session, "_workers", lambda *args: [Ready("jaxrnn@1", [])])
    monkeypatch.setattr(
        session, "measure", lambda case, *args: timed(case, jaxrnn_at_1=[1.0])
    )
    plan = session.Plan(
        suite="gpu",
        command="",
        cases=suites.gpu()[:6],
        starts=[],
        left_out={},
        platform="gpu",
        rounds=1,
        min_seconds=0.0,
        timeout=1.0,
        devices=1,
        out=tmp_path / "run",
        minutes=3,
        more={"kernels": [], "launches": {}},
    )
    results = json.loads((session.run(plan) / "results.json").read_text())
    # A case takes 30 s by this clock, and 30 s pass between two.
    done = [record["name"] for record in results["cases"]]
    assert done == [case.name for case in plan.cases[:3]]
    assert results["not_begun"] == [case.name for case in plan.cases[3:]]
    table = (tmp_path / "run" / report.TABLE).read_text()
    assert f"time was up: {results['not_begun'][0]}" in table


def test_tables():
    row = {"case": "gru 256", "right": False, "why_not": "", "loop_error": 1e-7}
    launches = {
        "launches": 500,
        "launches_per_step": 5.0,
        "microseconds_per_launch": 2.0,
        "busy_milliseconds": 1.0,
        "milliseconds": 1.5,
    }
    results = {
        "suite": "gpu",
        "command": "",
        "machine": {"gpu": "NVIDIA H100, 575.57"},
        "versions": {},
        "settings": {},
        "systems": {},
        "cases": [timed(TINY, jaxrnn_at_1=[1.0])],
        "means": {},
        "kernels": [row | {"kernel_error": 0.5}],
        "launches": {"loops": {"lstm train": launches}},
    }
    text = report.markdown(results)
    assert "NVIDIA H100, 575.57" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| gru ")]
    assert [cell.strip() for cell in line.split("|")[2:5]] == [
        "1.0e-07",
        "5.0e-01",
        "NO",
    ]
    assert "loops" in text


@pytest.mark.slow
def test_a_dry_run_does_it_all(tmp_path):
    out = tmp_path / "gpu"
    command = [sys.executable, "-m", "benchmarks.gpu", "--dry-run", "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    results = json.loads((out / "results.json").read_text())
    assert {path.name for path in Path(out).iterdir()} >= {"results.json", "table.md"}
    assert results["finished"]
    assert [record["mode"] for record in results["cases"]] == ["train", "forward"]
    for record in results["cases"]:
        for system in ("jaxrnn@1", "jaxrnn_loops@1"):
            assert record["runs"][system]["status"] == "ok"
    assert results["systems"]["jax_cudnn"]["reason"] == "does not run on cpu"
    assert len(results["kernels"]) == 12
    for row in results["kernels"]:
        assert row["right"], row
        assert row["why_not"] == ""
        assert row["kernel_error"] > 0
    assert set(results["launches"]) == {"loops", "fused"}
    for cases in results["launches"].values():
        for row in cases.values():
            assert row["launches"] > 0
    assert "## Fused loops" in run.stdout
