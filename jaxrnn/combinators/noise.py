"""Regularisers of the recurrence: zoneout, recurrent dropout and dropped weights.

All of them draw when `initial_carry` is given a key. The key stays in the carry, and
without one the cell is evaluated.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import tree_flatten_with_path

from jaxrnn.build import check_cell, step_of
from jaxrnn.checks import check_number, note_keyless
from jaxrnn.core import Cell, recorded
from jaxrnn.layers import DropoutCarry
from jaxrnn.lift import around


class NoiseCarry(NamedTuple):
    """Carry of `zoneout`, `recurrent_dropout` and `weight_drop`."""

    cell: Any  # the carry of the cell
    noise: Any  # a key, of `zoneout` a `DropoutCarry`; () in evaluation


class NoiseParams(NamedTuple):
    """What `about.prepare` makes of the params of a cell whose weights are dropped."""

    params: Any
    prepared: Any  # for evaluation: what the cell makes of them


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
    rates = jax.tree.map(partial(_check_rate, "zoneout"), rate)
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
        old, noise = _check_carry(name, carry)
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


@recorded
def recurrent_dropout(
    cell: Cell, rate: float, *, where: str | Sequence[str] = "w_h"
) -> Cell:
    """Leaves units of the state out of the product with the recurrent weights.

        z_t = x_t w_x + (m h_{t-1} / (1 - rate)) w_h + b,    m ~ Bernoulli(1 - rate)

    One mask m serves all steps of a sequence and all gates, as the `recurrent_dropout`
    of Keras. What a cell makes of h without these weights, such as the z h of a GRU,
    is not masked. It is the rows of the weights that are left out, once for a sequence,
    so that the cell unrolls as it does alone; see `weight_drop` for batches.

    Args:
      cell: with a memory.
      rate: in [0, 1).
      where: the names of the weights that read the state, `[..., H, G]`, or `[H]` where
        each unit reads itself alone; with all arrays below a field of that name.

    Returns:
      A cell with the params of `cell` and `NoiseCarry`.

    Raises:
      ValueError: if the rate is outside [0, 1); later, if no weight has such a name.

    References:
      Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent
      neural networks", NIPS 2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.recurrent_dropout(rnn.gru(3, 5), 0.25)
      >>> params = cell.init(jax.random.key(0))
      >>> carry = cell.initial_carry(params, jax.random.key(1))
      >>> cell.unroll(params, carry, jnp.ones((7, 3)))[1].shape
      (7, 5)
    """

    def rows(shape):
        return (*shape[:-1], 1) if len(shape) > 1 else shape

    return _dropping("recurrent_dropout", cell, rate, where, rows)


@recorded
def weight_drop(cell: Cell, rate: float, *, where: str | Sequence[str] = "w_h") -> Cell:
    """Leaves recurrent weights out, each with probability `rate`: DropConnect.

        w'_h = m w_h / (1 - rate),    m ~ Bernoulli(1 - rate), of the shape of w_h

    One m serves all steps of a sequence, so that the cell unrolls as it does alone.

    Under `jax.vmap` a key for each example gives each its own weights, and a product of
    the batch becomes one for each example. With one key for the batch (`in_axes=None`
    for it, as the authors' code has it) it stays one product.

    Args:
      cell: any whose params have arrays of that name.
      rate: in [0, 1).
      where: the names of the weights, with all arrays below a field of that name.

    Returns:
      A cell with the params of `cell` and `NoiseCarry`.

    Raises:
      ValueError: if the rate is outside [0, 1); later, if no weight has such a name.

    References:
      Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models",
      ICLR 2018; Wan et al., "Regularization of neural networks using DropConnect",
      ICML 2013.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.weight_drop(rnn.lstm(3, 5), 0.5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry = cell.initial_carry(params, jax.random.key(1))
      >>> cell.unroll(params, carry, jnp.ones((7, 3)))[1].shape
      (7, 5)
    """
    return _dropping("weight_drop", cell, rate, where, lambda shape: shape)


def _dropping(
    kind: str,
    cell: Cell,
    rate: float,
    where: str | Sequence[str],
    mask_shape: Callable[[tuple[int, ...]], tuple[int, ...]],
) -> Cell:
    """A cell whose weights of some names are multiplied by a mask and scaled up."""
    check_cell(f"{kind}: cell", cell)
    rate = _check_rate(kind, rate)
    names = (where,) if isinstance(where, str) else where
    several = isinstance(names, tuple | list) and len(names) > 0
    if not several or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{kind}: where: expected names of weights, got {where!r}")
    if cell.about.bind is not None:
        raise ValueError(
            f"{kind}: cell: expected one without an attention that has no memory yet, "
            f"got {cell.about.name}; wrap the recurrent cell in it"
        )
    name = f"{kind}({cell.about.name})"

    def both(params):
        return (
            params if isinstance(params, NoiseParams) else NoiseParams(params, params)
        )

    def initial_carry(params, key=None):
        params = both(params).params
        _chosen(name, names, params)
        if key is None:
            return NoiseCarry(cell.initial_carry(params), ())
        cell_key, key = jax.random.split(key)
        return NoiseCarry(cell.initial_carry(params, cell_key), key)

    def dropped(params, key):
        leaves, tree = jax.tree.flatten(params)
        for i in _chosen(name, names, params):
            w, one = leaves[i], jax.random.fold_in(key, i)
            keep = jax.random.bernoulli(one, 1 - rate, mask_shape(w.shape))
            leaves[i] = jnp.where(keep, w / (1 - rate), jnp.zeros_like(w))
        return tree.unflatten(leaves)

    def run(at, params, carry, x):
        params, (old, key) = both(params), _check_carry(name, carry)
        keyless = not jax.tree.leaves(key)
        if keyless and rate:
            note_keyless(name)
        weights = params.prepared if keyless else dropped(params.params, key)
        new, y = at.run(cell, weights, old, x)
        return NoiseCarry(new, key), y

    return around(
        name,
        cell,
        run,
        initial_carry=initial_carry,
        split=lambda params: (both(params).prepared,),
        join=lambda params, parts: NoiseParams(both(params).params, parts[0]),
        join_outputs=lambda outputs, ys: outputs[0],
    )


def _check_rate(kind: str, rate: Any) -> float:
    return check_number(
        f"{kind}: rate", rate, "a number in [0, 1)", lambda value: 0 <= value < 1
    )


def _check_carry(name: str, carry: Any) -> NoiseCarry:
    if not isinstance(carry, NoiseCarry):
        raise ValueError(
            f"{name}: carry: expected NoiseCarry, got {type(carry).__name__}"
        )
    return carry


def _chosen(name: str, names: Sequence[str], params: Any) -> list[int]:
    """Which of the arrays of the params have one of the names in their path."""
    leaves, _ = tree_flatten_with_path(params)

    def holds(path, a):
        keys = {getattr(key, "name", getattr(key, "key", None)) for key in path}
        return bool(keys & set(names)) and jnp.issubdtype(a.dtype, jnp.inexact)

    found = [i for i, (path, a) in enumerate(leaves) if holds(path, a)]
    if not found:
        raise ValueError(
            f"{name}: where: expected names of weights of the cell, got "
            f"{', '.join(names)}"
        )
    return found
