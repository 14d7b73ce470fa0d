"""The laws of form: of arrays, shapes, dtypes and programs, and hardly of numbers.

Each takes a `Trial` and yields a sentence wherever the cell breaks it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jaxrnn.core import is_key
from jaxrnn.testing.trees import as_dtype, at, equations, results, static
from jaxrnn.testing.trial import Trial, numbers

DOUBLE = jnp.float64, jnp.complex128


def _pytrees(trial: Trial) -> Iterator[str]:
    params = trial.given
    if params is None:
        params = trial.cell.init(jax.random.key(0))
    yield from _not_arrays("params", params)
    carry, again = trial.initial_carry(params), trial.initial_carry(params)
    yield from _not_arrays("the initial carry", carry)
    owners = _buffers("params", params) | _buffers("that of another call", again)
    for name, buffer in _buffers("the initial carry", carry).items():
        for owner, other in owners.items():
            if buffer == other:
                yield (
                    f"{name} shares its buffer with {owner}: a program to which the "
                    "carry is donated would fail"
                )
        owners[name] = buffer


def _not_arrays(what: str, tree: Any) -> Iterator[str]:
    for path, leaf in tree_leaves_with_path(tree):
        if not isinstance(leaf, jax.Array | np.ndarray):
            yield f"{what}{keystr(path)} is no array, but {type(leaf).__name__}"
    for found in static(tree):
        yield f"expected nothing but arrays in {what}, got {found}"


def _buffers(what: str, tree: Any) -> dict[str, int]:
    return {
        what + keystr(path): leaf.addressable_data(0).unsafe_buffer_pointer()
        for path, leaf in tree_leaves_with_path(tree)
        if isinstance(leaf, jax.Array) and not is_key(leaf) and leaf.size
    }


def _keys(trial: Trial) -> Iterator[str]:
    def carry(seed):
        return trial.cell.initial_carry(trial.params, jax.random.key(seed))

    one, other = carry(2), carry(3)
    if jax.tree.structure(one) != jax.tree.structure(other):
        yield "the structure of the initial carry depends on the key"
        return
    pairs = zip(tree_leaves_with_path(one), jax.tree.leaves(other), strict=True)
    for (path, a), b in pairs:
        if not is_key(a) and not np.array_equal(numbers(a), numbers(b)):
            yield (
                f"the initial carry{keystr(path)} depends on the key: expected it to "
                "be a typed key itself, as of jax.random.key, from which steps draw"
            )


def _shapes(trial: Trial) -> Iterator[str]:
    cell, carry, xs = trial.cell, trial.first, trial.xs
    every = None
    if cell.step is not None:
        after, y = jax.eval_shape(cell.step, trial.params, carry, at(xs, 0))
        yield from _unlike("the carry that step returns", after, carry)
        every = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((trial.length, *a.shape), a.dtype), y
        )
    after, ys = jax.eval_shape(cell.unroll, trial.params, carry, xs)
    yield from _unlike("the carry that unroll returns", after, carry)
    if every is not None:
        yield from _unlike("the output of unroll", ys, every)


def _unlike(what: str, got: Any, expected: Any) -> Iterator[str]:
    structures = jax.tree.structure(got), jax.tree.structure(expected)
    if structures[0] != structures[1]:
        yield f"{what} has the structure {structures[0]}, expected {structures[1]}"
        return
    pairs = zip(tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True)
    for (path, a), b in pairs:
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            kinds = [f"{leaf.dtype} {list(leaf.shape)}" for leaf in (a, b)]
            yield f"{what}{keystr(path)} is {kinds[0]}, expected {kinds[1]}"


def _dtypes(trial: Trial) -> Iterator[str]:
    cell = trial.cell
    params, xs = as_dtype((trial.params, trial.xs), jnp.float32)
    carry = trial.initial_carry(params)
    if any(leaf.dtype in DOUBLE for leaf in jax.tree.leaves(carry)):
        return  # of the default dtype, which is another here, and not of the params'
    runs = {"unroll": partial(cell.unroll, params, carry, xs)}
    if cell.step is not None:
        runs["step"] = partial(cell.step, params, carry, at(xs, 0))
    for name, run in runs.items():
        for what, tree in zip(("carry", "output"), jax.eval_shape(run), strict=True):
            for path, leaf in tree_leaves_with_path(tree):
                if leaf.dtype in DOUBLE:
                    yield (
                        f"of params, carry and inputs in float32, {name} makes the "
                        f"{what}{keystr(path)} in {leaf.dtype}"
                    )


def _program(trial: Trial) -> Iterator[str]:
    counts = []
    for length in (64, 128, 256):
        again = np.arange(length) % trial.length
        xs, mask, starts = at((trial.xs, trial.mask, trial.starts), again)
        inputs = xs, mask, starts, np.ones(length, bool), True
        run = jax.make_jaxpr(results(trial.cell.unroll))
        counts.append(equations(run(trial.params, trial.first, *inputs).jaxpr))
    # By an associative scan it grows with the logarithm, so as much each time.
    growth = np.diff(counts)
    if growth[0] >= 32 and growth[1] >= 1.5 * growth[0]:
        yield (
            "the program grows with the number of steps: {}, {} and {} equations for "
            "64, 128 and 256 steps, as by a Python loop".format(*counts)
        )
    names = ["unroll"] if trial.cell.step is None else ["unroll", "step"]
    for name in names:
        run = getattr(trial, name)
        inputs = at(trial.xs, 0) if name == "step" else trial.xs
        carry, _ = run(trial.params, trial.first, inputs)
        run(trial.params, carry, inputs)
        if len(trial.traces[name]) > 1:
            kinds = zip(*map(jax.tree.leaves, trial.traces[name]), strict=True)
            kinds = [(repr(jax.typeof(a)), repr(jax.typeof(b))) for a, b in kinds]
            changes = [f"{a} and then {b}" for a, b in kinds if a != b]
            yield (
                f"a compiled {name} is traced again for the carry that it returned: "
                f"{', '.join(changes) or 'its structure differs'}"
            )


def _finite(trial: Trial) -> Iterator[str]:
    got = trial.run()
    for what, tree in (("the final carry", got.carry), ("the output", got.ys)):
        for path, leaf in tree_leaves_with_path(tree):
            if not np.isfinite(numbers(leaf)).all():
                yield (
                    f"{what}{keystr(path)} is not finite; if the cell cannot read the "
                    "inputs or the params that were drawn, give xs or params"
                )


FORMS: dict[str, Callable[[Trial], Iterator[str]]] = {
    "pytrees": _pytrees,
    "keys": _keys,
    "shapes": _shapes,
    "dtypes": _dtypes,
    "program": _program,
    "finite": _finite,
}
