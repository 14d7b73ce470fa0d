"""The run that a user sees: MNIST row by row, from the start to the test accuracy.

An LSTM of 128 units, dropout 0.2, AdamW with peak rate 3e-3 after a linear warm-up and
with a cosine decay, weight decay 1e-2, gradients clipped to a global norm of 1, batches
of 100 in a new order in each epoch, all 10,000 test images after each epoch.

One call is a whole process: imports, compilation, reading the data and evaluation too.
"""

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

HIDDEN, BATCH, DROPOUT, RATE, DECAY, CLIP = 128, 100, 0.2, 3e-3, 1e-2, 1.0
TRAIN, TEST, ROWS = 60_000, 10_000, 28
FILES = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


@dataclass(frozen=True)
class Case:
    """One training, in a process of its own."""

    work: ClassVar[str] = "whole_run"
    checked: ClassVar[bool] = False
    mode: ClassVar[str] = "whole run"

    data_dir: str
    epochs: int = 20

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs: expected at least 1, got {self.epochs}")

    @property
    def name(self) -> str:
        """Such as `mnist by rows, 20 epochs`."""
        return f"mnist by rows, {self.epochs} epoch{'s' if self.epochs > 1 else ''}"

    @property
    def sequences(self) -> int:
        """The number of images read, for training and for evaluation."""
        return self.epochs * (TRAIN + TEST)

    @property
    def tokens(self) -> int:
        """The number of rows of all these images."""
        return self.sequences * ROWS

    @property
    def flops(self) -> None:
        """Not counted."""

    @property
    def num_bytes(self) -> None:
        """Not counted."""


def make(case: Case, variant: str = "") -> None:
    """Nothing: each library makes its own weights and reads the images itself."""
    del case, variant


def images(folder: Path) -> tuple[np.ndarray, ...]:
    """Training and test images [N, 28, 28] in 0..1, each followed by labels [N]."""
    contents = [gzip.decompress((folder / name).read_bytes()) for name in FILES]
    arrays = []
    for pixels, labels in (contents[:2], contents[2:]):
        xs = np.frombuffer(pixels[16:], np.uint8).reshape(-1, ROWS, 28)
        arrays += [
            xs.astype(np.float32) / 255,
            np.frombuffer(labels[8:], np.uint8).astype(np.int32),
        ]
    return tuple(arrays)


def schedule(steps: int) -> Callable[[int], float]:
    """The share of the peak rate at each step."""
    rise = max(1, steps // 20)

    def share(step: int) -> float:
        if step < rise:
            return step / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps + 1 - rise)))

    return share
