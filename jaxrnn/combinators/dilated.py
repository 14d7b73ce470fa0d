"""A recurrence over every so many steps."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxrnn.build import check_cell
from jaxrnn.checks import check_input, check_length, check_mask, check_size
from jaxrnn.core import Cell, blank, recorded
from jaxrnn.lift import around
from jaxrnn.steps import AllSteps


@recorded
def dilated(cell: Cell, dilation: int) -> Cell:
    """The cell, with each step going on from the one `dilation` steps before.

        carry_t, y_t = step(params, carry_{t-d}, x_t)

    So there are d recurrences side by side, each of every d-th step, and T / d steps in
    turn for a sequence of T: the sequence is rearranged, and all d are one batch. The
    first d steps begin with the initial carry. A `chain` of dilations 1, 2, 4, ... sees
    far with few steps in turn.

    A masked step belongs to no recurrence, as if it were not there; after a start, all
    d begin anew. The authors' code pads the sequence to a multiple of d and gives no
    final carry; here a sequence may have any length and be continued.

    Args:
      cell: any cell with a step.
      dilation: d, at least 1.

    Returns:
      A cell with the params of `cell`. Its carry is that of `cell` with a leading axis
      `[d]`, the oldest first, which the next step reads. Its randomness is drawn for
      each of the d recurrences.

    Raises:
      ValueError: if `dilation` is below 1 or the cell has no step.

    References:
      Chang et al., "Dilated recurrent neural networks", NIPS 2017.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.dilated(rnn.gru(3, 5), 4)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.h.shape, bool((ys[0] == ys[3]).all()), bool((ys[3] == ys[4]).all())
      ((4, 5), True, False)
    """
    check_cell("dilated: cell", cell)
    dilation = check_size("dilated: dilation", dilation)
    name = f"dilated({cell.about.name}, {dilation})"
    if cell.step is None:
        raise ValueError(
            f"dilated: cell: expected one with a step, got {cell.about.name}, which "
            "reads the future (step=None)"
        )

    def initial_carry(params, key=None):
        if key is None:
            one = cell.initial_carry(params)
            return jax.tree.map(
                lambda a: jnp.broadcast_to(a, (dilation, *a.shape)), one
            )
        keys = jax.random.split(key, dilation)
        return jax.vmap(partial(cell.initial_carry, params))(keys)

    def one_step(at, params, carry, x):
        oldest = jax.tree.map(lambda a: a[0], carry)
        new, y = at.run(cell, params, oldest, x)

        def queued(a, b):
            return jnp.concatenate([a[1:], b[None]])

        return jax.tree.map(queued, carry, new), y

    def run(at, params, carry, x):
        params = cell.about.prepare(params)
        if isinstance(at, AllSteps) and at.starts is None:
            return side_by_side(at, params, carry, x)
        return at.scan(one_step, initial_carry, params, carry, x)

    def side_by_side(at, params, carry, xs):
        if cell.about.reads is not None:
            xs = check_input(f"{name}: xs", xs, cell.about.reads, ("T",))
        length = check_length(f"{name}: xs", xs)
        mask = check_mask(name, at.mask, length)
        rows = (length + dilation - 1) // dilation
        padding = rows * dilation - length
        order = jnp.arange(length)[:: -1 if at.reverse else 1]
        count, valid = jnp.asarray(length), None
        if mask is not None:
            order = order[
                jnp.argsort(~mask[order], stable=True)
            ]  # the valid ones first
            count = mask.sum()
        if mask is not None or not (isinstance(padding, int) and padding == 0):
            valid = jnp.arange(length) < count

        def cut(a):
            a = jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1))
            return a.reshape(rows, dilation, *a.shape[1:])

        def put_back(y):
            y = y.reshape(rows * dilation, *y.shape[2:])[:length]
            return jnp.zeros_like(y).at[order].set(y)

        unroll = jax.vmap(
            lambda carry, xs, mask: cell.unroll(params, carry, xs, mask=mask),
            in_axes=(0, 1, 1),
            out_axes=(0, 1),
        )
        xs = jax.tree.map(lambda a: cut(a[order]), blank(mask, xs))
        carry, ys = unroll(carry, xs, None if valid is None else cut(valid))
        turn = (jnp.arange(dilation) + count) % dilation
        return jax.tree.map(lambda a: a[turn], carry), jax.tree.map(put_back, ys)

    return around(name, cell, run, initial_carry=initial_carry)
