"""Where a carry comes from: given, learned, or with new randomness."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.tree_util import default_registry

from jaxrnn.build import check_cell
from jaxrnn.checks import check_array, check_function, check_key
from jaxrnn.core import Cell, InitialCarry, is_key, owned, recorded
from jaxrnn.lift import around
from jaxrnn.steps import At


class LearnedParams(NamedTuple):
    """Weights of `learned_carry`."""

    cell: Any
    carry: Any  # like the carry of the cell


@recorded
def learned_carry(
    cell: Cell, *, carry_init: Callable[..., jax.Array] = initializers.zeros
) -> Cell:
    """Makes the initial carry a part of the params, so that it is learned.

    Args:
      cell: whose carry holds floating arrays.
      carry_init: a `jax.nn.initializers` function, for each array of the carry.

    Returns:
      A cell with `LearnedParams` and the carry of `cell`.

    Raises:
      ValueError: if an argument is of the wrong kind.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> normal = jax.nn.initializers.normal(0.1)
      >>> cell = rnn.learned_carry(rnn.lstm(3, 5), carry_init=normal)
      >>> params = cell.init(jax.random.key(0))
      >>> bool((cell.initial_carry(params).h == params.carry.h).all())
      True
    """
    check_cell("learned_carry: cell", cell)
    check_function("learned_carry: carry_init", carry_init)
    name = f"learned_carry({cell.about.name})"

    def init(key):
        cell_key, carry_key = jax.random.split(key)
        params = cell.init(cell_key)
        leaves, tree = jax.tree.flatten(jax.eval_shape(cell.initial_carry, params))
        for a in leaves:
            if not jnp.issubdtype(a.dtype, jnp.floating):
                raise ValueError(
                    f"{name}: cell: expected a carry of floating arrays, got {a.dtype}"
                )
        keys = jax.random.split(carry_key, len(leaves) or 1)
        pairs = zip(keys, leaves, strict=False)
        drawn = [carry_init(k, a.shape, a.dtype) for k, a in pairs]
        return LearnedParams(params, tree.unflatten(drawn))

    def check(params):
        if not isinstance(params, LearnedParams):
            raise ValueError(
                f"{name}: params: expected LearnedParams, got {type(params).__name__}"
            )
        return params

    def initial_carry(params, key=None):
        fresh = cell.initial_carry(params.cell, key)
        return owned(_with_memory(f"{name}: params.carry", fresh, params.carry))

    def step(at, params, carry, x):
        return at.run(cell, params.cell, carry, x)

    def run(at, params, carry, x):
        params = check(params)._replace(cell=cell.about.prepare(params.cell))
        return _begun(name, cell, step, initial_carry, at, params, carry, x)

    return around(
        name,
        cell,
        run,
        init=init,
        initial_carry=initial_carry,
        split=lambda params: (check(params).cell,),
        join=lambda params, parts: LearnedParams(parts[0], params.carry),
        join_outputs=lambda outputs, ys: LearnedParams(outputs[0], None),
    )


@recorded
def starting(cell: Cell, carry: Any) -> Cell:
    """The cell with another initial carry, such as what an encoder has read.

    Args:
      cell: any cell.
      carry: of the cell, without keys; None for the cell's own.

    Returns:
      A cell with the params and the carry of `cell`. Randomness still comes with the
      key of `initial_carry`.

    Raises:
      ValueError: from `initial_carry`, if the carry does not fit the cell; from
        `unroll` with `starts`, if the cell reads the future.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.starting(rnn.gru(3, 5), rnn.GRUCarry(jnp.ones(5)))
      >>> cell.initial_carry(cell.init(jax.random.key(0))).h
      Array([1., 1., 1., 1., 1.], dtype=float32)
    """
    check_cell("starting: cell", cell)
    if carry is None:
        return cell

    def initial_carry(params, key=None):
        fresh = cell.initial_carry(params, key)
        return owned(_with_memory("starting: carry", fresh, carry))

    def step(at, params, carry, x):
        return at.run(cell, params, carry, x)

    def run(at, params, carry, x):
        params = cell.about.prepare(params)
        return _begun(name, cell, step, initial_carry, at, params, carry, x)

    name = f"starting({cell.about.name})"
    return around(name, cell, run, initial_carry=initial_carry)


def _begun(
    name: str,
    cell: Cell,
    step: Callable[..., tuple[Any, Any]],
    initial_carry: InitialCarry,
    at: At,
    params: Any,
    carry: Any,
    x: Any,
) -> tuple[Any, Any]:
    """Runs a cell that begins with another carry than its own, also at its starts."""
    if at.starts is None:
        return step(at, params, carry, x)
    if cell.step is None:
        raise ValueError(
            f"{name}: starts: expected None, since {cell.about.name} reads the future, "
            "or each cell in it with an initial carry of its own"
        )
    return at.scan(step, initial_carry, params, carry, x)


def rekeyed(cell: Cell, params: Any, carry: Any, key: jax.Array | None = None) -> Any:
    """The carry with new randomness and the old memory.

    In truncated backpropagation the memory goes on from piece to piece of a sequence,
    and each piece has new dropout masks.

    Args:
      cell: whose carry it is.
      params: of the cell.
      carry: of the cell, from a run with or without a key.
      key: for the randomness; None for a carry as in evaluation.

    Returns:
      A carry like `cell.initial_carry(params, key)`.

    Raises:
      ValueError: if the carry does not fit the cell.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.chain(rnn.gru(3, 5), rnn.dropout(0.5))
      >>> params = cell.init(jax.random.key(0))
      >>> carry, _ = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry = rnn.rekeyed(cell, params, carry, jax.random.key(1))
      >>> bool(carry[1].key == jax.random.split(jax.random.key(1))[1])
      True
    """
    check_cell("rekeyed: cell", cell)
    if key is not None:
        check_key("rekeyed: key", key)
    return _with_memory("rekeyed: carry", cell.initial_carry(params, key), carry)


def _with_memory(name: str, fresh: Any, memory: Any) -> Any:
    """The keys of one carry with all else of another.

    Where one has keys and the other nothing, as `dropout` without a key, the fresh one
    decides.
    """
    if is_key(fresh) and is_key(memory):
        return fresh
    if _is_keyless(fresh, memory) or _is_keyless(memory, fresh):
        return fresh
    mine, other = map(default_registry.flatten_one_level, (fresh, memory))
    if mine is None and other is None and not is_key(fresh) and not is_key(memory):
        fresh, got = jnp.asarray(fresh), check_array(name, memory)
        if fresh.shape != got.shape:
            raise ValueError(f"{name}: expected shape {fresh.shape}, got {got.shape}")
        if not jnp.can_cast(got.dtype, fresh.dtype, "same_kind"):
            raise ValueError(f"{name}: expected dtype {fresh.dtype}, got {got.dtype}")
        return got.astype(fresh.dtype)
    if mine is not None and other is not None and type(fresh) is type(memory):
        pairs = list(zip(mine[0], other[0], strict=False))
        if mine[1] == other[1] and len(mine[0]) == len(other[0]) == len(pairs):
            one_level = jax.tree.structure(fresh, is_leaf=lambda a: a is not fresh)
            return one_level.unflatten(_with_memory(name, *pair) for pair in pairs)
    raise ValueError(
        f"{name}: expected the structure {jax.tree.structure(fresh)}, got "
        f"{jax.tree.structure(memory)}"
    )


def _is_keyless(carry: Any, other: Any) -> bool:
    """Whether it is what the other, with keys and no memory, is in evaluation."""
    keys = [leaf for leaf in jax.tree.leaves(other) if is_key(leaf)]
    if jax.tree.leaves(carry) or not keys:
        return False
    leaves = jax.tree.leaves(other)
    floats = (jnp.issubdtype(jnp.result_type(a), jnp.inexact) for a in leaves)
    return not any(floats)
