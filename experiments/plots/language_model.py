"""Pictures of `experiments.language_model`."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize

from experiments.measures.units import telling_units
from experiments.plots import save, use_korean_font_for

ROWS, COLUMNS = 12, 72


def passage(path: Path, text: str, states: np.ndarray, log_p: np.ndarray) -> None:
    """How a model reads: its surprise and two units that a person can read, by line.

    Args:
      path: where the PNG goes.
      text: of T + 1 characters. What is shown begins with a line some way from the
        beginning, where all is a surprise.
      states: [T, H], after each character but the last.
      log_p: [T], of each character but the first.
    """
    use_korean_font_for(text)
    column, slow = telling_units(states, text[:-1])
    start = max(text.find("\n", 500, -500) + 1, 1)
    states, log_p = states[start:], log_p[start - 1 : -1]
    units = {
        f"unit {column}, which follows the place in the line": states[:, column],
        f"unit {slow}, which changes most slowly": states[:, slow],
    }
    over_text(path, text[start:-1], -log_p / np.log(2), units)


def over_text(
    path: Path, text: str, bits: np.ndarray, units: Mapping[str, np.ndarray]
) -> None:
    """A passage once in each panel, every character on the color of its value.

    Args:
      path: where the PNG goes.
      text: of N characters; what does not fit is left out.
      bits: [N], how surprising each character is.
      units: for each further panel, by its title, the activity of a unit, [N] in -1..1.
    """
    panels = [("how surprising each character is (bits)", bits, "YlOrRd", (0, 8))]
    panels += [(title, h, "RdBu_r", (-1, 1)) for title, h in units.items()]
    places = _places(text)
    shape = tuple(np.max(places, axis=0) + 1)
    width, height = max(0.155 * shape[1], 5) + 1, max(0.24 * shape[0], 1) + 0.5
    figure, axes = plt.subplots(
        len(panels), figsize=(width, len(panels) * height), layout="constrained"
    )
    for axis, (title, values, cmap, limits) in zip(axes, panels, strict=True):
        grid = np.full(shape, np.nan)
        grid[tuple(np.transpose(places))] = values[: len(places)]
        image = axis.imshow(
            grid, aspect="auto", cmap=cmap, norm=Normalize(*limits), alpha=0.8
        )
        for (row, column), character in zip(places, text, strict=False):
            mark = {"\n": "↵", "\t": "→"}.get(character)
            axis.text(
                column,
                row,
                mark or character,
                ha="center",
                va="center",
                fontsize=8,
                color="gray" if mark else "black",
                parse_math=False,
            )
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
        figure.colorbar(image, ax=axis, extend="max" if limits[0] == 0 else "neither")
    save(figure, path)


def _places(text: str) -> list[tuple[int, int]]:
    """Row and column of each character, as far as there is room."""
    places, row, column = [], 0, 0
    for character in text:
        if column == COLUMNS:
            row, column = row + 1, 0
        if row == ROWS:
            break
        places.append((row, column))
        row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
    return places
