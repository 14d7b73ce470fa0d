"""What every experiment shares: its options, its output folder, its records."""

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import math
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

import jaxrnn
from experiments.data import DataError
from experiments.lab.errors import RunError as RunError
from experiments.lab.errors import Stopped as Stopped
from experiments.lab.errors import UsageError as UsageError
from experiments.lab.errors import require as require
from experiments.lab.errors import say as say
from experiments.lab.quiet import quiet
from jaxrnn import interop

ConfigT = TypeVar("ConfigT", bound=Any)  # a dataclass with a field `run`, `Options`


@dataclasses.dataclass(frozen=True)
class Options:
    """Where and how a run runs: a resumed run has them as well, or may have others."""

    data_dir: Path | None = None
    """Folder with the files of the data sets. None: the one that JAXRNN_DATA names."""
    out: Path | None = None
    """Folder for the results. None: runs/<experiment>-<time>."""
    resume: bool = False
    """Go on with the run in --out from its last checkpoint; start if there is none."""
    overwrite: bool = False
    """Delete the run that is in --out and start anew."""
    checkpoint_minutes: float = 5.0
    """Save a checkpoint so often, in the background."""
    checkpoint_steps: int | None = None
    """Save a checkpoint after so many updates instead."""
    keep: int = 3
    """Keep so many of the latest checkpoints, and the best one."""
    devices: int = 1
    """Split each batch over so many devices of each process; 2 suits two CPU cores."""
    coordinator: str | None = None
    """Address of the first process, host:port, where several work together."""
    num_processes: int | None = None
    """How many processes work together: each is started with a command of its own."""
    process_id: int | None = None
    """Which of them this one is, from 0."""

    def __post_init__(self):
        for name in ("checkpoint_minutes", "checkpoint_steps", "keep", "devices"):
            value = getattr(self, name)
            require(value is None or value > 0, name, "above 0", value)
        require(not (self.resume and self.overwrite), "resume", "no --overwrite", True)
        for name in ("resume", "coordinator"):
            require(
                self.out is not None or not getattr(self, name),
                name,
                "an --out too, the folder of the run",
                "none",
            )
        together = "coordinator", "num_processes", "process_id"
        given = [name for name in together if getattr(self, name) is not None]
        for name in together:
            expected = "a value, for --coordinator, --num-processes and --process-id "
            expected += "go together"
            require(not given or name in given, name, expected, "none")
        if self.num_processes is not None and self.process_id is not None:
            n = self.num_processes
            require(n >= 1, "num_processes", "at least 1", n)
            require(
                0 <= self.process_id < n, "process_id", f"0 to {n - 1}", self.process_id
            )


def only(options: Options, name: str) -> None:
    """Raises a UsageError if what asks a finished run is to change it as well."""
    for other in ("resume", "overwrite"):
        require(not getattr(options, other), other, f"no --{name}", True)


def check(
    config: Any,
    *,
    at_least_1: Sequence[str] = (),
    at_least_0: Sequence[str] = (),
    above_0: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> None:
    """Raises a UsageError for an option out of its range; None is in any range.

    Of a tuple each must be in it.
    """
    for names, holds, expected in (
        (at_least_1, lambda v: v >= 1, "at least 1"),
        (at_least_0, lambda v: v >= 0, "at least 0"),
        (above_0, lambda v: v > 0, "above 0"),
        (shares, lambda v: 0 <= v < 1, "in [0, 1)"),
    ):
        for name in names:
            value = getattr(config, name)
            each = value if isinstance(value, tuple) else (value,)
            fits = (v is None or (math.isfinite(v) and holds(v)) for v in each)
            require(all(fits), name, expected, " ".join(map(str, each)))


def parser(
    experiment: str, defaults: Callable[..., ConfigT], **choices: str
) -> Callable[[Sequence[str]], ConfigT]:
    """Makes a reader of the command line, with `--resume` beside a run's own options.

    Args:
      experiment: the name of the module.
      defaults: (**choices) -> config, the defaults that hold for these choices.
      **choices: the options on which other defaults depend, with their own defaults.
    """

    def parse(argv: Sequence[str]) -> ConfigT:
        import tyro

        prog = f"python -m experiments.{experiment}"
        first = argparse.ArgumentParser(prog, add_help=False, allow_abbrev=False)
        first.add_argument("--out", type=Path)
        first.add_argument("--resume", action="store_true")
        for name, default in choices.items():
            first.add_argument(f"--{name.replace('_', '-')}", default=default)
        known, _ = first.parse_known_args(list(argv))
        if known.resume and known.out is not None:
            saved, lasting = _saved(known.out / "config.json")
            other = saved.get("experiment", experiment)
            mine = other == experiment
            require(mine, "resume", f"a run of {experiment}", f"one of {other}")
            argv = [*_arguments(saved | lasting, defaults(**choices)), *argv]
            known, _ = first.parse_known_args(argv)
        default = defaults(**{name: getattr(known, name) for name in choices})
        return tyro.cli(
            type(default),
            args=list(argv),
            default=default,
            prog=prog,
            config=(tyro.conf.OmitArgPrefixes,),
        )

    return parse


def _arguments(saved: dict[str, Any], config: Any) -> list[str]:
    """The command line that gives a run like `config` the options that were saved."""
    known = options_of(config) | _lasting(config.run)
    found = []
    for name, value in saved.items():
        if name not in known:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            found += [f"--{flag}", *map(str, value)]
        else:
            found.append(f"--{flag}={value}")
    return found


def _saved(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a config.json holds, its `Options` apart; nothing if it is damaged."""
    try:
        options = json.loads(path.read_text())
        return options, dict(options.pop("run", {}))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}, {}  # where it matters `Output` says what is wrong with it


def _lasting(options: Options) -> dict[str, Any]:
    """The `Options` that a resumed run has again: not those of this process alone."""
    own = ("out", "resume", "overwrite", "coordinator", "num_processes", "process_id")
    names = [f.name for f in dataclasses.fields(options) if f.name not in own]
    return {name: getattr(options, name) for name in names}


@quiet()
def main(
    parse: Callable[[Sequence[str]], ConfigT],
    run: Callable[[ConfigT], None],
    argv: Sequence[str] | None = None,
) -> None:
    """Runs an experiment from the command line.

    Exits with one message and a status: 2 when the arguments or the data are at fault,
    1 when the run could not go on, 130 after Ctrl-C and 143 after SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        config = parse(argv)
        if config.run.coordinator is None:
            run(config)
        elif os.environ.get(_CHILD):
            _end_with_parent()
            run(config)
        else:
            sys.exit(_supervise(argv))
    except (DataError, UsageError) as error:
        _fail(f"error: {error}", 2)
    except RunError as error:
        _fail(f"error: {error}", 1)
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        print(error, file=sys.stderr, flush=True)
        os.abort()  # at a usual exit JAX would wait for the process that is lost
    except Stopped as stopped:
        sys.exit(_complain(str(stopped), 128 + stopped.signum))
    except KeyboardInterrupt as interrupt:
        sys.exit(_complain("interrupted", 128 + _signum(interrupt)))
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: Any) -> NoReturn:
    """Ends the program as Ctrl-C does, wherever it is."""
    del frame
    raise KeyboardInterrupt(signum)


def _signum(interrupt: KeyboardInterrupt) -> int:
    return interrupt.args[0] if interrupt.args else signal.SIGINT


_CHILD = "JAXRNN_CHILD"  # set where a process has one above it that explains its end


def _supervise(argv: Sequence[str]) -> int:
    """Runs this program once more, below this process, and returns its status.

    JAX aborts a process at once when another one of the run is lost; this one is left
    to say so.
    """
    spec = sys.modules["__main__"].__spec__
    assert spec is not None  # it was started by python -m
    child = subprocess.Popen(
        [sys.executable, "-m", spec.name.removesuffix(".__main__"), *argv],
        stdin=subprocess.PIPE,
        env={**os.environ, _CHILD: "1"},
        process_group=0,  # Ctrl-C comes once, from here
    )
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda signum, _: child.send_signal(signum))
    status = child.wait()
    if status == -signal.SIGABRT:
        return _complain(
            "error: another process of this run is lost (see above); start them all "
            "again with --resume, as many as you like",
            1,
        )
    return status if status >= 0 else 128 - status


def _end_with_parent() -> None:
    """Ends this process when the one above it has gone, even if it was killed."""

    def wait():
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _fail(message: str, status: int) -> NoReturn:
    _complain(message, status)
    if os.environ.get(_CHILD):
        sys.stderr.flush()
        # At a usual exit JAX would wait for the others, and they for it.
        os._exit(status)
    sys.exit(status)


def _complain(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


class Output:
    """The folder of one run, and the times spent in it.

    Use it with `with`; until its end no other run can open the folder. Where several
    processes work together only the first one writes.

    Args:
      experiment: its name.
      config: of the experiment, a dataclass whose field `run` are the `Options`. With
        `--resume` all but those must be as they were.

    Raises:
      UsageError: if the folder cannot be written, is in use, holds a run already (and
        neither `--resume` nor `--overwrite` is given) or holds something else.
    """

    def __init__(self, experiment: str, config: Any):
        options: Options = config.run
        self.experiment = experiment
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.path = options.out or Path("runs") / f"{experiment}-{stamp}"
        self.checkpoints = self.path / "checkpoints"
        self.config = options_of(config)
        self.writes = jax.process_index() == 0
        self._start = time.perf_counter()
        self._lock = None
        if not self.writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("a+")
            try:
                self._take_lock(self._lock)
                self._settle(options)
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise UsageError(f"--out: cannot write to {self.path}: {error}") from None

    def _take_lock(self, lock) -> None:
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

    def _settle(self, options: Options) -> None:
        """Makes the folder one of this run."""
        config = self.path / "config.json"
        found = {path.name for path in self.path.iterdir()} - {".lock"}
        partial = {name for name in found if name.startswith(".config.json-")}
        if found - partial and not config.exists():
            raise UsageError(f"--out: {self.path} is not empty and holds no run")
        if config.exists() and not (options.resume or options.overwrite):
            what = "a finished" if self.finished else "an unfinished"
            raise UsageError(
                f"--out: {self.path} holds {what} run; --resume goes on with it, "
                "--overwrite deletes it, or name a new folder"
            )
        if options.overwrite:
            # config.json last: without it the folder would not be known as a run.
            for name in sorted(found, key="config.json".__eq__):
                path = self.path / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.path.glob(".*-*"):
            path.unlink(missing_ok=True)  # half a file of a run that was killed
        if config.exists():
            self._compare(config)
        if self.finished:
            return
        usual = _lasting(type(options)())
        lasting = {k: v for k, v in _lasting(options).items() if v != usual[k]}
        if options.data_dir is not None:
            lasting["data_dir"] = options.data_dir.absolute()
        self._write_json(
            "config.json",
            {"experiment": self.experiment, **self.config, "run": plain(lasting)},
        )

    def _compare(self, path: Path) -> None:
        try:
            before = json.loads(path.read_text())
            if not isinstance(before, dict):
                raise ValueError("it holds no options")
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--resume: {path} is damaged: {error}") from None
        for name, value in self.config.items():
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

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Lets other runs open the folder; says how to go on if it was interrupted."""
        if self._lock is not None:
            self._lock.close()
        if isinstance(error, KeyboardInterrupt) and not self.finished:
            name = signal.Signals(signum := _signum(error)).name
            raise Stopped(
                signum, f"stopped by {name}; go on with {self.command}"
            ) from None

    @property
    def command(self) -> str:
        """Which goes on with this run."""
        out = shlex.quote(str(self.path))
        return f"python -m experiments.{self.experiment} --resume --out {out}"

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self._start

    def log(self, lines: list[dict[str, Any]]) -> None:
        """Makes `metrics.jsonl` hold these lines; numbers that are not finite are null.

        The file is replaced as a whole, so that no kill leaves half a line.
        """
        if self.writes:
            text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
            with self.replacing("metrics.jsonl") as path:
                path.write_text(text)

    def summarize(self, **results: Any) -> None:
        """Writes `summary.json`, which ends the run.

        It says nothing about time: that is in `timing.json`, so that a run that was
        stopped and resumed leaves the same summary as one that was not.
        """
        if self.writes:
            summary = {
                "experiment": self.experiment,
                "config": self.config,
                **results,
                "versions": versions(),
                "device": device(),
            }
            self._write_json("summary.json", plain(summary))

    def time(self, **times: Any) -> None:
        """Writes `timing.json`."""
        if self.writes:
            self._write_json("timing.json", plain({**times, "seconds": self.seconds}))

    def _write_json(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=2, allow_nan=False) + "\n"
        with self.replacing(name) as path:
            path.write_text(text)

    def save_params(self, params: Any) -> None:
        """Writes `params.safetensors`, each array under its path in the pytree."""
        if not self.writes:
            return
        path = self.path / "params.safetensors"
        try:
            interop.save_safetensors(params, path)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error}") from error

    def once(self, name: str, write: Callable[[Path], Any]) -> Path:
        """The file `name`, written the first time: a resumed run has what it had.

        Several processes wait until the first one has written it.
        """
        path = self.path / name
        if self.writes and not path.exists():
            with self.replacing(name) as temporary:
                write(temporary)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)
        return path

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A path to write to, which becomes `name` once it is whole."""
        suffix = Path(name).suffix
        try:
            handle, temporary = tempfile.mkstemp(suffix, f".{name}-", self.path)
        except OSError as error:
            raise RunError(f"cannot write {self.path / name}: {error}") from error
        os.close(handle)
        try:
            yield Path(temporary)
            os.chmod(temporary, 0o644)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.path / name)
        except BaseException as error:
            os.unlink(temporary)
            if isinstance(error, OSError):
                raise RunError(f"cannot write {self.path / name}: {error}") from error
            raise


def options_of(config: Any) -> dict[str, Any]:
    """All options but those of `Options`, by name, in JSON's own types."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= {} if isinstance(value, Options) else options_of(value)
        else:
            found[field.name] = plain(value)
    return found


def carry_out(
    experiment: str, config: Any, data: Any, study: Callable[[Output], None]
) -> None:
    """Does a study in its folder, unless the run there is finished.

    Args:
      experiment: its name.
      config: of the experiment.
      data: what the study reads, a pytree of arrays and text; a run that is resumed
        must find what it began with.
      study: (output), trains and writes and prints the results.

    Raises:
      UsageError: if the data is not what the run began with, or as `Output`.
    """
    with Output(experiment, config) as output:
        if output.finished:
            print(f"finished before: results in {output.path}")
            return
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(data):
            if isinstance(leaf, str):
                digest.update(leaf.encode() + b"\0")
            else:
                array = np.ascontiguousarray(leaf)
                digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        found = digest.hexdigest()
        path = output.once("data.sha256", lambda path: path.write_text(found + "\n"))
        expected = f"the data that {output.path} was begun with"
        require(path.read_text().strip() == found, "resume", expected, "other data")
        study(output)


def finished_run(
    experiment: str, config: ConfigT, option: str
) -> tuple[ConfigT, dict[str, Any]]:
    """Opens the finished run in `--out`, to use what it has learned.

    Args:
      experiment: that it must be of.
      config: of that experiment; only its `Options` are kept, with the run's folder of
        data unless they name one.
      option: what asks for the run, for messages.

    Returns:
      The config with which the run was made (paths in it are text), and its summary.

    Raises:
      UsageError: if there is no such run.
    """
    folder = config.run.out
    expected = "an --out too, the folder of a finished run"
    require(folder is not None, option, expected, "none")

    def fill(part: Any) -> Any:
        if isinstance(part, Options):
            return part
        values = {}
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            nested = dataclasses.is_dataclass(value)
            values[field.name] = fill(value) if nested else saved[field.name]
        return dataclasses.replace(part, **values)

    try:
        summary = json.loads((folder / "summary.json").read_text())
        if summary["experiment"] != experiment:
            raise ValueError(f"it is one of {summary['experiment']}")
        saved = summary["config"]
        run = config.run
        if run.data_dir is None:
            data_dir = _saved(folder / "config.json")[1].get("data_dir")
            run = dataclasses.replace(run, data_dir=data_dir and Path(data_dir))
        return fill(dataclasses.replace(config, run=run)), summary
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        missing = isinstance(error, FileNotFoundError)
        why = "it has no summary.json" if missing else error
        raise UsageError(
            f"--out: {folder} holds no finished run of {experiment}: {why}"
        ) from None


def connect(options: Options) -> jax.sharding.Mesh | None:
    """Joins the other processes and lays out the devices; to be called first.

    Returns:
      A mesh over all devices of all processes to split a batch over; None for one
      device.

    Raises:
      UsageError: if there are fewer devices than asked for, or the other processes
        cannot be found.
    """
    with contextlib.suppress(RuntimeError):  # too late once JAX has started
        if options.devices > 1:
            jax.config.update("jax_num_cpu_devices", options.devices)
    if options.coordinator is not None:
        # It would take SIGTERM for itself.
        jax.config.update("jax_enable_preemption_service", False)
        try:
            jax.distributed.initialize(
                options.coordinator,
                options.num_processes,
                options.process_id,
                initialization_timeout=60,
                heartbeat_timeout_seconds=20,
            )
        except Exception as error:
            raise UsageError(
                f"--coordinator: the {options.num_processes} processes did not meet at "
                f"{options.coordinator}: {str(error).splitlines()[0]}"
            ) from error
    if options.devices > jax.local_device_count():
        raise UsageError(
            f"--devices: expected at most {jax.local_device_count()}, "
            f"got {options.devices}"
        )
    local = options.devices
    devices = [
        device
        for process in range(jax.process_count())
        for device in jax.local_devices(process)[:local]
    ]
    return None if len(devices) == 1 else jax.sharding.Mesh(devices, ("batch",))


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide the result."""
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


def over_seeds(values: np.ndarray, form: str) -> str:
    """A result for people: its mean over seeds and, of several, its range."""
    mean, low, high = (f"{f(values):{form}}" for f in (np.mean, np.min, np.max))
    count = len(values)
    return mean if count == 1 else f"{mean} (mean of {count} seeds, {low} to {high})"


def plain(value: Any) -> Any:
    """JSON's own types, with None for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
