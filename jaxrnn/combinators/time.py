"""How a cell goes through time."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import check_cell
from jaxrnn.checks import (
    check_array,
    check_flag,
    check_input,
    check_length,
    check_mask,
    check_size,
    check_starts,
)
from jaxrnn.core import Cell, recorded
from jaxrnn.precision import narrowed, widened
from jaxrnn.steps import AllSteps

SYMBOLIC_SEGMENT = 32  # a symbol, as in `jax.export`, has no square root
_FORWARD = ContextVar("_FORWARD", default=False)


@contextmanager
def forward_only() -> Iterator[None]:
    """Makes `remat` and `parallel` their cell in the programs traced here.

    Those have no derivative, and are read by others than XLA.
    """
    token = _FORWARD.set(True)
    try:
        yield
    finally:
        _FORWARD.reset(token)


def is_forward_only() -> bool:
    """Whether this program is traced in `forward_only`."""
    return _FORWARD.get()


@recorded
def remat(cell: Cell, *, segment: int | None = None) -> Cell:
    """Keeps only some carries for the backward pass and computes the rest again.

    The sequence is cut into segments; the backward pass runs each once more. With
    segments of about sqrt(T) steps memory grows as sqrt(T), not T, for a third more
    arithmetic.

    Args:
      cell: any cell with a step order, so none with `step=None`.
      segment: steps in a segment; None for the square root of T, or 32 where T is a
        symbol of `jax.export`.

    Returns:
      A cell with the params, the carry and the results of `cell`.

    Raises:
      ValueError: if `segment` is below 1 or the cell has no `step`.

    References:
      Chen et al., "Training deep nets with sublinear memory cost", 2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.remat(rnn.lstm(3, 5))
      >>> params = cell.init(jax.random.key(0))
      >>> cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))[1].shape
      (7, 5)
    """
    check_cell("remat: cell", cell)
    name = f"remat({cell.about.name})"
    if cell.step is None:
        raise ValueError(f"{name}: a cell that reads the future cannot be cut in time")
    if segment is not None:
        segment = check_size("remat: segment", segment)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        if is_forward_only():
            steps = AllSteps(mask, reverse, starts)
            return steps.run(cell, params, carry, xs)
        if cell.about.reads is not None:
            xs = check_input(f"{name}: xs", xs, cell.about.reads, ("T",))
        length = check_length(f"{name}: xs", xs)
        mask = check_mask(name, mask, length)
        starts = check_starts(name, starts, length)
        reverse = check_flag(f"{name}: reverse", reverse)
        params = jax.tree.map(partial(check_array, f"{name}: params"), params)
        carry = jax.tree.map(partial(check_array, f"{name}: carry"), carry)
        params = cell.about.prepare(params)
        wide = widened(params)  # the loop adds up their gradient
        size = segment or SYMBOLIC_SEGMENT
        if isinstance(length, int):
            size = min(segment or math.isqrt(length - 1) + 1, length)
        count = (length + size - 1) // size
        padding = count * size - length  # of the last segment
        if mask is None and not (isinstance(padding, int) and padding == 0):
            mask = jnp.ones(length, bool)

        def cut(x):
            x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1))
            return x.reshape(count, size, *x.shape[1:])

        @jax.checkpoint
        def run(wide, carry, segment):
            xs, mask, starts = segment
            steps = AllSteps(mask, reverse, starts)
            return steps.run(cell, narrowed(wide, params), carry, xs)

        carry, ys = lax.scan(
            partial(run, wide),
            carry,
            jax.tree.map(cut, (xs, mask, starts)),
            reverse=reverse,
        )
        return carry, jax.tree.map(
            lambda y: y.reshape(count * size, *y.shape[2:])[:length], ys
        )

    return cell._replace(unroll=unroll, about=cell.about._replace(name=name))
