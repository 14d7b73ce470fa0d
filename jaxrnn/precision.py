"""Sums in at least single precision, whatever the dtype of what is added up.

A sum in bfloat16 has 8 bits: it stops to grow at 256 ones. In float16 it overflows at
65,504. So what is added up over time is `widened` before the loop, or before it is
broadcast, and `narrowed` where it is used: the transpose of that pair adds up the
gradient in single precision and rounds it once. Of float32 and float64 both are the
identity.

This module imports no other one of jaxrnn.
"""

from typing import Any

import jax
import jax.numpy as jnp


def wide(dtype: Any) -> Any:
    """The dtype for sums of numbers of this one: at least single precision."""
    half = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.dtype(jnp.float32) if half else dtype


def widened(tree: Any) -> Any:
    """With each array of a dtype below single precision in that."""

    def widen(leaf):
        dtype = getattr(leaf, "dtype", None)
        same = dtype is None or wide(dtype) == dtype
        return leaf if same else jnp.asarray(leaf).astype(wide(dtype))

    return jax.tree.map(widen, tree)


def narrowed(tree: Any, like: Any) -> Any:
    """The inverse of `widened`: each array in the dtype of that in `like`."""

    def narrow(leaf, other):
        same = getattr(leaf, "dtype", None) == getattr(other, "dtype", None)
        return leaf if same else leaf.astype(other.dtype)

    return jax.tree.map(narrow, tree, like)


def plus(ys: jax.Array, b: jax.Array) -> jax.Array:
    """`ys + b`, with a b that many rows share, in the dtype of b."""
    return (ys.astype(wide(ys.dtype)) + b.astype(wide(b.dtype))).astype(b.dtype)
