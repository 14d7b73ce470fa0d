"""The folder of a run: locked, written whole or not at all, and read again.

config.json says what the run is, and summary.json, written last, that it is finished.
"""

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np
from jax.experimental import multihost_utils

import jaxrnn
from experiments.lab import signals
from experiments.lab.errors import RunError, Stopped, UsageError, require
from experiments.lab.options import Config, identity, lasting, plain
from jaxrnn import interop


class Folder:
    """The folder of one run, and the time since the run began.

    Use it with `with`; until its end no other run can open the folder. Where several
    processes work together, only the one with index 0 writes.

    Args:
      experiment: its name.
      config: with `--resume`, all options but those of `Running` and the `Asked` ones
        must be as they were.

    Raises:
      UsageError: if the folder cannot be written, is in use, holds a run already (and
        neither `--resume` nor `--overwrite` is given) or holds something else.
    """

    def __init__(self, experiment: str, config: Config):
        self.experiment = experiment
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.path = config.run.out or Path("runs") / f"{experiment}-{stamp}"
        self.checkpoints = self.path / "checkpoints"
        self.writes = jax.process_index() == 0
        self._identity = identity(config)
        self._start = time.perf_counter()
        self._lock: TextIO | None = None
        if not self.writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("a+")
            try:
                self._take_lock(self._lock)
                self._settle(config)
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise UsageError(f"--out: cannot write to {self.path}: {error}") from None

    def _take_lock(self, lock: TextIO) -> None:
        """Until this process ends, however it ends."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UsageError(
                f"--out: {self.path} is in use by a run that lives, process "
                f"{lock.read().strip() or 'unknown'}"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()

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
        if path.exists():
            self._compare(path)
        if self.finished:
            return
        usual = lasting(type(config)())
        kept = {k: v for k, v in lasting(config).items() if v != usual[k]}
        if running.data_dir is not None:
            kept["data_dir"] = running.data_dir.absolute()
        head = {"experiment": self.experiment}
        self._write_json("config.json", head | self._identity | {"run": plain(kept)})

    def _compare(self, path: Path) -> None:
        try:
            before = json.loads(path.read_text())
            if not isinstance(before, dict):
                raise ValueError("it holds no options")
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--resume: {path} is damaged: {error}") from None
        for name, value in self._identity.items():
            if name not in before or before[name] != value:
                flag = "--" + name.replace("_", "-")
                raise UsageError(
                    f"--resume: {self.path} was made with {flag} "
                    f"{before.get(name, 'unknown')}, now it is {value}"
                )

    @property
    def finished(self) -> bool:
        """Whether all results are there: the summary is written last."""
        return (self.path / "summary.json").exists()

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Lets other runs open the folder; says how to go on if it was interrupted."""
        if self._lock is not None:
            self._lock.close()
        if isinstance(error, KeyboardInterrupt) and not self.finished:
            name = signal.Signals(signum := signals.number(error)).name
            message = f"stopped by {name}; go on with {self.command}"
            raise Stopped(signum, message) from None

    @property
    def command(self) -> str:
        """The command that goes on with this run."""
        out = shlex.quote(str(self.path))
        return f"python -m experiments.{self.experiment} --resume --out {out}"

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
        expected = f"the data that {self.path} was begun with"
        require(path.read_text().strip() == now, "resume", expected, "other data")

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
        if self.writes:
            path = self.path / "params.safetensors"
            try:
                interop.save_safetensors(params, path)
            except OSError as error:
                raise RunError(f"cannot write {path}: {error}") from error

    def time(self, **times: Any) -> None:
        """Writes `timing.json`."""
        seconds = time.perf_counter() - self._start
        self._write_json("timing.json", plain({**times, "seconds": seconds}))

    def summarize(self, **results: Any) -> None:
        """Writes `summary.json`, which ends the run.

        It says nothing about time: that is in `timing.json`, so that a run that was
        stopped and resumed leaves the same summary as one that was not.
        """
        head = {"experiment": self.experiment, "config": self._identity}
        tail = {"versions": versions(), "device": device()}
        self._write_json("summary.json", plain(head | results | tail))

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
            handle, temporary = tempfile.mkstemp(path.suffix, f".{name}-", self.path)
            os.close(handle)
            try:
                half = Path(temporary)
                if isinstance(content, str):
                    half.write_text(content, encoding="utf-8")
                else:
                    content(half)
                half.chmod(0o644)
                with half.open("rb") as file:
                    os.fsync(file.fileno())
                half.replace(path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise RunError(f"cannot write {path}: {error}") from error


def saved_options(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options in a config.json, those of `lasting` apart; none if it is damaged."""
    try:
        options = json.loads((folder / "config.json").read_text())
        return options, dict(options.pop("run", {}))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}, {}  # where it matters `Folder` says what is wrong with it


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide the result."""
    names = ("jax", "jaxlib", "optax", "numpy")
    found = {name: metadata.version(name) for name in names}
    return {"jaxrnn": jaxrnn.__version__, "python": platform.python_version()} | found


def device() -> dict[str, Any]:
    """What the run runs on."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
    }
