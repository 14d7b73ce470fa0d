"""The peak rate of multiply-adds, by a small loop in C++ on every core at once.

It needs a C++ compiler: that of the environment variable CXX, or c++, g++, clang++.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.systems import UnsupportedError
from benchmarks.work.equal import Data, Reference
from benchmarks.work.gated import Case

WORK = ("gated", "tick", "update", "epoch")
PLATFORMS = ("cpu",)

SOURCE = Path(__file__).with_suffix(".cc")
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared")
ROUNDS = 1 << 22  # of all threads together in one call, some 10 ms


@functools.cache
def loop() -> ctypes.CDLL:
    """The compiled loop."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise UnsupportedError(f"there is no C++ compiler among {', '.join(names)}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "roof_fma.so")
        command = [compiler, *FLAGS, str(SOURCE), "-o", path]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            lines = run.stderr.strip().splitlines() or ["no message"]
            raise UnsupportedError(f"{compiler} failed: {lines[0]}")
        library = ctypes.CDLL(path)
    library.multiply_adds.argtypes = [ctypes.c_long, ctypes.c_float, ctypes.c_void_p]
    library.multiply_adds.restype = ctypes.c_double
    return library


class Peak:
    """The loop on some threads; `flops` are those of one call on all of them."""

    compile_seconds = None
    memory_bytes = None
    bytes = 0

    def __init__(self, threads: int):
        self.loop, self.threads = loop().multiply_adds, threads
        self.pool = ThreadPoolExecutor(threads)
        self.flops = self._call()

    def _call(self) -> float:
        # ctypes lets go of the interpreter, so the threads run at the same time.
        def one(_: int) -> float:
            total = ctypes.c_float()
            rounds = ROUNDS // self.threads
            return self.loop(rounds, 0.5, ctypes.byref(total))

        return sum(self.pool.map(one, range(self.threads)))

    def check(self, reference: Reference) -> dict[str, float]:
        """There is nothing to check."""
        del reference
        return {}

    def seconds(self, calls: int) -> float:
        """The time of that many calls."""
        start = time.perf_counter()
        for _ in range(calls):
            self._call()
        return time.perf_counter() - start


def start(case: Case, data: Data, devices: int, platform: str) -> Peak:
    """Compiles the loop, once for a process."""
    del data, platform
    if case.dtype != "float32":
        raise UnsupportedError("the loop is in float32 alone")
    return Peak(devices)
