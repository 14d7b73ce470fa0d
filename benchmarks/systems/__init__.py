"""The systems that are measured, one module each.

A module of a system begins with constants, which are read without importing it:

    NAME = "flax"                       # in reports; without it the module's name
    WORK = ("gated", "tick")            # the kinds of work it does
    PACKAGES = ("flax",)                # whose versions are recorded
    PLATFORMS = ("cpu", "gpu", "tpu")   # where it runs
    IN_QUICK = True                     # whether it is fast enough for the quick suite
    MIN_DEVICES = 1                     # the fewest devices it is measured on
    BY_DEFAULT = True                   # whether it is measured without being named
    ENVIRONMENT = {}                    # variables that are set before it is imported

of which only `WORK` is required. It imports its library at the top, so that a missing
one shows at once, and has

    start(case, data, devices, platform) -> Run   # ready to be timed
    variant(case) -> str                          # optional, see benchmarks.work.gated
    reference(case, data, variant) -> Reference   # jaxrnn only

`Run` is a protocol of benchmarks.process.worker. Modules without `WORK` are shared by
several systems.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple


class UnsupportedError(Exception):
    """Raised by `start`: the system has no such thing as the case asks for."""


class System(NamedTuple):
    """What the constants of a module say."""

    name: str
    module: str
    work: tuple[str, ...]
    packages: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ("cpu", "gpu", "tpu")
    in_quick: bool = True
    min_devices: int = 1
    by_default: bool = True
    environment: Mapping[str, str] = MappingProxyType({})


SUBJECT = "jaxrnn"
BASELINE = "jaxrnn_baseline"  # the subject's module with the library of another folder
LOOPS = "jaxrnn_loops"  # the subject without its kernels
PLAIN_SCAN = "jaxrnn_scan"
WEAK = "jaxrnn_weak"
PRODUCT = "roof_product"
COPY = "roof_copy"
FMA = "roof_fma"
ROOFS = (PRODUCT, COPY, FMA)
JAX_PEERS = ("flax", "flax_nnx", "haiku", "equinox", "keras")


def system_of(worker: str) -> str:
    """`flax` of the worker `flax@2`, which has two devices."""
    return worker.split("@")[0]


def is_roof(system: str) -> bool:
    """Whether the system measures the machine and not a library."""
    return system.startswith("roof_")


def is_peer(system: str) -> bool:
    """Whether jaxrnn is measured against the system."""
    return not is_roof(system) and not system.startswith(SUBJECT)


def _constants(path: Path) -> dict[str, Any]:
    """The literals that a module assigns to names in capitals, without running it."""
    constants = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.lower() in System._fields:
                constants[name.lower()] = ast.literal_eval(node.value)
    return constants


def _systems() -> dict[str, System]:
    systems = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        constants = _constants(path)
        if "work" in constants:
            constants.setdefault("name", path.stem)
            module = f"benchmarks.systems.{path.stem}"
            systems.append(System(module=module, **constants))
    # The subject is first in every table, and the machine last.
    systems.sort(key=lambda s: (is_roof(s.name), is_peer(s.name), s.name))
    return {system.name: system for system in systems}


SYSTEMS = _systems()
