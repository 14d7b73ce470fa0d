"""The metrics of a run as files that TensorBoard shows, by tensorboardX.

Each seed is a run of its own there, so that their curves lie in one plot, and a metric
such as valid_loss is loss/valid. What the files hold is made anew from the history when
a run goes on: a point that was lost in a crash is there, and none is there twice.
"""

import contextlib
import importlib
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments.lab.errors import RunError
from experiments.lab.records import parted
from experiments.lab.storage import retried

FOLDER = "tensorboard"
NEEDED = "--tensorboard needs tensorboardX: pip install -e '.[tensorboard]'"


def missing() -> bool:
    """Whether the package that writes the files is not installed."""
    return find_spec("tensorboardX") is None


def _package(module: str) -> Any:
    """A module of the package; protobuf makes its names, so no type is known."""
    return importlib.import_module(f"tensorboardX.{module}")


class Board:
    """Writes one file a seed, whole after each epoch; TensorBoard may read meanwhile.

    Args:
      folder: of the run.
      seeds: that are trained.
      history: of the epochs so far.

    Raises:
      RunError: if a file cannot be written.
    """

    def __init__(
        self, folder: Path, seeds: Sequence[int], history: Sequence[Mapping[str, Any]]
    ):
        # Its SummaryWriter writes on a thread, which ends at an error such as a full
        # disk: all later points are lost. This part of it raises the error.
        make = _package("event_file_writer").EventsWriter
        self.folder = folder / FOLDER
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            paths = [self.folder / f"seed-{seed}" for seed in seeds]
            for path in paths:
                path.mkdir(parents=True)
            self.writers = [make(str(path / "events")) for path in paths]
        except OSError as error:
            raise self._failed(error) from error
        for line in history:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Writes the metrics of an epoch; one that is not finite is NaN."""
        make_event = _package("proto.event_pb2").Event
        make_summary = _package("proto.summary_pb2").Summary
        for place, writer in enumerate(self.writers):
            values = []
            for name, of_seeds in line.items():
                if name != "epoch":
                    value = of_seeds[place]
                    number = math.nan if value is None else value
                    tag = "/".join(filter(None, parted(name)))
                    values.append(make_summary.Value(tag=tag, simple_value=number))
            summary, now = make_summary(value=values), time.time()
            event = make_event(wall_time=now, step=line["epoch"], summary=summary)
            try:
                writer.write_event(event)
                retried(f"writing {self.folder}", writer.flush)
            except OSError as error:
                raise self._failed(error) from error

    def close(self) -> None:
        """Closes the files; what cannot be written now has been told."""
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.close()

    def _failed(self, error: OSError) -> RunError:
        return RunError(f"cannot write {self.folder}: {error}")
