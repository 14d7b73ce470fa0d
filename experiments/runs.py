"""What every experiment shares: its command line, its output folder, its records."""

import contextlib
import dataclasses
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

import jaxrnn
from experiments.data import DataError

ConfigT = TypeVar("ConfigT")


class UsageError(Exception):
    """A mistake in what the user asked for; its message is all they need to see."""


def main(
    parse: Callable[[Sequence[str]], ConfigT],
    run: Callable[[ConfigT], None],
    argv: Sequence[str] | None = None,
) -> None:
    """Runs an experiment from the command line.

    Exits with status 2 and one message when the arguments or the data are at fault, and
    with 130 after Ctrl-C.
    """
    try:
        run(parse(sys.argv[1:] if argv is None else argv))
    except (DataError, UsageError) as error:
        sys.exit(_complain(f"error: {error}", 2))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted", 130))


def _complain(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status


class Output:
    """The folder of one run, and the times spent in it.

    Args:
      experiment: its name.
      out: the folder; None for `runs/<experiment>-<time>`.

    Raises:
      UsageError: if the folder cannot be made or holds something already.
    """

    def __init__(self, experiment: str, out: Path | None):
        self.experiment = experiment
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.path = out or Path("runs") / f"{experiment}-{stamp}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise UsageError(f"--out: {self.path} is not empty; name a new folder")
            probe = self.path / ".probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(f"--out: cannot write to {self.path}: {error}") from None
        self._start = time.perf_counter()
        self._metrics = self.path / "metrics.jsonl"

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self._start

    def log(self, **metrics: Any) -> None:
        """Appends one line to `metrics.jsonl`; numbers that are not finite are null."""
        with self._metrics.open("a") as file:
            file.write(json.dumps(_plain(metrics), allow_nan=False) + "\n")

    def summarize(self, config: Any, **results: Any) -> None:
        """Writes `summary.json`."""
        summary = {
            "experiment": self.experiment,
            "config": dataclasses.asdict(config),
            **results,
            "seconds": self.seconds,
            "versions": versions(),
            "device": device(),
        }
        text = json.dumps(_plain(summary), indent=2, allow_nan=False) + "\n"
        with self.replacing("summary.json") as path:
            path.write_text(text)

    def save_params(self, params: Any) -> None:
        """Writes `params.safetensors`, each array under its path in the pytree."""
        from safetensors.numpy import save_file

        arrays = {
            jax.tree_util.keystr(path): np.ascontiguousarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        }
        with self.replacing("params.safetensors") as path:
            save_file(arrays, path)

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A path to write to, which becomes `name` once it is whole."""
        suffix = Path(name).suffix
        handle, temporary = tempfile.mkstemp(suffix, f".{name}-", self.path)
        os.close(handle)
        try:
            yield Path(temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, self.path / name)
        except BaseException:
            os.unlink(temporary)
            raise


class Compiled:
    """A function compiled ahead of time for each shape of its arguments.

    Keeps the seconds spent on compiling apart from those spent on running.
    """

    def __init__(self, fun: Callable[..., Any]):
        self._jitted = jax.jit(fun)
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.compile_seconds = 0.0
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Any:
        start = time.perf_counter()
        shapes = tuple(jax.typeof(leaf) for leaf in jax.tree.leaves(args))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._jitted.lower(*args).compile()
            self.compile_seconds += time.perf_counter() - start
            start = time.perf_counter()
        out = jax.block_until_ready(self._compiled[shapes](*args))
        self.seconds += time.perf_counter() - start
        return out


def batch_mesh(devices: int) -> jax.sharding.Mesh | None:
    """A mesh to split a batch over; None for one device.

    Raises:
      UsageError: if there are fewer devices.
    """
    if devices == 1:
        return None
    with contextlib.suppress(RuntimeError):  # too late once JAX has started
        jax.config.update("jax_num_cpu_devices", devices)
    if devices > jax.device_count():
        raise UsageError(
            f"--devices: expected at most {jax.device_count()}, got {devices}"
        )
    return jax.sharding.Mesh(jax.devices()[:devices], ("batch",))


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


def _plain(value: Any) -> Any:
    """JSON's own types, with None for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
