"""Builds the native loops where a compiler is at hand, once for a machine.

They are compiled at first use and not with the package, so that the package stays one
for all machines and the loops use the vector units of the machine they run on. The
library lies in a cache, under a name made of all that it depends on: the source, the
compiler, the processor and jaxlib. It is put there whole, after it has passed a check
against the loops of JAX, so processes that build it at the same time do no harm.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import jax

SOURCES = Path(__file__).with_name("native")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=fast", "-fno-math-errno")
SHARED = ("-fPIC", "-shared", "-w")
SWITCH = "JAXRNN_KERNELS"
VALUES = ("on", "off", "all", "interpret")
CACHE = "JAXRNN_CACHE"

REAL = ("float32", "float64")
# The functions of a library, and the dtypes of each.
PARTS = {
    **dict.fromkeys(("forward", "backward", "product"), REAL),
    "linear": (*REAL, "complex64", "complex128"),
}

_LOADED: dict[str, ctypes.CDLL] = {}


class Library(NamedTuple):
    """The native loops, or why there are none."""

    key: str = ""  # of which the names of its targets are made
    path: str = ""
    why_not: str = ""


def switch() -> str:
    """Which kernels the environment asks for."""
    value = os.environ.get(SWITCH, "on")
    if value not in VALUES:
        raise ValueError(f"{SWITCH}: expected {', '.join(VALUES)}, got {value!r}")
    return value


def switched_off() -> str:
    """Why no kernel is to be used, or an empty string."""
    return f"the environment says {SWITCH}=off" if switch() == "off" else ""


def cache_folder() -> Path:
    """Where libraries are kept: JAXRNN_CACHE, or the user's folder for caches."""
    if folder := os.environ.get(CACHE):
        return Path(folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "jaxrnn"


def library(check: Callable[[Library], str]) -> Library:
    """Returns the native loops, built if need be.

    Args:
      check: says what is wrong with a new library, or nothing.
    """
    compiler = next(filter(None, map(shutil.which, _compilers())), None)
    if compiler is None:
        return Library(why_not=f"no C++ compiler among {', '.join(_compilers())}")
    include = jax.ffi.include_dir()
    try:
        key = _key(compiler)
        folder = cache_folder()
        path = folder / f"native-{key}.so"
        if path.exists():
            return Library(key, str(path))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as building:
            made = Path(building) / path.name
            files = ["-I", include, str(SOURCES / "native.cc"), "-o", str(made)]
            command = [compiler, *FLAGS, *SHARED, *files]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                lines = run.stderr.strip().splitlines() or ["no message"]
                return _failed(f"{compiler} failed: {lines[0]}")
            if wrong := check(Library(key, str(made))):
                return _failed(f"what {compiler} built differs from the loop: {wrong}")
            os.replace(made, path)
    except OSError as error:
        return _failed(f"the native loops cannot be built: {error}")
    return Library(key, str(path))


def loaded(library: Library) -> Library:
    """Loads a library, if there is one; returns it, or why it cannot be loaded."""
    if library.why_not:
        return library
    try:
        load(library)
    except OSError as error:
        return _failed(f"delete {library.path}, which cannot be loaded: {error}")
    return library


def _failed(why: str) -> Library:
    warnings.warn(f"jaxrnn runs without its native loops: {why}", stacklevel=2)
    return Library(why_not=why)


def _compilers() -> list[str]:
    return [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]


def _key(compiler: str) -> str:
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=False
    ).stdout
    parts = [version, _processor(), metadata.version("jaxlib"), " ".join(FLAGS)]
    parts += [path.read_text(encoding="utf-8") for path in sorted(SOURCES.iterdir())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@functools.cache
def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    names = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(names)}))


def load(library: Library) -> None:
    """Registers the targets of a library with JAX, under names with its key."""
    if library.key in _LOADED:  # JAX refuses a name that it knows, and it is the same
        return
    functions = _LOADED[library.key] = ctypes.CDLL(library.path)
    for part, dtypes in PARTS.items():
        for dtype in dtypes:
            jax.ffi.register_ffi_target(
                target(library, part, dtype),
                jax.ffi.pycapsule(getattr(functions, f"{part}_{dtype}")),
                platform="cpu",
            )


def target(library: Library, part: str, dtype: str) -> str:
    """The name under which JAX knows a function of a library."""
    return f"jaxrnn_{part}_{dtype}_{library.key}"
