"""How a cell goes through time."""

import math
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
from jaxrnn.core import Cell
from jaxrnn.lift import AllSteps


def remat(cell: Cell, *, segment: int | None = None) -> Cell:
    """Keeps only some carries for the backward pass and computes the rest again.

    The sequence is cut into segments; the backward pass runs each once more. With
    segments of about sqrt(T) steps memory grows as sqrt(T), not T, for a third more
    arithmetic.

    Args:
      cell: any cell with a step order, so none with `step=None`.
      segment: steps in a segment; None for the square root of T.

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
        if cell.about.reads is not None:
            xs = check_input(f"{name}: xs", xs, cell.about.reads, ("T",))
        length = check_length(f"{name}: xs", xs)
        size = min(segment or math.isqrt(length - 1) + 1, length)
        mask = check_mask(name, mask, length)
        starts = check_starts(name, starts, length)
        reverse = check_flag(f"{name}: reverse", reverse)
        params = jax.tree.map(partial(check_array, f"{name}: params"), params)
        carry = jax.tree.map(partial(check_array, f"{name}: carry"), carry)
        params = cell.about.prepare(params)

        @jax.checkpoint
        def run(params, carry, inputs):
            xs, mask, starts = inputs
            steps = AllSteps(mask, reverse, starts)
            return steps.run(cell, params, carry, xs)

        whole = length - length % size
        cut = jax.tree.map(
            lambda x: x[:whole].reshape(-1, size, *x.shape[1:]), (xs, mask, starts)
        )
        rest = jax.tree.map(lambda x: x[whole:], (xs, mask, starts))

        def scan(carry):
            carry, ys = lax.scan(
                lambda c, inputs: run(params, c, inputs), carry, cut, reverse=reverse
            )
            return carry, jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), ys)

        if whole == length:
            return scan(carry)
        if reverse:
            carry, ends = run(params, carry, rest)
            carry, ys = scan(carry)
        else:
            carry, ys = scan(carry)
            carry, ends = run(params, carry, rest)
        return carry, jax.tree.map(lambda *a: jnp.concatenate(a), ys, ends)

    return cell._replace(unroll=unroll, about=cell.about._replace(name=name))
