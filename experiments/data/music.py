"""Piano rolls: music as 88 yes/no decisions a step; and the same as MIDI files."""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import mido
import numpy as np

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
    data = files.read_bytes(path)
    try:
        found = {array.name: array for array in _variables(data)}
        names = [f"{split}data" for split in Music._fields]
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
        return Music(*(_rolls(found[name]) for name in names))
    except (ValueError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from error


# What follows reads as much of MATLAB's format, version 5, as these files need, and
# trusts no number in them. (scipy's reader of it crashes on some damaged files.)
_CELLS, _NUMBERS, _COMPLEX = 1, range(6, 16), 0x800  # kinds of arrays, and a flag
_ARRAY, _COMPRESSED = 14, 15  # kinds of elements; the others are numbers:
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}
_DTYPES |= {7: "f4", 9: "f8", 12: "i8", 13: "u8"}


class _Array(NamedTuple):
    name: str
    kind: int
    shape: list[int]
    parts: list[tuple[int, memoryview]]  # elements: the numbers, or the cells
    order: str  # of bytes


def _variables(data: bytes) -> Iterator[_Array]:
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("does not begin as a MATLAB file of version 5 does")
    for kind, part in _elements(memoryview(data)[128:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            whole = unpacker.decompress(part, files.LIMIT)
            if not unpacker.eof:
                raise ValueError(f"is damaged, or longer than {files.LIMIT:,} bytes")
            kind, part = next(_elements(memoryview(whole), order), (0, part))
        if kind == _ARRAY:
            yield _array(part, order)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """What stands one after the other: (kind, bytes)."""
    place = 0
    while place < len(data):
        if len(data) < place + 8:
            raise ValueError("is cut short")
        kind, size = struct.unpack_from(f"{order}II", data, place)
        first, after = place + 8, 0 if kind == _COMPRESSED else -size % 8
        if kind >> 16:  # a small one: its size is in the kind, its bytes in the size
            kind, size, first, after = kind & 0xFFFF, kind >> 16, place + 4, 0
            after = 4 - size
        place = first + size + after
        if after < 0 or len(data) < first + size:
            raise ValueError("is cut short")
        yield kind, data[first : first + size]


def _array(data: memoryview, order: str) -> _Array:
    parts = list(_elements(data, order))
    if len(parts) < 3 or len(parts[0][1]) != 8:
        raise ValueError("is damaged: an array has no header")
    (_, flags), (_, shape), (_, name) = parts[:3]
    kind = struct.unpack_from(f"{order}I", flags)[0] & (0xFF | _COMPLEX)
    sizes = np.frombuffer(shape, f"{order}i4").tolist()
    return _Array(bytes(name).decode("latin1"), kind, sizes, parts[3:], order)


def _rolls(array: _Array) -> list[np.ndarray]:
    if array.kind != _CELLS or not array.parts:
        raise ValueError(f"{array.name}: expected a cell array of pieces")
    if len(array.parts) != math.prod(array.shape):
        raise ValueError(f"{array.name}: is damaged: not all of its pieces are there")
    return [
        _roll(f"{array.name}, piece {number}", _array(part, array.order))
        for number, (_, part) in enumerate(array.parts)
    ]


def _roll(where: str, cell: _Array) -> np.ndarray:
    if cell.kind not in _NUMBERS:
        raise ValueError(f"{where}: expected numbers")
    if len(cell.shape) != 2 or cell.shape[0] < 2 or cell.shape[1] != KEYS:
        raise ValueError(
            f"{where}: expected at least 2 steps of {KEYS} keys, "
            f"found shape {cell.shape}"
        )
    kind, data = cell.parts[0] if cell.parts else (0, b"")
    dtype = np.dtype(f"{cell.order}{_DTYPES.get(kind, 'u1')}")
    if kind not in _DTYPES or len(data) != math.prod(cell.shape) * dtype.itemsize:
        raise ValueError(f"{where}: is damaged: it has not as many numbers as it says")
    roll = np.frombuffer(data, dtype).reshape(cell.shape, order="F")
    if not np.isin(roll, (0, 1)).all():
        raise ValueError(f"{where}: expected nothing but 0 and 1")
    return roll.astype(np.uint8)


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
