"""Music: MATLAB files, whole and damaged, rolls and MIDI files."""

import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_data
from made import heard, random_roll, write_mat
from scipy.io import loadmat

from experiments.data import DataError
from experiments.data.midi import write_midi
from experiments.data.music import (
    DATASETS,
    KEYS,
    Note,
    load_music,
    notes,
    room,
    transpose,
)
from experiments.data.parts import cut


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
    known = DATASETS[name]
    write_midi(tmp_path / "a.mid", roll, known.steps, known.tempo, given=7)
    found, song = heard(tmp_path / "a.mid")
    np.testing.assert_array_equal(found, roll)
    struck = sum(message.type == "note_on" for message in song.tracks[0])
    assert struck == len(list(notes(roll))) < roll.sum()  # the others are tied
    quarters = 29 / known.steps
    assert math.isclose(song.length, quarters * 60 / known.tempo, rel_tol=1e-4)


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
    (file,) = DATASETS[name].files.digests
    if not (Path(os.environ["JAXRNN_DATA"]) / "music" / file).exists():
        pytest.skip(f"there is no {file}")
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
