"""The gated recurrence: a mix of x_t and h_{t-1}, and then a pointwise part.

One step is, with z_t the pre-activations of the gates,

    z_t = mix(x_t, h_{t-1})                      such as x_t w_x + h_{t-1} w_h + b
    carry_t = pointwise(z_t, carry_{t-1})        and h_t is part of carry_t

Differentiating a plain `lax.scan` of that adds up the gradient of w_h inside the
backward loop, a product `[H, G]` at every step. Here the backward loop only collects
the gradients of the z_t, and each weight gradient is one product after it. The tangent
of z_t is

    dz_t = (dx_t w_x + x_t dw_x + h_{t-1} dw_h + db) + dh_{t-1} w_h

and the bracket needs no loop once h is known. So the derivative of the recurrence is
the bracket, in plain `jnp`, and a linear recurrence driven by it, which is a
`linear_map` with its transpose written out.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.core import select, zero_where_not
from jaxrnn.loops.dense import DENSE
from jaxrnn.loops.mix import Mix, instantiated
from jaxrnn.loops.pointwise import Pointwise, complete, derived, inexact
from jaxrnn.loops.primitives import linear_map, varying_alike
from jaxrnn.loops.substitute import SHARED, substituted
from jaxrnn.precision import narrowed, widened


class Loop(NamedTuple):
    """What is fixed in a gated recurrence before it reads any array."""

    part: Pointwise
    mix: Mix = DENSE
    reverse: bool = False  # from the last step to the first
    unroll: int = 1  # how many steps `lax.scan` puts into one turn
    compute_dtype: Any = None  # of the operands of products; None for x's
    keep: bool = False  # whether the forward loop keeps what the backward loop reads

    def scan(self, body, carry, xs, *, back: bool = False):
        """`lax.scan` in the order of the loop, or back."""
        reverse = self.reverse != back
        return lax.scan(body, carry, xs, reverse=reverse, unroll=self.unroll)


class Inputs(NamedTuple):
    """What the forward loop reads."""

    weights: Any  # of the mix
    theta: Any  # of the pointwise part
    carry: Any  # before the first step
    initial: Any  # with which a step begins where `starts`; None without starts
    xs: Any  # [T, ...], finite where the mask is False
    mask: Any  # [T] bool, or None
    starts: Any  # [T] bool, or None


class Kept(NamedTuple):
    """What the forward loop keeps of each step for the derivative.

    Residuals of a step that the mask leaves out are finite, but else without meaning:
    a kernel may give zeros.
    """

    rows: jax.Array  # [T, ...], of `Mix.row`
    residuals: Any  # [T, ...], of `Pointwise.forward`


class Coefficients(NamedTuple):
    """What the derivative of the recurrence reads besides tangents or cotangents."""

    weights: Any
    theta: Any
    kept: Any  # `Kept`
    mask: Any
    starts: Any


def plain_step(loop: Loop, weights: Any, theta: Any, carry: Any, x: jax.Array) -> Any:
    """The carry after one step of the recurrence.

    The pointwise part may close over what is under differentiation, unlike that of a
    loop, so there this runs and not `one_step`.
    """
    z = loop.mix.z(loop.mix.ready(weights, loop.compute_dtype), x, carry.h)
    return loop.part.apply(_theta(loop, weights, theta), z, carry)


@substituted(SHARED, SHARED, 0, 0, out=0)
def one_step(loop: Loop, weights: Any, theta: Any, carry: Any, x: jax.Array) -> Any:
    """`plain_step`, which a kernel may replace."""
    return plain_step(loop, weights, theta, carry, x)


@substituted(Inputs(SHARED, SHARED, 0, 0, 1, 1, 1), out=(0, 1, 1))
def forward_loop(loop: Loop, inputs: Inputs) -> tuple[Any, jax.Array, Any]:
    """Runs the recurrence over one sequence.

    Returns:
      The final carry, `hs` `[T, ...]` after each step, and, if `loop.keep`, `Kept`.
    """
    weights, theta, carry, initial, xs, mask, starts = inputs
    mix, part = loop.mix, loop.part
    ready = mix.ready(weights, loop.compute_dtype)
    theta = _theta(loop, weights, theta)

    def body(carry, inputs):
        x, valid, start = inputs
        if start is not None:
            carry = select(start, initial, carry)
        z = mix.z(ready, x, carry.h)
        kept = None
        if loop.keep:
            row = mix.row(weights, x, carry.h)
            new, residuals = part.forward(theta, z, carry)
            kept = Kept(row, residuals)
        else:
            new = part.apply(theta, z, carry)
        new = select(valid, new, carry)
        if start is not None:
            return new, (new.h, kept)
        return new, (None if loop.keep else carry.h, kept)

    carry, (hs, kept) = loop.scan(body, carry, (xs, mask, starts))
    if starts is None:
        before = hs if kept is None else mix.hs(weights, kept.rows)
        hs = _after(loop, carry.h, before)
    return carry, hs, kept


def tangent_loop(loop: Loop, coefficients: Coefficients, tangents: Any):
    """From the tangents of z, theta and carries to those of the carry and of the h.

    `tangents` are those of the pieces of z, of theta, of the carry before the first
    step and of the carry with which a start begins.
    """
    weights, theta, (rows, residuals), mask, starts = coefficients
    d_zs, d_theta, d_carry, d_initial = tangents
    ready = loop.mix.ready(weights, loop.compute_dtype)
    theta = _theta(loop, weights, theta)
    hs = loop.mix.hs(weights, rows)

    def body(d_carry, inputs):
        pieces, h, residuals, valid, start = inputs
        if start is not None:
            d_carry = select(start, d_initial, d_carry)
        d_z = loop.mix.push(ready, pieces, d_carry.h)
        backward = partial(loop.part.backward, theta, residuals, h)
        (new,) = jax.linear_transpose(backward, d_carry)((d_theta, d_z, d_carry))
        new = select(valid, new, d_carry)
        return new, d_carry.h if start is None else new.h

    d_carry, d_hs = loop.scan(body, d_carry, (d_zs, hs, residuals, mask, starts))
    if starts is None:
        d_hs = _after(loop, d_carry.h, d_hs)
    return d_carry, d_hs


@substituted(Coefficients(SHARED, SHARED, 1, 1, 1), (0, 1), out=(1, 0, 0, 0))
def backward_loop(loop: Loop, coefficients: Coefficients, ct: Any):
    """The transpose of `tangent_loop`.

    From the cotangents of the carry and of the h after each step to those of z, theta,
    the carry before the first step and the carry with which a start begins.
    """
    weights, theta, (rows, residuals), mask, starts = coefficients
    ct_carry, ct_hs = ct
    hs = loop.mix.hs(weights, rows)
    turned = loop.mix.turned(weights, loop.compute_dtype)
    read = _theta(loop, weights, theta)
    if starts is None:
        ct_h, ct_hs = _before(loop, ct_hs)
        ct_carry = _add_h(ct_carry, ct_h)

    def body(sums, inputs):
        ct_carry, ct_theta, ct_initial = sums
        ct_h, h, residuals, valid, start = inputs
        if start is not None:
            ct_carry = _add_h(ct_carry, ct_h)
        more, ct_z, ct_old = loop.part.backward(
            read, residuals, h, zero_where_not(valid, ct_carry)
        )
        ct_theta = jax.tree.map(jnp.add, ct_theta, widened(more))
        pieces, by_z = loop.mix.pull(weights, turned, h, ct_z)
        ct_carry = select(valid, _add_h(ct_old, by_z), ct_carry)
        if start is None:
            ct_carry = _add_h(ct_carry, ct_h)
        else:
            of_start = widened(zero_where_not(start, ct_carry))
            ct_initial = jax.tree.map(jnp.add, ct_initial, of_start)
            ct_carry = zero_where_not(~start, ct_carry)
        return (ct_carry, ct_theta, ct_initial), pieces

    zeros = jax.tree.map(jnp.zeros_like, (inexact(theta), ct_carry))
    if starts is None:
        zeros = zeros[0], None
    (ct_carry, *sums), ct_zs = loop.scan(
        body,
        (ct_carry, *widened(zeros)),
        (ct_hs, hs, residuals, mask, starts),
        back=True,
    )
    ct_theta, ct_initial = narrowed(tuple(sums), zeros)
    return ct_zs, ct_theta, ct_carry, ct_initial


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _run(loop: Loop, inputs: Inputs):
    carry, hs, _ = forward_loop(loop, inputs)
    return carry, hs


def _run_jvp(loop: Loop, primals, tangents):
    (inputs,), (d_inputs,) = primals, tangents
    weights, theta, _, _, xs, mask, starts = inputs
    carry, hs, kept = forward_loop(loop._replace(keep=True), inputs)
    d_zs = loop.mix.tangents(
        weights, d_inputs.weights, kept, xs, d_inputs.xs, loop.compute_dtype
    )
    d_others = instantiated(inexact((d_inputs.theta, d_inputs.carry, d_inputs.initial)))

    # All three are shared by a batch, over which their gradient is added up.
    def along(coefficients, tangents):
        d_zs, *wide = tangents
        return tangent_loop(
            loop, coefficients, (d_zs, *narrowed(tuple(wide), d_others))
        )

    def back(coefficients, ct):
        ct_zs, *others = backward_loop(loop, coefficients, ct)
        return ct_zs, *widened(others)

    d_carry, d_hs = linear_map(
        along,
        back,
        Coefficients(weights, theta, kept, mask, starts),
        (d_zs, *widened(d_others)),
        axes=((1, 0, 0, 0), (0, 1)),
    )
    return (carry, hs), (complete(carry, d_carry), d_hs)


_run.defjvp(_run_jvp, symbolic_zeros=True)


def recurrence(loop: Loop, inputs: Inputs) -> tuple[Any, jax.Array]:
    """The final carry of a sequence, and `hs` `[T, ...]`: h after each step."""
    if loop.compute_dtype is None:
        loop = loop._replace(compute_dtype=inputs.xs.dtype)
    if loop.part.backward is None:
        # `apply` is to be traced as it will be called.
        like = varying_alike(inputs._replace(mask=None, starts=None))
        z = jax.eval_shape(partial(_first_z, loop), like)
        part, theta = derived(loop.part, like.theta, z, like.carry)
        loop, inputs = loop._replace(part=part), inputs._replace(theta=theta)
    return _run(loop, inputs)


def _theta(loop: Loop, weights: Any, theta: Any) -> Any:
    """What the pointwise part reads: its own params, or a part of the weights."""
    inner = loop.mix.inner
    return theta if inner is None else inner(weights, loop.compute_dtype)


def _first_z(loop: Loop, inputs: Inputs) -> jax.Array:
    ready = loop.mix.ready(inputs.weights, loop.compute_dtype)
    return loop.mix.z(ready, inputs.xs[0], inputs.carry.h)


def _after(loop: Loop, h: jax.Array, before: jax.Array) -> jax.Array:
    """The h after each step from those before, and the last h."""
    # before[1:] would be a gather where T is a symbol, in `jax.export`.
    rest = lax.slice_in_dim(before, *((0, -1) if loop.reverse else (1, None)))
    return jnp.concatenate([h[None], rest] if loop.reverse else [rest, h[None]])


def _before(loop: Loop, ct_after: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The transpose of `_after`: the cotangents of the last h and of those before."""
    ct_h = lax.index_in_dim(ct_after, 0 if loop.reverse else -1, keepdims=False)
    rest = lax.slice_in_dim(ct_after, *((1, None) if loop.reverse else (0, -1)))
    edges = [(0, 1, 0) if loop.reverse else (1, 0, 0), *[(0, 0, 0)] * (rest.ndim - 1)]
    return ct_h, lax.pad(rest, jnp.zeros((), rest.dtype), edges)


def _add_h(carry: Any, h: jax.Array) -> Any:
    return carry._replace(h=carry.h + h)
