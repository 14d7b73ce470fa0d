"""The last inputs before each step of a sequence: a memory that needs no loop.

What a cell keeps of its past may be no more than its last n inputs, as that of a causal
convolution of width n + 1. Which inputs these are depends on the mask and the starts
alone, so all steps are found at once.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def recent(
    carry: jax.Array,
    xs: jax.Array,
    initial: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
    reverse: bool = False,
    starts: jax.Array | None = None,
) -> tuple[jax.Array, list[jax.Array]]:
    """The carry after all steps, and for each step the n inputs before it.

    Args:
      carry: `[n, ...]`, the inputs before the first step, the oldest first.
      xs: `[T, ...]`.
      initial: `[n, ...]`, the inputs before a step where `starts` is True.
      mask: `[T]` bool; a step where it is False is no input of another one.
      reverse: from the last step to the first.
      starts: `[T]` bool.

    Returns:
      The carry `[n, ...]`, and n arrays `[T, ...]`, the oldest inputs first.
    """
    count, length = carry.shape[0], xs.shape[0]
    if not count:
        return carry, []
    if reverse:
        xs, mask, starts = jax.tree.map(lambda a: a[::-1], (xs, mask, starts))
    if mask is None and starts is None:
        line = jnp.concatenate([carry, xs])
        before = [lax.slice_in_dim(line, k, k + length) for k in range(count)]
        after = lax.slice_in_dim(line, length, length + count)
    else:
        places, after = _places(count, length, mask, starts)
        line = jnp.concatenate([carry if initial is None else initial, carry, xs])
        before, after = [line[place] for place in places], line[after]
    return after, [a[::-1] for a in before] if reverse else before


def _places(
    count: int, length: Any, mask: jax.Array | None, starts: jax.Array | None
) -> tuple[list[jax.Array], jax.Array]:
    """Where the inputs before each step stand in `[initial, carry, xs]`.

    A last entry, for the end of the sequence, gives the places of the carry.
    """
    mask = jnp.ones(length, bool) if mask is None else mask
    starts = jnp.zeros(length, bool) if starts is None else starts
    steps = jnp.arange(length + 1)
    valid = jnp.cumsum(jnp.concatenate([jnp.zeros(1, bool), mask]), dtype=steps.dtype)
    order = jnp.nonzero(mask, size=length, fill_value=0)[0]  # of the valid steps
    begins = jnp.concatenate([starts, jnp.zeros(1, bool)])
    begin = lax.cummax(jnp.where(begins, steps, -1))  # of the sequence of each step
    inside = valid - valid[jnp.maximum(begin, 0)]  # valid steps of it before this one
    base = jnp.where(begin < 0, count, 0)

    def place(lag):
        step = order[jnp.maximum(valid - lag, 0)]
        return jnp.where(inside >= lag, 2 * count + step, base + count - lag + inside)

    places = [place(lag) for lag in range(count, 0, -1)]
    after = jnp.stack([p[-1] for p in places])
    return [p[:-1] for p in places], after
