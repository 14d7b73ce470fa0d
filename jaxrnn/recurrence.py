"""The fast recurrence: h_t from an affine map of h_{t-1} and a pointwise part.

One step is, with z_t [G] the pre-activations of the gates,

    z_t = x_t w_x + h_{t-1} w_h + b
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

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from jaxrnn.core import select, zero_where_not
from jaxrnn.transposable import linear_map, rows_product, varying_alike


class Affine(NamedTuple):
    """The map from x and h to the pre-activations z of the gates, [G].

    The first columns of both shares add up. The rest stay apart, as in the candidate of
    a GRU:

        z = [x w_x + h w_h where both are, more of x w_x, more of h w_h] + b
    """

    w_x: jax.Array  # [D, at most G]
    w_h: jax.Array  # [H, at most G]
    b: jax.Array  # [G]

    def __call__(self, x: jax.Array, h: jax.Array) -> jax.Array:
        u, v, both = dot(x, self.w_x), dot(h, self.w_h), self.both
        if both == len(self.b):
            return u + v + self.b
        return jnp.concatenate([u[:both] + v[:both], u[both:], v[both:]]) + self.b

    @property
    def both(self) -> int:
        """How many columns of z have a share of both."""
        return self.w_x.shape[1] + self.w_h.shape[1] - len(self.b)

    def parts(self, z: jax.Array) -> list[jax.Array]:
        """The columns of z [G] that only x reaches, if any, and those h reaches."""
        start, stop = self.both, self.w_x.shape[1]
        if start == stop:
            return [z]
        return [z[start:stop], jnp.concatenate([z[:start], z[stop:]])]

    def join(self, parts: list[jax.Array]) -> jax.Array:
        """The inverse of `parts`."""
        *of_x, of_h = parts
        if not of_x:
            return of_h
        return jnp.concatenate([of_h[: self.both], *of_x, of_h[self.both :]])

    def astype(self, dtype: Any) -> "Affine":
        """With the weights of its products in the dtype; None for as they are."""
        if dtype is None:
            return self
        return self._replace(w_x=self.w_x.astype(dtype), w_h=self.w_h.astype(dtype))


def dot(a: jax.Array, w: jax.Array) -> jax.Array:
    """`a @ w` with operands in the dtype of w, added up in that of a."""
    return jnp.matmul(a.astype(w.dtype), w, preferred_element_type=a.dtype)


class Pointwise(NamedTuple):
    """What a cell does with z and its carry, and, if it is known, the derivative.

    `theta` is a pytree of the pointwise part's own params; the carry is a NamedTuple
    with a field `h`, which is also the output.
    """

    apply: Callable  # (theta, z, carry) -> carry
    # Both None: JAX is to find the derivative.
    forward: Any = None  # (theta, z, carry) -> (carry, residuals)
    # With the h of the carry before the step, which the residuals need not hold:
    backward: Any = None  # (theta, residuals, h, ct_carry) -> ct of (theta, z, carry)


def _derived(apply: Callable, theta: Any, z: jax.Array, carry: Any):
    """A pointwise part with a derivative found by JAX, and its theta.

    What `apply` closes over may be under differentiation too, so it joins theta.
    """
    closed, closed_over = jax.closure_convert(apply, theta, z, carry)

    def apply_to(theta, z, carry):
        theta, closed_over = theta
        return closed(theta, z, carry, *closed_over)

    def forward(theta, z, carry):
        return apply_to(theta, z, carry), (z, carry._replace(h=None))

    def backward(theta, residuals, h, ct_carry):
        z, carry = residuals
        _, transpose = jax.vjp(apply_to, theta, z, carry._replace(h=h))
        return transpose(ct_carry)

    return Pointwise(apply_to, forward, backward), (theta, closed_over)


def recurrence(
    part: Pointwise,
    affine: Affine,
    theta: Any,
    carry: Any,
    xs: jax.Array,
    *,
    mask: jax.Array | None = None,
    reverse: bool = False,
    unroll: int = 1,
    compute_dtype: Any = None,
) -> tuple[Any, jax.Array]:
    """Runs the recurrence over one sequence.

    Args:
      part: the pointwise part.
      affine: the weights.
      theta: the pointwise part's own params.
      carry: the carry before the first step.
      xs: `[T, D]`, with nothing but finite numbers where the mask is False.
      mask: `[T]` bool; the carry is frozen where it is False.
      reverse: from the last step to the first.
      unroll: how many steps `lax.scan` puts into one turn of its loop.
      compute_dtype: of the operands of matrix products; None for that of the weights.

    Returns:
      The final carry, and `hs` `[T, H]`: the hidden state after each step.
    """

    if part.backward is None:
        # `apply` is to be traced as it will be called.
        theta, carry, z, _, _ = varying_alike((theta, carry, affine.b, affine, xs))
        part, theta = _derived(part.apply, theta, z, carry)
    floats, fixed, merge, floats_of = _partition(theta)
    if compute_dtype is None:
        compute_dtype = affine.w_h.dtype

    def scan(body, carry, xs, reverse=reverse):
        return lax.scan(body, carry, xs, reverse=reverse, unroll=unroll)

    @jax.custom_jvp
    def run(affine, floats, carry, xs, fixed, mask):
        theta, affine = merge(floats, fixed), affine.astype(compute_dtype)

        def body(carry, inputs):
            x, keep = inputs
            new = part.apply(theta, affine(x, carry.h), carry)
            return select(keep, new, carry), carry.h

        return scan(body, carry, (xs, mask))

    def run_jvp(primals, tangents):
        affine, floats, carry, xs, fixed, mask = primals
        d_affine, d_floats, d_carry, d_xs, _, _ = tangents
        theta, one = merge(floats, fixed), jnp.ones_like(affine.b, shape=1)
        rounded = affine.astype(compute_dtype)

        def body(carry, inputs):
            x, keep = inputs
            # Stacked by the loop, since outside it under vmap it would be a copy.
            row = jnp.concatenate([carry.h, one, x])
            new, residuals = part.forward(theta, rounded(x, carry.h), carry)
            return select(keep, new, carry), (row, residuals)

        carry, (rows, residuals) = scan(body, carry, (xs, mask))
        hs = lax.slice_in_dim(rows, 0, len(carry.h), axis=1)
        d_zs = _d_affine(affine, d_affine, rows, d_xs, compute_dtype)
        d_out = linear_map(
            sweep,
            transposed_sweep,
            (affine.w_h, floats, fixed, hs, residuals, mask),
            (d_zs, _instantiate(d_floats), _instantiate(d_carry)),
            axes=((1, 0, 0), (0, 1)),
        )
        return (carry, hs), d_out

    def sweep(coefficients, linear):
        """From the tangents of the z to those of the carry and of the h."""
        w_h, floats, fixed, hs, residuals, mask = coefficients
        d_zs, d_floats, d_carry = linear
        theta, w_h = merge(floats, fixed), w_h.astype(compute_dtype)

        def body(d_carry, inputs):
            (*of_x, of_h), h, residuals, keep = inputs
            d_z = affine.join([*of_x, of_h + dot(d_carry.h, w_h)])

            def backward(ct):
                ct_theta, *rest = part.backward(theta, residuals, h, ct)
                return floats_of(ct_theta), *rest

            transpose = jax.linear_transpose(backward, d_carry)
            (new,) = transpose((d_floats, d_z, d_carry))
            return select(keep, new, d_carry), d_carry.h

        return scan(body, d_carry, (d_zs, hs, residuals, mask))

    def transposed_sweep(coefficients, ct):
        """From the cotangents of the carry and of the h to those of the z."""
        w_h, floats, fixed, hs, residuals, mask = coefficients
        ct_carry, ct_hs = ct
        theta = merge(floats, fixed)
        # Rearranged once: as part of each step's product it would cost a third of it.
        w_h_t = lax.optimization_barrier(w_h.T.astype(compute_dtype))

        def body(sums, inputs):
            ct_carry, ct_floats = sums
            ct_h, h, residuals, keep = inputs
            ct_theta, ct_z, ct_old = part.backward(
                theta, residuals, h, zero_where_not(keep, ct_carry)
            )
            ct_floats = jax.tree.map(jnp.add, ct_floats, floats_of(ct_theta))
            parts = affine.parts(ct_z)
            ct_old = _add_h(ct_old, dot(parts[-1], w_h_t))
            ct_carry = _add_h(select(keep, ct_old, ct_carry), ct_h)
            return (ct_carry, ct_floats), parts

        zeros = jax.tree.map(jnp.zeros_like, floats)
        (ct_carry, ct_floats), ct_zs = scan(
            body, (ct_carry, zeros), (ct_hs, hs, residuals, mask), not reverse
        )
        return ct_zs, ct_floats, ct_carry

    run.defjvp(run_jvp, symbolic_zeros=True)
    carry, hs = run(affine, floats, carry, xs, fixed, mask)
    # hs[1:] would be a gather where T is a symbol, in `jax.export`.
    rest = lax.slice_in_dim(hs, *((0, -1) if reverse else (1, None)))
    after = [carry.h[None], rest] if reverse else [rest, carry.h[None]]
    return carry, jnp.concatenate(after)


def _partition(theta: Any):
    """The leaves of theta that have a derivative, the others, and the way back."""
    leaves, tree = jax.tree.flatten(theta)
    is_float = [jnp.issubdtype(jnp.result_type(a), jnp.inexact) for a in leaves]

    def floats_of(theta):
        leaves = zip(jax.tree.leaves(theta), is_float, strict=True)
        return [a for a, floating in leaves if floating]

    def merge(floats, fixed):
        sources = iter(floats), iter(fixed)
        return tree.unflatten(next(sources[0 if f else 1]) for f in is_float)

    fixed = [a for a, floating in zip(leaves, is_float, strict=True) if not floating]
    return floats_of(theta), fixed, merge, floats_of


def _d_affine(affine: Affine, d_affine: Affine, rows, d_xs, dtype) -> list[jax.Array]:
    """The part of the tangents of the z [T, G] that needs no loop.

    In the parts of `Affine.parts`. `rows` [T, H + 1 + D] are the states before each
    step, ones and the inputs, since one product of them all is faster than one of each.
    """
    (size, reached), both = affine.w_h.shape, affine.both
    d_w_x, d_w_h, d_b = _instantiate(d_affine)
    *d_b_x, d_b_h = affine.parts(d_b)
    d_w = [d_w_h, d_b_h[None], _widen(d_w_x[:, :both], reached)]
    of_h = rows_product(rows, jnp.concatenate(d_w), dtype)
    of_x = [
        rows_product(rows[:, size:], jnp.concatenate([b[None], d_w_x[:, both:]]), dtype)
        for b in d_b_x
    ]
    if not _is_zero(d_xs):
        of_both = rows_product(d_xs, affine.w_x[:, :both], dtype)
        of_h = of_h + _widen(of_both, reached)
        of_x = [a + rows_product(d_xs, affine.w_x[:, both:], dtype) for a in of_x]
    return [*of_x, of_h]


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _instantiate(tangents: Any) -> Any:
    def zeros(t: Any) -> Any:
        if not _is_zero(t):
            return t
        return ad.instantiate_zeros(ad.Zero(t.aval))

    return jax.tree.map(zeros, tangents, is_leaf=_is_zero)


def _add_h(carry: Any, h: jax.Array) -> Any:
    return carry._replace(h=carry.h + h)


def _widen(a: jax.Array, size: int) -> jax.Array:
    """With columns of zeros after its own."""
    more = size - a.shape[1]
    return jnp.pad(a, [(0, 0), (0, more)]) if more else a
