"""Pictures of `experiments.captioning`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.plots import save

RIGHT, WRONG, PLAIN = "darkgreen", "firebrick", "black"


def _show(axis: Any, image: np.ndarray) -> None:
    axis.axis("on")
    axis.imshow(image, cmap="gray_r", vmin=0, vmax=255)
    axis.set_xticks([])
    axis.set_yticks([])


def sheet(
    path: Path,
    rows: Mapping[str, Sequence[tuple[np.ndarray, str, str]]],
    colors: Sequence[str],
    title: str,
) -> None:
    """Images with what was said of them above and what is true below.

    Args:
      path: where the PNG goes.
      rows: by its name, the images [R, R] or [R, R, 3] of a row, each with what was
        said and a reference.
      colors: of what was said, one for each row.
      title: of the figure.
    """
    columns = max(map(len, rows.values()))
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(2.4 * columns, 0.4 + 3.2 * len(rows)),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(f"{title} (above: said, below: true)")
    for line, color, (name, pictures) in zip(axes, colors, rows.items(), strict=True):
        for axis in line:
            axis.axis("off")
        line[0].text(-0.1, 0.5, name, rotation=90, transform=line[0].transAxes)
        for axis, (image, said, true) in zip(line, pictures, strict=False):
            _show(axis, image)
            axis.set_title(fill(said, 30), fontsize=8, color=color)
            axis.set_xlabel(fill(true, 36), fontsize=7, color="dimgray")
    save(figure, path)


def attention(
    path: Path,
    examples: Sequence[tuple[np.ndarray, Sequence[str], np.ndarray]],
    title: str,
) -> None:
    """Where the network looks as it says each word.

    Args:
      path: where the PNG goes.
      examples: of each image [R, R] or [R, R, 3] the words that were said, and the
        weights [words, rows, columns].
      title: of the figure.
    """
    columns = 1 + max(len(words) for _, words, _ in examples)
    figure, axes = plt.subplots(
        len(examples),
        columns,
        figsize=(1.35 * columns, 0.5 + 1.6 * len(examples)),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(title)
    for line, (image, words, weights) in zip(axes, examples, strict=True):
        for axis in line:
            axis.axis("off")
        _show(line[0], image)
        # Each place stands for a square of pixels, in the colors of a heat map.
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        for axis, word, weight in zip(line[1:], words, weights, strict=False):
            _show(axis, image)
            axis.imshow(
                weight, extent=extent, cmap="Reds", alpha=0.6, interpolation="bilinear"
            )
            axis.set_title(word, fontsize=9)
    save(figure, path)


def confusions(
    path: Path, tables: dict[str, tuple[np.ndarray, Sequence[str]]], title: str
) -> None:
    """How often each word of a kind is taken for each other.

    Args:
      path: where the PNG goes.
      tables: by the kind of word, counts [true, said] and the words.
      title: of the figure.
    """
    figure, axes = plt.subplots(
        1,
        len(tables),
        figsize=(13, 5.5),
        width_ratios=[len(words) for _, words in tables.values()],
        layout="constrained",
    )
    figure.suptitle(f"{title}; color: the share of a row")
    for axis, (kind, (counts, words)) in zip(axes, tables.items(), strict=True):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(counts > 0):
            color = "white" if shares[i, j] > 0.5 else "black"
            text = f"{counts[i, j]:,}"
            axis.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
        axis.set_xticks(range(len(words)), words, rotation=45)
        axis.set_yticks(range(len(words)), words)
        axis.set_xlabel(f"{kind} said")
        axis.set_ylabel(f"{kind} shown")
    save(figure, path)
