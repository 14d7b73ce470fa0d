"""torch under `torch.compile`, as it comes.

It breaks the graph around recurrent modules, so that those run as in `torch_eager`.
With `torch._dynamo.config.allow_rnn` it would write the time steps out one by one,
which compiles for minutes at T = 100, and torch 2.13 fails on an LSTM on a CPU.
"""

import torch

from benchmarks.systems.torch_run import Run
from benchmarks.systems.torch_run import variant as variant
from benchmarks.work.equal import Data
from benchmarks.work.gated import Case

NAME = "torch_compile"
WORK = ("gated", "tick", "epoch")
PACKAGES = ("torch",)
PLATFORMS = ("cpu", "gpu")
IN_QUICK = False  # it compiles for longer than the others take together


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    torch.compiler.reset()
    return Run(case, data, devices, platform, torch.compile)
