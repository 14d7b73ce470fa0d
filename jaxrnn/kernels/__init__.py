"""Kernels: what replaces the loops of JAX where that is faster.

On CPUs the loops of Elman, GRU and LSTM are written in C++, in `native.cc`.
`explain(cell, batch, time)` tells which path runs and why.
"""

from jaxrnn.kernels.cpu import kernels
from jaxrnn.loops.substitute import KERNELS

KERNELS.update({(loop, "cpu"): kernel for loop, kernel in kernels().items()})
