"""Pictures of `experiments.sentiment`."""

import warnings
from collections.abc import Mapping, Sequence
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


REVIEWS = "a positive review", "a negative one"


def poles(classes: Sequence[str]) -> tuple[str, str]:
    """What a positive and a negative contribution speak for.

    Example:
      >>> poles(["ham", "spam"]), poles(["a", "b", "c"])
      (('spam', 'ham'), ('the answer', 'another one'))
    """
    if len(classes) > 2:
        return "the answer", "another one"
    return classes[1], classes[0]


def draw_words(
    path: Path, telling: Mapping[str, Sequence[Any]], what: str = "", most: int = 15
) -> None:
    """The words that push most to each side, or to each class.

    Args:
      path: where the PNG goes.
      telling: by the name of a side, its (word, contribution, count), the strongest
        first. Of two sides the second one has negative contributions.
      what: the classes are of, such as "review".
      most: how many words of each side.
    """
    sides, two = {}, len(telling) == 2
    for number, (name, words) in enumerate(list(telling.items())[:: -1 if two else 1]):
        sign = -1 if two and number == 0 else 1
        title = f"a {name} {what}" if what else name
        sides[title] = [t for t in words[:most] if t[1] * sign > 0]
    letters = (word for words in sides.values() for word, *_ in words)
    use_korean_font_for([*sides, *letters])
    columns = min(len(sides), 3)
    rows = -(-len(sides) // columns)
    size = 5 * columns, 5 * rows
    figure, grid = plt.subplots(
        rows, columns, squeeze=False, figsize=size, layout="constrained"
    )
    for axis in grid.flat[len(sides) :]:
        axis.axis("off")
    axes = grid.flat[: len(sides)]
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
    path: Path,
    documents: Sequence[tuple[str, Sequence[str], np.ndarray, np.ndarray]],
    sides: tuple[str, str] = REVIEWS,
) -> None:
    """Documents whose words have the color of what they contribute.

    Args:
      path: where the PNG goes.
      documents: for each a line above it, its words, their contributions and their
        attention, which a bar below each word shows.
      sides: what blue and red speak for.
    """
    use_korean_font_for(w for title, words, *_ in documents for w in (title, *words))
    width, row, gap = 1100.0, 38.0, 8.0  # pixels
    figure = plt.figure(figsize=(width / 100, 1), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")

    def note(y, line):
        axis.text(gap, y, line, fontsize=9, color="dimgray")

    y = 22.0
    note(y, f"blue: for {sides[0]}, red: {sides[1]}; bar below: attention")
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
