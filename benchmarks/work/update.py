"""One update by a library's own training function, over one device or several."""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.work import gated

make = gated.make


@dataclass(frozen=True)
class Case(gated.Case):
    """One step of SGD as in the mode `train` of `gated`, by what users would call.

    The number of devices is that of the worker.
    """

    work: ClassVar[str] = "update"
    modes: ClassVar[tuple[str, ...]] = ("update",)

    mode: str = "update"

    @property
    def trains(self) -> bool:
        """Whether one call is one step of training."""
        return True
