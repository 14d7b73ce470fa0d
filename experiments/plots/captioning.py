"""Pictures of `experiments.captioning`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.data import scenes
from experiments.data.captioned import Examples
from experiments.data.captions import SETS
from experiments.measures.bleu import bleu
from experiments.measures.captions import closest, mistakes, right
from experiments.plots import curves, save

RIGHT, WRONG, PLAIN = "darkgreen", "firebrick", "black"


def examples_of_scenes(
    said: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, np.ndarray], list[str], str]:
    """Captions of scenes for a `sheet`: numbers by row, a color for each, a title."""
    hits = right(said, references)
    wrong = np.flatnonzero(~hits)[:12]
    order = {"right": np.flatnonzero(hits)[:6], "wrong": wrong[:6], " ": wrong[6:]}
    order = {name: index for name, index in order.items() if len(index)}
    colors = [RIGHT if name == "right" else WRONG for name in order]
    return (
        order,
        colors,
        f"{hits.mean():.1%} of {len(hits):,} captions are wholly right",
    )


def examples_of_photographs(
    said: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, np.ndarray], list[str], str]:
    """Captions of photographs for a `sheet`, by their BLEU-2."""
    pairs = zip(said, references, strict=True)
    values = np.array([bleu([s], [r], 2)[0].score for s, r in pairs])
    ranks = np.argsort(-values, kind="stable")
    order = {"best": ranks[:6], "any": np.arange(min(6, len(said)))}
    order["worst"] = ranks[-6:]
    title = f"test photographs: {bleu(said, references)[0].score:.1f} BLEU-4"
    return order, [RIGHT, PLAIN, WRONG], title


def confusions_of_scenes(
    path: Path, said: Sequence[str], references: Sequence[Sequence[str]]
) -> None:
    """Which digits and relations are taken for which."""
    parts = scenes.parts_of_captions()
    found = mistakes(said, references, parts, scenes.KINDS).tables
    words = {"digit": scenes.DIGITS, "relation": scenes.RELATIONS}
    tables = {kind: (found[kind], names) for kind, names in words.items()}
    confusions(path, tables, f"{len(said):,} captions of test scenes")


def pictures(
    config: Any,
    test: Examples,
    said: list[str],
    looks: Callable[[int], np.ndarray],
    history: Sequence[dict[str, Any]],
) -> dict[str, Callable[[Path], None]]:
    """What draws curves, captions, and where the network looks, by file name.

    Args:
      config: of the run.
      test: images, of which the network reads the middle, with true captions.
      said: a caption of each image.
      looks: from the number of an image to the weights [T, S] behind each word.
      history: of the training, as `curves` takes it.
    """
    dataset, (_, images, _, references) = config.dataset, test
    known, smoothed = SETS[dataset], config.label_smoothing > 0
    loss = f"cross-entropy (nats a word{', smoothed in training' if smoothed else ''})"
    panels = {
        loss: ("train_loss", "validation_loss"),
        known.label: (f"validation_{known.metric}",),
    }
    of_data = f"captions of {dataset}"
    middle = (images.shape[1] - scenes.SIZE) // 2
    inside = slice(middle, middle + scenes.SIZE)
    images = images[:, inside, inside]
    images = images[..., 0] if images.shape[-1] == 1 else images
    order, colors, title = EXAMPLES[dataset](said, references)
    rows = {
        name: [(images[i], said[i], closest(said[i], references[i])) for i in index]
        for name, index in order.items()
    }
    shown = [i for index in order.values() for i in index if said[i]][:3]
    heading = "where the network looks as it says each word"

    def draw_attention(path):
        seen = []
        for i in shown:
            weights, words = looks(i), said[i].split()
            side = round(weights.shape[1] ** 0.5)
            maps = weights.reshape(-1, side, side)[: len(words)]
            seen.append((images[i], words, maps))
        attention(path, seen, heading)

    drawn = {
        "curves.png": lambda path: curves(path, history, panels, of_data),
        "sheet.png": lambda path: sheet(path, rows, colors, title),
    }
    if shown:
        drawn["attention.png"] = draw_attention
    if dataset == "scenes":
        drawn["confusions.png"] = lambda path: confusions_of_scenes(
            path, said, references
        )
    return drawn


EXAMPLES = {"scenes": examples_of_scenes, "flickr8k": examples_of_photographs}
EXAMPLES["own"] = examples_of_photographs


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
