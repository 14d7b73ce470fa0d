"""Runs anywhere: other folders, other systems, storage that fails, closed pipes."""

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import lab, rows
from experiments.data import DataError, files
from experiments.lab import checkpoints, folder, loop, storage
from experiments.lab.folder import Folder
from experiments.lab.lock import InUse, locked
from experiments.lab.pipe import STATUS, until_closed
from experiments.lab.run import find_finished
from experiments.models.notes import DrawNotes

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Config(lab.Config):
    """Adds the numbers of a file."""

    numbers: Path = Path("numbers.txt")
    """The file."""
    others: tuple[Path, ...] = ()
    """Other files."""
    ask: lab.Asked[str | None] = None
    """A question."""


def task(config, xs):
    def loss(params, x, key):
        return params["w"] * x, {}

    batches = lab.in_turn(len(xs), 1, lab.take(xs))
    return lab.Task(
        lambda key: {"w": jnp.zeros(())}, loss, batches, lambda p: {"w": p["w"]}, "-w"
    )


TRAIN = lab.Training(*(2, 1, 1.0, "sgd", "constant"), clip=None)
STUDY = lab.Study(
    "adding",
    lab.Recipes(Config(train=TRAIN)),
    lambda config: np.array(files.read_text(config.numbers).split(), np.float32),
    task,
    lambda config, xs, outcome: lab.Report(["the end"], files={"a.txt": "a text"}),
    answers={"ask": lambda config, finished: lab.Report([str(config.numbers)] * 9999)},
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "numbers.txt").write_text("1 2 3")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(storage, "WAITS", (0.0, 0.0, 0.0))
    return folder


def stopped(out: Path, monkeypatch) -> None:
    """A run that is stopped after its first piece."""

    def stop(step):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "on_piece", stop)
        with contextlib.suppress(SystemExit):
            lab.main(STUDY, ["--out", str(out)])
    assert not (out / "summary.json").exists()


def failing(capsys, *options: str, status: int = 2) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(STUDY, list(options))
    assert error.value.code == status
    return capsys.readouterr().err


def test_a_run_goes_on_from_another_folder(here, tmp_path, monkeypatch, capsys):
    out = here / "run"
    stopped(out, monkeypatch)
    monkeypatch.chdir(tmp_path)
    lab.main(STUDY, ["--out", str(out), "--resume"])
    config = json.loads((out / "config.json").read_text())
    assert config["numbers"] == str(here / "numbers.txt")
    lab.main(STUDY, ["--out", str(out), "--ask", "where"])
    assert str(here / "numbers.txt") in capsys.readouterr().out


def without(path: Path, *names: str) -> None:
    """As a file of a run that was made before these options existed."""
    saved = json.loads(path.read_text())
    options = saved.get("config", saved)
    for name in names:
        del options[name]
    path.write_text(json.dumps(saved))


def test_an_option_newer_than_a_run_has_its_default(here, monkeypatch, capsys):
    rule = lab.When({"optimizer": "sgd"}, {"clip": 2.0})
    newer = STUDY._replace(recipes=lab.Recipes(Config(train=TRAIN), rule))
    out = here / "run"
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "STUDY", newer)
        stopped(out, monkeypatch)
        without(out / "config.json", "others", "seeds", "clip")
        for option, was in {"clip": "2.0", "seeds": "1", "others": r"\[\]"}.items():
            said = failing(capsys, "--out", str(out), "--resume", f"--{option}", "3")
            assert re.search(f"made with --{option} {was}, now it is .*3", said)
        lab.main(newer, ["--out", str(out), "--resume"])
        assert json.loads((out / "config.json").read_text())["clip"] == 2.0
        without(out / "summary.json", "others", "seeds", "clip")
        config, _ = find_finished(newer, lab.parse(newer, ["--out", str(out)]), "ask")
        assert (config.others, config.train.seeds, config.train.clip) == ((), 1, 2.0)
        lab.main(newer, ["--out", str(out), "--ask", "where"])
        assert str(here / "numbers.txt") in capsys.readouterr().out
        (out / "config.json").write_text("{}")
        said = failing(capsys, "--out", str(out), "--resume")
        assert "is damaged: it holds no options" in said


def test_data_that_has_moved_is_known_by_its_digest(
    here, tmp_path, monkeypatch, capsys
):
    out, moved, other = here / "run", tmp_path / "moved.txt", tmp_path / "other.txt"
    stopped(out, monkeypatch)
    other.write_text("4 5 6")
    before = (out / "config.json").read_bytes()
    message = failing(capsys, "--out", str(out), "--resume", "--numbers", str(other))
    digests = re.findall(r"[0-9a-f]{64}", message)
    assert len(set(digests)) == 2
    assert digests[0] == (out / "data.sha256").read_text().strip()
    assert (out / "config.json").read_bytes() == before
    (here / "numbers.txt").rename(moved)
    lab.main(STUDY, ["--out", str(out), "--resume", "--numbers", str(moved)])
    assert json.loads((out / "config.json").read_text())["numbers"] == str(moved)
    assert (out / "summary.json").exists()


def test_the_home_folder_in_every_path(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    argv = ["--out=~/a", "--data-dir=~/b", "--numbers=~/c", "--others", "~/d", "e"]
    config = lab.parse(STUDY, argv)
    home = here / "home"
    assert (config.run.out, config.run.data_dir) == (home / "a", home / "b")
    assert (config.numbers, config.others) == (home / "c", (home / "d", Path("e")))
    with Folder("rows", lab.parse(rows.STUDY, ["--out=~/x"])):
        assert (home / "x" / "config.json").exists()
    assert not Path("~").exists()
    with pytest.raises(lab.UsageError, match="--out: expected a path whose home"):
        lab.parse(STUDY, ["--out=~nobody-of-this-name/a"])


def test_two_runs_of_the_same_second(here, monkeypatch):
    monkeypatch.setattr(folder.time, "strftime", lambda form: "now")
    config = lab.parse(STUDY, [])
    with Folder("adding", config) as first, Folder("adding", config) as second:
        assert (first.path.name, second.path.name) == ("adding-now", "adding-now-2")
        assert (second.path / "config.json").exists()


def test_a_lock_is_held_until_it_is_released(tmp_path):
    path = tmp_path / ".lock"
    lock = locked(path)
    with pytest.raises(InUse, match=f"process {os.getpid()}"):
        locked(path)
    lock.release()
    locked(path).release()


WITHOUT = """if True:
    import importlib, pkgutil, sys, warnings
    from importlib.abc import MetaPathFinder
    names = "fcntl", "resource", "termios", "pwd", "grp", "tty", "pty", "syslog"

    class Blocked(MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name in names:
                raise ModuleNotFoundError(name, name=name)

    for name in names:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Blocked())
    warnings.simplefilter("ignore")
    import benchmarks, experiments, jaxrnn
    peers = {"equinox", "flax", "haiku", "keras", "torch", "onnx", "paddle", "mlx"}
    for package in jaxrnn, experiments, benchmarks:
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                assert error.name.split(".")[0] in peers, error
    from pathlib import Path
    from experiments.lab.lock import InUse, locked
    path = Path(sys.argv[1])
    lock = locked(path)
    try:
        locked(path)
    except InUse as error:
        print(error)
    lock.release()
    locked(path)  # the process ends with it
"""


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_module_and_the_lock_work_without_what_only_posix_has(times, tmp_path):
    for _ in range(times):  # the second finds the mark of the first, which has ended
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT, str(tmp_path / ".lock")],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("process ")


def flaky(monkeypatch, place, name, times, number=errno.ECONNRESET):
    """Makes a function fail the first times that it is called."""
    real, calls = getattr(place, name), []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    monkeypatch.setattr(place, name, fail)
    return calls


def test_reading_is_tried_again(here, monkeypatch, capsys):
    path = here / "numbers.txt"
    calls = flaky(monkeypatch, Path, "open", 2)
    assert files.read_text(path) == "1 2 3"
    assert len(calls) == 3
    said = capsys.readouterr().err
    assert said.count(f"reading {path}: Connection reset by peer; trying again") == 2
    calls = flaky(monkeypatch, Path, "open", 99)
    with pytest.raises(DataError, match="cannot be read: Connection reset by peer"):
        files.read_text(path)
    assert len(calls) == 4
    calls = flaky(monkeypatch, Path, "open", 99, errno.EACCES)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        files.read_text(path)
    assert len(calls) == 1


def test_writing_is_tried_again_and_leaves_no_half_file(here, monkeypatch, capsys):
    with Folder("adding", lab.parse(STUDY, ["--out", "run"])) as run:
        run.log([{"epoch": 1}])
        with monkeypatch.context() as patch:
            flaky(patch, os, "fsync", 1, errno.ESTALE)
            run.log([{"epoch": 2}])
        assert "metrics.jsonl: " in capsys.readouterr().err
        assert (run.path / "metrics.jsonl").read_text() == '{"epoch": 2}\n'
        with monkeypatch.context() as patch:
            flaky(patch, os, "fsync", 99, errno.EIO)
            with pytest.raises(lab.RunError, match=r"cannot write .*metrics.jsonl"):
                run.log([{"epoch": 3}])
        assert (run.path / "metrics.jsonl").read_text() == '{"epoch": 2}\n'
        assert not list(run.path.glob(".metrics*"))


def test_checkpoints_are_tried_again(here, monkeypatch, capsys):
    state = {"w": jnp.arange(3.0)}
    saver = checkpoints.Checkpoints(here / "checkpoints", 3)
    flaky(monkeypatch, saver._saver, "save_async", 2)
    saver.save(1, state, {}, wait=True)
    assert capsys.readouterr().err.count("saving the checkpoint of update 1: ") == 2
    with monkeypatch.context() as patch:
        flaky(patch, saver._saver, "save_async", 99)
        with pytest.raises(lab.RunError, match=r"update 2 .*that of update 1"):
            saver.save(2, state, {}, wait=True)
    # One that fails in the background gives way to the next one.
    saver.save(3, state, {})
    assert saver._pending is not None
    saver._pending[1].result()
    with monkeypatch.context() as patch:
        flaky(patch, saver._pending[1], "result", 1)
        saver.save(4, state, {})
    assert "saving that of update 4 in its place" in capsys.readouterr().err
    assert saver.latest == 4
    saver.close()


def test_a_checkpoint_that_storage_does_not_give_is_not_set_aside(
    here, monkeypatch, capsys
):
    state = {"w": jnp.arange(3.0)}
    saver = checkpoints.Checkpoints(here / "checkpoints", 3)
    saver.save(1, state, {}, wait=True)
    saver.close()
    with monkeypatch.context() as patch:
        flaky(patch, checkpoints, "_load", 99)
        with pytest.raises(lab.RunError, match="cannot read the checkpoint"):
            checkpoints.restore(here / "checkpoints", state)
    assert (here / "checkpoints" / "1").is_dir()
    with monkeypatch.context() as patch:
        flaky(patch, checkpoints, "_load", 3)
        found = checkpoints.restore(here / "checkpoints", state)
    assert found is not None
    np.testing.assert_array_equal(found.state["w"], state["w"])


@pytest.mark.parametrize("status", [None, 0, 2])
def test_a_closed_pipe_ends_a_program_without_a_word(status, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)

        def program():
            with until_closed():
                print("some words")
                if status is not None:
                    sys.exit(status)

        with pytest.raises(SystemExit) as end:
            program()
        assert end.value.code == STATUS


def test_a_finished_run_that_is_asked_ends_with_the_pipe(here, monkeypatch, capsys):
    lab.main(STUDY, ["--out", "run"])
    capsys.readouterr()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        said = failing(capsys, "--out", "run", "--ask", "much", status=STATUS)
    assert said == ""


def test_a_run_outlives_those_who_read_its_progress(here, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        lab.main(STUDY, ["--out", "run"])
    assert (here / "run" / "summary.json").exists()


def test_at_temperature_0_the_likely_notes_sound():
    logits = jnp.array([-0.1, 0.1, 2.0, 1.0])
    choose = DrawNotes(temperature=0.0, most_notes=2)
    for seed in range(3):
        assert choose(logits, jax.random.key(seed)).tolist() == [0, 0, 1, 1]
