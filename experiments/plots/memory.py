"""Pictures of `experiments.memory`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.plots import save


def heat(
    path: Path,
    shares: np.ndarray,
    texts: list[list[str]],
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    """How much of each task each cell does, as colours with the scores in them.

    Args:
      path: where the PNG goes.
      shares: [rows, columns], 0 by chance and 1 without a mistake; NaN where there is
        no run.
      texts: the score of each.
      rows: cells.
      columns: tasks.
    """
    size = 2.5 + 1.1 * len(columns), 1.6 + 0.34 * len(rows)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    image = axis.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(shares.shape):
        color = "black" if shares[i, j] > 0.6 else "white"
        axis.text(j, i, texts[i][j], ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_title("what each cell can remember")
    bar = figure.colorbar(image, format=PercentFormatter(1.0))
    bar.set_label("from chance to no mistake")
    save(figure, path)


def learning(
    path: Path,
    histories: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, str],
) -> None:
    """The score of each cell by epoch: a panel for each task, the mean over seeds.

    Args:
      path: where the PNG goes.
      histories: by task and cell, [epochs, S].
      labels: by task, the name of its score.
    """
    across = min(4, len(histories))
    down = -(-len(histories) // across)
    figure, axes = plt.subplots(
        *(down, across),
        figsize=(4.2 * across, 3.2 * down + 0.6),
        layout="constrained",
        squeeze=False,
    )
    names = list(dict.fromkeys(cell for cells in histories.values() for cell in cells))
    lines = {}
    for axis, (task, cells) in zip(axes.flat, histories.items(), strict=False):
        for cell, values in cells.items():
            number = names.index(cell)
            epochs = np.arange(1, len(values) + 1)
            style = {
                "color": f"C{number % 10}",
                "ls": ("-", "--", ":")[number // 10 % 3],
            }
            middle = np.nanmean(values, axis=1)
            marker = "o" if len(values) == 1 else None
            (lines[cell],) = axis.plot(epochs, middle, marker=marker, lw=1.4, **style)
            if values.shape[1] > 1:
                low, high = np.nanmin(values, axis=1), np.nanmax(values, axis=1)
                axis.fill_between(epochs, low, high, color=style["color"], alpha=0.12)
        axis.set_title(task)
        axis.set_xlabel("epoch")
        axis.set_ylabel(labels[task])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        if labels[task] == "accuracy":
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        else:
            axis.set_yscale("log")
    for axis in axes.flat[len(histories) :]:
        axis.set_axis_off()
    figure.legend(
        list(lines.values()), list(lines), loc="outside right center", fontsize="small"
    )
    save(figure, path)
