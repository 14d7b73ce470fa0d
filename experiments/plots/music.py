"""Pictures of `experiments.music`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Rectangle

from experiments.data.midi import write_midi
from experiments.data.music import LOWEST, MusicSet, notes
from experiments.plots import save

_ABOVE: dict[str, Any] = {  # a legend that hides no note
    "loc": "lower right",
    "bbox_to_anchor": (1, 1),
    "ncols": 2,
    "frameon": False,
    "borderaxespad": 0.2,
}


def midi_and_picture(
    name: str, roll: np.ndarray, given: int, source: MusicSet, title: str
) -> dict[str, Callable[[Path], None]]:
    """A piece to hear and to see, for the files of a `lab.Report`.

    Args:
      name: of the files.
      roll: [T, 88] of 0 and 1.
      given: the first n steps were given, the others are made.
      source: how long a step is.
      title: of the figure.
    """
    steps, tempo = source.steps, source.tempo
    return {
        f"{name}.mid": lambda path: write_midi(path, roll, steps, tempo, given),
        f"{name}.png": lambda path: piano_roll(
            path, roll, given, steps=steps, title=title
        ),
    }


def piano_roll(
    path: Path, roll: np.ndarray, given: int, *, steps: int, title: str
) -> None:
    """A piece as a pianola has it, with what was given in another color.

    Args:
      path: where the PNG goes.
      roll: [T, 88] of 0 and 1.
      given: how many steps were given; the others are generated.
      steps: in a quarter note.
      title: of the figure.
    """
    figure, axis = plt.subplots(figsize=(13, 4.5), layout="constrained")
    for note in notes(roll):
        for start, stop, color in (
            (note.start, min(note.stop, given), "C0"),
            (max(note.start, given), note.stop, "C1"),
        ):
            if start < stop:
                axis.add_patch(_bar(start, stop, note.key, facecolor=color))
    axis.axvline(given, color="black", lw=1, ls="--")
    axis.legend(
        handles=[Patch(color="C0", label="given"), Patch(color="C1", label="made")],
        **_ABOVE,
    )
    _keyboard(axis, roll, steps)
    axis.set_title(title, loc="left")
    save(figure, path)


def foresight(
    path: Path, roll: np.ndarray, p: np.ndarray, *, steps: int, title: str
) -> None:
    """The probability of each note before it came, and the notes that came.

    Args:
      path: where the PNG goes.
      roll: [T, 88] of 0 and 1.
      p: [T, 88].
      steps: in a quarter note.
      title: of the figure.
    """
    figure, axis = plt.subplots(figsize=(13, 4.5), layout="constrained")
    image = axis.imshow(
        p.T,
        aspect="auto",
        origin="lower",
        extent=(0, len(p), -0.5, p.shape[1] - 0.5),
        cmap="Blues",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    figure.colorbar(image, label="probability, one step ahead")
    for note in notes(roll):
        box = _bar(note.start, note.stop, note.key, facecolor="none", edgecolor="C3")
        axis.add_patch(box)
    axis.legend(
        handles=[Patch(facecolor="none", edgecolor="C3", label="what came")],
        **_ABOVE,
    )
    _keyboard(axis, roll, steps)
    axis.set_title(title, loc="left")
    save(figure, path)


def _bar(start: int, stop: int, key: int, **colors: Any) -> Rectangle:
    return Rectangle((start, key - 0.4), stop - start, 0.8, **colors)


def _keyboard(axis, roll: np.ndarray, steps: int) -> None:
    """Octaves upwards and quarter notes to the right, as far as there are notes."""
    used = np.flatnonzero(roll.any(axis=0))
    low, high = (used[0], used[-1]) if len(used) else (0, roll.shape[1] - 1)
    axis.set_ylim(low - 2, high + 2)
    axis.set_xlim(0, len(roll))
    octaves = [key for key in range(low - 2, high + 3) if (key + LOWEST) % 12 == 0]
    names = [f"C{(key + LOWEST) // 12 - 1}" for key in octaves]
    axis.set_yticks(octaves, names)
    every = np.arange(0, len(roll) + 1, 4 * steps)
    axis.set_xticks(every, every // steps)
    axis.set_xlabel("quarter note")
    axis.grid(alpha=0.3)
