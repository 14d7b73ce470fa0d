"""Trees of arrays under test: noise in them, and one number of all that they hold."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import default_registry

from jaxrnn.core import blank, is_key, zero_where_not

# Programs that run only once are compiled in half the time with these.
_QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
}


@cache
def _quick_options() -> dict[str, Any]:
    """Those options that the installed version of XLA knows."""
    if jax.default_backend() != "cpu":
        return {}
    trial = jax.jit(lambda: 0).lower()

    def is_known(name, value):
        try:
            return bool(trial.compile(compiler_options={name: value}))
        except jax.errors.JaxRuntimeError:
            return False

    return {name: value for name, value in _QUICK.items() if is_known(name, value)}


def quick_jit(fun: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` for a program that runs a few times only: quick to compile."""
    return jax.jit(fun, compiler_options=_quick_options(), **options)


def inexact(tree: Any) -> tuple[list[Any], Callable[[Any], Any]]:
    """The floating and complex leaves, and the function that puts others there.

    What is left out: tokens, keys and counters.
    """
    leaves, structure = jax.tree.flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]

    def put(values):
        new = dict(zip(places, values, strict=True))
        return structure.unflatten(new.get(i, leaf) for i, leaf in enumerate(leaves))

    return [leaves[i] for i in places], put


def as_dtype(tree: Any, dtype: Any) -> Any:
    """The tree in another precision; a complex leaf stays complex."""
    leaves, put = inexact(tree)
    both = dtype, jnp.complex128 if jnp.finfo(dtype).bits > 32 else jnp.complex64
    return put([jnp.asarray(np.asarray(a), both[np.iscomplexobj(a)]) for a in leaves])


def normal(noise: np.random.Generator, like: Any) -> np.ndarray:
    """A draw of the shape and the dtype of an array, in the complex plane too."""
    draw = noise.normal(size=like.shape)
    if jnp.issubdtype(like.dtype, jnp.complexfloating):
        draw = draw + 1j * noise.normal(size=like.shape)
    return np.asarray(draw, like.dtype)


def jitter(tree: Any, noise: np.random.Generator, scale: float = 0.5) -> Any:
    """Adds noise to every floating or complex leaf."""
    leaves, put = inexact(tree)
    draws = [np.asarray(scale, a.dtype) * normal(noise, a) for a in leaves]
    return put(
        [jnp.asarray(np.asarray(a) + b) for a, b in zip(leaves, draws, strict=True)]
    )


def total(tree: Any) -> Any:
    """One real number that depends on every floating and complex entry."""
    noise = np.random.default_rng(0)
    parts = [(a * normal(noise, a)).real.sum() for a in inexact(tree)[0]]
    return sum(parts, start=jnp.zeros((), parts[0].dtype if parts else None))


def is_inexact(leaf: Any) -> bool:
    """Whether it has a derivative."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def on_host(leaf: Any) -> Any:
    """Not a key: an array in NumPy, where to index it costs no compilation."""
    return leaf if is_key(leaf) else np.asarray(leaf)


def at(tree: Any, index: Any) -> Any:
    """Some steps of sequences, or one."""
    return jax.tree.map(lambda a: jnp.asarray(on_host(a)[index]), tree)


def stacked(*trees: Any) -> Any:
    """Trees as a batch."""

    def stack(*leaves):
        return jnp.stack(leaves) if is_key(leaves[0]) else jnp.asarray(np.stack(leaves))

    return jax.tree.map(stack, *trees)


def poisoned(tree: Any, where: Any, *, tokens: bool = True) -> Any:
    """A tree with NaN at some steps, and -1 in the place of tokens."""

    def poison(leaf):
        if is_key(leaf) or not (tokens or is_inexact(leaf)):
            return leaf
        leaf = np.array(leaf)
        leaf[where] = np.nan if is_inexact(leaf) else ~np.zeros((), leaf.dtype)
        return jnp.asarray(leaf)

    return jax.tree.map(poison, tree)


def swapped(tree: Any, where: Any) -> Any:
    """Sequences in which some steps hold what the first of the others holds."""
    other = np.flatnonzero(~where)[0]

    def swap(leaf):
        if is_key(leaf):
            return leaf
        leaf = np.array(leaf)
        leaf[where] = leaf[other]
        return jnp.asarray(leaf)

    return jax.tree.map(swap, tree)


class Results(NamedTuple):
    """What an unroll gives, and the gradient of one number that it all goes into."""

    carry: Any = None
    ys: Any = None
    d_params: Any = None
    d_carry: Any = None
    d_xs: Any = None


def results(unroll: Callable[..., Any], reverse: bool = False) -> Callable[..., Any]:
    """Makes `(params, carry, xs, mask, starts, read, read_carry) -> Results`.

    The number is the `total` of the outputs where `read` `[T]` is True and, if
    `read_carry` is, of the final carry.
    """

    def run(params, carry, xs, mask, starts, read, read_carry):
        # A keyword that is not needed is not given, so that each law finds its own.
        options = {"reverse": True} if reverse else {}
        options |= {} if mask is None else {"mask": mask}
        options |= {} if starts is None else {"starts": starts}
        leaves, put = inexact((params, carry, xs))

        def loss(leaves):
            after, ys = unroll(*put(leaves), **options)
            read_after = zero_where_not(read_carry, total(after))
            return read_after + total(blank(read, ys)), (after, ys)

        slopes, outputs = jax.grad(loss, has_aux=True)(leaves)
        slopes = jax.tree.map(lambda a: a if is_inexact(a) else None, put(slopes))
        return Results(*outputs, *slopes)

    return run


def static(tree: Any) -> Iterator[str]:
    """What the nodes of a tree hold beside arrays and names."""

    def found(data):
        if isinstance(data, dict):
            data = list(data.values())
        if isinstance(data, tuple | list):
            for entry in data:
                yield from found(entry)
        elif not (data is None or isinstance(data, type | str)):
            yield f"{data!r} in {type(tree).__name__}"

    level = None if tree is None else default_registry.flatten_one_level(tree)
    if level is not None:
        children, data = level
        if not isinstance(tree, tuple | list | dict):
            yield from found(data)
        for child in children:
            yield from static(child)


def equations(jaxpr: Any) -> int:
    """How many equations a program has, with the programs in it."""
    count = len(jaxpr.eqns)
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            count += equations(inner) if hasattr(inner, "eqns") else 0
    return count
