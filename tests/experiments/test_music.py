"""`python -m experiments.music`, from the files to the figures and the music."""

import json
import math
import struct
import zlib
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from made import heard, random_roll, write_mat

from experiments import lab, music
from experiments.data import files
from experiments.data.music import (
    DATASETS,
    KEYS,
    Music,
    load_music,
    room,
    transpose,
)
from experiments.data.parts import cut, in_parts
from experiments.lab.pieces import Feed
from experiments.measures.rolls import averaged
from experiments.models.notes import DrawNotes


def run(out: Path, *options: str) -> tuple[dict, list[dict]]:
    lab.main(music.STUDY, ["--out", str(out), *options])
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return json.loads((out / "summary.json").read_text()), [*map(json.loads, lines)]


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(music.STUDY, list(options))
    assert error.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The smoke run on the chorales."""
    out = tmp_path_factory.mktemp("music") / "jsb"
    return out, *run(out, "--preset", "smoke")


@needs_data("music")
def test_the_chorales_from_end_to_end(finished):
    _, summary, metrics = finished
    assert metrics[4]["valid_nll"][0] < metrics[0]["valid_nll"][0] < 88 * math.log(2)
    assert summary["test_pieces"] == summary["config"]["pieces"] == 40
    per_seed = summary["test_nll_per_seed"]
    assert len(set(per_seed)) == 2
    assert math.isclose(summary["test_nll"], sum(per_seed) / 2)
    often, again = summary["baselines"].values()
    assert max(again["by_step"], summary["test_nll"]) < often["by_step"] < 12
    best = np.min([m["valid_nll"] for m in metrics], axis=0)
    np.testing.assert_allclose(summary["valid_nll_per_seed"], best, rtol=1e-6)


@needs_data("music")
@pytest.mark.slow
def test_the_folk_tunes_from_end_to_end(tmp_path):
    options = ["--dataset", "nottingham", "--preset", "smoke", "--cell", "gru"]
    summary, metrics = run(tmp_path, *options, "--seeds", "1", "--devices", "2")
    assert metrics[4]["valid_nll"][0] < metrics[0]["valid_nll"][0]
    assert summary["test_nll"] < 12
    assert heard(tmp_path / "music.mid")[0].shape == (2 * (16 + 48), KEYS)


@needs_data("music")
def test_made_music_begins_as_the_piece_and_depends_on_its_options_alone(finished):
    out, _, _ = finished
    before = (out / "config.json").read_bytes(), (out / "summary.json").read_bytes()
    options = ["--generate", "--out", str(out), "--piece", "3", "--prompt", "7"]
    options += ["--length", "23", "--most-notes", "2", "--temperature", "1"]
    for seed in ("0", "5", "0"):
        lab.main(music.STUDY, [*options, "--music-seed", seed])
    made = {}
    for seed in (0, 5):
        name = f"piece-3-seed-{seed}-at-1"
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        made[seed], song = heard(out / f"{name}.mid")
        assert made[seed].shape == (7 + 23, KEYS)
        assert math.isclose(song.length, 30 * 60 / DATASETS["jsb"].tempo, rel_tol=1e-4)
        (marker,) = [i for i, m in enumerate(song.tracks[0]) if m.type == "marker"]
        assert sum(m.time for m in song.tracks[0][: marker + 1]) == 7 * 480
        assert made[seed][7:].sum(1).max() == 2
    given = load_music("jsb", None).test[3][:7]
    np.testing.assert_array_equal(made[0][:7], given)
    np.testing.assert_array_equal(made[5][:7], given)
    assert (made[0] != made[5]).any()
    after = (out / "config.json").read_bytes(), (out / "summary.json").read_bytes()
    assert after == before


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def reference(params: Any, roll: np.ndarray) -> np.ndarray:
    """The NLL of each step of a piece by an LSTM, in NumPy and double precision."""
    _, lstm, _, readout = jax.tree.map(lambda a: np.asarray(a, float), params)
    h, c = (np.broadcast_to(a, lstm.w_h.shape[:1]) for a in (0.0, 0.0))
    found = []
    for x, after in pairwise(roll.astype(float)):
        i, f, g, o = np.split(x @ lstm.w_x + h @ lstm.w_h + lstm.b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        p = sigmoid(h @ readout.w + readout.b)
        found.append(-(after * np.log(p) + (1 - after) * np.log(1 - p)).sum())
    return np.array(found)


@pytest.fixture(scope="module")
def problem():
    config = lab.parse(music.STUDY, ["--hidden-size", "13", "--seeds", "2"])
    split = [random_roll(seed, steps) for seed, steps in enumerate((5, 31, 17, 2))]
    batches = in_parts(split, 2, 16, 3)
    data = music.Data(Music(split, split, split), batches, DATASETS["jsb"])
    return music.prepare(config, data, lambda name, write: Path(name))


@pytest.fixture(scope="module")
def params(problem):
    drawn = jax.vmap(problem.net.init)(jax.random.split(jax.random.key(3), 2))
    return jax.tree.map(lambda a: 3 * a, drawn)  # far from the start


def test_pieces_measured_together_are_those_of_a_numpy_network(problem, params):
    rolls = problem.music.test
    found = problem.nll(params, rolls)
    assert found.shape == (2, 4)
    steps = [
        [reference(jax.tree.map(lambda a: a[s], params), roll) for roll in rolls]
        for s in range(2)
    ]
    expected = [[each.mean() for each in own] for own in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    by_step, by_piece = averaged(found, rolls)
    np.testing.assert_allclose(
        by_step, [np.concatenate(own).mean() for own in steps], rtol=1e-5
    )
    np.testing.assert_allclose(by_piece, np.mean(expected, axis=1), rtol=1e-5)


def test_padding_changes_neither_the_loss_nor_its_gradient(problem, params):
    one = jax.tree.map(lambda a: a[0], params)
    roll = problem.music.test[2]
    key = jax.random.key(5)  # with dropout
    measure = jax.jit(jax.value_and_grad(partial(music.mean_nll, problem.net)))
    alone = measure(one, roll, np.ones(17, bool), key)
    padded = np.concatenate([roll, np.ones((6, KEYS), np.uint8)])
    mask = np.arange(23) < 17
    for a, b in zip(
        jax.tree.leaves(alone),
        jax.tree.leaves(measure(one, padded, mask, key)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_step_is_predicted_from_those_before_it_alone(problem, params):
    one = jax.tree.map(lambda a: a[0], params)
    roll = random_roll(7, 11).astype(np.float32)

    def predicted(roll):
        return music.logits(problem.net, one, roll).sum(axis=1)  # of steps 1 to 10

    changes = np.abs(jax.jit(jax.jacobian(predicted))(roll)).sum(axis=2)
    seen = np.tril(np.ones((10, 11), bool))  # step t + 1 by the steps 0 to t
    np.testing.assert_array_equal(changes > 0, seen)


def test_training_reads_every_step_in_keys_that_drop_no_note():
    pieces = [random_roll(seed, 40 + seed) for seed in range(64)]
    pieces[0][:, KEYS - 3] = 1  # can go up by two only
    batches = in_parts(pieces, 8, 16, 3, transposed=True)
    feed = Feed(batches, range(2), None)
    parts = cut(pieces, 16)
    known = {p.tobytes() for part in parts for p in shifted(part)}
    keys_seen, sizes = set(), set()
    for step in range(batches.steps):
        count, (rolls, mask) = feed.piece(step)
        sizes.add(rolls.shape)
        assert count == 1
        assert rolls.shape == (2, 1, 8, mask.shape[-1], KEYS)
        for place in np.ndindex(2, 1, 8):
            roll = rolls[place][mask[place]]
            assert roll.tobytes() in known
            keys_seen.add(roll.tobytes())
    assert len(sizes) <= 3
    assert len(keys_seen) > len(parts)  # the two seeds have keys of their own
    as_they_are = in_parts(pieces, 8, 16, 3)
    np.testing.assert_array_equal(as_they_are.plan(1, 0)[..., 1], 0)
    kept = batches.plan(1, 0)[..., 0]
    np.testing.assert_array_equal(as_they_are.plan(1, 0)[..., 0], kept)


def shifted(part: np.ndarray) -> list[np.ndarray]:
    low, high = room(part)
    return [transpose(part, by) for by in range(max(low, -5), min(high, 6) + 1)]


def test_drawn_notes_follow_their_probabilities():
    logits = jnp.linspace(-3.0, 3.0, KEYS)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(DrawNotes(0.5, KEYS), (None, 0))(logits, keys)
    np.testing.assert_allclose(drawn.mean(0), sigmoid(2 * logits), atol=0.04)
    few = jax.vmap(DrawNotes(0.5, 3), (None, 0))(logits, keys)
    for row, full in zip(np.asarray(few[:50]), np.asarray(drawn[:50]), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(row), np.flatnonzero(full)[-3:])
    none = DrawNotes(1.0, 3)(jnp.full(KEYS, -50.0), keys[0])
    assert not none.any()


def test_damaged_files_end_in_one_message(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_mat(tmp_path / "JSB_Chorales.mat")
    good = path.read_bytes()
    size = struct.unpack_from("<I", good, 132)[0]
    bomb = good[:128] + packed(bytes(1 << 22))
    flipped = bytearray(good)
    flipped[128 + 8 + size // 2] ^= 4
    monkeypatch.setattr(files, "LIMIT", 1 << 21)
    for data, message in (
        (b"", "is empty"),
        (b"MATLAB 7.3 MAT-file" + bytes(500), "does not begin as a MATLAB file"),
        (b"\x80\x04K\x01." * 100, "does not begin as a MATLAB file of version 5"),
        (good[:128], "lacks traindata, validdata, testdata"),
        (good[:-9], "is cut short"),
        (good[:140], "is cut short"),
        (good[: 128 + 8 + size], "lacks validdata, testdata"),
        (bytes(flipped), "Error -3 while decompressing data"),
        (bomb, "is damaged, or longer than 2,097,152 bytes"),
        (good[:128] + packed(bytes(64)), "lacks traindata"),
    ):
        path.write_bytes(data)
        said = failing(capsys, "--data-dir", str(tmp_path))
        assert [*tmp_path.iterdir()] == [path]
        assert str(path) in said
        assert message in said
        assert len(said.splitlines()) == 1


def packed(data: bytes) -> bytes:
    part = zlib.compress(data)
    return struct.pack("<II", 15, len(part)) + part


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "-1"], "--temperature: expected at least 0, got -1.0"),
        (["--most-notes", "89"], "--most-notes: expected at most 88, got 89"),
        (["--prompt", "0"], "--prompt: expected at least 1, got 0"),
        (["--piece", "3"], "--piece: expected below 3, got 3"),
        (["--generate", "--out", "run"], "--out: run holds no finished run"),
        (["--batch-size", "3", "--devices", "2"], "a multiple of the 2 devices"),
        (["--dataset", "nottingham"], "lacks Nottingham.mat"),
        ([], "there are 3 examples to train on, fewer than a batch of 8"),
        (["--data-dir", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_end_in_one_message(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mat(tmp_path / "JSB_Chorales.mat")
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))
    said = " ".join(failing(capsys, *options).replace("│", "").split())
    assert message in said
    assert len(list(tmp_path.iterdir())) == 1
