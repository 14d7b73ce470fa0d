"""Pictures of the experiments, drawn with matplotlib into files."""

import contextlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.lab.errors import say

_KOREAN = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "NanumBarunGothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Malgun Gothic",
    "Noto Sans CJK JP",  # the name that matplotlib gives the collection of all of them
)


def save(figure: Any, path: Path) -> None:
    """Writes a figure and closes it."""
    with warnings.catch_warnings():
        # `_use_korean_font` has said so already, once and not for each letter.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        figure.savefig(path, dpi=120)
    plt.close(figure)


def use_korean_font_for(texts: Iterable[str]) -> None:
    """Lets pictures have Korean letters, if a text has any; advises where it cannot."""
    if any("가" <= letter <= "힣" for text in texts for letter in text):
        _use_korean_font()


@lru_cache
def _use_korean_font() -> None:
    manager = font_manager.fontManager

    def known() -> list[str]:
        names = {font.name for font in manager.ttflist}
        return [name for name in _KOREAN if name in names]

    found = known()
    if not found:
        # matplotlib remembers the fonts of its first run: one may have come since.
        files = {font.fname for font in manager.ttflist}
        for path in sorted(set(font_manager.findSystemFonts()) - files):
            with contextlib.suppress(OSError, RuntimeError):  # what it cannot draw with
                manager.addfont(path)
        found = known()
    if found:
        mpl.rcParams["font.family"] = ["DejaVu Sans", *found[:1]]
        mpl.rcParams["axes.unicode_minus"] = False
    else:
        say(
            "no Korean font is installed, so pictures show boxes for Korean letters: "
            "install Noto Sans CJK or Nanum (Debian: fonts-noto-cjk, fonts-nanum)"
        )


def curves(
    path: Path,
    history: Sequence[dict[str, Any]],
    panels: Mapping[str, Sequence[str]],
    title: str,
) -> None:
    """Metrics by epoch: a thin line for each seed, a thick one their median.

    Args:
      path: where the PNG goes.
      history: one dict an epoch, with an array over seeds for each metric.
      panels: for each panel, by the label of its vertical axis, the metrics in it.
        "accuracy" is shown in percent.
      title: of the figure.
    """
    epochs = [metrics["epoch"] for metrics in history]
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(5 * len(panels), 4),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(title)
    for axis, (label, names) in zip(axes[0], panels.items(), strict=True):
        for number, name in enumerate(names):
            color, marker = f"C{number}", "o" if len(epochs) == 1 else None
            values = np.array([m[name] for m in history], float)  # [epochs, S]
            line = name.replace("_", " ")
            if values.shape[1] > 1:
                axis.plot(epochs, values, color=color, lw=0.8, alpha=0.5, marker=marker)
                line += f", median of {values.shape[1]} seeds"
            middle = np.median(values, axis=1)
            axis.plot(epochs, middle, color=color, lw=2, label=line, marker=marker)
        axis.set_ylabel(label)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(epochs) == 1:
            axis.set_xticks(epochs)
        axis.grid(alpha=0.3)
        axis.legend(loc="best", fontsize="small")
        if label == "accuracy":
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
            axis.set_ylim(*np.clip(axis.get_ylim(), 0, 1))
    save(figure, path)
