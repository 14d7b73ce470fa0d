"""Processes: rounds that take turns, and systems that misbehave."""

import textwrap
from dataclasses import replace

import pytest
from harness import TINY, Scripted

from benchmarks.process.measure import measure
from benchmarks.process.pool import ROOT, Worker, environment
from benchmarks.process.worker import calibrate

FAKE = """
    import os, time
    import numpy as np
    from benchmarks.work import equal

    WORK = ("gated",)

    class Run:
        compile_seconds, memory_bytes = 0.5, 64

        def __init__(self, case):
            self.case = case

        def check(self, reference):
            return {"logits": 0.0}

        def seconds(self, calls):
            return 0.25 * calls

    def start(case, data, devices, platform):
        return Run(case)

    def reference(case, data, variant):
        return equal.Reference(np.ones((1, 1)), np.ones(()), data.weights)
"""
MISBEHAVIOR = {
    "good": "",
    "missing": "import there_is_no_such_library",
    "crashes": """
        def start(case, data, devices, platform):
            if case.cell == "lstm":
                print("a last word", file=__import__("sys").stderr)
                os._exit(7)
            return Run(case)
    """,
    "crashes_later": """
        Run.rounds = 0
        def seconds(self, calls):
            self.rounds += 1
            if self.case.cell == "lstm" and self.rounds == 3:
                os._exit(8)
            return 0.25 * calls
        Run.seconds = seconds
    """,
    "hangs": """
        def start(case, data, devices, platform):
            time.sleep(1000 if case.cell == "lstm" else 0)
            return Run(case)
    """,
    "raises": """
        def start(case, data, devices, platform):
            raise RuntimeError("no luck")
    """,
    "mismatches": """
        Run.check = lambda self, reference: {"logits": 1.0}
    """,
    "not_finite": """
        Run.check = lambda self, reference: {"logits": float("nan")}
    """,
    "unsupported": """
        from benchmarks.systems import UnsupportedError
        def start(case, data, devices, platform):
            raise UnsupportedError("no such cell")
    """,
    "other_work": """
        WORK = ("tick",)
    """,
    "chatty": """
        print("this is not JSON")
    """,
}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a worker of a made-up system, and ends it."""
    workers: list[Worker] = []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def start_one(name, code="", timeout=60.0):
        module = f"fake_{len(workers)}"
        text = textwrap.dedent(FAKE) + textwrap.dedent(code)
        (tmp_path / f"{module}.py").write_text(text)
        workers.append(Worker(f"{name}@1", module, 1, "cpu", timeout))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.close()


@pytest.mark.slow
def test_a_system_that_misbehaves_is_reported_and_the_rest_go_on(start, tmp_path):
    workers = [start("jaxrnn")]
    workers += [
        start(name, code, 3.0 if name == "hangs" else 60.0)
        for name, code in MISBEHAVIOR.items()
    ]

    def statuses(case):
        runs = measure(case, workers, 4, 0.1, tmp_path)["runs"]
        assert list(runs["good@1"]["seconds"]) == [0.25] * 4
        return {name.removesuffix("@1"): run["status"] for name, run in runs.items()}, {
            name: run.get("reason", "") for name, run in runs.items()
        }

    found, reasons = statuses(TINY)
    assert found == {
        "jaxrnn": "ok",
        "good": "ok",
        "missing": "not installed",
        "crashes": "crashed",
        "crashes_later": "crashed",
        "hangs": "hung",
        "raises": "failed",
        "mismatches": "mismatch",
        "not_finite": "mismatch",
        "unsupported": "unsupported",
        "other_work": "unsupported",
        "chatty": "ok",
    }
    assert "there_is_no_such_library" in reasons["missing@1"]
    assert "exit status 7: a last word" in reasons["crashes@1"]
    assert "logits by 1.0e+00" in reasons["mismatches@1"]
    assert "kind gated" in reasons["other_work@1"]
    found, _ = statuses(replace(TINY, cell="gru"))
    assert {k for k in found if found[k] == "ok"} >= {"crashes", "crashes_later"}
    assert found["hangs"] == "ok"


def test_a_run_may_say_how_many_calls_make_a_round_and_report_more(start, tmp_path):
    code = """
        Run.calls = 3
        def seconds(self, calls):
            self.results = {"accuracy": 0.5}
            return 2.0 * calls
        Run.seconds = seconds
    """
    workers = [start("jaxrnn"), start("long", code)]
    run = measure(TINY, workers, 2, 1e9, tmp_path)["runs"]["long@1"]
    assert run["calls"] == 3
    assert run["seconds"] == [2.0, 2.0]
    assert run["accuracy"] == [0.5, 0.5]


def test_rounds_alternate_and_change_direction(tmp_path):
    diary = []
    workers = [Scripted(name, diary) for name in ("jaxrnn@1", "a@1", "b@1")]
    measure(TINY, workers, 3, 0.1, tmp_path)
    rounds = [name for what, name in diary if what == "round"]
    forward = ["jaxrnn@1", "a@1", "b@1"]
    assert rounds == [*forward, *reversed(forward), *forward]


def test_without_a_reference_nothing_is_timed(tmp_path):
    diary = []
    workers = [Scripted("jaxrnn@1", diary, ["reference"]), Scripted("a@1", diary)]
    runs = measure(TINY, workers, 3, 0.1, tmp_path)["runs"]
    assert {run["status"] for run in runs.values()} == {"no reference"}
    assert [what for what, _ in diary].count("reference") == 1


def test_a_round_is_long_enough():
    asked = []

    def seconds(calls):
        asked.append(calls)
        return 1e-3 * calls

    assert calibrate(seconds, 0.05) * 1e-3 >= 0.05
    assert asked[0] == 1
    assert len(asked) < 5


def test_another_checkout_comes_before_this_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    env = environment(1, "cpu", tmp_path)
    assert env["PYTHONPATH"] == f"{tmp_path}:{ROOT}:elsewhere"
    assert env["PYTHONSAFEPATH"] == "1"
    assert environment(1, "cpu")["PYTHONPATH"] == "elsewhere"
