"""The builder of cells that are linear in their carry, and parallel over time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.build import leaf
from jaxrnn.checks import check_function
from jaxrnn.core import Cell, Init, InitialCarry, blank, recorded, restarted
from jaxrnn.loops.forms import METHODS
from jaxrnn.loops.linear import Linear, factors_and_terms, linear_scan


@recorded
def linear_recurrence(
    name: str,
    reads: Any,
    init: Init,
    initial_carry: InitialCarry,
    terms: Callable[[Any, Any], tuple[Any, Any]],
    output: Callable[[Any, Any, Any], Any],
    *,
    prepare: Callable[[Any], Any] | None = None,
    method: str = "best",
) -> Cell:
    """A cell of your own whose carry is multiplied and added to, element by element.

        a_t, b_t = terms(params, x_t)
        h_t = a_t h_{t-1} + b_t,    y_t = output(params, h_t, x_t)

    All a_t and b_t are computed at once, and the recurrence runs in the fastest way
    that is known for the platform and the size.

    Args:
      name: as the factory was called, for messages.
      reads: what one step reads, such as `Input((input_size,))`; see `leaf`.
      init: `(key) -> params`.
      initial_carry: `(params, key=None) -> h`, a pytree of real or complex arrays of
        any shape.
      terms: `(params, x) -> (a, b)`, each a pytree like h. A leaf of a may have any
        shape that broadcasts to that of h. An a that does not depend on x is computed
        once.
      output: `(params, h, x) -> y`, a pytree.
      prepare: `(params) -> prepared`, what depends on the params and on no step.
        `terms` and `output` are then given `prepared` in the place of the params.
      method: "in turn", which is `lax.scan`; "associative", which is
        `lax.associative_scan`; "chunks", side by side; or "best": a kernel where there
        is one, else what was the fastest where it was measured.

    Returns:
      The cell.

    Raises:
      ValueError: if there is no such method; later, if an argument does not fit, or
        what `terms` returns is not like the carry.

    References:
      Martin and Cundy, "Parallelizing linear recurrent neural nets over sequence
      length", ICLR 2018.

    Example:
      A running mean whose rate is learned, as every one of its units has its own:

      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> def init(key):
      ...     return jax.random.normal(key, (3,))
      >>> def initial_carry(params, key=None):
      ...     return jnp.zeros(3, params.dtype)
      >>> def terms(rate, x):
      ...     keep = jax.nn.sigmoid(rate)
      ...     return keep, (1 - keep) * x
      >>> def output(rate, h, x):
      ...     return h
      >>> reads = rnn.Input((3,))
      >>> parts = init, initial_carry, terms, output
      >>> mean = rnn.linear_recurrence("mean", reads, *parts)
      >>> params = jnp.zeros(3)
      >>> carry = mean.initial_carry(params)
      >>> mean.unroll(params, carry, jnp.ones((4, 3)))[1][:, 0]
      Array([0.5   , 0.75  , 0.875 , 0.9375], dtype=float32)
    """
    for what, function in (("terms", terms), ("output", output)):
        check_function(f"linear_recurrence: {what}", function)
    if method not in METHODS:
        raise ValueError(
            f"linear_recurrence: method: expected one of {', '.join(METHODS)}, got "
            f"{method!r}"
        )

    def ready(params):
        return params, params if prepare is None else prepare(params)

    def step(prepared, carry, x):
        _, made = prepared
        a, b = terms(made, x)
        _check_terms(name, a, b, carry)
        carry = jax.tree.map(lambda a, h, b: a * h + b, a, carry, b)
        return carry, output(made, carry, x)

    def unroll(
        prepared, carry, xs, *, mask=None, reverse=False, starts=None
    ) -> tuple[Any, Any]:
        params, made = prepared
        xs = blank(mask, xs)
        a, b = factors_and_terms(lambda x: terms(made, x), xs)
        _check_terms(name, _first(a), _first(b), carry)
        initial = jax.tree.map(lambda h: None, carry)
        if starts is not None:
            initial = restarted(initial_carry, params, carry)
        tree = jax.tree.structure(carry)
        loop = Linear(reverse, method=method)
        leaves = map(tree.flatten_up_to, (a, b, carry, initial))
        runs = [
            linear_scan(loop, _broad(a, h), b, h, first, mask, starts)
            for a, b, h, first in zip(*leaves, strict=True)
        ]
        carry, hs = (tree.unflatten(part) for part in zip(*runs, strict=True))
        ys = jax.vmap(lambda h, x: output(made, h, x))(hs, xs)
        return carry, blank(mask, ys)

    return leaf(name, reads, init, initial_carry, step, unroll, prepare=ready)


def _first(tree: Any) -> Any:
    return jax.tree.map(
        lambda rows: jax.ShapeDtypeStruct(rows.shape[1:], rows.dtype), tree
    )


def _broad(a: jax.Array, h: jax.Array) -> jax.Array:
    """The factors `[T, ...]` with the axes of the carry that they have not."""
    return jnp.broadcast_to(
        a.reshape(a.shape[0], *[1] * (h.ndim - a.ndim + 1), *a.shape[1:]),
        (a.shape[0], *h.shape),
    )


def _check_terms(name: str, a: Any, b: Any, carry: Any) -> None:
    """Raises a ValueError unless a carry of the same kind comes of it."""
    expected = jax.tree.structure(carry)
    for what, tree in (("a", a), ("b", b)):
        if jax.tree.structure(tree) != expected:
            raise ValueError(
                f"{name}: terms: expected {what} of the structure of the carry, "
                f"{expected}, got {jax.tree.structure(tree)}"
            )
    leaves = map(jax.tree.leaves, (a, b, carry))
    for of_a, of_b, h in zip(*leaves, strict=True):
        try:
            fits = jnp.broadcast_shapes(of_a.shape, h.shape) == h.shape == of_b.shape
        except ValueError:
            fits = False
        if not fits or {of_a.dtype, of_b.dtype} != {h.dtype}:
            raise ValueError(
                f"{name}: terms: expected an a that broadcasts to the carry, and a b "
                f"like it, {h.dtype} {h.shape}, got a {of_a.dtype} {of_a.shape} and b "
                f"{of_b.dtype} {of_b.shape}"
            )
