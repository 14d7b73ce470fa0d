"""The rate of one large copy, which reads and writes memory."""

from benchmarks.systems.roof_product import Roof
from benchmarks.work.equal import Data
from benchmarks.work.gated import Case

WORK = ("gated", "tick", "update", "epoch")

ROWS = {"cpu": 1 << 12, "gpu": 1 << 15, "tpu": 1 << 15}
COLUMNS = 1 << 13


def start(case: Case, data: Data, devices: int, platform: str) -> Roof:
    """Compiles the copy."""
    del case, data
    shape = (ROWS[platform], COLUMNS)
    # Adding one keeps the compiler from returning the argument.
    roof = Roof(lambda a: a + 1, shape, "float32", devices, arrays=1)
    roof.bytes = 2 * 4 * shape[0] * shape[1]
    return roof
