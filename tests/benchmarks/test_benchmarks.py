"""The harness itself: equal work, paired rounds, and systems that misbehave."""

import importlib.util
import json
import shutil
import sys
import textwrap
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks.cases import CLASSES, Case
from benchmarks.measure import measure
from benchmarks.pool import Worker, WorkerError
from benchmarks.records import UsageError

from benchmarks import cases, compare, data, summary
from benchmarks.__main__ import Config, main, plan
from benchmarks.systems import SYSTEMS

TINY = Case("lstm", batch=4, time=5, input_size=3, hidden_size=6)
LIBRARIES = {
    "jaxrnn": "jax",
    "jaxrnn_scan": "jax",
    "jaxrnn_batched": "jax",
    "flax": "flax",
    "flax_nnx": "flax",
    "haiku": "haiku",
    "equinox": "equinox",
    "keras": "keras",
    "torch": "torch",
}


@pytest.fixture
def start() -> Any:
    """Starts workers of real systems, and ends them."""
    workers: list[Worker] = []

    def start_one(name, module=None, devices=1, timeout=300.0):
        module = module or SYSTEMS[name].module
        workers.append(Worker(f"{name}@{devices}", module, devices, "cpu", timeout))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.close()


class ReferencesOnly:
    """Stands in for jaxrnn, and asks it for each reference only once."""

    name = "jaxrnn@1"

    def __init__(self, folder):
        module = SYSTEMS["jaxrnn"].module
        self.worker, self.folder = Worker("jaxrnn@1", module, 1, "cpu", 300.0), folder

    def ask(self, what, /, **arguments):
        if what == "reference":
            case, variant = arguments["case"], arguments["variant"]
            # They are the same for all kinds of work.
            sizes = [str(v) for k, v in case.items() if k != "kind"]
            kept = self.folder / f"{'-'.join(sizes)}-{variant}.npz"
            if not kept.exists():
                self.worker.ask("reference", **arguments | {"path": str(kept)})
            shutil.copy(kept, arguments["path"])
        return {"status": "ok", "variant": "", "seconds": 1.0, "errors": {"": 0.0}}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """What the libraries are held against."""
    found = ReferencesOnly(tmp_path_factory.mktemp("references"))
    yield found
    found.worker.close()


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_work_is_equal(name, start, references, tmp_path):
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    workers = [references, start(name, devices=2)]
    for case in [
        replace(TINY, layers=2, directions=2),
        replace(TINY, cell="gru", directions=2),
        replace(TINY, cell="elman"),
        replace(TINY, layers=2, kind="tick"),
        replace(TINY, layers=2, directions=2, kind="forward"),
    ]:
        record = measure(case, workers, 1, 1e-4, tmp_path)
        for run in record["runs"].values():
            assert run["status"] == "ok", run
            assert len(run["seconds"]) == 1
            assert run["errors"]


def test_the_packed_weights_of_cudnn_are_those_of_the_reference():
    import jax

    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        rnn = pytest.importorskip("jax.experimental.rnn")
        from benchmarks.systems.training import logits_of, params_of

        from benchmarks.systems import jax_cudnn, jaxrnn_fast

        def on_cpu(xs, h, c, weights, lengths, *sizes):
            D, H, layers, _, both = sizes
            unpacked = rnn.unpack_lstm_weights(weights, D, H, layers, both)
            return rnn.lstm_ref(xs, h, c, *unpacked, lengths, *sizes)

        case = replace(TINY, layers=2, directions=2)
        start = data.make(case)
        model = jax_cudnn.model(case, on_cpu)
        params = params_of(model, start.weights)
        logits = logits_of(model, params, jax.numpy.asarray(start.xs))
        expected = jaxrnn_fast.reference(case, start, "")
    assert data.logits_errors(logits, expected)["logits"] < 1e-5


def test_an_error_in_the_update_shows():
    before = [np.ones((2, 2)), np.ones(2)]
    goal = [np.full((2, 2), 0.9), np.full(2, np.nan)]
    errors = data.update_errors(before, [goal[0], np.zeros(2)], goal, "float32")
    assert errors == {"update": 0.0}
    errors = data.update_errors(before, before, goal, "float32")
    assert errors["update"] == pytest.approx(1, rel=1e-4)
    errors = data.update_errors(before, [goal[0] * np.nan, before[1]], goal, "float32")
    assert errors["update"] == np.inf


FAKE = """
    import os, time
    import numpy as np
    from benchmarks import data

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

    def reference(case, start, variant):
        return data.Reference(np.ones((1, 1)), np.ones(()), start.weights)
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
    "chatty": """
        print("this is not JSON")
    """,
}


def test_a_system_that_misbehaves_is_reported_and_the_rest_go_on(
    start, tmp_path, monkeypatch
):
    for name, code in MISBEHAVIOR.items():
        text = textwrap.dedent(FAKE) + textwrap.dedent(code)
        (tmp_path / f"fake_{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    workers = [start("jaxrnn", "fake_good")]
    workers += [
        start(name, f"fake_{name}", timeout=3.0 if name == "hangs" else 60.0)
        for name in MISBEHAVIOR
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
        "chatty": "ok",
    }
    assert "there_is_no_such_library" in reasons["missing@1"]
    assert "exit status 7: a last word" in reasons["crashes@1"]
    assert "logits by 1.0e+00" in reasons["mismatches@1"]
    found, _ = statuses(replace(TINY, cell="gru"))
    assert {k for k in found if found[k] == "ok"} >= {"crashes", "crashes_later"}
    assert found["hangs"] == "ok"


class Scripted:
    """A worker that notes when it is asked."""

    def __init__(self, name, diary, fails=()):
        self.name, self.diary, self.fails = name, diary, fails

    def ask(self, what, /, **arguments):
        self.diary.append((what, self.name))
        if what in self.fails:
            raise WorkerError("failed", "as scripted")
        return {"status": "ok", "variant": "", "seconds": 1.0}


def test_rounds_alternate(tmp_path):
    diary = []
    workers = [Scripted(name, diary) for name in ("jaxrnn@1", "a@1", "b@1")]
    measure(TINY, workers, 3, 0.1, tmp_path)
    rounds = [name for what, name in diary if what == "round"]
    assert rounds == ["jaxrnn@1", "a@1", "b@1"] * 3


def test_without_a_reference_nothing_is_timed(tmp_path):
    diary = []
    workers = [Scripted("jaxrnn@1", diary, ["reference"]), Scripted("a@1", diary)]
    runs = measure(TINY, workers, 3, 0.1, tmp_path)["runs"]
    assert {run["status"] for run in runs.values()} == {"no reference"}
    assert [what for what, _ in diary].count("reference") == 1


def timed(**seconds):
    """A record with these rounds."""
    runs = {
        name.replace("_at_", "@"): {
            "status": "ok",
            "seconds": list(values),
            "compile_seconds": 1.0,
            "memory_bytes": None,
            "flops": 100,
            "bytes": 100,
        }
        for name, values in seconds.items()
    }
    work = {"flops": 10, "bytes": 1}
    record = {"name": TINY.name, "case": cases.to_json(TINY), **work, "runs": runs}
    return record | {"summary": summary.summarize(record)}


def test_the_ratio_is_that_of_paired_rounds():
    # The machine slows down fourfold; every round shows a ratio of 2 all the same.
    ratio = summary.paired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    assert ratio == (2.0, 2.0, 2.0)
    # The ratio of the medians would be 1.
    assert summary.paired_ratio([1.0, 2.0, 9.0], [2.0, 0.5, 3.0]).median == 3.0
    with pytest.raises(ValueError, match="as many rounds"):
        summary.paired_ratio([1.0], [1.0, 2.0])


def test_each_system_counts_in_its_best_setting():
    systems = timed(
        jaxrnn_at_1=[4.0, 4.0, 4.0],
        jaxrnn_at_2=[2.0, 1.0, 1.0],
        flax_at_1=[4.0, 3.0, 3.0],
        flax_at_2=[9.0, 9.0, 1.0],
        roof_product_at_1=[5.0, 5.0, 5.0],
    )["summary"]["systems"]
    assert systems["jaxrnn"]["setting"] == "jaxrnn@2"
    assert systems["flax"]["setting"] == "flax@1"
    assert systems["flax"]["ratio"]["median"] == 3.0  # of 2, 3 and 3
    assert systems["jaxrnn"]["tokens_per_second"] == TINY.batch * TINY.time
    assert systems["jaxrnn"]["roof"] == {"flops": 0.5, "share": 0.5}
    assert "roof_product" not in systems


def test_compile_time_and_memory_are_held_against_the_same_setting_of_the_scan():
    record = timed(
        jaxrnn_at_1=[4.0],
        jaxrnn_at_2=[2.0],
        jaxrnn_scan_at_1=[1.0],
        jaxrnn_scan_at_2=[9.0],
    )
    costs = {
        "jaxrnn@2": (3.0, 14),
        "jaxrnn_scan@1": (5.0, 5),
        "jaxrnn_scan@2": (2.0, 7),
    }
    for name, (seconds, size) in costs.items():
        record["runs"][name] |= {"compile_seconds": seconds, "memory_bytes": size}
    found = summary.summarize(record)["to_plain_scan"]
    assert found == {"compile_seconds": 1.5, "memory_bytes": 2.0}
    assert timed(jaxrnn_at_1=[4.0])["summary"]["to_plain_scan"] == {}
    assert timed(flax_at_1=[4.0])["summary"]["to_plain_scan"] == {}


def test_geometric_means():
    records = [
        timed(jaxrnn_at_1=[1.0], torch_at_1=[2.0], flax_at_1=[4.0], haiku_at_1=[9.0]),
        timed(jaxrnn_at_1=[1.0], torch_at_1=[8.0], flax_at_1=[16.0]),
    ]
    means = summary.geometric_means(records)
    assert means["fastest peer"]["mean"] == pytest.approx(4)
    assert means["fastest peer"]["smallest"] == 2
    assert means["best of flax, flax_nnx, haiku, equinox"]["mean"] == pytest.approx(8)
    assert means["haiku"]["cases"] == 1


def test_exponents():
    records = []
    for time in (8, 16, 32, 64):
        record = timed(jaxrnn_at_1=[time**2], torch_at_1=[3.0 * time])
        record["case"]["time"] = time
        records.append(record)
    found = summary.exponents(records, cases.to_json(TINY), ["time"])["time"]
    assert found["jaxrnn"]["sizes"] == [8, 16, 32, 64]
    assert found["jaxrnn"]["exponent"] == pytest.approx(2)
    assert found["torch"]["exponent"] == pytest.approx(1)


def test_verdicts():
    before = [1.0, 1.1, 1.2, 1.3]
    assert compare.verdict(before, [0.5, 0.6, 0.6, 0.7]) == "faster"
    assert compare.verdict(before, [2.0, 2.1, 2.2, 2.3]) == "slower"
    assert compare.verdict(before, [1.0, 1.15, 1.2, 1.5]) == "within noise"


def test_a_comparison_names_what_moved_what_came_and_what_went():
    before = timed(jaxrnn_at_1=[2.0, 2.0], flax_at_1=[3.0, 3.0])
    after = timed(jaxrnn_at_2=[1.0, 1.0], haiku_at_1=[3.0, 3.0])
    old = {"cases": [before], "versions": {"jax": "1"}}
    new = {"cases": [after], "versions": {"jax": "2"}}
    rows = {row["system"]: row for row in compare.compare(old, new)}
    assert rows["jaxrnn"]["verdict"] == "faster"
    assert rows["jaxrnn"]["change"] == 0.5
    assert rows["flax"]["verdict"] == "gone"
    assert rows["haiku"]["verdict"] == "new"
    text = compare.text(old, new)
    assert "versions: jax: 1 -> 2" in text
    assert "3 of 3 moved" in text


def test_flops():
    B, T, D, H, K = 4, 5, 3, 6, CLASSES
    forward = replace(TINY, kind="forward")
    readout = 2 * B * H * K
    assert cases.flops(forward) == 2 * B * T * (D + H) * 4 * H + readout
    assert cases.flops(replace(forward, cell="gru", layers=2)) == (
        2 * B * T * (D + H + H + H) * 3 * H + readout
    )
    assert cases.flops(replace(forward, cell="elman", directions=2)) == (
        2 * (2 * B * T * (D + H) * H + readout)
    )
    assert cases.flops(replace(TINY, kind="tick")) == 2 * B * (D + H) * 4 * H + readout
    # Nobody asks for the gradient of the input, so D counts twice and H three times.
    train = 2 * B * T * (2 * D + 3 * H) * 4 * H + 3 * readout
    assert cases.flops(TINY) == train


@pytest.mark.parametrize("cell", cases.CELLS)
def test_the_number_of_params_is_that_of_the_weights(cell):
    case = replace(TINY, cell=cell, layers=2, directions=2)
    leaves = data._leaves(data.make(case).weights)
    assert cases.num_params(case) == sum(a.size for a in leaves)


def test_references_survive_the_file(tmp_path):
    case = replace(TINY, cell="gru", layers=2)
    weights = data.make(case).weights
    written = data.Reference(np.ones((4, 10)), np.ones(()), weights)
    data.save(tmp_path / "a.npz", written)
    read = data.load(tmp_path / "a.npz", weights)
    for a, b in zip(data._leaves(read.after), data._leaves(weights), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_suites():
    for suite in cases.SUITES.values():
        names = [case.name for case in suite()]
        assert len(names) == len(set(names))
    train = [case for case in cases.cpu() if case.kind == "train"]
    assert {case.sizes for case in train} == set(cases.CPU_SIZES)
    for cell in cases.CELLS:
        assert sum(case.cell == cell for case in train) == len(cases.CPU_SIZES) + 2


def test_everything_left_out_has_a_reason():
    workers, left_out = plan(Config("quick", devices=2))
    started = {name.split("@")[0] for name, _, _ in workers}
    assert started | set(left_out) == set(SYSTEMS)
    assert not started & set(left_out)
    assert left_out["jax_cudnn"]["reason"] == "does not run on cpu"
    assert {"flax@1", "flax@2"} <= {name for name, _, _ in workers}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a suite"),
        (["quick", "--systems", "flux"], "--systems"),
        (["quick", "--filter", "flux"], "--filter"),
        (["quick", "--rounds", "0"], "--rounds"),
        (["quick", "--compare", "a", "b"], "--compare"),
        (["--compare", "there/is/none", "there/is/none"], "cannot read"),
        (["--redraw", "there/is/none"], "cannot read"),
    ],
)
def test_mistakes_end_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(SystemExit) as error:
        main(["quick", "--out", str(tmp_path)])
    assert error.value.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as error:
        main(["--help"])
    assert not error.value.code
    text = capsys.readouterr().out
    for name in ("systems", "filter", "rounds", "min-ms", "compare", "redraw", "out"):
        assert f"--{name}" in text


def test_a_run_writes_everything_and_can_be_compared(tmp_path, capsys):
    out = tmp_path / "run"
    words = "quick --systems jaxrnn_scan --filter lstm train --rounds 2 --min-ms 1"
    main([*words.split(), "--devices", "1", "--out", str(out)])
    assert "lstm train" in capsys.readouterr().out
    names = {"results.json", "table.md", "ratios.png", "roof.png"}
    assert {path.name for path in out.iterdir()} == names
    results = json.loads((out / "results.json").read_text())
    assert results["finished"]
    assert results["machine"]["cores"] >= 1
    assert results["versions"]["python"] == sys.version.split()[0]
    assert words in results["command"]
    (record,) = results["cases"]
    for run in record["runs"].values():
        assert run["status"] == "ok"
        assert len(run["seconds"]) == 2
    row = record["summary"]["systems"]["jaxrnn"]
    assert row["memory_bytes"] > 0
    assert row["compile_seconds"] > 0
    assert row["roof"]["share"] > 0
    assert results["systems"]["flax"]["status"] == "left out"

    table = (out / "table.md").read_text()
    (out / "table.md").unlink()
    main(["--redraw", str(out)])
    assert (out / "table.md").read_text() == table
    main(["--compare", str(out), str(out / "results.json")])
    assert "0 of 4 moved" in capsys.readouterr().out


def test_scaling_is_drawn(tmp_path):
    from benchmarks.__main__ import finish

    records = []
    for time in cases.SCALING_SIZES["time"]:
        record = timed(jaxrnn_at_1=[0.1 * time] * 2, torch_at_1=[0.2 * time] * 2)
        record["case"] = cases.to_json(replace(cases.SCALING_BASE, time=time))
        records.append(record)
    empty = {"machine": {}, "versions": {}, "settings": {}, "systems": {}}
    finish(tmp_path, {"suite": "scaling", "command": "", "cases": records} | empty)
    assert (tmp_path / "scaling.png").stat().st_size > 0
    assert "time ~ size^" in (tmp_path / "table.md").read_text()


def test_mistakes_in_a_config_are_told():
    with pytest.raises(UsageError, match="--min-ms"):
        Config("quick", min_ms=0)
    with pytest.raises(ValueError, match="no tick"):
        replace(TINY, kind="tick", directions=2)
