"""jaxrnn's update with the batch of the case on each device: weak scaling.

Every device has the same sequences, so the loss and the update are those of the case.
"""

import numpy as np

from benchmarks.systems.jaxrnn_fast import Update, model
from benchmarks.work.equal import Data
from benchmarks.work.gated import Case

WORK = ("update",)
MIN_DEVICES = 2


def start(case: Case, data: Data, devices: int, platform: str) -> Update:
    """Compiles the case."""
    xs = np.concatenate([data.xs] * devices)
    labels = np.concatenate([data.labels] * devices)
    whole = Data(data.weights, xs, labels)
    return Update(model(case), case, whole, devices, platform)
