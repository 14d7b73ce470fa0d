"""The folder of a run: what is written, and about which machine."""

import contextlib
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.systems import SYSTEMS

RESULTS = "results.json"
FORMAT = 2  # of results.json; 1 had neither this number nor kinds of work


FOLDER = Path(__file__).parent.parent / "results"


class UsageError(Exception):
    """A mistake in what the user asked for, told by its message."""


def make_folder(out: Path | None, suite: str) -> Path:
    """An empty folder: `out`, or `benchmarks/results/<suite>-<time>`."""
    try:
        path = out or _new_folder(suite)
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UsageError(f"--out: {path} is not empty; name a new folder")
        with replacing(path / ".probe"):
            pass
        (path / ".probe").unlink()
    except OSError as error:
        where = out or FOLDER
        raise UsageError(f"--out: cannot write to {where}: {error}") from None
    return path


def _new_folder(suite: str) -> Path:
    """Another one for each run, even of those that start in the same second."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        path = FOLDER / f"{suite}-{stamp}{f'-{number}' if number > 1 else ''}"
        path.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` once it is whole."""
    handle, temporary = tempfile.mkstemp(path.suffix, f".{path.name}-", path.parent)
    os.close(handle)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, with null for numbers that it cannot hold."""
    text = json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text)


def read(path: Path, *, seconds_only: bool = False) -> dict[str, Any]:
    """Reads a `results.json`, or that of a folder.

    Args:
      path: of the file or its folder.
      seconds_only: whether the seconds of the rounds are enough, which results of older
        formats have too.

    Returns:
      The results.
    """
    path = path / RESULTS if path.is_dir() else path
    try:
        results = json.loads(path.read_text())
        if not isinstance(results, dict) or "cases" not in results:
            raise ValueError("there are no cases in it")
        if not seconds_only and results.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {results.get('format')}")
        return results
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path} as results: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def versions() -> dict[str, str]:
    """The versions of Python and of every package measured, or "not installed"."""
    versions = {"python": platform.python_version()}
    names = {name for system in SYSTEMS.values() for name in system.packages}
    for name in sorted(names | {"jaxrnn", "numpy"}):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    if versions["jaxrnn"] == "not installed":
        import jaxrnn

        versions["jaxrnn"] = jaxrnn.__version__
    return versions


def machine() -> dict[str, Any]:
    """The machine of this process."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "gpu": _gpus(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "kernels": os.environ.get("JAXRNN_KERNELS", ""),
    }


def _gpus() -> str:
    """The GPUs and their driver, as nvidia-smi tells them; nothing without it."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if run.returncode else "; ".join(run.stdout.split("\n")).strip("; ")


def cores() -> int:
    """The number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
