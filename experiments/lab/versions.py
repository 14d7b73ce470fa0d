"""What a run was made with: packages and the device."""

import os
import platform
from importlib import metadata
from typing import Any

import jax

import jaxrnn


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide the result."""
    names = ("jax", "jaxlib", "optax", "numpy")
    found = {name: metadata.version(name) for name in names}
    return {"jaxrnn": jaxrnn.__version__, "python": platform.python_version()} | found


def device() -> dict[str, Any]:
    """What the run runs on."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
    }
