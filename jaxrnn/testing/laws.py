"""The laws: each takes a `Trial` and yields a sentence wherever the cell breaks it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jaxrnn.core import is_key
from jaxrnn.testing.trees import (
    Results,
    as_dtype,
    at,
    equations,
    inexact,
    is_inexact,
    normal,
    poisoned,
    quick_jit,
    results,
    stacked,
    static,
    swapped,
    total,
)
from jaxrnn.testing.trial import Trial, numbers

WAYS = {"": False, ", in reverse": True}  # what a sentence says, and `reverse`


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
    params, carry, xs = as_dtype((trial.params, trial.first, trial.xs), jnp.float32)
    runs = {"unroll": partial(cell.unroll, params, carry, xs)}
    if cell.step is not None:
        runs["step"] = partial(cell.step, params, carry, at(xs, 0))
    for name, run in runs.items():
        for what, tree in zip(("carry", "output"), jax.eval_shape(run), strict=True):
            for path, leaf in tree_leaves_with_path(tree):
                if leaf.dtype in (jnp.float64, jnp.complex128):
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


def _law(trial: Trial) -> Iterator[str]:
    yield from trial.against_law("", reverse=False)


def _reverse(trial: Trial) -> Iterator[str]:
    yield from trial.against_law(", in reverse", reverse=True)


def _masks(trial: Trial) -> Iterator[str]:
    mask = trial.mask
    for way, reverse in WAYS.items():
        run = partial(trial.run, mask=mask, reverse=reverse)
        got = run()
        yield from trial.differences(
            Results(ys=got.ys),
            Results(ys=jax.tree.map(np.zeros_like, got.ys)),
            f"is not zero, though the step is masked{way}",
            ~mask,
        )
        nothing = trial.run(mask=~trial.everywhere, reverse=reverse)
        zeros = jax.tree.map(np.zeros_like, nothing.d_params)
        yield from trial.differences(
            nothing,
            Results(trial.carry, d_params=zeros),
            f"is changed by steps that are all masked{way}",
        )
        yield from trial.differences(
            run(xs=swapped(trial.xs, ~mask)),
            got,
            f"depends on what xs holds at masked steps{way}",
        )
        yield from trial.differences(
            run(xs=poisoned(trial.xs, ~mask)),
            got,
            f"is reached by NaN (or a token -1) at masked steps of xs{way}",
        )
        yield from trial.against_law(f", with a mask{way}", reverse=reverse, mask=mask)
        if trial.cell.step is None:
            shorter = quick_jit(results(partial(_without_masked, trial), reverse))
            phrase = f"is not that of the sequence without the masked steps{way}"
            yield from trial.differences(got, trial.run(shorter), phrase)


def _without_masked(trial: Trial, params: Any, carry: Any, xs: Any, **options: Any):
    valid = np.flatnonzero(trial.mask)
    xs = jax.tree.map(lambda a: a[valid], xs)
    carry, ys = trial.cell.unroll(params, carry, xs, **options)

    def placed(y):
        return jnp.zeros((trial.length, *y.shape[1:]), y.dtype).at[valid].set(y)

    return carry, jax.tree.map(placed, ys)


def _starts(trial: Trial) -> Iterator[str]:
    steps, middle = np.arange(trial.length), trial.length // 2
    for way, reverse in WAYS.items():
        after = steps <= middle if reverse else steps >= middle
        for masked in (False, True):
            run = partial(
                trial.run,
                mask=(steps != middle) if masked else None,
                starts=(steps == middle),
                read=after,
                reverse=reverse,
            )
            others = {"xs": swapped(trial.xs, ~after)}
            broken = {"xs": poisoned(trial.xs, ~after)}
            kept = {"d_params": None, "d_carry": None}
            if trial.cell.step is None:  # a part may begin elsewhere, with the carry
                kept["carry"] = None
            else:
                others["carry"] = trial.first
                broken["carry"] = poisoned(trial.carry, ..., tokens=False)
            got = run()._replace(**kept)
            place = f"before the start at step {middle}{way}"
            place += ", which is masked" if masked else ""
            for phrase, changes in (
                (f"depends on what stands {place}", others),
                (f"is reached by NaN (or a token -1) {place}", broken),
            ):
                found = run(**changes)._replace(**kept)
                yield from trial.differences(found, got, phrase, after)
        if trial.cell.step is None:
            yield from _apart(trial, reverse, way)
            continue
        for mask in (None, trial.mask):
            for starts in (trial.starts, (steps % 4 == 0)):
                phrase = f", with starts{way}" + ("" if mask is None else " and a mask")
                options = {"mask": mask, "starts": starts}
                yield from trial.against_law(phrase, reverse=reverse, **options)


def _apart(trial: Trial, reverse: bool, way: str) -> Iterator[str]:
    """Two sequences in one row give what each of them gives by itself."""
    steps, middle = np.arange(trial.length), trial.length // 2
    second = steps > middle if reverse else steps >= middle
    run = partial(trial.run, carry=trial.first, read_carry=False, reverse=reverse)
    packed = run(starts=(steps == middle))
    one, other = run(mask=~second), run(mask=second)
    kept = {"carry": None, "d_carry": None}
    apart = jax.tree.map(np.add, one._replace(**kept), other._replace(**kept))
    phrase = f"of two packed sequences is not what they give apart{way}"
    yield from trial.differences(packed, apart, phrase)


def _continuing(trial: Trial) -> Iterator[str]:
    if trial.cell.step is None:
        return
    params, xs = trial.params, trial.xs
    unroll, step = trial.unroll, trial.step
    twice = at(xs, np.arange(2 * trial.length) % trial.length)
    carry, ys = unroll(params, trial.first, twice)
    middle, _ = unroll(params, trial.first, xs)
    second = Results(carry, at(ys, np.s_[trial.length :]))
    phrase = "of an unroll that goes on where another ended is not that of the whole"
    yield from trial.differences(Results(*unroll(params, middle, xs)), second, phrase)
    _, y = step(params, middle, at(xs, 0))
    yield from trial.differences(
        Results(ys=jax.tree.map(lambda a: a[None], y)),
        Results(ys=at(second.ys, np.s_[:1])),
        "after an unroll, by a step, is not that of a longer unroll",
    )


def _jit(trial: Trial) -> Iterator[str]:
    options = {"mask": trial.mask, "starts": trial.starts}
    eager = trial.cell.unroll(trial.params, trial.carry, trial.xs, **options)
    compiled = trial.run(**options)
    yield from trial.differences(compiled, Results(*eager), "changes under jax.jit")


def _vmap(trial: Trial) -> Iterator[str]:
    forward = np.arange(trial.length)
    examples = [
        (carry, *at((trial.xs, trial.mask, trial.starts), order))
        for carry, order in ((trial.carry, forward), (trial.first, forward[::-1]))
    ]
    read = trial.everywhere, True
    run = jax.vmap(results(trial.cell.unroll), (None, 0, 0, 0, 0, None, None))
    got = quick_jit(run)(trial.params, *stacked(*examples), *read)
    for i, (carry, xs, mask, starts) in enumerate(examples):
        alone = trial.run(carry=carry, xs=xs, mask=mask, starts=starts)
        phrase = f"of example {i} of a batch is not that of the example by itself"
        yield from trial.differences(at(got, i), alone, phrase)


def _preparing(trial: Trial) -> Iterator[str]:
    cell, params = trial.cell, trial.params
    prepared = cell.about.prepare(params)
    leaves, made = jax.tree.leaves(params), jax.tree.leaves(prepared)
    if list(map(id, leaves)) == list(map(id, made)):
        return
    phrase = "is another if about.prepare(params) stands in the place of the params"
    first = Results(carry=trial.initial_carry(prepared))
    yield from trial.differences(
        first, Results(carry=trial.first), f"at first {phrase}"
    )
    got = Results(*trial.unroll(prepared, trial.carry, trial.xs))
    yield from trial.differences(got, trial.run(), phrase)
    if cell.step is not None:
        step, x = trial.step, at(trial.xs, 0)
        for what, got, expected in zip(
            ("carry", "ys"),
            step(prepared, trial.carry, x),
            step(params, trial.carry, x),
            strict=True,
        ):
            one = jax.tree.map(lambda a: a[None], (got, expected))
            got, expected = (Results(**{what: tree}) for tree in one)
            yield from trial.differences(got, expected, f"of one step {phrase}")


def _derivatives(trial: Trial) -> Iterator[str]:
    if not trial.smooth:
        return
    args = trial.params, trial.carry, trial.xs
    leaves, put = inexact(args)
    gap = float(np.cbrt(jnp.finfo(trial.dtype).eps))  # where errors are least

    def loss(leaves):
        return total(trial.cell.unroll(*put(leaves)))

    def moved(leaves, tangents, by):
        pairs = zip(leaves, tangents, strict=True)
        return [a + jnp.asarray(by, a.dtype) * t for a, t in pairs]

    @quick_jit
    def slopes(leaves, tangents):
        pairs = zip(jax.grad(loss)(leaves), tangents, strict=True)
        by_grad = sum((slope * t).real.sum() for slope, t in pairs)
        _, by_jvp = jax.jvp(loss, [leaves], [tangents])
        low, high = (loss(moved(leaves, tangents, by)) for by in (-gap, gap))
        return by_grad, by_jvp, (high - low) / (2 * gap)

    noise = np.random.default_rng(2)
    paths = [
        name + keystr(path)
        for name, tree in zip(("params", "the carry", "xs"), args, strict=True)
        for path, leaf in tree_leaves_with_path(tree)
        if is_inexact(leaf)
    ]
    for i, (path, leaf) in enumerate(zip(paths, leaves, strict=True)):
        tangents = [np.zeros_like(a) for a in leaves]
        tangents[i] = normal(noise, leaf)
        by_grad, by_jvp, expected = map(float, slopes(leaves, tangents))
        if not np.allclose([by_grad, by_jvp], expected, 10 * gap, 10 * gap):
            yield (
                f"along a random direction of {path} the slope of the results is "
                f"{by_grad:.6g} by jax.grad and {by_jvp:.6g} by jax.jvp, but "
                f"{expected:.6g} by finite differences"
            )


LAWS: dict[str, Callable[[Trial], Iterator[str]]] = {
    "pytrees": _pytrees,
    "keys": _keys,
    "shapes": _shapes,
    "dtypes": _dtypes,
    "program": _program,
    "finite": _finite,
    "law": _law,
    "reverse": _reverse,
    "masks": _masks,
    "starts": _starts,
    "continuing": _continuing,
    "jit": _jit,
    "vmap": _vmap,
    "preparing": _preparing,
    "derivatives": _derivatives,
}
