"""The builder of cells that read their inputs through products of their own.

What does not wait for the carry, such as the product of x with its weights, is computed
for all steps of a sequence at once, and only the rest in turn.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.build import leaf
from jaxrnn.checks import Input
from jaxrnn.core import Cell, Init, InitialCarry, blank, scan_unroll


class Timed(NamedTuple):
    """An input of a cell in continuous time, and how long it lasts."""

    x: Any  # [D]
    span: Any  # [], the time from this step to the next, at least 0


def driven(
    name: str,
    reads: Any,
    init: Init,
    initial_carry: InitialCarry,
    drive: Callable[[Any, Any], Any],
    advance: Callable[[Any, Any, Any], tuple[Any, Any]],
    *,
    prepare: Callable[[Any], Any] | None = None,
) -> Cell:
    """Builds a cell whose step has a part without the carry.

        us = drive(params, xs),    carry_t, y_t = advance(params, carry_{t-1}, u_t)

    Args:
      name, reads, init, initial_carry, prepare: as of `leaf`. What `prepare` returns
        stands in the place of the params, for `initial_carry` too.
      drive: of all steps at once, and of each by itself: pytrees of `[T, ...]`.
      advance: of one step.

    Returns:
      The cell.
    """
    scanned = scan_unroll(advance, initial_carry)

    def step(params, carry, x):
        us = drive(params, jax.tree.map(lambda a: a[None], x))
        return advance(params, carry, jax.tree.map(lambda a: a[0], us))

    def unroll(params, carry, xs, *, mask=None, **options):
        us = drive(params, blank(mask, xs))
        return scanned(params, carry, us, mask=mask, **options)

    return leaf(name, reads, init, initial_carry, step, unroll, prepare=prepare)


def reads_timed(input_size: int, timed: bool) -> Any:
    """What a cell in continuous time reads: x, and its span if it is `timed`."""
    x = Input((input_size,))
    return Timed(x, Input(())) if timed else x


def spans_of(xs: Any, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """The inputs `[T, D]` and their spans `[T]`, of 1 where they have none."""
    if isinstance(xs, Timed):
        return xs.x.astype(dtype), xs.span.astype(dtype)
    return xs.astype(dtype), jnp.ones(xs.shape[0], dtype)
