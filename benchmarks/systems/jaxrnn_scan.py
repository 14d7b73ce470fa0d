"""jaxrnn's cells unrolled by `lax.scan` and differentiated by JAX: the law itself."""

from benchmarks.systems.jax_run import Run
from benchmarks.systems.jaxrnn_fast import model
from benchmarks.work.equal import Data
from benchmarks.work.gated import Case

WORK = ("gated", "tick")
BY_DEFAULT = False  # jaxrnn_loops is what it is compared with in a whole suite
ENVIRONMENT = {"JAXRNN_KERNELS": "off"}


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    return Run(model(case, plain_scan=True), case, data, devices, platform)
