"""One step of a stream: what a gated model does while it runs on live input."""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.work import gated

make = gated.make


@dataclass(frozen=True)
class Case(gated.Case):
    """One time step of B streams, with the logits after it.

    T is the number of steps after which the logits are checked.
    """

    work: ClassVar[str] = "tick"
    modes: ClassVar[tuple[str, ...]] = ("tick",)

    mode: str = "tick"

    def __post_init__(self):
        super().__post_init__()
        if self.directions == 2:
            raise ValueError("directions: a bidirectional network has no single step")

    @property
    def steps(self) -> int:
        """The number of time steps in one call."""
        return 1

    @property
    def num_bytes(self) -> int:
        """The carry is read and written besides."""
        states = 2 if self.cell == "lstm" else 1
        carry = self.batch * self.hidden_size * self.layers * states
        return super().num_bytes + 2 * carry * gated.BYTES[self.dtype]
