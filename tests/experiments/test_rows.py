"""`python -m experiments.rows`, from the command line to the files it leaves."""

import json
import math
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from safetensors.numpy import load_file

from experiments import lab, rows
from experiments.data.images import load_images
from experiments.lab import pieces
from experiments.lab.folder import Folder

ROOT = Path(__file__).parents[2]
needs_mnist = needs_data("mnist")


parse = partial(lab.parse, rows.STUDY)


def run(out: Path, *options: str) -> tuple[dict, list[dict]]:
    lab.main(rows.STUDY, ["--out", str(out), *options])
    lines = (out / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    return json.loads((out / "summary.json").read_text()), metrics


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(rows.STUDY, list(options))
    assert error.value.code == 2
    return capsys.readouterr().err


def test_digits_from_end_to_end(tmp_path, capsys):
    summary, metrics = run(tmp_path / "run", "--preset", "smoke")
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4, 5]
    assert all(
        metrics[0]["train_loss"][s] > 2 * metrics[-1]["train_loss"][s] for s in (0, 1)
    )
    assert summary["experiment"] == "rows"
    assert summary["dataset"] == "digits"
    assert summary["config"]["hidden_size"] == 31
    assert summary["test_accuracy"] > 0.8
    per_seed = summary["test_accuracy_per_seed"]
    assert len(set(metrics[0]["train_loss"])) == 2
    assert math.isclose(summary["test_accuracy"], sum(per_seed) / 2)
    assert per_seed == metrics[-1]["test_accuracy"]
    assert summary["steps"] == 5 * (1437 // 32)
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    rate = summary["steps"] / timing["train_seconds"]
    assert math.isclose(timing["steps_per_second"], rate)
    assert math.isclose(timing["examples_per_second"], rate * 32 * 2)
    assert timing["compile_seconds"] > 0
    assert timing["seconds"] > timing["train_seconds"]
    assert summary["versions"]["jax"] == jax.__version__
    assert f"{summary['test_accuracy']:.2%}" in capsys.readouterr().out


def test_saved_params_are_those_that_were_measured(tmp_path):
    options = ["--epochs", "2", "--hidden-size", "31", "--cell", "gru", "--layers", "2"]
    summary, _ = run(tmp_path / "run", *options, "--seeds", "2")
    arrays = load_file(tmp_path / "run" / "params.safetensors")
    config = parse(options)
    net = rows.network(config, 8, 10)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    paths, tree = jax.tree_util.tree_flatten_with_path(shapes)
    params = jax.tree.unflatten(
        tree, [jnp.asarray(arrays[jax.tree_util.keystr(path)][1]) for path, _ in paths]
    )
    test = load_images("digits").test
    xs = jnp.asarray(rows.sequences(test.images, 16, "rows"))
    logits = jax.jit(jax.vmap(net.logits, (None, 0)))(params, xs)
    hits = np.asarray(logits).argmax(-1) == test.labels
    assert math.isclose(hits.mean(), summary["test_accuracy_per_seed"][1])


@pytest.mark.slow
def test_seeds_trained_together_equal_each_alone(tmp_path):
    options = ["--epochs", "1", "--hidden-size", "13"]
    together, _ = run(tmp_path / "all", *options, "--seeds", "3")
    alone, _ = run(tmp_path / "one", *options, "--seeds", "1", "--seed", "2")
    np.testing.assert_allclose(
        together["test_loss_per_seed"][2], alone["test_loss_per_seed"][0], rtol=1e-4
    )


@pytest.mark.slow
def test_two_devices_give_the_result_of_one(tmp_path):
    options = ["--epochs", "1", "--hidden-size", "13", "--seeds", "1"]
    one, _ = run(tmp_path / "one", *options)
    two, _ = run(tmp_path / "two", *options, "--devices", "2")
    np.testing.assert_allclose(one["test_loss"], two["test_loss"], rtol=1e-5)


@pytest.mark.parametrize("order", ["pixels", "permuted"])
def test_orders_read_the_same_pixels(order):
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8)
    by_row = rows.sequences(images, 16, "rows")
    by_pixel = rows.sequences(images, 16, order)
    assert by_row.shape == (2, 8, 8)
    assert by_pixel.shape == (2, 64, 1)
    np.testing.assert_array_equal(
        np.sort(by_pixel[:, :, 0]), np.sort(by_row.reshape(2, -1))
    )
    is_original = np.array_equal(by_pixel[:, :, 0], by_row.reshape(2, -1))
    assert is_original == (order == "pixels")
    np.testing.assert_array_equal(by_pixel, rows.sequences(images, 16, order))


def test_the_classic_recipe_is_the_tutorials_network():
    config = parse(["--recipe", "classic", "--dataset", "mnist"])
    assert (config.cell, config.hidden_size, config.train.batch_size) == (
        "elman",
        100,
        100,
    )
    assert (config.train.optimizer, config.train.learning_rate) == ("sgd", 0.1)
    assert (config.train.epochs, config.train.seeds, config.train_images) == (
        20,
        16,
        55_000,
    )
    assert not config.shuffle
    assert config.train.clip is None
    net = rows.network(config, 28, 10)
    params = net.init(jax.random.key(0))
    leaves = jax.tree.leaves(params)
    assert sorted(a.shape for a in leaves) == [(28, 100), (100,), (100, 10), (100, 100)]
    for leaf in leaves:
        assert 0.005 < float(jnp.std(leaf)) < 0.015

    # s_t = tanh(x_t U + s_{t-1} W), o = softmax(s_T V)
    xs = jax.random.uniform(jax.random.key(1), (28, 28))
    cell, (state,) = params.reader[0]
    for x in xs:
        state = jnp.tanh(x @ cell.w_x + state @ cell.w_h)
    np.testing.assert_allclose(
        net.logits(params, xs), state @ params.readout.w, rtol=1e-5, atol=1e-6
    )


def test_options_given_override_the_recipe():
    config = parse(["--recipe", "classic", "--epochs", "3", "--cell=gru"])
    assert (config.train.epochs, config.cell, config.train.optimizer) == (
        3,
        "gru",
        "sgd",
    )


def test_holding_out_leaves_the_test_images_alone(tmp_path):
    options = ["--epochs", "1", "--seeds", "1", "--holdout", "101"]
    summary, metrics = run(tmp_path / "run", *options)
    assert summary["holdout_images"] == 101
    assert summary["train_images"] == 1437 - 101
    assert not {k for k in (*summary, *metrics[0]) if k.startswith("test_")}


def test_divergence_counts_seeds_that_fall_or_are_not_finite():
    history = [
        {"accuracy": np.array([0.9, 0.9, 0.9]), "train_loss": np.ones(3)},
        {
            "accuracy": np.array([0.86, 0.84, 0.9]),
            "train_loss": np.array([1, 1, np.nan]),
        },
    ]
    found = lab.divergence(history, "accuracy")
    assert found["diverged"] == 2
    np.testing.assert_array_equal(found["diverged_per_seed"], [False, True, True])


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").write_text("dear")
    assert "is not empty" in failing(capsys, "--out", str(tmp_path))
    assert "cannot write" in failing(capsys, "--out", str(tmp_path / "mine" / "out"))
    assert (tmp_path / "mine").read_text() == "dear"


def test_the_classic_recipe_reports_every_epoch(tmp_path, capsys):
    options = ["--recipe", "classic", "--epochs", "2", "--seeds", "2"]
    run(tmp_path / "run", *options)
    said = capsys.readouterr().out
    for epoch in (1, 2):
        assert f"epoch {epoch}, median  " in said
    assert "of 2 seeds diverged" in said


@pytest.mark.slow
def test_ctrl_c_saves_what_was_learned(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "experiments.rows", "--out", str(out)]
    command += ["--epochs", "10000", "--schedule", "constant"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    metrics = out / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    *epochs, said = said.splitlines()  # no progress bar, no traceback
    assert all(line.startswith("epoch ") for line in epochs)
    step = int(said.split()[5])
    assert said == (
        f"stopped by SIGINT after update {step} of 440000; "
        f"go on with python -m experiments.rows --resume --out {out}"
    )
    assert [p.name for p in (out / "checkpoints").iterdir()] == [str(step)]


@pytest.mark.slow
@needs_mnist
def test_the_loss_falls_on_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    options = ["--dataset", "mnist", "--cell", "elman", "--hidden-size", "61"]
    limits = ["--epochs", "2", "--train-images", "20000", "--seeds", "1"]
    summary, metrics = run(tmp_path / "run", *options, *limits)
    assert summary["steps"] == 400
    assert summary["test_images"] == 10_000
    assert metrics[-1]["train_loss"][0] < 0.7 * metrics[0]["train_loss"][0]
    assert summary["test_accuracy"] > 0.7


def test_compiled_times_compiling_apart():
    double = pieces.Compiled(lambda x: 2 * x)
    for size in (3, 3, 5):
        np.testing.assert_array_equal(double(jnp.ones(size)), 2 * np.ones(size))
    assert double.programs == 2
    assert double.seconds > 0
    assert double.compile_seconds > 0


def test_a_failed_write_leaves_the_old_file(tmp_path):
    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with Folder("rows", parse(["--out", str(tmp_path)])) as folder:
        folder.write("a.txt", "old")
        with pytest.raises(lab.RunError, match=r"cannot write .*a.txt: disk full"):
            folder.write("a.txt", fail)
    assert {p.name for p in tmp_path.iterdir()} == {".lock", "a.txt", "config.json"}
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.slow
@needs_mnist
def test_bfloat16_products_cost_little_loss_on_mnist(tmp_path):
    options = "--dataset mnist --train-images 5000 --epochs 3"
    options += " --hidden-size 61 --seeds 2"
    losses = {}
    for dtype in ("float32", "bfloat16"):
        out = tmp_path / dtype
        summary, _ = run(out, *options.split(), "--compute-dtype", dtype)
        losses[dtype] = np.array(summary["test_loss_per_seed"])
        assert summary["config"]["compute_dtype"] == dtype
    assert (losses["float32"] < 1).all()
    assert (np.abs(losses["bfloat16"] / losses["float32"] - 1) < 0.05).all()
    assert (losses["bfloat16"] != losses["float32"]).any()
