"""Regulariser of the state: zoneout.

It draws when `initial_carry` is given a key. The key stays in the carry, and without
one the cell is evaluated.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.build import step_of
from jaxrnn.checks import note_keyless
from jaxrnn.combinators.weight_drop import NoiseCarry, check_carry, check_rate
from jaxrnn.core import Cell, recorded
from jaxrnn.layers import DropoutCarry
from jaxrnn.lift import around


@recorded
def zoneout(cell: Cell, rate: Any) -> Cell:
    """Each unit of the carry keeps its previous value with probability `rate`.

        s'_t = step(s_{t-1}, x_t)
        s_t = d_t s_{t-1} + (1 - d_t) s'_t,    d_t ~ Bernoulli(rate)

    The d_t are drawn for each step and each unit; in evaluation their mean stands in
    their place. A part of the carry that is the output, such as the h of an LSTM, is
    also the output after it; the h'_t of an LSTM is computed with its c'_t.

    Args:
      cell: whose output is a part of its carry, such as `elman`, `gru`, `lstm`.
      rate: in [0, 1), of all floating arrays of the carry; or a carry of rates, such as
        `LSTMCarry(h=0.05, c=0.5)`, the rates that the paper has for an LSTM.

    Returns:
      A cell with the params of `cell` and `NoiseCarry`. It takes one step after the
      other, whatever the unroll of `cell` is.

    Raises:
      ValueError: if a rate is outside [0, 1), or the cell reads the future; later, if
        the rates are no carry of the cell, or its output is no part of its carry.

    References:
      Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden
      activations", ICLR 2017.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.zoneout(rnn.lstm(3, 5), rnn.LSTMCarry(h=0.05, c=0.5))
      >>> params = cell.init(jax.random.key(0))
      >>> carry = cell.initial_carry(params, jax.random.key(1))
      >>> cell.unroll(params, carry, jnp.ones((7, 3)))[1].shape
      (7, 5)
    """
    bare_step = step_of("zoneout", cell)
    rates = jax.tree.map(partial(check_rate, "zoneout"), rate)
    name = f"zoneout({cell.about.name})"

    def initial_carry(params, key=None):
        if key is None:
            return NoiseCarry(cell.initial_carry(params), ())
        cell_key, key = jax.random.split(key)
        count = jnp.zeros((), jnp.int32)
        return NoiseCarry(
            cell.initial_carry(params, cell_key), DropoutCarry(key, count)
        )

    def step(at, params, carry, x):
        old, noise = check_carry(name, carry)
        new, y = at.run(cell, params, old, x)
        places = _outputs(name, bare_step, params, old, x)
        leaves, tree = jax.tree.flatten(new)
        keys = [None] * len(leaves)
        if noise:
            key = jax.random.fold_in(noise.key, noise.step)
            keys = [jax.random.fold_in(key, i) for i in range(len(leaves))]
            noise = noise._replace(step=noise.step + 1)
        else:
            note_keyless(name)
        every = _spread(name, rates, new), keys, jax.tree.leaves(old), leaves
        mixed = [_zoned(*arguments) for arguments in zip(*every, strict=True)]
        y = jax.tree.unflatten(jax.tree.structure(y), [mixed[i] for i in places])
        return NoiseCarry(tree.unflatten(mixed), noise), y

    def run(at, params, carry, x):
        params = cell.about.prepare(params)
        return at.scan(step, initial_carry, params, carry, x)

    return around(name, cell, run, initial_carry=initial_carry)


def _zoned(rate: float, key: jax.Array | None, old: Any, new: Any) -> Any:
    """An array of the carry after a step; a key or a count is never mixed."""
    if not rate or not jnp.issubdtype(new.dtype, jnp.inexact):
        return new
    if key is None:
        return rate * old + (1 - rate) * new
    return jnp.where(jax.random.bernoulli(key, rate, new.shape), old, new)


def _spread(name: str, rates: Any, carry: Any) -> list[float]:
    """A rate for each array of the carry."""
    try:
        every = jax.tree.map(
            lambda r, part: jax.tree.map(lambda _: r, part), rates, carry
        )
    except ValueError:
        raise ValueError(
            f"{name}: rate: expected a number or a carry of rates of the structure "
            f"{jax.tree.structure(carry)}, got {rates!r}"
        ) from None
    return jax.tree.leaves(every)


def _outputs(name: str, step: Callable, params: Any, carry: Any, x: Any) -> list[int]:
    """For each array of the output, which array of the carry it is."""
    jaxpr, shapes = jax.make_jaxpr(step, return_shape=True)(params, carry, x)
    size = len(jax.tree.leaves(shapes[0]))
    states, outputs = jaxpr.jaxpr.outvars[:size], jaxpr.jaxpr.outvars[size:]
    found = [[i for i, s in enumerate(states) if s is y] for y in outputs]
    if not found or not all(found):
        raise ValueError(
            f"{name}: cell: expected one whose output is a part of its carry, such as "
            "the h of an LSTM, got one that computes its output from it"
        )
    return [places[0] for places in found]
