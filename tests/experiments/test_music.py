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
import mido
import numpy as np
import pytest
from conftest import needs_data
from scipy.io import loadmat, savemat

from experiments import lab, music
from experiments.data import DataError, files
from experiments.data.midi import write_midi
from experiments.data.music import (
    DATASETS,
    KEYS,
    LOWEST,
    Music,
    Note,
    load_music,
    notes,
    room,
    transpose,
)
from experiments.data.parts import cut, in_parts
from experiments.lab.pieces import Feed
from experiments.measures.rolls import averaged, simple_models
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


def random_roll(seed: int, steps: int) -> np.ndarray:
    """Some notes that sound on, away from the ends of the keyboard."""
    rng = np.random.default_rng(seed)
    roll = np.zeros((steps, KEYS), np.uint8)
    roll[:, 20:60] = np.repeat(rng.random((-(-steps // 2), 40)) < 0.1, 2, 0)[:steps]
    return roll


def heard(path: Path) -> tuple[np.ndarray, mido.MidiFile]:
    """A MIDI file as a player hears it, as a roll."""
    song = mido.MidiFile(path)
    (source,) = (s for s in DATASETS.values() if song.tracks[0][0].tempo == tempo(s))
    step = song.ticks_per_beat / source.steps
    columns, down, now = [], set(), 0.0
    for message in song.tracks[0]:
        for _ in range(round((now + message.time) / step) - len(columns)):
            columns.append(sorted(down))
        now += message.time
        if message.type == "note_on":
            assert message.note not in down
            down.add(message.note)
        elif message.type == "note_off":
            down.remove(message.note)
    assert not down
    roll = np.zeros((len(columns), KEYS), np.uint8)
    for row, column in zip(roll, columns, strict=True):
        row[np.array(column, int) - LOWEST] = 1
    return roll, song


def tempo(source) -> int:
    return mido.bpm2tempo(source.tempo)


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
    data = Music(split, split, split), in_parts(split, 2, 16, 3)
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


def test_cut_pieces_have_every_transition_once():
    rolls = [random_roll(seed, steps) for seed, steps in enumerate((2, 17, 18, 50))]
    parts = cut(rolls, 16)
    assert max(len(part) for part in parts) == 17
    assert min(len(part) for part in parts[1:]) >= 9

    def transitions(rolls):
        return [a.tobytes() + b.tobytes() for roll in rolls for a, b in pairwise(roll)]

    assert transitions(parts) == transitions(rolls)


def test_transposing_moves_notes_and_never_drops_one():
    roll = random_roll(11, 13)
    low, high = room(roll)
    for by in (low, -1, 0, 5, high):
        moved = transpose(roll, by)
        found = [Note(n.start, n.stop, n.key - by) for n in notes(moved)]
        assert found == list(notes(roll))
    for by in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"semitones: expected {low} to {high}"):
            transpose(roll, by)
    assert room(np.zeros((3, KEYS), np.uint8)) == (0, 0)


@pytest.mark.parametrize("name", DATASETS)
def test_a_midi_file_reads_back_as_the_roll_it_was_made_of(name, tmp_path):
    roll = random_roll(13, 29)
    roll[:2] = roll[-3:] = 0  # silence at both ends counts
    roll[5:9, [0, KEYS - 1]] = 1
    write_midi(
        tmp_path / "a.mid", roll, DATASETS[name].steps, DATASETS[name].tempo, given=7
    )
    found, song = heard(tmp_path / "a.mid")
    np.testing.assert_array_equal(found, roll)
    struck = sum(message.type == "note_on" for message in song.tracks[0])
    assert struck == len(list(notes(roll))) < roll.sum()  # the others are tied
    quarters = 29 / DATASETS[name].steps
    assert math.isclose(song.length, quarters * 60 / DATASETS[name].tempo, rel_tol=1e-4)


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


def test_baselines_are_what_one_counts(problem):
    rolls = problem.music.train
    found = simple_models(rolls, rolls)
    starts = np.concatenate([roll[:-1] for roll in rolls])
    ends = np.concatenate([roll[1:] for roll in rolls])
    expected = np.zeros(2)
    for before, after in zip(starts, ends, strict=True):
        for key in range(KEYS):
            every, like = ends[:, key], ends[starts[:, key] == before[key], key]
            for i, seen in enumerate((every, like)):
                p = (seen.sum(dtype=int) + 1) / (len(seen) + 2)
                expected[i] -= math.log(p if after[key] else 1 - p)
    by_step = [scores.by_step for scores in found.values()]
    np.testing.assert_allclose(by_step, expected / len(starts))


def write_mat(path: Path, compress: bool = True, **changes: Any) -> Path:
    arrays = {}
    for name in ("traindata", "validdata", "testdata"):
        cells = np.empty((1, 3), object)
        cells[0] = [random_roll(seed, 5 + seed).astype(float) for seed in range(3)]
        arrays[name] = cells
    arrays |= changes
    arrays = {name: value for name, value in arrays.items() if value is not None}
    savemat(path, arrays, do_compression=compress)
    return path


def pieces_with(change: Any) -> np.ndarray:
    cells = np.empty((1, 2), object)
    cells[0] = [random_roll(1, 5), change]
    return cells


@pytest.mark.parametrize("compress", [True, False])
def test_a_matlab_file_is_read_as_it_was_written(tmp_path, compress):
    write_mat(tmp_path / "JSB_Chorales.mat", compress)
    found = load_music("jsb", tmp_path)
    for split in found:
        for seed, roll in enumerate(split):
            assert roll.dtype == np.uint8
            np.testing.assert_array_equal(roll, random_roll(seed, 5 + seed))


@needs_data("music")
@pytest.mark.parametrize("name", DATASETS)
def test_the_files_are_read_as_scipy_reads_them(name):
    found = load_music(name, None)
    expected = loadmat(DATASETS[name].files.find(None)[0])
    for split, rolls in found._asdict().items():
        cells = expected[f"{split}data"].ravel()
        assert len(rolls) == len(cells)
        for roll, cell in zip(rolls, cells, strict=True):
            np.testing.assert_array_equal(roll, cell)


def test_no_damage_gets_past_a_data_error(tmp_path):
    path = write_mat(tmp_path / "JSB_Chorales.mat", compress=False)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        bad = bytearray(good[: rng.integers(128, len(good))])
        for place in rng.integers(120, min(len(bad), 900), 3):
            bad[place] = rng.integers(256)
        path.write_bytes(bad)
        try:
            load_music("jsb", tmp_path)
        except DataError:
            refused += 1
    assert refused > 450


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validdata": None}, "lacks validdata"),
        ({"testdata": np.ones((3, KEYS))}, "testdata: expected a cell array of pieces"),
        ({"testdata": np.empty((0, 0), object)}, "testdata: expected a cell array"),
        ({"testdata": "music"}, "testdata: expected a cell array of pieces"),
        (
            {"traindata": pieces_with(np.ones((5, 87)))},
            "piece 1: expected at least 2 steps of 88 keys, found shape [5, 87]",
        ),
        ({"traindata": pieces_with(np.ones((1, KEYS)))}, "piece 1: expected at least"),
        ({"traindata": pieces_with(np.ones((0, KEYS)))}, "piece 1: expected at least"),
        ({"traindata": pieces_with(np.full((5, KEYS), 2))}, "nothing but 0 and 1"),
        ({"traindata": pieces_with(np.full((5, KEYS), np.nan))}, "nothing but 0 and 1"),
        ({"traindata": pieces_with(np.ones((5, KEYS)) * 1j)}, "expected numbers"),
        ({"traindata": pieces_with("music")}, "piece 1: expected numbers"),
        ({"traindata": pieces_with({"a": 1})}, "piece 1: expected numbers"),
        ({"traindata": pieces_with(pieces_with(0))}, "piece 1: expected numbers"),
    ],
)
def test_files_that_hold_something_else_are_refused(changes, message, tmp_path):
    path = write_mat(tmp_path / "JSB_Chorales.mat", **changes)
    with pytest.raises(DataError) as error:
        load_music("jsb", tmp_path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


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
        (["--temperature", "0"], "--temperature: expected above 0, got 0.0"),
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
