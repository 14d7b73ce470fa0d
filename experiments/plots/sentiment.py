"""Pictures of `experiments.sentiment`."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from experiments.plots import save, use_korean_font_for

SIDES = mpl.colormaps["RdBu"]  # red for negative, blue for positive
ATTENTION = "C1"


def draw_words(path: Path, telling: Sequence[Any], most: int = 15) -> None:
    """The words that push most to either side.

    Args:
      path: where the PNG goes.
      telling: (word, contribution, count), the most negative ones first.
      most: how many words of each side.
    """
    sides = {
        "a negative review": [t for t in telling[:most] if t[1] < 0],
        "a positive review": [t for t in telling[: -most - 1 : -1] if t[1] > 0],
    }
    use_korean_font_for(word for words in sides.values() for word, *_ in words)
    figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
    for axis, (title, words) in zip(axes, sides.items(), strict=True):
        rows = range(len(words))
        axis.barh(
            rows,
            [contribution for _, contribution, _ in words],
            color=[SIDES(0.15 if c < 0 else 0.85) for _, c, _ in words],
        )
        names = [f"{word} ({count})" for word, _, count in words]
        axis.set_yticks(rows, names, parse_math=False)
        axis.invert_yaxis()
        axis.set_title(f"words that speak for {title}")
        axis.set_xlabel("mean change of the logit (and how often it occurs)")
        axis.grid(axis="x", alpha=0.3)
    save(figure, path)


def draw_contributions(
    path: Path, documents: Sequence[tuple[str, Sequence[str], np.ndarray, np.ndarray]]
) -> None:
    """Documents whose words have the color of what they contribute.

    Args:
      path: where the PNG goes.
      documents: for each a line above it, its words, their contributions and their
        attention, which a bar below each word shows.
    """
    use_korean_font_for(word for _, words, *_ in documents for word in words)
    width, row, gap = 1100.0, 38.0, 8.0  # pixels
    figure = plt.figure(figsize=(width / 100, 1), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")

    def note(y, line):
        axis.text(gap, y, line, fontsize=9, color="dimgray")

    y = 22.0
    note(y, "blue: for a positive review, red: a negative one; bar below: attention")
    for title, words, contributions, attention in documents:
        x, y = gap, y + row + 4
        note(y, title)
        y += row - 10
        limit = float(np.abs(contributions).max()) or 1.0
        for word, contribution, share in zip(
            words, contributions, attention, strict=True
        ):
            label = axis.text(x, y, word, fontsize=12, parse_math=False)
            size = _width(label)
            if x + size > width - gap and x > gap:
                x, y = gap, y + row
                label.set_position((x, y))
            color = SIDES(0.5 + 0.35 * contribution / limit)
            axis.add_patch(Rectangle((x - 3, y - 18), size + 6, 25, color=color))
            high = 7 * float(share) / max(float(attention.max()), 1e-9)
            axis.add_patch(Rectangle((x - 3, y + 7), size + 6, high, color=ATTENTION))
            x += size + 12
    height = y + 24
    axis.set(xlim=(0, width), ylim=(height, 0))
    figure.set_size_inches(width / 100, height / 100)
    save(figure, path)


def _width(label: Text) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        return label.get_window_extent().width
