"""The linear recurrence: h_t = a_t h_{t-1} + b_t, element by element.

It is linear in h and in b, so its derivative is the same recurrence again:

    dh_t = a_t dh_{t-1} + (db_t + da_t h_{t-1})

and the transpose of that runs the other way and multiplies after it has added,

    s = ct_t + s,    ct_b_t = s,    s = a_t s

so one loop, `linear_loop`, with a switch for the order of the two, does all of it, and
one kernel replaces it. Where a step is masked s stays; where a step starts a sequence
h_t = b_t, by selection, so that nothing before it, NaN included, reaches it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.core import blank, select, zero_where_not
from jaxrnn.loops.forms import FORMS, best_form
from jaxrnn.loops.mix import instantiated, is_zero
from jaxrnn.loops.primitives import linear_map, varying_alike
from jaxrnn.loops.substitute import substituted


class Linear(NamedTuple):
    """What is fixed in a linear recurrence before it reads any array."""

    reverse: bool = False  # from the last step to the first
    after: bool = False  # multiply after the sum, as the transpose does
    keep: bool = False  # whether somebody reads a afterwards
    method: str = "best"  # "best", or one of `FORMS`


@substituted(0, 0, 0, 0, 0, out=0)
def linear_loop(
    loop: Linear,
    a: jax.Array,
    b: jax.Array,
    h: jax.Array,
    mask: jax.Array | None,
    starts: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Runs the recurrence over one sequence.

    Args:
      loop: what is fixed.
      a: `[T, ...]`, or `[1, ...]` if it is the same at all steps.
      b: `[T, ...]`.
      h: `[...]`, before the first step.
      mask: `[T]` bool, or None.
      starts: `[T]` bool, or None.

    Returns:
      s after the last step `[...]`, and what each step gives `[T, ...]`.
    """
    form = best_form(a, b) if loop.method == "best" else FORMS[loop.method]
    return form(loop, a, b, h, mask, starts)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _run(loop: Linear, a, b, h, mask, starts):
    return linear_loop(loop, a, b, h, mask, starts)


def _run_jvp(loop: Linear, primals, tangents):
    a, b, h, mask, starts = primals
    d_a, d_b, d_h, *_ = tangents
    loop = loop._replace(keep=True)
    last, hs = linear_loop(loop, a, b, h, mask, starts)
    d_b, d_h = instantiated((d_b, d_h))
    if not is_zero(d_a):
        before = _before(loop, h, hs)
        if starts is not None:
            before = jax.vmap(zero_where_not)(~starts, before)
        d_b = d_b + d_a * before

    def along(coefficients, tangents):
        (a, mask, starts), (d_b, d_h) = coefficients, tangents
        return linear_loop(loop, a, d_b, d_h, mask, starts)

    def back(coefficients, cts):
        (a, mask, starts), (ct_last, ct_hs) = coefficients, cts
        turned = loop._replace(reverse=not loop.reverse, after=not loop.after)
        ct_h, ct_b = linear_loop(turned, a, ct_hs, ct_last, mask, starts)
        read = mask if mask is None or starts is None else mask | starts
        return blank(read, ct_b), ct_h

    d_last, d_hs = linear_map(along, back, (a, mask, starts), (d_b, d_h), axes=(0, 0))
    return (last, hs), (d_last, d_hs)


_run.defjvp(_run_jvp, symbolic_zeros=True)


def linear_scan(
    loop: Linear,
    a: jax.Array,
    b: jax.Array,
    h: jax.Array,
    initial: jax.Array | None = None,
    mask: jax.Array | None = None,
    starts: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The last h, and `hs` `[T, ...]`, of h_t = a_t h_{t-1} + b_t.

    `initial` is the h with which a step begins where `starts`. What a and b are where
    the mask is False is not read, but must be finite.
    """
    a, b, h, initial, mask, starts = varying_alike((a, b, h, initial, mask, starts))
    if starts is not None and initial is not None:
        # Chosen before the product, so that its derivative is zero at other steps.
        decay = jax.vmap(zero_where_not)(starts, jnp.broadcast_to(a, b.shape))
        begin = jnp.broadcast_to(initial, b.shape)
        first = decay * begin + b
        if mask is not None:
            first = jax.vmap(select)(mask, first, begin)
        b = jax.vmap(select)(starts, first, b)
    return _run(loop, a, b, h, mask, starts)


def _before(loop: Linear, h: jax.Array, hs: jax.Array) -> jax.Array:
    """The h before each step."""
    inner = (1, None) if loop.reverse else (0, -1)
    rest = lax.slice_in_dim(hs, *inner)
    return jnp.concatenate([rest, h[None]] if loop.reverse else [h[None], rest])


def factors_and_terms(
    fun: Callable[[Any], tuple[Any, Any]], xs: Any
) -> tuple[Any, Any]:
    """a and b of each row of xs, `[T, ...]`; an a that reads no row is `[1, ...]`."""
    try:
        a, b = jax.vmap(fun, out_axes=(None, 0))(xs)
    except ValueError:  # what JAX raises where an output depends on the row
        return jax.vmap(fun)(xs)
    return jax.tree.map(lambda leaf: leaf[None], a), b
