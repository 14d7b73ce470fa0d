"""The ways to run a linear recurrence: in turn, associatively, in chunks.

`in_turn` is the definition; the others cut the sequence into parts that are run side by
side, and join them: a part takes h to A h + B, with A the product of its a. All read
what `jaxrnn.loops.linear.linear_loop` reads, and `loop` is its first argument.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.core import select, zero_where_not


def in_turn(loop: Any, a, b, h, mask, starts) -> tuple[jax.Array, jax.Array]:
    """One step after the other, by `lax.scan`."""
    constant = _is_constant(a, b)

    def body(s, inputs):
        decay, b, valid, start = inputs
        decay = a[0] if constant else decay
        if loop.after:
            out = s + b
            new = select(valid, decay * out, out)
            return new if start is None else zero_where_not(~start, new), out
        new = select(valid, decay * s + b, s)
        new = new if start is None else select(start, b, new)
        return new, new

    inputs = None if constant else a, b, mask, starts
    return lax.scan(body, h, inputs, reverse=loop.reverse)


class _Parts(NamedTuple):
    """Parts of a sequence: h -> decay h + total, or total where `cut`."""

    decay: jax.Array
    total: jax.Array
    cut: jax.Array | None  # whether a sequence starts in it

    def of(self, h: jax.Array) -> jax.Array:
        """What the parts make of an h before all of them."""
        whole = self.decay * h + self.total
        if self.cut is None:
            return whole
        return jnp.where(_fit(self.cut, whole), self.total, whole)


def _then(first: _Parts, second: _Parts) -> _Parts:
    total = second.of(first.total)
    if first.cut is None or second.cut is None:
        return _Parts(first.decay * second.decay, total, None)
    return _Parts(first.decay * second.decay, total, first.cut | second.cut)


def associative(loop: Any, a, b, h, mask, starts) -> tuple[jax.Array, jax.Array]:
    """All steps at once, by `lax.associative_scan`: log2 T rounds."""
    h, parts, finish = _in_order(loop, a, b, h, mask, starts)
    joined = lax.associative_scan(_then, parts)
    return finish(joined.of(jnp.broadcast_to(h, b.shape)))


def in_chunks(loop: Any, a, b, h, mask, starts) -> tuple[jax.Array, jax.Array]:
    """Chunks side by side, each in turn; then what comes in from the chunks before."""
    h, parts, finish = _in_order(loop, a, b, h, mask, starts)
    length = b.shape[0]
    size = max(1, round(length**0.5))
    chunks = -(-length // size)

    def cut(leaf, fill):
        rest = jnp.full((chunks * size - length, *leaf.shape[1:]), fill, leaf.dtype)
        leaf = jnp.concatenate([leaf, rest])
        return leaf.reshape(chunks, size, *leaf.shape[1:]).swapaxes(0, 1)

    by_step = _Parts(
        cut(parts.decay, 1),
        cut(parts.total, 0),
        None if parts.cut is None else cut(parts.cut, False),
    )

    def join(before, step):
        after = _then(before, step)
        return after, after

    first = jax.tree.map(lambda leaf: leaf[0], by_step)
    rest = jax.tree.map(lambda leaf: leaf[1:], by_step)
    whole, inner = lax.scan(join, first, rest)
    inner = jax.tree.map(lambda f, i: jnp.concatenate([f[None], i]), first, inner)

    def carry_on(h, chunk):
        return chunk.of(h), h

    _, into = lax.scan(carry_on, h, whole)
    outs = jax.vmap(lambda step: step.of(into))(inner)
    outs = outs.swapaxes(0, 1).reshape(chunks * size, *b.shape[1:])[:length]
    return finish(outs)


def _in_order(loop: Any, a, b, h, mask, starts):
    """The steps as parts in the order in which they run, h, and what ends the form."""

    def turned(leaf: Any) -> Any:
        return jnp.flip(leaf, 0) if loop.reverse and leaf is not None else leaf

    decay = jnp.broadcast_to(turned(a), b.shape)
    b, mask, starts = turned(b), turned(mask), turned(starts)
    if mask is not None:
        one = jnp.ones((), decay.dtype)
        decay = jnp.where(_fit(mask, decay), decay, one)
        if not loop.after:
            read = mask if starts is None else mask | starts
            b = jnp.where(_fit(read, b), b, jnp.zeros((), b.dtype))
    if starts is not None:
        decay = jnp.where(_fit(starts, decay), jnp.zeros((), decay.dtype), decay)
    if not loop.after:
        return h, _Parts(decay, b, starts), lambda outs: (outs[-1], turned(outs))
    # Each step multiplies by what the step before it would have, the first by one.
    before = jnp.concatenate([jnp.ones_like(decay[:1]), decay[:-1]])
    cut = starts
    if starts is not None:
        cut = jnp.concatenate([jnp.zeros_like(starts[:1]), starts[:-1]])

    def finish(outs):
        s = decay[-1] * outs[-1]
        return s if starts is None else zero_where_not(~starts[-1], s), turned(outs)

    return h, _Parts(before, b, cut), finish


def _is_constant(a: jax.Array, b: jax.Array) -> bool:
    return isinstance(a.shape[0], int) and a.shape[0] == 1 != b.shape[0]


def _fit(flags: jax.Array, like: jax.Array) -> jax.Array:
    """Flags `[T]` with axes of size one, as many as the array has."""
    return flags.reshape(*flags.shape, *[1] * (like.ndim - flags.ndim))


FORMS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
    "in turn": in_turn,
    "associative": associative,
    "chunks": in_chunks,
}
METHODS = ("best", *FORMS)


def best_form(a: jax.Array, b: jax.Array) -> Callable[..., Any]:
    """The form that was the fastest where it was measured, on the platform at hand.

    See `benchmarks.linear`, which measures all of them. On CPUs without a native loop
    the loop in turn was the fastest at every size. Accelerators were not measured; they
    run a step of `in_turn` as a launch, so there the parts are joined in log2 T rounds.
    """
    if not isinstance(b.shape[0], int):  # a symbol in an exported program
        return in_turn

    def choose(*operands):
        loop, *arrays = operands
        return lax.platform_dependent(
            *arrays, cpu=partial(in_turn, loop), default=partial(associative, loop)
        )

    return choose
