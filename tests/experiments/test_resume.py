"""Runs that are stopped, killed, refused or damaged, and what is left of them."""

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import kills
import numpy as np
import optax
import pytest

import jaxrnn as rnn
from experiments import lab, music, rows
from experiments.lab import checkpoints, loop, pieces
from experiments.lab.folder import Folder
from experiments.lab.guard import no_guard
from experiments.lab.options import Running
from experiments.lab.quiet import quiet
from experiments.plots import rows as rows_plots

# What orbax leaves undone when a read or a write fails may complain when it is deleted.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)
ROOT = Path(__file__).parents[2]
TINY = ["--epochs", "3", "--hidden-size", "7", "--seeds", "2", "--train-images", "320"]


parse = partial(lab.parse, rows.STUDY)


def rows_run(out: Path, *options: str) -> None:
    lab.main(rows.STUDY, ["--out", str(out), *TINY, *options])


def failing(capsys, out: Path, *options: str, status: int = 2) -> str:
    with pytest.raises(SystemExit) as error:
        rows_run(out, *options)
    assert error.value.code == status
    return capsys.readouterr().err


def same(a: Path, b: Path) -> bool:
    return all(kills.left(a, name) == kills.left(b, name) for name in kills.SAME)


@pytest.fixture(scope="module", autouse=True)
def small_pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", 5)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "alone"
    rows_run(out)
    return out


@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_a_resumed_run_equals_one_left_alone(
    signum, alone, tmp_path, capsys, monkeypatch
):
    def stop(step):
        if step == 15:  # within the second epoch: there are ten updates in one
            os.kill(os.getpid(), signum)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "on_piece", stop)
        message = failing(capsys, out, status=128 + signum)
    assert f"{signal.Signals(signum).name} after update 15 of 30" in message
    assert f"--resume --out {out}" in message
    assert not (out / "summary.json").exists()
    assert (out / "checkpoints" / "15").is_dir()
    rows_run(out, "--resume")
    assert "going on after update 15 of 30" in capsys.readouterr().err
    assert same(out, alone)


@pytest.mark.slow
def test_a_random_kill(tmp_path):
    assert kills.run(1, 10, tmp_path, workers=1).total() == 1


@pytest.mark.slow
def test_a_hundred_random_kills(tmp_path):
    counts = kills.run(100, 1000, tmp_path)
    assert counts.total() == 100
    assert counts["during a save"] > 0


def test_a_finished_run_is_kept(alone, capsys):
    before = {p.name: p.read_bytes() for p in alone.iterdir() if p.is_file()}
    assert "holds a finished run; --resume" in failing(capsys, alone)
    rows_run(alone, "--resume")
    assert "finished before" in capsys.readouterr().out
    after = {p.name: p.read_bytes() for p in alone.iterdir() if p.is_file()}
    assert before | {".lock": b""} == after | {".lock": b""}


def test_a_run_killed_after_its_last_update_still_ends(alone, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(alone, out)
    for name in (*kills.SAME, "memory.png"):
        (out / name).unlink()
    (out / ".memory.png-half").write_bytes(b"half a picture")
    rows_run(out, "--resume")
    assert same(out, alone)
    assert (out / "memory.png").exists()
    assert not (out / ".memory.png-half").exists()


def test_overwrite_deletes_runs_and_nothing_else(alone, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(alone, out)
    rows_run(out, "--overwrite", "--epochs", "1")
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 1

    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    for option in ("--overwrite", "--resume", "--no-overwrite"):
        message = failing(capsys, other, option.replace("--no-overwrite", "--keep=2"))
        assert "is not empty and holds no run" in message
    assert (other / "thesis.tex").read_text() == "years of work"


def test_resume_needs_the_options_the_run_was_made_with(alone, capsys):
    message = failing(capsys, alone, "--resume", "--hidden-size", "11")
    assert "was made with --hidden-size 7, now it is 11" in message


def unfinished(alone: Path, out: Path) -> Path:
    shutil.copytree(alone, out)
    (out / "summary.json").unlink()
    return out


def test_resume_needs_no_other_options(alone, tmp_path):
    out = unfinished(alone, tmp_path / "run")
    lab.main(rows.STUDY, ["--out", str(out), "--resume"])
    assert same(out, alone)


def test_no_option_but_those_of_the_experiment_is_read_from_a_run(alone, tmp_path):
    out = unfinished(alone, tmp_path / "run")
    config = json.loads((out / "config.json").read_text())
    config |= {"overwrite": True, "out": str(tmp_path / "other"), "coordinator": "a:1"}
    (out / "config.json").write_text(json.dumps(config))
    found = parse(["--out", str(out), "--resume"])
    assert found == parse([*TINY, "--out", str(out), "--resume"])
    found = parse(["--out", str(out), "--resume", "--seeds", "3"])
    assert (found.train.seeds, found.train.epochs) == (3, 3)


def test_resume_needs_the_data_the_run_was_made_with(alone, tmp_path, capsys):
    out = unfinished(alone, tmp_path / "run")
    (out / "data.sha256").write_text("0\n")
    message = failing(capsys, out, "--resume")
    assert f"--resume: expected the data that {out} was begun with" in message


def test_all_random_draws_have_keys_of_their_own(monkeypatch):
    monkeypatch.setattr(rnn, "shuffled", lambda key, *_: jax.random.key_data(key))
    plan = lab.shuffled(7, 1, lab.take()).plan
    used = [jax.random.split(jax.random.key(seed)) for seed in (5, 6)]
    orders = [plan(epoch, seed)[None] for epoch in range(7) for seed in (5, 6)]
    found = np.concatenate([*map(jax.random.key_data, used), *orders])
    assert len(np.unique(found, axis=0)) == len(found) == 2 * (2 + 7)


@pytest.mark.parametrize("place", ["the last save", "the pictures"])
def test_a_signal_after_the_last_update_says_how_to_go_on(
    alone, tmp_path, capsys, monkeypatch, place
):
    out = tmp_path / "a run"

    def stop(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        if place == "the pictures":
            patch.setattr(rows_plots, "confusion", stop)
        else:
            finish = checkpoints.Checkpoints.finish
            patch.setattr(
                checkpoints.Checkpoints, "finish", lambda saver: (finish(saver), stop())
            )
        message = failing(capsys, out, status=128 + signal.SIGTERM)
    assert (
        "stopped by SIGTERM; go on with python -m experiments.rows --resume --out "
        f"'{out}'" in message
    )
    rows_run(out, "--resume")
    assert same(out, alone)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_run_of_another_experiment_is_not_resumed(alone, capsys):
    with pytest.raises(SystemExit) as error:
        lab.main(music.STUDY, ["--resume", "--out", str(alone)])
    assert error.value.code == 2
    assert "expected a run of music, got one of rows" in capsys.readouterr().err


def test_a_resumed_run_has_the_options_of_how_to_run_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--out", "run", "--data-dir", "a folder", "--keep", "5"]
    with Folder("rows", parse([*options, "--devices", "2"])):
        pass
    monkeypatch.chdir("/")
    again = ["--out", str(tmp_path / "run"), "--resume"]
    found = parse(again).run
    assert found.data_dir == tmp_path / "a folder"
    assert (found.keep, found.devices, found.checkpoint_minutes) == (5, 2, 5.0)
    assert parse([*again, "--devices", "3"]).run.devices == 3
    with Folder("rows", parse([*again, "--data-dir", "moved"])):
        assert parse(again).run.data_dir == Path("/moved")


def test_what_is_written_once_stays(tmp_path):
    options = [*TINY, "--out", str(tmp_path)]
    with Folder("rows", parse(options)) as folder:
        path = folder.keep("words.txt", lambda path: path.write_text("first"))
    with Folder("rows", parse([*options, "--resume"])) as folder:
        assert folder.keep("words.txt", lambda path: path.write_text("again")) == path
    assert path.read_text() == "first"


def test_a_second_run_is_refused_while_the_first_lives(tmp_path, capsys):
    out = tmp_path / "run"
    with Folder("rows", parse([*TINY, "--out", str(out)])):
        said = failing(capsys, out, "--resume")
    assert f"is in use by a run that lives, process {os.getpid()}" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [0, 12])
def test_a_disk_without_room(tmp_path, blocks):
    """A limit on the size of files, in KiB, fails a write as a full disk does."""
    command = [*kills.command(tmp_path / "run"), "--hidden-size", "61"]
    done = subprocess.run(
        ["bash", "-c", f'ulimit -f {blocks} && exec "$@"', "bash", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert "cannot save the checkpoint" if blocks else "cannot write" in done.stderr


def test_only_what_orbax_says_twice_is_kept_quiet(monkeypatch, capsys):
    class Late:
        def __init__(self, answer):
            self.answer = answer

        def __del__(self):  # nobody can catch what it raises, as on storage's thread
            self.answer()

    def die():
        raise KeyError("of a thread")

    def in_a_thread(kind):
        thread = kind(target=die)
        thread.start()
        thread.join()

    class OfOrbax(threading.Thread):
        __module__ = "orbax.checkpoint.futures"

    closed = asyncio.new_event_loop()
    closed.close()
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio", "a user's")]

    def state():
        levels = [logger.level for logger in loggers]
        return threading.excepthook, sys.unraisablehook, *levels

    before = state()
    with quiet():
        Late(lambda: closed.call_soon_threadsafe(print))
        in_a_thread(OfOrbax)
        assert capsys.readouterr().err == ""
        Late(lambda: 1 // 0)
        assert "ZeroDivisionError" in capsys.readouterr().err
        in_a_thread(threading.Thread)
        assert "KeyError: 'of a thread'" in capsys.readouterr().err
        loggers[2].error("said")
        assert state()[-1] == before[-1]
    assert state() == before


def test_importing_the_lab_leaves_the_process_as_it_was():
    code = """if True:
        import logging, signal, sys, threading
        names = "absl", "asyncio"
        def state():
            levels = [logging.getLogger(name).level for name in names]
            hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
            return *levels, *hooks, signal.getsignal(signal.SIGTERM)
        before = state()
        from experiments import lab, rows
        from experiments.lab import checkpoints
        assert state() == before
    """
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# Checkpoints by themselves.

STATE = {
    "w": jnp.arange(35.0).reshape(5, 7),
    "n": jnp.int32(3),
    "keys": jax.random.split(jax.random.key(0), 2),
    "host": np.full((2, 3), np.nan, np.float32),
}


def scaled(factor: int):
    return STATE | {"w": factor * STATE["w"]}


def save(folder: Path, steps=(10, 20, 30), keep: int = 3, scores=None):
    saver = checkpoints.Checkpoints(folder, keep)
    for step in steps:
        score = None if scores is None else scores[step]
        saver.save(step, scaled(step), {"history": [step]}, score=score)
    saver.finish()
    saver.close()


def assert_is(found, step: int):
    assert found.step == step
    assert found.record["history"] == [step]
    for name, want in scaled(step).items():
        got = found.state[name]
        assert got.dtype == want.dtype
        if name == "keys":
            got, want = jax.random.key_data(got), jax.random.key_data(want)
        np.testing.assert_array_equal(got, want)


def test_a_checkpoint_comes_back_whole(tmp_path):
    assert checkpoints.restore(tmp_path / "c", STATE) is None
    save(tmp_path / "c")
    assert_is(checkpoints.restore(tmp_path / "c", STATE), 30)


def test_the_latest_and_the_best_are_kept(tmp_path):
    scores = {10: 0.1, 20: 0.9, 30: 0.3, 40: 0.4, 50: None, 60: None}
    save(tmp_path / "c", tuple(scores), keep=2, scores=scores)
    names = {p.name for p in (tmp_path / "c").iterdir()}
    assert names == {"20", "50", "60"}


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


@pytest.mark.parametrize(
    "damage",
    [
        "flip",
        pytest.param("cut", marks=pytest.mark.slow),
        pytest.param("empty", marks=pytest.mark.slow),
        pytest.param("remove", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, capsys, damage):
    """Each of its files in turn; what is read is whole, whichever it is."""
    whole = tmp_path / "whole"
    save(whole, steps=(10, 20))
    names = [path.relative_to(whole) for path in files(whole / "20")]
    assert len(names) >= 4
    fell_back = 0
    for name in names:
        folder = tmp_path / "c"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        content = bytearray((folder / name).read_bytes())
        if damage == "flip":
            content[len(content) // 2] ^= 0x10
        size = {"flip": len(content), "cut": len(content) // 2}.get(damage, 0)
        (folder / name).write_bytes(content[:size])
        if damage == "remove":
            (folder / name).unlink()
        found = checkpoints.restore(folder, STATE)
        assert found is not None
        assert_is(found, found.step)
        if found.step == 10:
            fell_back += 1
            assert "update 20 is damaged" in capsys.readouterr().err
            assert (folder / "20.damaged").is_dir()
    assert fell_back >= 4  # the others have nothing that matters
    folder = tmp_path / "whole"
    (folder / "20" / "_CHECKPOINT_METADATA").unlink()
    assert_is(checkpoints.restore(folder, STATE), 10)
    save(folder, steps=(20,))  # the place of the damaged one is free
    assert_is(checkpoints.restore(folder, STATE), 20)


def test_the_digest_finds_what_the_storage_does_not(tmp_path, capsys):
    save(tmp_path / "c", steps=(10, 20))
    path = tmp_path / "c" / "20" / "_CHECKPOINT_METADATA"
    record = json.loads(path.read_text())
    record["custom_metadata"]["history"] = [21]
    path.write_text(json.dumps(record))
    assert_is(checkpoints.restore(tmp_path / "c", STATE), 10)
    assert "its bytes are not those that were saved" in capsys.readouterr().err


def test_no_good_checkpoint_at_all(tmp_path):
    save(tmp_path / "c", steps=(10, 20))
    for path in files(tmp_path / "c"):
        path.write_bytes(b"")
    with pytest.raises(lab.RunError, match=r"none of the 2 checkpoints .* --overwrite"):
        checkpoints.restore(tmp_path / "c", STATE)
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"10.damaged", "20.damaged"}


def test_a_checkpoint_of_other_sizes_or_another_version(tmp_path, monkeypatch):
    save(tmp_path / "c", steps=(10,))
    with pytest.raises(
        lab.RunError, match=r"\['w'\]: expected .*11, 7\], found .*5, 7"
    ):
        checkpoints.restore(tmp_path / "c", STATE | {"w": jnp.zeros((11, 7))})
    with pytest.raises(lab.RunError, match=r"has no state\['more'\]"):
        checkpoints.restore(tmp_path / "c", STATE | {"more": jnp.zeros(2)})
    monkeypatch.setattr(checkpoints, "FORMAT", 2)
    with pytest.raises(lab.RunError, match=r"of format 1; this version .* format 2"):
        checkpoints.restore(tmp_path / "c", STATE)
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"10"}


# A loss that is not finite.


def counting(bad: dict[int, int], **task) -> lab.Task:
    """Counts updates in the params; seed s has no finite loss at update bad[s]."""

    def loss(params, x, key):
        del key
        return jnp.sum(params) * x, {"x": x}

    def plan(epoch, seed):
        del epoch
        return np.array([[bad.get(seed) == update] for update in range(11)], int)

    def read(numbers):
        return (np.where(numbers == 1, np.nan, 1).astype(np.float32),)

    usual = {
        "init": lambda key: jnp.zeros(1),
        "loss": loss,
        "batches": lab.Batches(11, plan, read),
        "measure": lambda params: {"size": np.abs(params[:, 0])},
        "best": "size",
        "keep_best": False,
    }
    return lab.Task(**usual | task)


def train(tmp_path, task, nonfinite, epochs=1):
    training = lab.Training(
        epochs=epochs,
        batch_size=1,
        learning_rate=1.0,
        optimizer="sgd",
        schedule="constant",
        clip=None,
        seeds=3,
        nonfinite=nonfinite,
    )
    config = lab.Config(training, Running(out=tmp_path / "run"))
    with quiet(), Folder("test", config) as folder:
        return loop.train(task, config, folder, None)


def test_one_diverged_seed_does_not_stop_the_others(tmp_path, capsys):
    outcome = train(tmp_path, counting({1: 7}), "stop")
    np.testing.assert_array_equal(outcome.params[:, 0], [-11, -7, -11])
    np.testing.assert_array_equal(outcome.guard.stopped, [False, True, False])
    said = capsys.readouterr().err
    assert "seed 1 stopped: the loss is nan" in said
    assert "at update 8" in said


def test_an_update_that_is_not_finite_is_skipped_by_choice(tmp_path):
    outcome = train(tmp_path, counting({0: 0, 1: 7}), "skip")
    np.testing.assert_array_equal(outcome.params[:, 0], [-10, -10, -11])
    assert not outcome.guard.stopped.any()


@pytest.mark.parametrize("keep_best", [True, False])
def test_the_best_epoch_of_each_seed_is_the_result(tmp_path, keep_best):
    # The params count updates down from 0; each seed scores best at a level of its own.
    best = jnp.array([-11.0, -22.0, -33.0])
    task = counting(
        {},
        measure=lambda params: {"size": np.abs(params[:, 0] - best)},
        best="-size",
        keep_best=keep_best,
    )
    outcome = train(tmp_path, task, "stop", epochs=3)
    want = best if keep_best else [-33, -33, -33]
    np.testing.assert_array_equal(outcome.params[:, 0], want)


def test_when_all_seeds_diverge_the_last_good_state_is_kept(tmp_path):
    task = counting({0: 3, 1: 7, 2: 5})
    with pytest.raises(lab.RunError, match=r"nan .* norm nan at update 4;"):
        train(tmp_path, task, "stop")
    start = jax.vmap(lambda k: rnn.train_state(jnp.zeros(1), optax.sgd(1.0), k))
    state = start(jax.random.split(jax.random.key(0), 3))
    records = {name: np.zeros((3, 11), np.float32) for name in ("loss", "x")}
    like = (state, no_guard(3)), (), records
    found = checkpoints.restore(tmp_path / "run" / "checkpoints", like)
    assert found is not None
    (state, guard), *_ = found.state
    np.testing.assert_array_equal(state.params[:, 0], [-3, -7, -5])
    np.testing.assert_array_equal(guard.step, [3, 7, 5])


def test_a_run_that_diverges_says_what_to_try(tmp_path, capsys):
    options = ["--optimizer", "sgd", "--learning-rate", "1e38", "--seeds", "1"]
    message = failing(capsys, tmp_path / "run", *options, status=1)
    for part in ("at update", "gradient's norm", "--learning-rate", "--nonfinite skip"):
        assert part in message
    assert not (tmp_path / "run" / "summary.json").exists()
    # It stays stopped, for the same reason.
    again = failing(capsys, tmp_path / "run", *options, "--resume", status=1)
    assert message.splitlines()[-1] == again.splitlines()[-1]


def test_metrics_are_json_even_of_a_run_that_diverged(tmp_path, capsys):
    del capsys
    options = ["--optimizer", "sgd", "--learning-rate", "1e38", "--seeds", "1"]
    with pytest.raises(SystemExit):
        rows_run(tmp_path / "run", *options)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(name))
