"""jaxrnn without kernels: its loops as programs of XLA."""

import os

os.environ["JAXRNN_KERNELS"] = "off"  # which jaxrnn reads when it is imported

from benchmarks.systems.jax_run import Run
from benchmarks.systems.jaxrnn_fast import model
from benchmarks.work.equal import Data
from benchmarks.work.gated import Case

WORK = ("gated", "tick")
PLATFORMS = ("cpu", "gpu")
IN_QUICK = False


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    return Run(model(case), case, data, devices, platform)
