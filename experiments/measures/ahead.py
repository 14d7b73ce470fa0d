"""What a finished run must know to forecast new data of its series."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.series import Series
from experiments.data.times import Spacing
from experiments.data.windows import Scale, Windowed
from experiments.measures.conformal import calibrated


class Ahead(NamedTuple):
    """The units of C variables, and how their quantiles were calibrated."""

    names: tuple[str, ...]
    spacing: Spacing
    scale: Scale
    window: int  # L
    margins: np.ndarray  # [C, 1, H, Q]

    @classmethod
    def of(cls, data: Windowed, margins: np.ndarray) -> "Ahead":
        """From the data of a run, and the margins that were measured on it."""
        series = data.series
        return cls(series.names, series.spacing, data.scale, data.window, margins)

    def text(self) -> str:
        """As JSON; `load` gives the same numbers back."""
        log, *scale = self.scale
        mean, deviation = (a.tolist() for a in scale)
        return json.dumps(
            {
                "variables": self.names,
                "spacing": self.spacing,
                "log": log,
                "mean": mean,
                "deviation": deviation,
                "window": self.window,
                "margins": self.margins.tolist(),
                "dtype": str(self.margins.dtype),
            }
        )

    @classmethod
    def load(cls, path: Path) -> "Ahead":
        """From the file of a run.

        Raises:
          DataError: if there is none, or it is damaged.
        """
        try:
            found: dict[str, Any] = json.loads(files.read_text(path))
            arrays = (np.array(found[name]) for name in ("mean", "deviation"))
            margins = np.array(found["margins"], found["dtype"])
            names = tuple(found["variables"])
            if margins.ndim != 4 or len(margins) != len(names):
                raise ValueError(f"margins of shape {margins.shape}")
            scale = Scale(found["log"], *arrays)
            return cls(
                names, Spacing(*found["spacing"]), scale, found["window"], margins
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"{path}: is damaged: {error}") from error

    def end(self, series: Series) -> np.ndarray:
        """The last window of new data, standardised, [C, 1, L] float32.

        Raises:
          DataError: if the data has other variables or another spacing than that of
            the run, is too short, or has no logarithm.
        """
        if series.names != self.names:
            raise DataError(
                f"{series.source}: expected the columns {', '.join(self.names)}, found "
                f"{', '.join(series.names)}"
            )
        if len(series.values) < max(self.window, 2):
            raise DataError(
                f"{series.source}: has {len(series.values):,} rows, expected "
                f"{self.window:,} or more, the --window of the run"
            )
        found = series.spacing
        if found[:2] != self.spacing[:2]:
            raise DataError(
                f"{series.source}: expected times {self.spacing} apart, as in the run, "
                f"found {found}"
            )
        values = series.values[-self.window :]
        for name, lowest in zip(series.names, values.min(axis=0), strict=True):
            if self.scale.log and not lowest > 0:
                raise DataError(
                    f"{series.source}: {name}: expected values above 0, since the run "
                    f"forecasts logarithms, found {lowest:g}"
                )
        return self.scale.standardise(values).astype(np.float32).T[:, None]

    def quantiles(self, told: np.ndarray) -> list[np.ndarray]:
        """Of each variable [H, Q], calibrated and in its units, from [C, 1, H, Q]."""
        moved = calibrated(told, self.margins)[:, 0]
        return [self.scale.undo(rows, variable) for variable, rows in enumerate(moved)]
