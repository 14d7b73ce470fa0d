"""jaxrnn without its kernels: the loops of JAX, with their own derivatives.

Beside jaxrnn it shows what the kernels gain.
"""

from benchmarks.systems.jaxrnn_fast import start as start

WORK = ("gated", "tick", "epoch", "whole_run")
ENVIRONMENT = {"JAXRNN_KERNELS": "off"}
