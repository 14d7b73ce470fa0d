"""Time series: the known ones, and CSV files of your own."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import files
from experiments.data.files import Files
from experiments.data.formats.csv import read_columns


class Series(NamedTuple):
    """Several variables over time."""

    dates: np.ndarray  # [T] datetime64, rising
    values: np.ndarray  # [T, C] float64
    names: tuple[str, ...]  # of the C variables
    source: str = "the series"  # the file, for messages


class SeriesSet(NamedTuple):
    """A known data set: one file, and what is known of it."""

    title: str
    files: Files | None  # None: matplotlib comes with it
    columns: tuple[str, ...] = ()  # to read; none: all
    keep: Callable[[datetime], bool] = lambda date: True  # whether to read a row
    parts: tuple[int, int, int] | None = None  # published lengths; None: 3, 1, 1 fifths
    random_walk: bool = False  # whether it may be one, so that nothing can be forecast


def _classic(name: str, digest: str, origin: str) -> Files:
    base = "https://raw.githubusercontent.com/jbrownlee/Datasets/master"
    get = f"curl -L --create-dirs -o series/{name} {base}/{name}"
    return Files("series", {name: digest}, f"{origin}, as jbrownlee/Datasets", get)


DATASETS = {
    "etth1": SeriesSet(
        "hourly load and oil temperature of a transformer",
        Files(
            "ett",
            {"ETTh1.csv.gz": "f18de3ad269cef59"},
            "Zhou et al., 2021: github.com/zhouhaoyi/ETDataset",
            "mkdir -p ett; curl -L https://raw.githubusercontent.com/zhouhaoyi/"
            "ETDataset/main/ETT-small/ETTh1.csv | gzip > ett/ETTh1.csv.gz",
        ),
        parts=(8640, 2880, 2880),  # twelve, four and four months of 30 days
    ),
    "stocks": SeriesSet(
        "monthly prices of shares, and two indices",
        None,
        # Those that were traded in all months of the file.
        columns=("IBM", "AAPL", "MSFT", "XRX", "ADBE", "^GSPC", "^IXIC"),
        # Rows within a month are days of dividends, without prices, or a last price
        # that is there already.
        keep=lambda date: date.day == 1,
        random_walk=True,
    ),
    "airline": SeriesSet(
        "monthly airline passengers",
        _classic(
            "airline-passengers.csv",
            "8cb51be753a718d9",
            "Box and Jenkins, 1976",
        ),
    ),
    "sunspots": SeriesSet(
        "monthly sunspots",
        _classic(
            "monthly-sunspots.csv",
            "c4ec8cc57d9f6fb6",
            "Andrews and Herzberg, 1985",
        ),
    ),
    "temperatures": SeriesSet(
        "daily lowest temperatures in Melbourne; two days are missing",
        _classic(
            "daily-min-temperatures.csv",
            "8b9de63ed6789492",
            "Bureau of Meteorology, Australia",
        ),
    ),
}


def load_series(name: str, data_dir: Path | None = None) -> Series:
    """Reads one of `DATASETS`.

    Args:
      name: of the data set.
      data_dir: see `files.find`.

    Raises:
      DataError: if the name is unknown, or the file is not found or not as it should
        be.
    """
    known = files.record(DATASETS, name)
    if known.files is None:
        from matplotlib.cbook import get_sample_data

        path = Path(str(get_sample_data("Stocks.csv", asfileobj=False)))
    else:
        (path,) = known.files.find(data_dir)
    return read_csv(path, known.columns, keep=known.keep)


def read_csv(
    path: Path,
    columns: Sequence[str] = (),
    *,
    keep: Callable[[datetime], bool] = lambda date: True,
) -> Series:
    """Reads a file with a header, a column of dates and columns of numbers.

    Args:
      path: as `formats.csv.read_columns` takes it, and so are the others.
      columns: which to read; none: all but the first, which has the dates.
      keep: (date) -> whether to read a row.

    Raises:
      DataError: if the file is not found or not as it should be.
    """
    names, dates, values = read_columns(path, columns, keep=keep)
    return Series(np.array(dates, "datetime64[s]"), np.array(values), names, str(path))


def forecast_csv(
    names: Sequence[str], quantiles: Sequence[np.ndarray], levels: Sequence[float]
) -> str:
    """A forecast as the text of a CSV file.

    Args:
      names: of C variables.
      quantiles: [H, Q] of each variable, in its own units.
      levels: of the Q quantiles.

    Example:
      >>> print(forecast_csv(["load"], [np.array([[1.5, 2.0]])], (0.1, 0.9)))
      variable,steps_ahead,0.1,0.9
      load,1,1.5,2
      <BLANKLINE>
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["variable", "steps_ahead", *map(str, levels)])
    for name, rows in zip(names, quantiles, strict=True):
        for step, row in enumerate(rows, 1):
            writer.writerow([name, step, *(f"{value:.6g}" for value in row)])
    return text.getvalue()
