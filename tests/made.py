"""Small data that tests make: music, time series, and photographs with captions."""

import io
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import mido
import numpy as np
from PIL import Image
from scipy.io import savemat

from experiments.data.music import DATASETS, KEYS, LOWEST
from experiments.data.series import Series


def random_roll(seed: int, steps: int) -> np.ndarray:
    """Some notes that sound on, away from the ends of the keyboard."""
    rng = np.random.default_rng(seed)
    roll = np.zeros((steps, KEYS), np.uint8)
    roll[:, 20:60] = np.repeat(rng.random((-(-steps // 2), 40)) < 0.1, 2, 0)[:steps]
    return roll


def heard(path: Path) -> tuple[np.ndarray, mido.MidiFile]:
    """A MIDI file as a player hears it, as a roll."""
    song = mido.MidiFile(path)
    (source,) = [s for s in DATASETS.values() if song.tracks[0][0].tempo == tempo(s)]
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


def made_series(length: int = 211, variables: int = 2, seed: int = 0) -> Series:
    """A noisy wave with a period of 7 steps."""
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    dates = np.datetime64("2001-01-01") + steps.astype("timedelta64[D]")
    waves = np.sin(2 * np.pi * steps[:, None] / 7 + np.arange(variables))
    values = 5 + waves + 0.1 * rng.standard_normal((length, variables))
    return Series(dates, values, tuple(f"v{i}" for i in range(variables)))


def summer_time() -> tuple[str, str, int]:
    """Hours over both changes in Berlin: with offsets, without, and how many."""
    start = datetime(2021, 3, 27, tzinfo=UTC)
    hours = 24 * 219
    texts = ["t,a\n", "t,a\n"]
    for hour in range(hours):
        time = (start + timedelta(hours=hour)).astimezone(ZoneInfo("Europe/Berlin"))
        texts[0] += f"{time.isoformat()},{hour % 24}.5\n"
        texts[1] += f"{time.replace(tzinfo=None)},{hour % 24}.5\n"
    return texts[0], texts[1], hours


def jpeg(size=(40, 30), color=(200, 100, 50), kind="JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


HEADER = "image\tflickr8k_split\tcaption\n"
LINES = [
    "a.jpg\ttrain\tA dog , running .",
    "a.jpg\ttrain\tTwo dogs",
    "b.jpg\tdev\tA man",
    'c.jpg\ttest\tA sign says " stop , now " .',
    "d.jpg\tnone\tNobody",
]
IMAGES = {f"{n}.jpg": jpeg(color=(i, 9, 99)) for i, n in enumerate("abcd")}


def caption_files(folder: Path) -> Path:
    """The files of photographs and their captions, in a folder."""
    (folder / "captions.tsv").write_text(HEADER + "\n".join(LINES) + "\n")
    archive(folder / "images128.tar", {f"photos/{n}": d for n, d in IMAGES.items()})
    return folder
