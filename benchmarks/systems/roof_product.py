"""The rate of one large matrix product, in the dtype of the case."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.work.equal import Data, Reference
from benchmarks.work.gated import Case

WORK = ("gated", "tick", "update", "epoch")

SIZES = {"cpu": 2048, "gpu": 8192, "tpu": 8192}


class Roof:
    """A program on arrays of one shape, the rows of the first split over the devices.

    `flops` and `bytes` are those of one call.
    """

    def __init__(
        self,
        fun: Callable[..., jax.Array],
        shape: tuple[int, int],
        dtype: str,
        devices: int,
        arrays: int,
    ):
        mesh = jax.make_mesh((devices,), ("rows",), axis_types=(AxisType.Auto,))
        rows, whole = (NamedSharding(mesh, spec) for spec in (P("rows"), P()))
        ones = jnp.ones(shape, dtype)
        self.args = [jax.device_put(ones, rows)]
        self.args += [jax.device_put(ones, whole)] * (arrays - 1)
        start = time.perf_counter()
        self.compiled = jax.jit(fun, out_shardings=rows).lower(*self.args).compile()
        self.compile_seconds = time.perf_counter() - start
        self.memory_bytes = None
        self.flops = 0
        self.bytes = 0

    def check(self, reference: Reference) -> dict[str, float]:
        """There is nothing to check."""
        del reference
        return {}

    def seconds(self, calls: int) -> float:
        """The time of that many calls, after one that does not count."""
        jax.block_until_ready(self.compiled(*self.args))
        start = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(self.compiled(*self.args))
        return time.perf_counter() - start


def start(case: Case, data: Data, devices: int, platform: str) -> Roof:
    """Compiles the product."""
    del data
    size = SIZES[platform]
    roof = Roof(jnp.matmul, (size, size), case.dtype, devices, arrays=2)
    roof.flops = 2 * size**3
    return roof
