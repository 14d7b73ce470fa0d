"""The pointwise part of a recurrence, and how its derivative is written or found."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters import ad


class Pointwise(NamedTuple):
    """What a cell does with z and its carry, and, if it is known, the derivative.

    `theta` is a pytree of the pointwise part's own params; the carry is a NamedTuple
    with a field `h`, which is also the output. Its other fields are arrays of any shape
    and dtype. Of those without a derivative, such as integers, a cotangent is None.
    """

    apply: Callable  # (theta, z, carry) -> carry
    # Both None: JAX is to find the derivative.
    forward: Any = None  # (theta, z, carry) -> (carry, residuals)
    # With the h of the carry before the step, which the residuals need not hold:
    backward: Any = None  # (theta, residuals, h, ct_carry) -> ct of (theta, z, carry)
    name: str = ""  # by which a kernel knows it


def derived(part: Pointwise, theta: Any, z: Any, carry: Any) -> tuple[Pointwise, Any]:
    """The pointwise part with a derivative found by JAX, and its theta.

    What `apply` closes over may be under differentiation too, so it joins theta.
    """
    closed, closed_over = jax.closure_convert(part.apply, theta, z, carry)

    def apply_to(theta, z, carry):
        theta, closed_over = theta
        return closed(theta, z, carry, *closed_over)

    def forward(theta, z, carry):
        return apply_to(theta, z, carry), (z, carry._replace(h=None))

    def backward(theta, residuals, h, ct_carry):
        z, carry = residuals
        args = theta, z, carry._replace(h=h)
        _, transpose = jax.vjp(lambda *args: inexact(apply_to(*args)), *args)
        return inexact(transpose(ct_carry))

    return Pointwise(apply_to, forward, backward, part.name), (theta, closed_over)


def inexact(tree: Any) -> Any:
    """With None in the place of leaves that have no derivative, such as integers."""
    return jax.tree.map(
        lambda a: a if jnp.issubdtype(a.dtype, jnp.inexact) else None, tree
    )


def complete(tree: Any, tangents: Any) -> Any:
    """The inverse of `inexact`, for tangents: with the zeros that JAX expects."""

    def fill(a, tangent):
        if jnp.issubdtype(a.dtype, jnp.inexact):
            return tangent
        return ad.instantiate_zeros(ad.Zero(jax.typeof(a).to_tangent_aval()))

    return jax.tree.map(fill, tree, tangents)
