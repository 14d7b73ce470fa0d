"""Pictures of `experiments.forecasting`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.data.windows import Windowed
from experiments.measures.forecasts import Evaluation
from experiments.plots import curves, save


def pictures(
    data: Windowed,
    found: Evaluation,
    nominal: Sequence[float],
    history: Sequence[dict[str, Any]],
    title: str,
) -> dict[str, Callable[[Path], None]]:
    """What draws forecasts, errors at each step, coverage and curves, by file name.

    Args:
      data: the series.
      found: what was measured on it.
      nominal: coverage of the intervals, from the outermost in.
      history: of the training, as `curves` takes it.
      title: of the figures.
    """
    mean, ridge = found.mean, found.simpler["ridge"]
    middle = ridge.quantiles[..., len(nominal)]
    panels = examples(data, mean.quantiles, middle)
    lines = {
        f"mean {kind} error": {
            name: getattr(forecast.errors, kind).mean(axis=0)
            for name, forecast in {**found.simpler, "network": mean}.items()
        }
        for kind in ("squared", "absolute")
    }
    covered = {
        "network, before calibration": mean.raw.covered,
        "network, calibrated": mean.calibrated.covered,
        "ridge, calibrated": ridge.calibrated.covered,
    }
    losses = {
        "quantile loss": ("train_loss", "validation_loss"),
        "mean squared error": ("validation_mse",),
    }
    return {
        "forecasts.png": lambda path: forecasts(path, panels, nominal, title),
        "steps.png": lambda path: errors_by_step(path, lines, title),
        "coverage.png": lambda path: coverage(path, nominal, covered, title),
        "curves.png": lambda path: curves(path, history, losses, title),
    }


class Forecast(NamedTuple):
    """One window of one variable, in its own units."""

    title: str
    values: np.ndarray  # [... + H], what went before and what came
    quantiles: np.ndarray  # [H, Q]
    simpler: np.ndarray  # [H], of the linear model


def examples(
    data: Windowed, quantiles: np.ndarray, simpler: np.ndarray
) -> list[Forecast]:
    """Three windows of the test part, of the first and of the last variable.

    Args:
      data: the series.
      quantiles: [C, N, H, Q], of the windows of the test part.
      simpler: [C, N, H], of the linear model.
    """
    names, dates = data.series.names, data.series.dates
    windows, first = data.windows(data.parts.test), data.parts.test.start
    start = max(data.window - 2 * data.horizon, 0)
    found = []
    for variable in sorted({0, len(names) - 1}):
        for place in np.linspace(0.1, 0.9, 3) * (windows.shape[1] - 1):
            i = int(place)
            day = dates[first + i].astype("datetime64[D]")
            arrays = windows[variable, i, start:], quantiles[variable, i]
            arrays = (*arrays, simpler[variable, i])
            undone = (data.scale.undo(a, variable) for a in arrays)
            found.append(Forecast(f"{names[variable]}, from {day}", *undone))
    return found


def forecasts(
    path: Path, panels: Sequence[Forecast], nominal: Sequence[float], title: str
) -> None:
    """Forecasts with their intervals beside what came.

    Args:
      path: where the PNG goes.
      panels: in rows of three.
      nominal: coverage of the intervals between quantiles, from the outermost in.
      title: of the figure.
    """
    rows = -(-len(panels) // 3)
    figure, axes = plt.subplots(
        rows, 3, figsize=(15, 3.4 * rows + 0.6), layout="constrained", squeeze=False
    )
    figure.suptitle(title)
    for axis, panel in zip(axes.flat, panels, strict=True):
        horizon = len(panel.quantiles)
        steps = np.arange(len(panel.values)) - (len(panel.values) - horizon) + 1
        ahead = steps[-horizon:]
        for i, level in enumerate(nominal):
            axis.fill_between(
                ahead,
                panel.quantiles[:, i],
                panel.quantiles[:, -1 - i],
                color=plt.get_cmap("Blues")(0.15 + 0.4 * i / len(nominal)),
                lw=0,
                label=f"{level:.0%}",
            )
        middle = panel.quantiles[:, len(nominal)]
        axis.plot(ahead, middle, color="C0", lw=1.6, label="median")
        axis.plot(ahead, panel.simpler, color="C1", lw=1.2, ls="--", label="ridge")
        axis.plot(steps, panel.values, color="black", lw=1, label="truth")
        axis.axvline(0.5, color="gray", lw=0.8)
        axis.set_title(panel.title, fontsize="medium")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("steps ahead")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    save(figure, path)


def errors_by_step(
    path: Path, panels: Mapping[str, Mapping[str, np.ndarray]], title: str
) -> None:
    """How errors grow with the horizon.

    Args:
      path: where the PNG goes.
      panels: by the label of the vertical axis, for each forecast its errors [H].
      title: of the figure.
    """
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(5.5 * len(panels), 4),
        layout="constrained",
        squeeze=False,
    )
    figure.suptitle(title)
    for axis, (label, lines) in zip(axes[0], panels.items(), strict=True):
        for name, errors in lines.items():
            own = name == "network"
            axis.plot(
                np.arange(1, len(errors) + 1),
                errors,
                color="black" if own else None,
                lw=2 if own else 1.2,
                label=name,
            )
        axis.set_ylabel(label)
        axis.set_xlabel("steps ahead")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend(loc="best", fontsize="small")
    save(figure, path)


def coverage(
    path: Path, nominal: Sequence[float], covered: Mapping[str, np.ndarray], title: str
) -> None:
    """How often intervals held, against how often they should.

    Args:
      path: where the PNG goes.
      nominal: coverage asked for.
      covered: for each forecast the coverage measured [levels, H].
      title: of the figure.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    figure.suptitle(title)
    axes[0].plot([0.4, 1], [0.4, 1], color="gray", lw=0.8)
    axes[1].axhline(nominal[1], color="gray", lw=0.8)
    for name, values in covered.items():
        axes[0].plot(nominal, values.mean(axis=1), marker="o", label=name)
        axes[1].plot(np.arange(1, values.shape[1] + 1), values[1], label=name)
    axes[0].set_xlabel("coverage asked for")
    axes[0].set_ylabel("coverage measured")
    axes[0].xaxis.set_major_formatter(PercentFormatter(1.0))
    axes[1].set_xlabel("steps ahead")
    axes[1].set_ylabel(f"coverage measured of {nominal[1]:.0%}")
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in axes:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.grid(alpha=0.3)
        axis.legend(loc="best", fontsize="small")
    save(figure, path)
