"""The options of a study that reads a CSV file of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments import lab
from experiments.data.formats.csv import Form
from experiments.data.series import DATASETS, Series, load_series, read_csv


@dataclass(frozen=True)
class CsvConfig(lab.Config):
    """How a CSV file of your own is read."""

    dataset: str = ""
    """The data set, where there is no --csv."""
    csv: Path | None = None
    """A file of your own instead: a column of dates, columns of numbers."""
    columns: tuple[str, ...] = ()
    """Which columns of the --csv, by name or by number from 1; none: all."""
    date_column: str | None = None
    """The column of dates, by name or by number. None: the first that has dates."""
    date_format: str | None = None
    """Such as %%d.%%m.%%Y %%H:%%M. None: 2016-07-01 05:30, with an offset from UTC or
    without, 2016-07, 2016."""
    timezone: str | None = None
    """Of times without an offset, such as Europe/Berlin, where summer time changes."""
    separator: str | None = None
    """Between columns; tab and space by these names. None: as the first lines show."""
    decimal: Literal[".", ","] | None = None
    """What stands before decimals. None: as the numbers show."""
    encoding: str | None = None
    """Such as cp949 or latin-1. None: UTF-8, or UTF-16 where the file says so."""
    duplicates: Literal["mean", "first", "last", "refuse"] = "mean"
    """Which value to take where a time comes twice."""
    fill: Literal["linear", "last", "zero"] | None = None
    """What to put where times or values are missing: on the line between neighbours,
    the last value, or 0. None: rows stay as they are, and no value may be missing."""

    def __post_init__(self):
        super().__post_init__()
        needs = self.csv is not None or not self.columns
        lab.require(needs, "columns", "a --csv too", " ".join(self.columns))

    @property
    def name(self) -> str:
        """Of the data."""
        return self.dataset if self.csv is None else self.csv.stem

    def load(self) -> tuple[Series, tuple[int, int, int] | None]:
        """The file or the data set, and the lengths of its parts where it has them."""
        if self.csv is not None:
            return self.read(self.csv, self.columns), None
        series = _told(load_series(self.dataset, self.run.data_dir))
        return series, DATASETS[self.dataset].parts

    def reading(self, other: "CsvConfig") -> "CsvConfig":
        """The other config, with what this one says of how a file is read."""
        names, usual = (*Form._fields, "duplicates", "fill"), CsvConfig()
        said = {n: v for n in names if (v := getattr(self, n)) != getattr(usual, n)}
        return replace(other, **said)

    def read(self, path: Path, columns: Sequence[str] = ()) -> Series:
        """Reads a file as these options say; see `read_csv`."""
        form = Form(*(getattr(self, name) for name in Form._fields))
        how: dict[str, Any] = {"duplicates": self.duplicates, "fill": self.fill}
        return _told(read_csv(path, columns, form, **how))


def _told(series: Series) -> Series:
    """The series, once what was found amiss in it is said."""
    for remark in series.remarks:
        lab.say(f"{series.source}: {remark}")
    return series
