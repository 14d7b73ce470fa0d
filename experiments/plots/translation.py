"""Pictures of `experiments.translation`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments.plots import save, use_korean_font_for


def heat_maps(path: Path, maps: Sequence[Any], title: str) -> None:
    """The weights of each token of the source, across, for each that was written, down.

    Args:
      path: where the PNG goes.
      maps: for each panel what has a `source` of S tokens, a `target` of T tokens and
        `weights` [T, S].
      title: of the figure.
    """
    use_korean_font_for(t for shown in maps for t in [*shown.source, *shown.target])
    rows = -(-len(maps) // 2)
    longest = max(len(shown.target) for shown in maps)
    figure, axes = plt.subplots(
        rows,
        min(len(maps), 2),
        figsize=(11, max(5.2, 0.18 * longest) * rows),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(title)
    for axis in axes.flat[len(maps) :]:
        axis.axis("off")
    for axis, shown in zip(axes.flat, maps, strict=False):
        axis.imshow(shown.weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axis.xaxis.tick_top()
        axis.set_xticks(range(len(shown.source)), shown.source, rotation=90)
        axis.set_yticks(range(len(shown.target)), shown.target)
        axis.tick_params(length=0)
    save(figure, path)


def bars(path: Path, scores: Mapping[str, Mapping[str, float]], title: str) -> None:
    """BLEU by the length of the source.

    Args:
      path: where the PNG goes.
      scores: for each kind of translation, the score for each range of lengths.
      title: of the figure.
    """
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    figure.suptitle(title)
    width = 0.8 / len(scores)
    for number, (name, of_lengths) in enumerate(scores.items()):
        places = np.arange(len(of_lengths)) + (number - (len(scores) - 1) / 2) * width
        drawn = axis.bar(places, list(of_lengths.values()), width, label=name)
        axis.bar_label(drawn, fmt="%.1f", fontsize="small")
    lengths = list(next(iter(scores.values())))
    axis.set_xticks(range(len(lengths)), lengths)
    axis.set_xlabel("words in the source")
    axis.set_ylabel("BLEU")
    axis.legend(fontsize="small")
    save(figure, path)
