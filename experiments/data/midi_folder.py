"""Music of your own: a folder of MIDI files.

Either files at any depth, of which a tenth is for validation and a tenth for the test,
the same ones in every run; or three folders, train, valid and test, that have them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import lab
from experiments.data import DataError
from experiments.data.midi import Grid, Piece, read_midi
from experiments.data.music import DATASETS, OWN, Music, MusicSet, load_music, repeated
from experiments.data.own import is_own

SUFFIXES = {".mid", ".midi", ".kar", ".smf"}
PARTS = {  # the names that a folder may have, of each part
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test",),
}


@dataclass(frozen=True)
class OwnMusic(lab.Config):
    """Options of a study that can read such a folder."""

    dataset: str = ""
    """The data set; own: that of --midi."""
    midi: Path | None = None
    """Music of your own: a folder of MIDI files, or one with three folders of them,
    train, valid and test. Otherwise a tenth each is for validation and for the test."""
    steps: lab.AtLeast1 = 4
    """--midi: steps in a quarter note, whatever the tempo."""
    steps_a_second: lab.AtLeast1 | None = None
    """--midi: in place of --steps, for what was played without a beat: steps in a
    second, for which changes of tempo count."""
    drums: bool = False
    """--midi: whether drums, channel 10, are read as notes too."""
    drop_broken: bool = False
    """--midi: leave out files that cannot be read, and name them."""
    drop_repeated: bool = False
    """Leave out of validation and test what stands in the training set too, in the same
    key or another."""

    @property
    def grid(self) -> Grid:
        """The steps of files of your own."""
        if self.midi is None:
            return Grid(DATASETS[self.dataset].steps)
        seconds = self.steps_a_second
        return Grid(self.steps) if seconds is None else Grid(seconds, in_seconds=True)

    def read(self, path: Path) -> Piece:
        """A new piece, as those of the data set are."""
        return read_midi(path, self.grid, drums=self.drums)

    def load(self) -> tuple[Music, MusicSet]:
        """Reads the folder, or the data set of that name."""
        if is_own(self, "midi") and self.midi:
            music, source = load_folder(self.midi, self)
        else:
            source = DATASETS[self.dataset]
            music = load_music(self.dataset, self.run.data_dir)
        if self.drop_repeated:
            again = repeated(music)
            kept = [
                [roll for i, roll in enumerate(part) if i not in known]
                for part, known in zip(music[1:], again, strict=True)
            ]
            for name, part in zip(("validation", "test"), kept, strict=True):
                if not part:
                    raise DataError(f"every {name} piece stands in the training set")
            music = Music(music.train, *kept)
        return music, source


def load_folder(folder: Path, how: OwnMusic) -> tuple[Music, MusicSet]:
    """Reads a folder of MIDI files.

    Args:
      folder: see above.
      how: they are read.

    Returns:
      The pieces, and how long a step is.

    Raises:
      DataError: if there is no such folder; if files cannot be read, all of which it
        names, unless `how` drops them; if there are fewer than 3 pieces, or none for a
        part.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist or is no folder")
    inside = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    named = {
        part: next((inside[name] for name in names if name in inside), None)
        for part, names in PARTS.items()
    }
    if not any(named.values()):
        pieces = _read_all(midi_paths([folder]), how)
        if len(pieces) < 3:
            raise DataError(f"{folder}: expected 3 pieces or more, found {len(pieces)}")
        order = np.random.default_rng(0).permutation(len(pieces))
        tenth = max(1, len(pieces) // 10)
        ends = np.cumsum([len(pieces) - 2 * tenth, tenth])
        parts = [[pieces[i] for i in sorted(p)] for p in np.split(order, ends)]
    else:
        for part, path in named.items():
            if path is None:
                raise DataError(f"{folder}: has no folder {part} beside the others")
        paths = [midi_paths([path]) for path in named.values() if path is not None]
        pieces = _read_all([path for some in paths for path in some], how)
        of = dict(pieces)
        parts = [[(p, of[p]) for p in some if p in of] for some in paths]
        for part, some in zip(named, parts, strict=True):
            if not some:
                raise DataError(f"{named[part]}: has no piece that can be read")
    tempo = round(float(np.median([piece.tempo for _, piece in pieces])))
    source = MusicSet("your own", OWN, how.grid.steps, tempo, {})
    return Music(*([piece.roll for _, piece in some] for some in parts)), source


def midi_paths(given: Iterable[Path]) -> list[Path]:
    """Files as they are, and of folders the MIDI files in them, at any depth.

    Raises:
      DataError: if there is no such file or folder, or a folder has no MIDI files.
    """
    found = []
    for path in given:
        if path.is_dir():
            inside = [
                inner
                for inner in sorted(path.rglob("*"))
                if inner.suffix.lower() in SUFFIXES and not inner.name.startswith(".")
            ]
            if not inside:
                raise DataError(f"{path}: has no MIDI files")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist")
    return found


def _read_all(paths: list[Path], how: OwnMusic) -> list[tuple[Path, Piece]]:
    found, broken = [], []
    for path in paths:
        try:
            piece = how.read(path)
            if len(piece.roll) < 2:
                raise DataError(f"{path}: has one step, and 2 or more are needed")
            found.append((path, piece))
        except DataError as error:
            broken.append(str(error))
    if broken:
        listed = "\n  ".join(broken)
        if not how.drop_broken:
            raise DataError(
                f"{len(broken)} of {len(paths)} files cannot be read, which "
                f"--drop-broken leaves out:\n  {listed}"
            )
        lab.say(f"left out, {len(broken)} of {len(paths)} files:\n  {listed}")
    if lost := sum(piece.left_out for _, piece in found):
        lab.say(f"left out: {lost:,} notes that are drums or off the 88 keys")
    return found
