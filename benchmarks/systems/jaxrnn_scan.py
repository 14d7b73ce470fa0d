"""jaxrnn's cells unrolled by `lax.scan` and differentiated by JAX: the law itself."""

from benchmarks.cases import Case
from benchmarks.data import Data
from benchmarks.systems import training
from benchmarks.systems.jaxrnn_fast import model


def start(case: Case, data: Data, devices: int, platform: str) -> training.Run:
    """Compiles the case."""
    return training.Run(model(case, plain_scan=True), case, data, devices, platform)
