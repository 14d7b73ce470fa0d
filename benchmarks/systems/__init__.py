"""The systems that are measured, one module each.

A module has

    start(case, data, devices, platform) -> Run   # ready to be timed
    variant(case) -> str                          # optional: see benchmarks.data
    reference(case, data, variant) -> Reference   # jaxrnn only

and imports its library at the top, so that a missing one shows at once. A `Run` has

    compile_seconds: float | None
    memory_bytes: int | None
    check(reference) -> dict[str, float]          # errors, see benchmarks.data
    seconds(calls) -> float                       # for that many calls
"""

from typing import NamedTuple


class UnsupportedError(Exception):
    """Raised by `start`: the system has no such thing as the case asks for."""


class System(NamedTuple):
    """A system by name."""

    name: str
    module: str
    packages: tuple[str, ...] = ()  # whose versions are recorded
    platforms: tuple[str, ...] = ("cpu", "gpu", "tpu")


def _system(name: str, module: str, *args) -> System:
    return System(name, f"benchmarks.systems.{module}", *args)


SUBJECT = "jaxrnn"
PLAIN_SCAN = "jaxrnn_scan"
BATCHED = "jaxrnn_batched"
PRODUCT = "roof_product"
COPY = "roof_copy"
NOT_PEERS = (SUBJECT, PLAIN_SCAN, BATCHED, PRODUCT, COPY)
JAX_PEERS = ("flax", "flax_nnx", "haiku", "equinox")

SYSTEMS = {
    system.name: system
    for system in (
        _system(SUBJECT, "jaxrnn_fast", ("jax", "jaxlib", "optax")),
        _system(PLAIN_SCAN, "jaxrnn_scan"),
        _system(BATCHED, "jaxrnn_batched"),
        _system("flax", "flax_linen", ("flax",)),
        _system("flax_nnx", "flax_nnx", ("flax",)),
        _system("haiku", "haiku_core", ("dm-haiku",)),
        _system("equinox", "equinox_cell", ("equinox",)),
        _system("keras", "keras_layer", ("keras",)),
        _system("torch", "torch_eager", ("torch",), ("cpu", "gpu")),
        _system("torch_compile", "torch_compiled", ("torch",), ("cpu", "gpu")),
        _system("jax_cudnn", "jax_cudnn", ("jax",), ("gpu",)),
        _system(PRODUCT, "roof_product"),
        _system(COPY, "roof_copy"),
    )
}
