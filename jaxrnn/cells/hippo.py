"""How the diagonal system of `s5` begins: as the normal part of HiPPO-LegS."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import initializers

LARGEST_BLOCK = 2048  # of which eigenvectors are computed
C_INITS = ("trunc_standard_normal", "lecun_normal", "complex_normal")


@cache
def hippo(pairs: int, conj_sym: bool) -> tuple[Any, Any]:
    """Eigenvalues, and eigenvectors as columns, of the normal part of HiPPO-LegS.

    The matrix is -sqrt((2n + 1)(2k + 1)) below the diagonal and -(n + 1) on it. What is
    added to make it normal has rank one. Of each conjugate pair the first is given.
    """
    n = np.arange(2 * pairs if conj_sym else pairs)
    root = np.sqrt(2 * n + 1)
    product = np.outer(root, root)
    skew = (np.triu(product, 1) - np.tril(product, -1)) / 2
    values, vectors = np.linalg.eigh(-1j * skew)
    return -0.5 + 1j * values[:pairs], vectors[:, :pairs]


def in_blocks(v: jax.Array, w: jax.Array) -> jax.Array:
    """v^T times each of the blocks of rows in w."""
    blocks = w.astype(v.dtype).reshape(-1, v.shape[0], w.shape[1])
    return jnp.einsum("np,bnd->bpd", v, blocks).reshape(-1, w.shape[1])


def draw_c(
    c_init: str, key: jax.Array, v: jax.Array, blocks: int, size: int
) -> jax.Array:
    """The complex c `[P, O]` of one direction."""
    rows, states = v.shape
    if c_init == "complex_normal":
        shape = 2, blocks * states, size
        return lax.complex(*jax.random.normal(key, shape, v.real.dtype) * 0.5**0.5)
    shape = blocks * rows, 2 * size
    draw = initializers.lecun_normal()(key, shape, v.real.dtype)
    if c_init == "lecun_normal":
        draw = draw * size**-0.5
    return in_blocks(v, lax.complex(*jnp.split(draw, 2, axis=1)))
