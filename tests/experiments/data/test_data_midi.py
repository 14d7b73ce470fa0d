"""MIDI files as people have them, read as rolls."""

import mido
import numpy as np
import pytest
from made import random_roll

from experiments.data import DataError
from experiments.data.midi import Grid, read_midi, write_midi
from experiments.data.midi_folder import OwnMusic, load_folder, midi_paths
from experiments.data.music import LOWEST, Music, repeated, transpose


def song(path, *tracks, division=480, kind=1):
    """Tracks of (tick, message) as a file; returns its path."""
    file = mido.MidiFile(type=kind, ticks_per_beat=division)
    for events in tracks:
        track, now = mido.MidiTrack(), 0
        for tick, message in sorted(events, key=lambda event: event[0]):
            track.append(message.copy(time=tick - now))
            now = tick
        file.tracks.append(track)
    file.save(path)
    return path


def note(key, start, stop, channel=0):
    on = mido.Message("note_on", note=key + LOWEST, channel=channel)
    off = mido.Message("note_off", note=key + LOWEST, channel=channel)
    return [(start, on), (stop, off)]


def tempo(tick, beats):
    return tick, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats))


def spans(roll, key):
    edges = np.flatnonzero(np.diff(roll[:, key].astype(int), prepend=0, append=0))
    return edges.tolist()


@pytest.mark.parametrize(("steps", "seconds"), [(4, False), (7, False), (10, True)])
def test_what_is_written_is_read(steps, seconds, tmp_path):
    for seed in range(5):
        roll = random_roll(seed, 41)
        write_midi(tmp_path / "a.mid", roll, steps, 60 if seconds else 97, 3)
        found = read_midi(tmp_path / "a.mid", Grid(steps, seconds))
        np.testing.assert_array_equal(found.roll, roll)
        assert (found.tempo, found.left_out) == (60 if seconds else 97, 0)


def test_a_beat_is_a_beat_at_any_tempo_and_a_second_is_not(tmp_path):
    tempos = [tempo(0, 120), tempo(960, 60)]  # two quarters of half a second, then one
    notes = [*note(40, 480, 960), *note(41, 1440, 1920)]
    path = song(tmp_path / "a.mid", tempos, notes)
    roll = read_midi(path, Grid(2)).roll
    assert (spans(roll, 40), spans(roll, 41)) == ([2, 4], [6, 8])
    roll = read_midi(path, Grid(10, in_seconds=True)).roll
    assert (spans(roll, 40), spans(roll, 41)) == ([5, 10], [20, 30])
    assert read_midi(path, Grid(2)).tempo == 120


def test_times_go_to_the_nearest_step_and_no_note_is_lost(tmp_path):
    # A step is 120 ticks: 59 rounds down, 60 up, and a note of 2 ticks has a step.
    notes = [*note(1, 59, 179), *note(2, 60, 181), *note(3, 250, 252)]
    roll = read_midi(song(tmp_path / "a.mid", notes), Grid(4)).roll
    assert [spans(roll, key) for key in (1, 2, 3)] == [[0, 1], [1, 2], [2, 3]]


def test_notes_that_overlap_end_with_the_last_of_them(tmp_path):
    same = [*note(1, 0, 480), *note(1, 240, 960)]
    channels = [*note(2, 0, 480), *note(2, 240, 960, channel=1)]
    on, off = note(3, 0, 480)
    again = [on, (240, on[1]), off]  # struck twice, let go once
    held = [note(4, 0, 1)[0]]  # nothing lets it go
    silent = [(600, mido.Message("note_on", note=5 + LOWEST, velocity=0))]
    end = [(1200, mido.MetaMessage("end_of_track"))]
    first = [*same, *channels, *again, *held, *silent, *end]
    other = [*note(1, 1080, 1200)]
    roll = read_midi(song(tmp_path / "a.mid", first, other), Grid(4)).roll
    assert spans(roll, 1) == [0, 8, 9, 10]
    assert [spans(roll, key) for key in (2, 3, 4, 5)] == [[0, 8], [0, 4], [0, 10], []]


def test_drums_and_notes_off_the_keys_are_left_out_and_counted(tmp_path):
    low = [
        (0, mido.Message("note_on", note=3)),
        (480, mido.Message("note_off", note=3)),
    ]
    notes = [*note(10, 0, 480), *note(20, 0, 480, channel=9), *low]
    path = song(tmp_path / "a.mid", notes, kind=0)
    found = read_midi(path, Grid(1))
    assert (found.roll.sum(), found.left_out) == (1, 2)
    found = read_midi(path, Grid(1), drums=True)
    assert (found.roll.sum(), found.left_out) == (2, 1)


def test_frames_of_film_are_seconds(tmp_path):
    path = song(tmp_path / "a.mid", note(7, 1000, 2000))
    data = bytearray(path.read_bytes())
    data[12:14] = bytes([256 - 25, 40])  # 25 frames a second of 40 ticks
    path.write_bytes(data)
    roll = read_midi(path, Grid(4, in_seconds=True)).roll
    assert spans(roll, 7) == [4, 8]
    with pytest.raises(DataError, match=r"a\.mid: .*frames of film"):
        read_midi(path, Grid(4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"RIFF and so on, and so on", "cannot be read as MIDI"),
        (b"MThd\0\0\0\6\0\1", "is no MIDI file, or ends too early"),
        (None, "is no MIDI file, or ends too early"),
    ],
)
def test_broken_files_are_named_all_at_once_or_left_out(
    content, message, tmp_path, capsys
):
    for number in range(4):
        write_midi(tmp_path / f"{number}.mid", random_roll(number, 9), 4, 90)
    whole = (tmp_path / "0.mid").read_bytes()
    for name in ("bad.mid", "worse.MID"):
        (tmp_path / name).write_bytes(whole[:-40] if content is None else content)
    how = OwnMusic(dataset="own", midi=tmp_path)
    with pytest.raises(DataError, match="2 of 6 files cannot be read") as error:
        load_folder(tmp_path, how)
    for name in ("bad.mid", "worse.MID"):
        assert f"{name}: {message}" in str(error.value)
    how = OwnMusic(dataset="own", midi=tmp_path, drop_broken=True)
    music, _ = load_folder(tmp_path, how)
    assert [len(part) for part in music] == [2, 1, 1]
    assert "left out, 2 of 6 files" in capsys.readouterr().err


def test_what_has_no_notes_or_no_common_time_is_refused(tmp_path):
    song(tmp_path / "a.mid", note(5, 0, 480, channel=9))
    with pytest.raises(DataError, match=r"a\.mid: .*has no notes to read; 1 are drums"):
        read_midi(tmp_path / "a.mid", Grid(4))
    song(tmp_path / "b.mid", note(5, 0, 480), kind=2)
    with pytest.raises(DataError, match=r"b\.mid: .*type 2"):
        read_midi(tmp_path / "b.mid", Grid(4))
    song(tmp_path / "c.mid", note(5, 0, 480 * 60_000))
    with pytest.raises(DataError, match="240,000 steps long"):
        read_midi(tmp_path / "c.mid", Grid(4))


def test_folders_of_parts_are_kept_apart(tmp_path):
    for number, part in enumerate(("train", "val", "test")):
        (tmp_path / part / "deep").mkdir(parents=True)
        path = tmp_path / part / "deep" / "a.midi"
        write_midi(path, random_roll(number, 9), 4, 90 + number)
    music, source = load_folder(tmp_path, OwnMusic(dataset="own", midi=tmp_path))
    for number, part in enumerate(music):
        np.testing.assert_array_equal(part[0], random_roll(number, 9))
    assert (source.steps, source.tempo) == (4, 91)
    (tmp_path / "test" / "deep" / "a.midi").unlink()
    with pytest.raises(DataError, match="test: has no MIDI files"):
        load_folder(tmp_path, OwnMusic(dataset="own", midi=tmp_path))
    with pytest.raises(DataError, match="nothing does not exist"):
        midi_paths([tmp_path / "nothing"])


def test_a_piece_is_the_same_in_another_key_and_after_silence():
    rolls = [random_roll(seed, 12) for seed in range(3)]
    moved = np.concatenate([np.zeros((3, 88), np.uint8), transpose(rolls[0], 4)])
    music = Music(rolls[:2], [rolls[2], rolls[1]], [moved, rolls[2]])
    assert repeated(music) == ([1], [0])
