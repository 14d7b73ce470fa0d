"""torch: `nn.RNN`, `nn.GRU`, `nn.LSTM` as they come, cuDNN included on a GPU."""

from typing import Any

from benchmarks.systems import child, torch_run
from benchmarks.systems.torch_run import variant as variant
from benchmarks.work.equal import Data

NAME = "torch"
WORK = ("gated", "tick", "epoch", "whole_run")
PACKAGES = ("torch",)
PLATFORMS = ("cpu", "gpu")


def start(
    case: Any, data: Data, devices: int, platform: str
) -> torch_run.Run | child.Run:
    """Makes the case ready; nothing is compiled."""
    if case.work == "whole_run":
        return child.Run(["benchmarks.systems.rows_torch"], case, devices)
    run = torch_run.Run(case, data, devices, platform)
    run.compile_seconds = None
    return run
