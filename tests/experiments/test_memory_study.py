"""The study of memory: its table of runs, its tasks as it learns them, its networks."""

import json
import os
import signal

import numpy as np
import pytest
from conftest import needs_data

from experiments import lab, memory
from experiments.lab import loop

SMOKE = ["--preset", "smoke", "--epochs", "1", "--updates", "4"]
RUNS = [("gru", "parity"), ("gru", "adding")]
AXES = ["--cells", "gru", "--tasks", "parity", "adding"]
FILES = {"table.json", "table.txt", "heat.png", "learning.png", ".lock"}
SAME = ("params.safetensors", "metrics.jsonl", "summary.json", "config.json")


def make(out, *options):
    lab.main_of(memory.GRID, [*SMOKE, "--out", str(out), *options])


def refused(capsys, *options):
    with pytest.raises(SystemExit) as error:
        lab.main_of(memory.GRID, list(options))
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return error.value.code, " ".join(said.replace("│", "").split())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of one cell and two tasks."""
    out = tmp_path_factory.mktemp("memory") / "table"
    make(out, *AXES)
    return out


def test_a_table_has_a_run_for_each_place(table):
    assert {path.name for path in table.iterdir()} == FILES | {"parity", "adding"}
    stored = json.loads((table / "table.json").read_text())
    scores, sizes, params, times = stored["tables"]
    assert list(scores["columns"]) == ["parity", "adding"]
    assert [row["name"] for row in scores["rows"]] == ["gru", "by chance"]
    for cell, task in RUNS:
        summary = json.loads((table / task / cell / "summary.json").read_text())
        assert (summary["cell"], summary["task"]) == (cell, task)
        column = list(scores["columns"]).index(task)

        def value(part, cell=cell, column=column):
            rows = {row["name"]: row["values"] for row in part["rows"]}
            return rows[cell][column]

        assert value(scores) == summary["score_per_seed"]
        assert len(summary["score_per_seed"]) == 2
        assert value(sizes) == summary["hidden_size"]
        assert value(params) == summary["params"]
        assert abs(summary["params"] - 700) < 100
        assert value(times) > 0
    text = (table / "table.txt").read_text()
    assert "gru" in text
    assert "(mean over 2 seeds" in text
    for name in ("heat.png", "learning.png"):
        assert (table / name).read_bytes().startswith(b"\x89PNG")


def test_what_is_finished_is_not_made_again(table, capsys, monkeypatch):
    before = {p: p.read_bytes() for p in table.rglob("*.safetensors")}
    trained = []
    monkeypatch.setattr(loop, "on_piece", trained.append)
    make(table, *AXES)
    assert trained == []
    assert "by chance" in capsys.readouterr().out
    make(table, "--cells", "elman", "--tasks", "parity")  # a new row
    assert trained
    assert {p: p.read_bytes() for p in before} == before
    assert (table / "parity" / "elman" / "summary.json").exists()
    stored = json.loads((table / "table.json").read_text())  # the old rows stay
    rows = {row["name"]: row["values"] for row in stored["tables"][0]["rows"]}
    assert set(rows) == {"gru", "elman", "by chance"}
    assert sum(v is not None for name in ("gru", "elman") for v in rows[name]) == 3
    code, said = refused(capsys, *SMOKE, "--out", str(table), *AXES, "--layers", "2")
    assert code == 2
    assert "was made with --layers 1, now it is 2" in said


@pytest.mark.slow
def test_a_table_that_is_stopped_goes_on(table, tmp_path, capsys, monkeypatch):
    out, seen = tmp_path / "table", []

    def stop(step):
        seen.append(step)
        if len(seen) == 3:  # within the second run: a run has two pieces
            os.kill(os.getpid(), signal.SIGTERM)

    options = ["--updates", "50", "--tasks", "adding", "--cells", "gru", "signed_decay"]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "on_piece", stop)
        with pytest.raises(SystemExit) as end:
            make(out, *options)
    assert end.value.code == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    (command,) = [line for line in said.splitlines() if "go on with the table" in line]
    assert not (out / "adding" / "signed_decay" / "summary.json").exists()
    words = command.partition("experiments.memory ")[2].split()
    pieces = []
    monkeypatch.setattr(loop, "on_piece", pieces.append)
    lab.main_of(memory.GRID, words)
    assert pieces == [50]  # from the checkpoint, and no other run again
    make(tmp_path / "alone", *options)
    for cell in ("gru", "signed_decay"):
        for name in SAME:
            one, two = (
                tmp_path / t / "adding" / cell / name for t in ("table", "alone")
            )
            assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
def test_a_run_that_cannot_go_on_is_told_at_the_end(tmp_path, capsys):
    options = ["--tasks", "adding", "--cells", "fixed_decay", "gru"]
    wild = ["--learning-rate", "1e30", "--optimizer", "sgd", "--clip", "None"]
    code, said = refused(
        capsys, *SMOKE, "--out", str(tmp_path / "t"), *options, *wild, "--updates", "25"
    )
    assert code == 1
    assert "2 runs could not go on: adding fixed_decay: " in said


@pytest.mark.slow
def test_one_run_is_one_run(table, tmp_path, capsys):
    out = tmp_path / "run"
    make(out, "--task", "copy", "--cell=elman")
    assert json.loads((out / "summary.json").read_text())["cell"] == "elman"
    lab.main_of(memory.GRID, ["--resume", "--out", str(table / "parity" / "gru")])
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--cells gru nothing", "invalid choice 'nothing'"),
        ("--tasks sums", "invalid choice 'sums'"),
        (
            "--tasks selective --length 3",
            "--length: expected at least 16 for selective",
        ),
        (
            "--tasks recall --pairs 9 --symbols 5 --length 36",
            "--pairs: expected at most 5",
        ),
    ],
)
def test_mistakes(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = refused(capsys, *options.split())
    assert code == 2
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    code, said = refused(capsys, *SMOKE, *AXES, "--out", str(tmp_path))
    assert code == 2
    assert f"--out: {tmp_path} is not empty and holds no table" in said
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_every_cell_and_every_task_is_in_the_table():
    config = memory.STUDY.recipes()
    cells, tasks = memory.GRID.places(config)
    assert {"elman", "gru", "lstm", "signed_decay"} <= set(cells)
    assert len(tasks) == 8


@pytest.mark.slow
@pytest.mark.parametrize("task", [t for t in memory.TASKS if t not in memory.IMAGES])
def test_every_cell_learns_something_of_every_task(task, tmp_path):
    make(tmp_path / "t", "--tasks", task)
    found = json.loads((tmp_path / "t" / "table.json").read_text())
    assert found["cells"] == list(memory.CELLS)
    for row in found["tables"][0]["rows"]:
        assert np.isfinite(row["values"][0]).all(), row["name"]


@pytest.mark.slow
@needs_data("mnist")
def test_pixels(tmp_path, capsys):
    make(
        tmp_path / "t", "--tasks", "pixels", "permuted", "--cells", "gru", "fixed_decay"
    )
    text = (tmp_path / "t" / "table.txt").read_text()
    assert "LSTM (Bai, Kolter and Koltun, 2018)" in text
    assert "85.70%" in text


def test_sequences_grow_to_their_length():
    config = memory.STUDY.recipes(task="parity")
    grown = [memory.grown(config, epoch) for epoch in range(config.train.epochs)]
    assert grown[0] == 4
    assert grown[-1] == config.train_length == 64
    assert grown == sorted(grown)
    assert grown[len(grown) // 2] < 64
