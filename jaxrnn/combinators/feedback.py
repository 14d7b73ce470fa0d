"""A cell that reads its own output."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.build import step_of
from jaxrnn.checks import Input, check_array, check_input, check_size, is_input
from jaxrnn.core import Cell, recorded
from jaxrnn.lift import around
from jaxrnn.pooling import Attended


class FeedingCarry(NamedTuple):
    """Carry of `input_feeding`."""

    cell: Any
    y: jax.Array  # [size], the output of the step before


@recorded
def input_feeding(cell: Cell, size: int) -> Cell:
    """Each step reads, after its own input, the output of the step before.

        y_t = cell([x_t, y_{t-1}]),    y_0 = 0

    Around a recurrent cell and an attention, so that a step knows what the one before
    has read from the memory.

    Args:
      cell: reads vectors `[D + size]`.
      size: of its output, or of the `output` where it gives `Attended`.

    Returns:
      A cell from `x` `[D]` to `y` `[size]`, with the params of `cell` and
      `FeedingCarry`.

    Raises:
      ValueError: if the size is below 1 or the cell has no step; from `step` and
        `unroll`, if the output is not of that size.

    References:
      Luong, Pham and Manning, "Effective approaches to attention-based neural machine
      translation", EMNLP 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> attention = rnn.luong(5, 7, memory=jnp.ones((13, 7)))
      >>> cell = rnn.input_feeding(rnn.chain(rnn.gru(3 + 5, 5), attention), 5)
      >>> params = cell.init(jax.random.key(0))
      >>> cell.unroll(params, cell.initial_carry(params), jnp.ones((2, 3)))[1].shape
      (2, 5)
    """
    step_of("input_feeding", cell)
    size = check_size("input_feeding: size", size)
    name = f"input_feeding({cell.about.name}, {size})"
    inner = cell.about.reads
    reads = Input(None)
    if not (inner is None or is_input(inner)):
        raise ValueError(
            "input_feeding: cell: expected one that reads one array, got "
            f"{cell.about.name}, which reads {type(inner).__name__}"
        )
    if inner is not None and inner.shape is not None:
        if len(inner.shape) != 1 or inner.shape[0] <= size:
            raise ValueError(
                f"input_feeding: cell: expected one that reads more than size {size} "
                f"numbers, got {cell.about.name}, which reads {inner}"
            )
        reads = Input((inner.shape[0] - size,))

    def initial_carry(params, key=None):
        dtypes = [getattr(a, "dtype", None) for a in jax.tree.leaves(params)]
        floats = [d for d in dtypes if d and jnp.issubdtype(d, jnp.floating)]
        y = jnp.zeros(size, floats[0] if floats else jnp.float32)
        return FeedingCarry(cell.initial_carry(params, key), y)

    def feed(at, params, carry, x):
        x = check_input(f"{name}: x", x, reads, ())
        inputs = jnp.concatenate([x.astype(carry.y.dtype), carry.y])
        inner_carry, y = at.run(cell, params, carry.cell, inputs)
        output = y.output if isinstance(y, Attended) else y
        output = check_array(f"{name}: output of the cell", output)
        if output.shape != (size,):
            raise ValueError(
                f"{name}: size: expected that of the output, {output.shape}, got {size}"
            )
        return FeedingCarry(inner_carry, output.astype(carry.y.dtype)), y

    def run(at, params, carry, xs):
        if not isinstance(carry, FeedingCarry):
            raise ValueError(
                f"{name}: carry: expected FeedingCarry, got {type(carry).__name__}"
            )
        return at.scan(feed, initial_carry, cell.about.prepare(params), carry, xs)

    return around(name, cell, run, initial_carry=initial_carry, reads=reads)
