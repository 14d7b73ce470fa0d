"""The laws of numbers: what a cell computes in every way in which it can be run.

Each takes a `Trial` and yields a sentence wherever the cell breaks it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jaxrnn.testing.trees import (
    Results,
    at,
    inexact,
    is_inexact,
    normal,
    poisoned,
    quick_jit,
    results,
    stacked,
    swapped,
    total,
)
from jaxrnn.testing.trial import Trial

WAYS = {"": False, ", in reverse": True}  # what a sentence says, and `reverse`


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
