"""Pictures of `experiments.rows`."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.plots import save, use_korean_font_for


def confusion(
    path: Path, labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]
) -> None:
    """How often each class is taken for each other.

    Args:
      path: where the PNG goes.
      labels: [N] integers.
      predictions: [S, N] integers, one row for each seed.
      classes: their names.
    """
    use_korean_font_for(classes)
    counts = np.zeros((len(classes), len(classes)))
    for row in predictions:
        np.add.at(counts, (labels, row), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axis = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(shares.shape):
        if shares[i, j] >= 0.0005:
            color = "white" if shares[i, j] > 0.5 else "black"
            text = f"{100 * shares[i, j]:.1f}"
            axis.text(j, i, text, ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(
        range(len(classes)), classes, rotation=45 if max(map(len, classes)) > 2 else 0
    )
    axis.set_yticks(range(len(classes)), classes)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(
        f"{len(labels):,} images, in percent of a row; seeds: {len(predictions)}"
    )
    figure.colorbar(image, format=PercentFormatter(1.0))
    save(figure, path)


def memory(
    path: Path,
    image: np.ndarray,
    states: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    label: int,
    by_row: bool,
) -> None:
    """What the hidden state does while the network reads one image, step by step.

    Args:
      path: where the PNG goes.
      image: [R, C], or [R, C, 3] in colors.
      states: [T, H], the state after each step.
      probabilities: [T, K], of the classes after each step.
      classes: their names.
      label: the true class.
      by_row: whether a step is a row, so that the panels share their vertical axis.
    """
    use_korean_font_for(classes)
    steps = len(states)
    figure, axes = plt.subplots(
        1,
        3,
        figsize=(13, 4.8),
        width_ratios=[1, 2.2, 1.1],
        layout="constrained",
    )
    figure.suptitle(
        f"reading a {classes[label]}, one {'row' if by_row else 'pixel'} at a time"
    )
    axes[0].imshow(image, cmap="gray_r", aspect="auto" if by_row else "equal")
    axes[0].set_title("the image")
    axes[0].set_xlabel("column")
    axes[0].set_ylabel("row")
    # Units in the order of the step at which they are strongest, so that one sees how
    # the work passes from unit to unit.
    order = np.argsort(np.abs(states).argmax(axis=0), kind="stable")
    limit = float(np.abs(states).max()) or 1.0
    shown = axes[1].imshow(
        states[:, order],
        aspect="auto",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    axes[1].set_title("hidden state after each step")
    axes[1].set_xlabel("hidden unit, by the step of its peak")
    axes[1].set_ylabel("step")
    figure.colorbar(shown, ax=axes[1])
    shown = axes[2].imshow(
        probabilities,
        aspect="auto",
        cmap="Greens",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes[2].set_title("class probabilities after each step")
    axes[2].set_xlabel("class")
    axes[2].set_ylabel("step")
    long = max(map(len, classes)) > 2
    axes[2].set_xticks(range(len(classes)), classes, rotation=90 if long else 0)
    axes[2].add_patch(
        Rectangle((label - 0.5, -0.5), 1, steps, fill=False, edgecolor="C3", lw=1.5)
    )
    figure.colorbar(shown, ax=axes[2], format=PercentFormatter(1.0))
    for axis in axes:
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    save(figure, path)
