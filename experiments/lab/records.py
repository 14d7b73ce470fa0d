"""What the folder of a run holds, finished or not."""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiments.lab import tables
from experiments.lab.errors import UsageError
from experiments.lab.storage import retried
from experiments.lab.study import Table

# What a file that cannot be read, or is not as a run wrote it, raises.
DAMAGED = OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError
_PARTS = "train", "validation", "valid", "holdout", "test"  # of the data


class Record(NamedTuple):
    """What a run has left so far."""

    path: Path
    experiment: str
    options: dict[str, Any]  # that decide what is learned, by name
    running: dict[str, Any]  # how it runs, where that is not as usual
    history: list[dict[str, Any]]  # of the epochs, each metric as a list over seeds
    summary: dict[str, Any]  # empty while the run is not finished
    tables: list[Table]  # of the summary
    timing: dict[str, Any]

    @property
    def metrics(self) -> list[str]:
        """The names of what was measured after each epoch."""
        names = dict.fromkeys(name for line in self.history for name in line)
        return [name for name in names if name != "epoch"]

    @property
    def state(self) -> str:
        """How far the run is."""
        done, of = len(self.history), self.options.get("epochs", "?")
        if self.summary:
            return f"finished: {done} epochs"
        return f"not finished: {done} of {of} epochs so far"


def read(path: Path, summary: Mapping[str, Any] | None = None) -> Record:
    """Reads the folder of a run.

    Args:
      path: of the folder.
      summary: what summary.json will hold; None: what it holds, if it is there.

    Raises:
      UsageError: if there is no run in the folder, or a file of it is damaged.
    """
    if not (path / "config.json").exists():
        why = "it has no config.json" if path.is_dir() else "there is no such folder"
        raise UsageError(f"{path} holds no run: {why}")
    name = "config.json"
    try:
        options = dict(json.loads(_text(path, name)))
        running, experiment = dict(options.pop("run", {})), options.pop("experiment")
        if not isinstance(experiment, str):
            raise ValueError("the experiment has no name")
        name = "summary.json"
        found = json.loads(_text(path, name, "{}")) if summary is None else summary
        found = dict(found)
        if found and found["experiment"] != experiment:
            raise ValueError(f"it is one of {found['experiment']}")
        kept = [tables.restored(table) for table in found.get("tables", ())]
        finished = bool(found)  # what such a run has left must be there
        name = "metrics.jsonl"
        lines = _text(path, name, None if finished else "").splitlines()
        history = _lines([json.loads(line) for line in lines])
        name = "timing.json"
        timing = dict(json.loads(_text(path, name, None if finished else "{}")))
    except DAMAGED as error:
        raise UsageError(f"{path / name} is damaged: {error}") from None
    return Record(path, experiment, options, running, history, found, kept, timing)


def parted(metric: str) -> tuple[str, str]:
    """What a metric measures, and on which part of the data, if its name says so.

    Example:
      >>> parted("valid_loss"), parted("test_first_100_accuracy"), parted("size")
      (('loss', 'valid'), ('first_100_accuracy', 'test'), ('size', ''))
    """
    part, _, measured = metric.partition("_")
    return (measured, part) if part in _PARTS and measured else (metric, "")


def _text(path: Path, name: str, missing: str | None = None) -> str:
    """The text of a file; where it may be missing, what stands for it."""
    if missing is not None and not (path / name).exists():
        return missing
    return retried(f"reading {path / name}", partial((path / name).read_text, "utf-8"))


def _lines(lines: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The metrics of the epochs, with None for numbers that are not finite."""
    found = []
    for line in lines:
        kept: dict[str, Any] = {"epoch": int(line["epoch"])}
        for name, values in line.items():
            if name != "epoch":
                seeds = values if isinstance(values, list) else [values]
                kept[name] = [_finite(v) for v in seeds]
        found.append(kept)
    counts = {len(line[name]) for line in found for name in line if name != "epoch"}
    if len(counts) > 1 or 0 in counts:
        raise ValueError("the metrics are not of the same seeds")
    return found


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
