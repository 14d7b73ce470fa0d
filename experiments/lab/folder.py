"""The folder of a run: locked, written whole or not at all, and read again.

config.json says what the run is, and summary.json, written last, that it is finished.
"""

import contextlib
import hashlib
import itertools
import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.lab import signals
from experiments.lab.commands import resuming
from experiments.lab.errors import RunError, Stopped, UsageError, require
from experiments.lab.lock import InUse, locked
from experiments.lab.options import Config, identity, lasting, places, plain
from experiments.lab.recipes import Recipes
from experiments.lab.storage import replace, retried
from experiments.lab.versions import device, versions
from jaxrnn import interop


class Folder:
    """The folder of one run, and the time since the run began.

    Use it with `with`; until its end no other run can open the folder. Where several
    processes work together, only the one with index 0 writes.

    Args:
      experiment: its name.
      config: with `--resume`, all options but those of `Running` and the `Asked` ones
        must be as they were. One that is newer than the run had its default.
      recipes: of the experiment; None where the class of the config has the defaults.

    Raises:
      UsageError: if the folder cannot be written, is in use, holds a run already (and
        neither `--resume` nor `--overwrite` is given) or holds something else.
    """

    def __init__(
        self, experiment: str, config: Config, recipes: Recipes[Any] | None = None
    ):
        self.experiment = experiment
        self._recipes = Recipes(type(config)()) if recipes is None else recipes
        self.writes = jax.process_index() == 0
        self._identity, self._places = identity(config), places(type(config))
        self._start = time.perf_counter()
        self._lock = None
        try:
            self.path = config.run.out or _new_folder(experiment)
            self.checkpoints = self.path / "checkpoints"
            self._head = self._options(config)
            if not self.writes:
                return
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = locked(self.path / ".lock")
            try:
                self._settle(config)
            except BaseException:
                self._lock.release()
                raise
        except InUse as holder:
            raise UsageError(
                f"--out: {self.path} is in use by a run that lives, {holder}"
            ) from None
        except OSError as error:
            where = config.run.out or Path("runs")
            raise UsageError(f"--out: cannot write to {where}: {error}") from None

    def _options(self, config: Config) -> dict[str, Any]:
        """What config.json holds; its paths hold in every folder."""
        usual = lasting(type(config)())
        kept = {k: v for k, v in lasting(config).items() if v != usual[k]}
        head = {"experiment": self.experiment}
        return head | self._identity | {"run": kept}

    def _settle(self, config: Config) -> None:
        """Makes the folder one of this run."""
        path, running = self.path / "config.json", config.run
        found = {path.name for path in self.path.iterdir()} - {".lock"}
        partial = {name for name in found if name.startswith(".config.json-")}
        if found - partial and not path.exists():
            raise UsageError(f"--out: {self.path} is not empty and holds no run")
        if path.exists() and not (running.resume or running.overwrite):
            what = "a finished" if self.finished else "an unfinished"
            raise UsageError(
                f"--out: {self.path} holds {what} run; --resume goes on with it, "
                "--overwrite deletes it, or name a new folder"
            )
        if running.overwrite:
            # config.json last: without it the folder would not be known as a run.
            for name in sorted(found, key="config.json".__eq__):
                old = self.path / name
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        for half in self.path.glob(".*-*"):
            half.unlink(missing_ok=True)  # half a file of a run that was killed
        kept = self._compare(path) if path.exists() else {}
        if not self.finished:
            self._write_json("config.json", self._head | kept)

    def _compare(self, path: Path) -> dict[str, Any]:
        """Where the data was; it may have moved, and `check` compares what is in it."""
        try:
            before = json.loads(retried(f"reading {path}", path.read_text))
            saved = self._recipes.completed(before)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--resume: {path} is damaged: {error}") from None
        for name, value in self._identity.items():
            moved = name in self._places and value and saved[name]
            if not moved and saved[name] != value:
                flag = "--" + name.replace("_", "-")
                raise UsageError(
                    f"--resume: {self.path} was made with {flag} {saved[name]}, "
                    f"now it is {value}"
                )
        return {name: saved[name] for name in self._places if name in saved}

    @property
    def finished(self) -> bool:
        """Whether all results are there: the summary is written last."""
        return (self.path / "summary.json").exists()

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Lets other runs open the folder; says how to go on if it was interrupted."""
        if self._lock is not None:
            self._lock.release()
        if isinstance(error, KeyboardInterrupt) and not self.finished:
            name = signal.Signals(signum := signals.number(error)).name
            message = f"stopped by {name}; go on with {self.command}"
            raise Stopped(signum, message) from None

    @property
    def command(self) -> str:
        """The command that goes on with this run."""
        return resuming(self.experiment, self.path)

    def check(self, data: Any) -> None:
        """Compares the data with what the run began with, by a digest.

        Args:
          data: a pytree of arrays and text.

        Raises:
          UsageError: if they differ.
        """
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(data):
            if isinstance(leaf, str):
                digest.update(leaf.encode() + b"\0")
            else:
                array = np.ascontiguousarray(leaf)
                digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        now = digest.hexdigest()
        path = self.keep("data.sha256", lambda path: path.write_text(now + "\n"))
        before = retried(f"reading {path}", path.read_text).strip()
        expected = f"the data that {self.path} was begun with, of SHA-256 {before}"
        require(before == now, "resume", expected, f"other data, of SHA-256 {now}")
        if self.writes and not self.finished:
            self._write_json("config.json", self._head)  # where the data is now

    def keep(self, name: str, write: Callable[[Path], Any], /) -> Path:
        """The file `name`, written the first time: a resumed run has what it had.

        Several processes wait until the one with index 0 has written it.
        """
        path = self.path / name
        if not path.exists():
            self.write(name, write)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)
        return path

    def log(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Makes `metrics.jsonl` hold these lines, whole."""
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        self.write("metrics.jsonl", text)

    def save_params(self, params: Any) -> None:
        """Writes `params.safetensors`, each array under its path in the pytree."""
        self.write("params.safetensors", partial(interop.save_safetensors, params))

    def time(self, **times: Any) -> None:
        """Writes `timing.json`."""
        seconds = time.perf_counter() - self._start
        self._write_json("timing.json", plain({**times, "seconds": seconds}))

    def summary(self, **results: Any) -> dict[str, Any]:
        """What `summary.json` will hold.

        It says nothing about time: that is in `timing.json`, so that a run that was
        stopped and resumed leaves the same summary as one that was not.
        """
        head = {"experiment": self.experiment, "config": self._identity}
        tail = {"versions": versions(), "device": device()}
        return plain(head | results | tail)

    def summarize(self, summary: Mapping[str, Any]) -> None:
        """Writes `summary.json`, which ends the run."""
        self._write_json("summary.json", summary)

    def _write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write(self, name: str, content: str | Callable[[Path], Any]) -> None:
        """Writes a text, or lets a function (path) -> None write; whole or not at all.

        Raises:
          RunError: if it cannot be written; an older file of that name stays.
        """
        if not self.writes:
            return
        path = self.path / name
        try:
            retried(f"writing {path}", lambda: replace(path, content))
        except OSError as error:
            raise RunError(f"cannot write {path}: {error}") from error


def _new_folder(experiment: str) -> Path:
    """A folder of its own, even for one of two runs that start in the same second."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        end = f"-{number}" if number > 1 else ""
        path = Path("runs") / f"{experiment}-{stamp}{end}"
        path.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError


def saved_options(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options in a config.json, those of `lasting` apart; none if it is damaged."""
    try:
        path = folder / "config.json"
        options = json.loads(retried(f"reading {path}", path.read_text))
        return options, dict(options.pop("run", {}))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}, {}  # where it matters `Folder` says what is wrong with it
