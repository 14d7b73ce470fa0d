"""The command line: options, plans, mistakes, a whole small run."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import needs_data

from benchmarks.__main__ import main
from benchmarks.figures.records import UsageError
from benchmarks.options import Config, plan
from benchmarks.process.pool import ROOT
from benchmarks.systems import SYSTEMS


def test_everything_left_out_has_a_reason():
    made = plan(Config("quick", devices=2), ["quick"])
    started = {start.name.split("@")[0] for start in made.starts}
    assert started | set(made.left_out) == set(SYSTEMS)
    assert not started & set(made.left_out)
    assert "--systems names it" in made.left_out["jaxrnn_scan"]["reason"]
    (loops, *_) = [s for s in made.starts if s.name.startswith("jaxrnn_loops@")]
    assert dict(loops.variables) == {"JAXRNN_KERNELS": "off"}
    assert made.left_out["jax_cudnn"]["reason"] == "does not run on cpu"
    assert "too long for quick" in made.left_out["torch_compile"]["reason"]
    assert "update" not in {case.work for case in made.cases}
    assert "no work" in made.left_out["jaxrnn_weak"]["reason"]
    assert {"flax@1", "flax@2"} <= {start.name for start in made.starts}


def test_the_baseline_follows_jaxrnn():
    made = plan(Config("quick", systems=("jaxrnn",), baseline=ROOT, devices=2), [])
    starts = [(start.name, start.baseline) for start in made.starts][:4]
    ours, theirs = starts[:2], starts[2:]
    assert ours == [("jaxrnn@1", False), ("jaxrnn@2", False)]
    assert theirs == [("jaxrnn_baseline@1", True), ("jaxrnn_baseline@2", True)]
    assert made.left_out["flax"]["reason"] == "not among --systems"


def test_devices_are_measured_by_updates_alone():
    made = plan(Config("devices", devices=2), [])
    names = [start.name for start in made.starts]
    assert names[:3] == ["jaxrnn@1", "jaxrnn@2", "jaxrnn_weak@2"]
    assert {case.work for case in made.cases} == {"update"}
    alone = plan(Config("devices", devices=1), [])
    assert alone.left_out["jaxrnn_weak"]["reason"] == "needs 2 devices"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a suite"),
        (["quick", "--systems", "flux"], "--systems"),
        (["quick", "--filter", "flux"], "--filter"),
        (["quick", "--rounds", "0"], "--rounds"),
        (["quick", "--compare", "a", "b"], "--compare"),
        (["quick", "--baseline", "there/is/none"], "--baseline: there is no jaxrnn"),
        (["--redraw", "a", "--baseline", str(ROOT)], "--baseline: expected a suite"),
        (["whole_run"], "--data-dir: expected a folder"),
        (["whole_run", "--data-dir", "there/is/none"], "there is no train-images"),
        (["--compare", "there/is/none", "there/is/none"], "cannot read"),
        (
            ["quick", "--compare", str(ROOT / "benchmarks/results/whole_run")],
            "--compare: the runs have no case in common",
        ),
        (["--redraw", "there/is/none"], "cannot read"),
    ],
)
def test_mistakes_end_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_mistakes_in_a_config_are_told():
    with pytest.raises(UsageError, match="--min-ms"):
        Config("quick", min_ms=0)


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
    for name in Config.__dataclass_fields__:
        if name != "suite":
            assert "--" + name.replace("_", "-") in text


def test_importing_a_module_never_ends_the_interpreter():
    code = """
import importlib.util, pathlib
importlib.util.find_spec = lambda *args: None
import benchmarks, benchmarks.__main__, benchmarks.devices, benchmarks.whole_run
import benchmarks.work.gated, benchmarks.systems, benchmarks.process.pool
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.slow
def test_a_run_writes_everything_and_can_be_compared(tmp_path, capsys):
    out = tmp_path / "run"
    words = "quick --systems jaxrnn_scan --filter lstm train --rounds 2 --min-ms 1"
    baseline = ["--baseline", str(ROOT)]
    main([*words.split(), *baseline, "--devices", "1", "--out", str(out)])
    said = capsys.readouterr().out
    assert "lstm train" in said
    assert "## Against the baseline" in said
    assert {path.name for path in out.iterdir()} == {
        "results.json",
        "table.md",
        "roof.png",
    }
    results = json.loads((out / "results.json").read_text())
    assert results["finished"]
    assert results["machine"]["cores"] >= 1
    assert results["versions"]["python"] == sys.version.split()[0]
    assert words in results["command"]
    (record,) = results["cases"]
    assert set(record["runs"]) == {
        "jaxrnn@1",
        "jaxrnn_baseline@1",
        "jaxrnn_scan@1",
        "roof_copy@1",
        "roof_fma@1",
        "roof_product@1",
    }
    if shutil.which("c++") is None:
        assert "no C++ compiler" in record["runs"].pop("roof_fma@1")["reason"]
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
    assert "0 of 6 moved" in capsys.readouterr().out


@pytest.mark.slow
@needs_data("mnist")
def test_a_whole_run(tmp_path, monkeypatch, capsys):
    import os

    folder = os.path.join(os.environ["JAXRNN_DATA"], "mnist")
    options = ["--data-dir", folder, "--epochs", "1", "--rounds", "1"]
    main(["whole_run", *options, "--systems", "jaxrnn", "--out", str(tmp_path / "run")])
    assert "test accuracy" in capsys.readouterr().out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    (accuracy,) = results["cases"][0]["runs"].popitem()[1]["test_accuracy"]
    assert accuracy > 0.9
