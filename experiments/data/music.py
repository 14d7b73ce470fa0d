"""Piano rolls: music as 88 yes/no decisions a step; and the same as MIDI files."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import mido
import numpy as np
from scipy.io import loadmat

from experiments.data import DataError, files

KEYS = 88
LOWEST = 21  # the number that MIDI has for the lowest key, A0
TICKS = 480  # of a MIDI file, in a quarter note


class Source(NamedTuple):
    """Where a data set is, and how fast its music goes."""

    file: str
    steps: int  # in a quarter note
    tempo: int  # quarter notes a minute; the data do not say


SOURCES = {
    "jsb": Source("JSB_Chorales.mat", 1, 72),
    "nottingham": Source("Nottingham.mat", 2, 112),
}


class Music(NamedTuple):
    """Pieces of music, each a roll [T, 88] of uint8: 1 where a key is down."""

    train: list[np.ndarray]
    valid: list[np.ndarray]
    test: list[np.ndarray]


def load_music(name: str, data_dir: Path | None) -> Music:
    """Reads the chorales or the folk tunes of Boulanger-Lewandowski et al. (2012).

    Args:
      name: "jsb" or "nottingham".
      data_dir: as `files.find` takes it.

    Raises:
      DataError: if the file is missing or damaged, or does not hold what it should.
    """
    (path,) = files.find("music", data_dir, SOURCES[name].file)
    names = [f"{split}data" for split in Music._fields]
    data = files.read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what scipy cannot read it only warns of
            found = loadmat(io.BytesIO(_unpacked(data)), variable_names=names)
    except Exception as error:  # scipy has no type of its own for a damaged file
        raise DataError(
            f"{path}: cannot be read as a MATLAB file: {error or type(error).__name__}"
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}")
    return Music(*(_rolls(path, name, found[name]) for name in names))


def _unpacked(data: bytes) -> bytes:
    """A MATLAB 5 file with none of its variables compressed.

    So its length is known, and its checksums are proved, before anything is made of it.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("it does not begin as one of version 5 does")
    parts, place, room = [data[:128]], 128, files.LIMIT
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        first, place = place, place + 8 + size
        if place > len(data):
            raise ValueError("it is cut short")
        part = data[first:place]
        if kind == 15:  # compressed
            unpacker = zlib.decompressobj()
            part = unpacker.decompress(part[8:], room + 1)
            if not unpacker.eof and len(part) <= room:
                raise ValueError("it is cut short")
        room -= len(part)
        if room < 0:
            raise ValueError(f"it is longer than {files.LIMIT:,} bytes once unpacked")
        parts.append(part)
    return b"".join(parts)


def _rolls(path: Path, name: str, cells: Any) -> list[np.ndarray]:
    if not isinstance(cells, np.ndarray) or cells.dtype != object or not cells.size:
        raise DataError(f"{path}: {name}: expected a cell array of pieces")
    rolls = []
    for number, cell in enumerate(cells.ravel()):
        where = f"{path}: {name}, piece {number}"
        if not isinstance(cell, np.ndarray) or cell.dtype.kind not in "buif":
            raise DataError(f"{where}: expected numbers")
        if cell.ndim != 2 or cell.shape[1] != KEYS or len(cell) < 2:
            raise DataError(
                f"{where}: expected at least 2 steps of {KEYS} keys, "
                f"found shape {cell.shape}"
            )
        if not np.isin(cell, (0, 1)).all():
            raise DataError(f"{where}: expected nothing but 0 and 1")
        rolls.append(cell.astype(np.uint8))
    return rolls


def cut(rolls: Sequence[np.ndarray], longest: int) -> list[np.ndarray]:
    """Pieces cut into parts of about equal length.

    A part begins with the step that ended the one before, so that each step but the
    first of a piece follows another one in exactly one part.

    Args:
      rolls: pieces [T, 88].
      longest: so many steps at most follow the first one of a part.
    """
    parts = []
    for roll in rolls:
        follow = len(roll) - 1
        edges = np.linspace(0, follow, -(-follow // longest) + 1).round().astype(int)
        parts += [roll[a : b + 1] for a, b in pairwise(edges)]
    return parts


def room(roll: np.ndarray) -> tuple[int, int]:
    """How many semitones down, as a number not above 0, and up a piece can move."""
    used = np.flatnonzero(roll.any(axis=0))
    return (-int(used[0]), KEYS - 1 - int(used[-1])) if len(used) else (0, 0)


def transpose(roll: np.ndarray, semitones: int) -> np.ndarray:
    """A piece in another key.

    Raises:
      ValueError: if a note would leave the keyboard.
    """
    low, high = room(roll)
    if not low <= semitones <= high:
        raise ValueError(f"semitones: expected {low} to {high}, got {semitones}")
    return np.roll(roll, semitones, axis=1)  # only silent keys go round the end


class Note(NamedTuple):
    """A key that is down from one step to another one, which is not counted."""

    start: int
    stop: int
    key: int  # 0 to 87


def notes(roll: np.ndarray) -> Iterator[Note]:
    """The notes of a piece; what sounds on from step to step is one note."""
    edges = np.diff(roll.astype(np.int8), axis=0, prepend=0, append=0)
    for key in range(KEYS):
        starts, stops = (np.flatnonzero(edges[:, key] == sign) for sign in (1, -1))
        for start, stop in zip(starts, stops, strict=True):
            yield Note(int(start), int(stop), key)


def write_midi(path: Path, roll: np.ndarray, source: Source, given: int = 0) -> None:
    """Writes a MIDI file of one track.

    Args:
      path: where it goes.
      roll: [T, 88].
      source: says how long a step is.
      given: a marker stands after so many steps; 0 for none.
    """
    step = TICKS // source.steps
    end = mido.MetaMessage("end_of_track")
    events: list[tuple[int, int, Any]] = [(len(roll), 3, end)]
    if given:
        events.append((given, 0, mido.MetaMessage("marker", text="made from here on")))
    for start, stop, key in notes(roll):
        number = key + LOWEST
        events.append((stop, 1, mido.Message("note_off", note=number)))
        events.append((start, 2, mido.Message("note_on", note=number, velocity=80)))
    # A key is let go before it is struck anew.
    events.sort(key=lambda event: event[:2])
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(source.tempo)))
    now = 0
    for when, _, message in events:
        track.append(message.copy(time=(when - now) * step))
        now = when
    mido.MidiFile(ticks_per_beat=TICKS, tracks=[track]).save(path)
