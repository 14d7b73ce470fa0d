"""What all experiments share, for each of them: one table, and a test a promise."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import kills
import numpy as np
import pytest
from conftest import needs_data

from experiments import (
    captioning,
    forecasting,
    lab,
    language_model,
    memory,
    music,
    rows,
    sentiment,
    translation,
)
from experiments.lab import loop
from experiments.lab.cli import PACKAGES

ROOT = Path(__file__).parents[2]
EVERY = {  # the files of every run
    *("config.json", "metrics.jsonl", "summary.json", "timing.json", "data.sha256"),
    *("params.safetensors", "checkpoints", "curves.png", "report.html", ".lock"),
}
SAME = ("params.safetensors", "metrics.jsonl", "summary.json", "config.json")


class Case(NamedTuple):
    """A study, and what is its own."""

    study: lab.Study
    files: set[str]  # that a run leaves beside those of every run
    data: tuple[str, ...] = ()  # the folders of data that the smoke preset needs
    options: tuple[str, ...] = ()  # for a run that is smaller than the smoke preset
    # Mistakes that are its own, and a part of the message.
    mistakes: tuple[tuple[str, str], ...] = ()


CASES = [
    Case(
        rows.STUDY,
        {"confusion.png", "memory.png"},
        options=("--epochs", "2", "--train-images", "800"),
        mistakes=(
            ("--batch-size 2000", "--batch-size: expected at most the 1437 training"),
            ("--holdout 1437", "--holdout: expected fewer than the 1437 training"),
            ("--train-images 0", "--train-images: expected above 0, got 0"),
            ("--devices 16", "--devices: expected at most 4, got 16"),
            ("--batch-size 33 --devices 2", "--batch-size: expected a multiple of the"),
            ("--dataset cifar", "invalid choice 'cifar'"),
            ("--dataset mnist --data-dir /nowhere", "/nowhere"),
        ),
    ),
    Case(
        language_model.STUDY,
        {"passage.png", "samples.txt", "vocabulary.json"},
        data=("shakespeare",),
        options=("--length", "41", "--characters", "20000"),
        mistakes=(
            ("--characters 29", "--characters: expected at least 30, got 29"),
            ("--top-p 2", "--top-p: expected at most 1, got 2.0"),
            ("--length 0", "--length: expected at least 1, got 0"),
            ("--generate A", "--generate: expected an --out too"),
            ("--text /nowhere", "/nowhere: cannot be read"),
            ("--data-dir /nowhere", "/nowhere does not exist"),
        ),
    ),
    Case(
        music.STUDY,
        {"foresight.png", "music.mid", "music.png"},
        data=("music",),
        options=("--pieces", "20", "--epochs", "2", "--transpose"),
        mistakes=(
            ("--most-notes 89", "--most-notes: expected at most 88, got 89"),
            ("--most-notes 0", "--most-notes: expected at least 1, got 0"),
            ("--temperature -1", "--temperature: expected at least 0, got -1.0"),
            ("--pieces 0", "--pieces: expected above 0, got 0"),
            ("--generate", "--generate: expected an --out too"),
            ("--dataset nottingham --data-dir /nowhere", "/nowhere does not exist"),
        ),
    ),
    Case(
        sentiment.STUDY,
        {"documents.png", "words.png", "subwords.json"},
        data=("nsmc",),
        options=("--documents", "400", "--vocab-size", "500", "--batch-size", "32"),
        mistakes=(
            ("--word-dropout 1", "--word-dropout: expected in [0, 1), got 1.0"),
            ("--documents 0", "--documents: expected at least 1, got 0"),
            ("--dataset imdb", "invalid choice 'imdb'"),
            ("--classify x", "--classify: expected an --out too"),
            ("--data-dir /nowhere", "the data folder /nowhere does not exist"),
        ),
    ),
    Case(
        translation.STUDY,
        {
            *("attention.png", "lengths.png", "translations.tsv"),
            *("subwords.de.json", "subwords.en.json"),
        },
        data=("multi30k",),
        options=("--sentences", "97", "--lengths", "1", "--beam-size", "2"),
        mistakes=(
            ("--target en", "--target: expected de or ko, since --source is en"),
            ("--source de --target ko", "--target: expected en, since --source is de"),
            (
                "--target fr",
                "--target: expected de or ko, since --source is en, got fr",
            ),
            ("--hidden-size 61", "--hidden-size: expected an even number, got 61"),
            ("--length-penalty 11", "--length-penalty: expected in [0, 10], got 11.0"),
            ("--translate", "--translate: expected some text, got none"),
            ("--translate x", "--translate: expected an --out too, the folder of a"),
            ("--data-dir /nowhere", "the data folder /nowhere does not exist"),
        ),
    ),
    Case(
        forecasting.STUDY,
        {"forecast.csv", "series.json", "forecasts.png", "steps.png", "coverage.png"},
        options=("--dataset", "stocks"),
        mistakes=(
            ("--data-dir /nowhere", "/nowhere does not exist"),
            ("--csv nothing.csv", "nothing.csv: cannot be read"),
            ("--columns a", "--columns: expected a --csv too, got a"),
            ("--window 100", "--window: expected a multiple of --patch 24, got 100"),
            ("--structure stepwise --horizon 25", "--horizon: expected a multiple of"),
            ("--dataset stocks --window 1", "--window: expected at least 2"),
            ("--structure stepwise --window 24", "--window: expected two patches or"),
            ("--dataset stocks --window 300", "300 + 12 steps do not fit into 234"),
            ("--dataset stocks --batch-size 2000", "at most the 1309 training"),
        ),
    ),
    Case(
        captioning.STUDY,
        {"captions.tsv", "vocabulary.json", "sheet.png", "attention.png"}
        | {"confusions.png"},
        data=("mnist",),
        options=("--scenes", "160"),
        mistakes=(
            ("--data-dir /nowhere", "/nowhere does not exist"),
            ("--length-penalty inf", "--length-penalty: expected in [0, 10], got inf"),
            ("--beam-size 0", "--beam-size: expected at least 1, got 0"),
            ("--scenes 63", "--scenes: expected at least the --batch-size, 64, got 63"),
            ("--describe a.jpg", "--describe: expected an --out too"),
        ),
    ),
    Case(
        memory.STUDY,
        set(),
        mistakes=(
            ("--task selective --length 3", "--length: expected at least 16 for selec"),
            (
                "--task recall --pairs 9 --symbols 5",
                "--pairs: expected at most 5",
            ),
            ("--modulus 1", "--modulus: expected at least 2, got 1"),
            ("--cell nothing", "invalid choice 'nothing'"),
            ("--task pixels --data-dir /nowhere", "/nowhere"),
        ),
    ),
]
TOGETHER = "--coordinator h:1 --num-processes 2 "
MISTAKES = (  # of every study
    ("--hidden-size 0", "--hidden-size: expected at least 1, got 0"),
    ("--dropout 1", "--dropout: expected in [0, 1), got 1.0"),
    ("--learning-rate nan", "--learning-rate: expected above 0, got nan"),
    ("--weight-decay -1", "--weight-decay: expected at least 0, got -1.0"),
    ("--seeds 2 --seed 2147483647", "--seed: expected no seed above 2,147,483,647"),
    ("--keep 0", "--keep: expected above 0, got 0"),
    ("--resume", "--resume: expected an --out too"),
    ("--resume --overwrite --out x", "--resume: expected no --overwrite"),
    ("--process-id 0", "--coordinator: expected a value, for --coordinator,"),
    ("--coordinator h:1 --out x", "--num-processes: expected a value"),
    (TOGETHER + "--process-id 2 --out x", "--process-id: expected 0 to 1, got 2"),
    (TOGETHER + "--process-id 0", "--coordinator: expected an --out too"),
    ("--checkpoint-minutes nan", "--checkpoint-minutes: expected above 0, got nan"),
    ("--nonsense 1", "--nonsense"),
)
names = [case.study.name for case in CASES]
every_case = pytest.mark.parametrize("case", CASES, ids=names)


def with_data(slow: tuple[str, ...] = ()) -> pytest.MarkDecorator:
    """Every study, where its data are; those that are named only in the slow tests."""

    def marked(case):
        marks = [needs_data(*case.data)] if case.data else []
        marks += [pytest.mark.slow] if case.study.name in slow else []
        return pytest.param(case, marks=marks)

    return pytest.mark.parametrize("case", [marked(c) for c in CASES], ids=names)


# These take longest; the other two resume in every test run.
LONG = ("captioning", "forecasting", "music", "sentiment", "translation")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Makes the run of a study with its smoke preset, once."""
    made: dict[str, Path] = {}

    def run(case: Case) -> Path:
        name = case.study.name
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "run"
            start(case, made[name])
        return made[name]

    return run


def start(case: Case, out: Path, *options: str) -> None:
    given = ["--preset", "smoke", *case.options, "--out", str(out), *options]
    lab.main(case.study, given)


def failing(case: Case, capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(case.study, list(options))
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.replace("│", "").split())


@with_data(slow=("captioning", "forecasting", "sentiment", "translation"))
def test_a_run_leaves_its_files(case, smoke, capsys):
    out = smoke(case)
    assert {path.name for path in out.iterdir()} == EVERY | case.files
    for path in out.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    config = json.loads((out / "config.json").read_text())
    summary = json.loads((out / "summary.json").read_text())
    lines = (out / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    assert config["experiment"] == summary["experiment"] == case.study.name
    assert summary["config"].items() <= config.items()
    assert [line["epoch"] for line in lines] == list(range(1, config["epochs"] + 1))
    assert summary["epochs_done"] == len(lines)
    for line in lines:
        for name, values in line.items():
            if name != "epoch":
                assert np.shape(values) == (config["seeds"],)
    assert np.mean(lines[-1]["train_loss"]) < np.mean(lines[0]["train_loss"])


@with_data(slow=("captioning", "sentiment", "translation"))
def test_the_tables_of_a_run_are_stored(case, smoke):
    summary = json.loads((smoke(case) / "summary.json").read_text())
    assert summary["tables"]
    for table in summary["tables"]:
        assert table["title"]
        assert table["rows"]
        for row in table["rows"]:
            assert len(row["values"]) == len(table["columns"])


@with_data(slow=(*LONG, "language_model", "memory"))
def test_a_run_that_is_stopped_and_resumed_equals_one_left_alone(
    case, smoke, tmp_path, capsys, monkeypatch
):
    alone, out = smoke(case), tmp_path / "run"
    half = json.loads((alone / "summary.json").read_text())["steps"] // 2

    def stop(step):
        if step >= half:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "on_piece", stop)
        with pytest.raises(SystemExit) as end:
            start(case, out)
    assert end.value.code == 128 + signal.SIGTERM
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("stopped by SIGTERM after update ")
    assert message.endswith(
        f"go on with python -m experiments.{case.study.name} --resume --out {out}"
    )
    lab.main(case.study, ["--resume", "--out", str(out)])
    for name in (*SAME, "report.html"):
        assert kills.left(out, name) == kills.left(alone, name), name
    kept = {path.name for path in alone.iterdir()}
    assert {path.name for path in out.iterdir()} == kept


@with_data(slow=("captioning", "sentiment", "translation"))
def test_a_finished_run_is_kept(case, smoke, capsys):
    out = smoke(case)
    before = {p: p.read_bytes() for p in out.iterdir() if p.is_file()}
    message = failing(case, capsys, "--preset", "smoke", "--out", str(out))
    assert "holds a finished run; --resume goes on with it, --overwrite" in message
    lab.main(case.study, ["--resume", "--out", str(out)])
    assert f"finished before: results in {out}" in capsys.readouterr().out
    message = failing(case, capsys, "--resume", "--out", str(out), "--epochs", "99")
    assert "was made with --epochs" in message
    after = {p: p.read_bytes() for p in out.iterdir() if p.is_file()}
    lock = {out / ".lock": b""}
    assert before | lock == after | lock


@every_case
def test_mistakes_end_in_one_message(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for options, message in (*MISTAKES, *case.mistakes):
        assert message in failing(case, capsys, *options.split())
        assert list(tmp_path.iterdir()) == []


@every_case
def test_help_explains_every_option_with_its_default(case, capsys):
    with pytest.raises(SystemExit) as end:
        lab.main(case.study, ["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    config = case.study.recipes()
    names = [n for part in (config, config.train, config.run) for n in vars(part)]
    names = [name for name in names if name not in ("train", "run")]
    for name in names:
        assert f"--{name.replace('_', '-')}" in said
    assert said.count("(default:") == len(names)


@pytest.mark.parametrize(
    ("case", "missing"),
    [(CASES[0], ("tyro",)), *((case, PACKAGES) for case in CASES)],
    ids=["one package", *names],
)
def test_missing_packages_are_named_with_the_command(case, missing, tmp_path):
    """To import a study needs none of them, and ends no interpreter."""
    names = set(missing) - {"numpy"}  # which JAX needs
    module = f"experiments.{case.study.name}"
    program = f"""
import runpy, sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, *args):
    return None if name.split(".")[0] in {names} else find(name, *args)
PathFinder.find_spec = find_spec
import {module}
print("alive", flush=True)
del sys.modules["{module}"]
runpy.run_module("{module}", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    listed = ", ".join(name for name in PACKAGES if name in names)
    need = f"the experiments need {listed}: pip install -e '.[experiments]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "alive\n", need)
