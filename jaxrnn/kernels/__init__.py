"""Kernels: what replaces the loops of JAX where that is faster.

On CPUs the loops of Elman, GRU and LSTM, and the products of many rows with their
weights, are written in C++, in `native.cc`. They are compiled at first use, where a
compiler is at hand, and kept in `~/.cache/jaxrnn`, or in the folder that `JAXRNN_CACHE`
names. Where there is no compiler, or where the environment variable `JAXRNN_KERNELS`
says `off` when jaxrnn is imported, the loops are those of JAX.
"""

from jaxrnn.kernels.build import switched_off
from jaxrnn.kernels.cpu import kernels
from jaxrnn.kernels.explain import Path as Path
from jaxrnn.kernels.explain import explain as explain
from jaxrnn.loops.substitute import KERNELS

if not switched_off():
    KERNELS.update({(loop, "cpu"): kernel for loop, kernel in kernels().items()})
