"""Kernels: what replaces the loops of JAX where that is faster.

On CPUs the loops of Elman, GRU and LSTM, and the products of many rows with their
weights, are written in C++, in `native/`. They are compiled at first use, where a
compiler is at hand, and kept in `~/.cache/jaxrnn`, or in the folder that `JAXRNN_CACHE`
names. Where there is no compiler, or where the environment variable `JAXRNN_KERNELS`
says `off` when jaxrnn is imported, the loops are those of JAX.

On NVIDIA GPUs the same loops are fused into one launch each, in `fused.py`. They were
not measured on a GPU yet, so they are off; `JAXRNN_KERNELS=all` uses them too, and
`interpret` runs them on a CPU, slowly, in the place of what is there for CPUs: a test.
"""

from jaxrnn.kernels import gpu
from jaxrnn.kernels.build import switch
from jaxrnn.kernels.cpu import kernels
from jaxrnn.kernels.explain import Path as Path
from jaxrnn.kernels.explain import explain as explain
from jaxrnn.loops.substitute import KERNELS, Kernel


def chosen() -> dict[tuple[str, str], Kernel]:
    """The kernels that the environment asks for, by loop and platform."""
    found, value = [], switch()
    if value in ("on", "all"):
        found.append(("cpu", kernels()))
    if value == "all":
        found.append(("cuda", gpu.kernels()))
    if value == "interpret":
        found.append(("cpu", gpu.kernels(interpret=True)))
    return {(loop, where): k for where, made in found for loop, k in made.items()}


KERNELS.update(chosen())
