"""Several updates over minibatches, as in one pass over a training set."""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.work import gated

make = gated.make


@dataclass(frozen=True)
class Case(gated.Case):
    """Steps of SGD as in the mode `train` of `gated`, each on a batch of its own.

    jaxrnn runs them in one program of `make_epoch`, a peer in its usual loop.
    """

    work: ClassVar[str] = "epoch"
    modes: ClassVar[tuple[str, ...]] = ("epoch",)

    mode: str = "epoch"
    updates: int = 8

    def __post_init__(self):
        super().__post_init__()
        if self.updates < 1:
            raise ValueError(f"updates: expected at least 1, got {self.updates}")

    @property
    def name(self) -> str:
        """Such as `lstm epoch 32x100x64x256 8 updates`."""
        return f"{super().name} {self.updates} updates"

    @property
    def steps(self) -> int:
        """The number of time steps, one after the other, in one call."""
        return self.time * self.updates

    @property
    def num_updates(self) -> int:
        """The number of batches that one call reads, one after the other."""
        return self.updates

    @property
    def tokens(self) -> int:
        """The number of time steps of all sequences in one call."""
        return self.sequences * self.time

    @property
    def trains(self) -> bool:
        """Whether one call trains."""
        return True
