"""What a kernel is, and the table of those that replace loops."""

from collections.abc import Callable
from typing import Any, NamedTuple

SHARED = -1  # the axis of operands that all sequences of a batch share, such as weights


def _takes_all(static: Any, *shapes: Any) -> str:
    del static, shapes
    return ""


class Kernel(NamedTuple):
    """What replaces a loop.

    Attributes:
      run: `(static, *operands) -> outputs`, as the loop, but for a batch, whose
        axis is where the loop's `substituted` has it: arrays of gated recurrences with
        a time axis are `[T, B, ...]`, those of linear ones `[B, T, ...]`, all others of
        a sequence `[B, ...]`; what sequences share, such as weights, is as in the loop.
      why_not: `(static, *shapes) -> str`, why it does not run operands of these
        `jax.ShapeDtypeStruct`s; an empty string if it does.
      exports: whether a program that `jax.export` writes may call it. One that calls
        code of this machine alone may not: there the loop is exported.
      groups: whether `run` takes several sets of weights, each with sequences of its
        own, as where one trains from several seeds at once: all operands and outputs
        then have a leading axis, of size 1 for an operand that the sets share.
    """

    run: Callable[..., Any]
    why_not: Callable[..., str] = _takes_all
    exports: bool = True
    groups: bool = False


# By the name of the loop and the platform: "cpu", "cuda", "rocm" or "tpu". The table is
# read when a program is traced, so what is compiled already does not change with it.
KERNELS: dict[tuple[str, str], Kernel] = {}
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def of_loop(name: str) -> dict[str, Kernel]:
    """The kernels of a loop, by platform."""
    for loop, platform in KERNELS:
        if platform not in PLATFORMS:
            raise ValueError(
                f"KERNELS: {loop}: expected a platform among {', '.join(PLATFORMS)}, "
                f"got {platform!r}"
            )
    return {platform: k for (loop, platform), k in KERNELS.items() if loop == name}
