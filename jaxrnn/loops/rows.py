"""A product of rows with a matrix that stays one product under `vmap`.

The gradient of a weight matrix that a batch of sequences shares is a sum over batch and
time. Under `vmap` those are two axes, for which XLA rearranges its operands at a cost;
here a batch of rows is more rows, so that it stays one product.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn.loops.primitives import varying_alike
from jaxrnn.loops.substitute import SHARED, substituted

_rows_p = Primitive("rows_product")


def rows_product(xs: jax.Array, w: jax.Array, dtype: Any = None) -> jax.Array:
    """Returns `xs @ w`, `[N, D]` times `[D, G]`, in the dtype of w.

    `dtype` is that of the operands of this product and of those in its derivatives;
    None for that of w.
    """
    xs, w = varying_alike((xs, w))
    return _rows_p.bind(xs, w, dtype=jnp.dtype(w.dtype if dtype is None else dtype))


def _contract(a, b, axis_a, axis_b, dtype, sum_dtype):
    """A product over one axis of each."""
    return lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        (((axis_a,), (axis_b,)), ((), ())),
        preferred_element_type=sum_dtype,
    )


def _rows(xs, w, dtype):
    return _each(rows_times, dtype, xs, w)


def _rows_aval(*avals, dtype):
    return jax.make_jaxpr(partial(_rows, dtype=dtype))(*avals).out_avals[0]


def _ct_xs(ct, xs, w, dtype):
    return _each(rows_turned, dtype, ct, w).astype(xs.aval.dtype)


def _ct_w(ct, xs, w, dtype):
    return _each(rows_gradient, dtype, xs, ct)


def _each(product, dtype, a, b):
    """A product for each of the matrices along the axes before the last two."""
    product = partial(product, dtype)
    for _ in a.shape[:-2]:
        product = jax.vmap(product)
    return product(a, b)


@substituted(SHARED, SHARED, out=SHARED)
def rows_times(dtype: Any, xs: jax.Array, w: jax.Array) -> jax.Array:
    """The product itself, `xs @ w`."""
    return _contract(xs, w, 1, 0, dtype, w.dtype)


@substituted(SHARED, SHARED, out=SHARED)
def rows_turned(dtype: Any, ct: jax.Array, w: jax.Array) -> jax.Array:
    """The gradient of the rows of a product, `ct @ w.T`."""
    return _contract(ct, w, 1, 1, dtype, ct.dtype)


@substituted(SHARED, SHARED, out=SHARED)
def rows_gradient(dtype: Any, xs: jax.Array, ct: jax.Array) -> jax.Array:
    """The gradient of the matrix of a product: `xs.T @ ct`, summed over all rows."""
    return _contract(xs, ct, 0, 0, dtype, ct.dtype)


def _rows_batch(args, dims, *, dtype):
    xs, w = args
    dim, w_dim = dims
    if w_dim is None:
        xs = jnp.moveaxis(xs, dim, -2)  # behind the rows, where a batched scan has it
        *leading, rows, batch, size = xs.shape
        out = rows_product(xs.reshape(*leading, rows * batch, size), w, dtype)
        return out.reshape(*leading, rows, batch, out.shape[-1]), out.ndim - 1
    w = jnp.moveaxis(w, w_dim, 0)
    if dim is None:
        xs = jnp.broadcast_to(xs, (len(w), *xs.shape))
    else:
        xs = jnp.moveaxis(xs, dim, 0)
    return rows_product(xs, w, dtype), 0


_rows_p.def_impl(_rows)
_rows_p.def_abstract_eval(_rows_aval)
ad.defbilinear(_rows_p, _ct_xs, _ct_w)
batching.primitive_batchers[_rows_p] = _rows_batch
mlir.register_lowering(_rows_p, mlir.lower_fun(_rows, multiple_results=False))
