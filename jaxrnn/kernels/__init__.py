"""Kernels: what replaces the loops of JAX where that is faster.

On CPUs the loops of Elman, GRU and LSTM, and the gradient of their weights, are written
in C++, in `native.cc`. They are used where the environment variable `JAXRNN_KERNELS`
says `on` when jaxrnn is imported. They are compiled at first use, where a compiler is
at hand, and kept in `~/.cache/jaxrnn`, or in the folder that `JAXRNN_CACHE` names.
"""

from jaxrnn.kernels.build import switched_off
from jaxrnn.kernels.cpu import kernels
from jaxrnn.kernels.explain import Path as Path
from jaxrnn.kernels.explain import explain as explain
from jaxrnn.loops.substitute import KERNELS

if not switched_off():
    KERNELS.update({(loop, "cpu"): kernel for loop, kernel in kernels().items()})
