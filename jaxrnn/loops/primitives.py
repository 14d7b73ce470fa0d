"""Linear algebra that keeps its speed when it is transposed and vmapped.

Two primitives: a linear map given together with its transpose, and a product of rows
with a matrix.

**linear_map.** Reverse-mode differentiation transposes the linear part of a program.
For most programs JAX finds the transpose itself; for a recurrence a hand-written one is
faster. `jax.custom_vjp` would hide the linear map from `jvp`, and under `vmap` it forms
one weight gradient per example; so this is a primitive, with the rules that make it
compose:

- jvp: the map applied to the tangents of its linear arguments;
- transpose: the given transpose;
- vmap: the map and its transpose, both vmapped, where coefficients that the batch
  shares (a weight matrix) stay unbatched.

**rows_product.** The gradient of a weight matrix that a batch of sequences shares is a
sum over batch and time. Under `vmap` those are two axes, for which XLA rearranges its
operands at a cost; here a batch of rows is more rows, so that it stays one product.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_linear_p = Primitive("linear_map")
_linear_p.multiple_results = True


def linear_map(
    fun: Callable[[Any, Any], Any],
    transpose: Callable[[Any, Any], Any],
    coefficients: Any,
    linear: Any,
    *,
    axes: tuple[Any, Any],
) -> Any:
    """Returns `fun(coefficients, linear)`, to be differentiated with `transpose`.

    Args:
      fun: `(coefficients, linear) -> out`, linear in its second argument.
      transpose: `(coefficients, ct_out) -> ct_linear`, the transpose of
        `fun(coefficients, .)`.
      coefficients: pytree of arrays.
      linear: pytree of floating arrays.
      axes: for `linear` and for `out`, a pytree prefix that says where `vmap` puts
        the batch: 1 for arrays with a leading time axis, which a batched scan then
        need not copy, else 0.

    Returns:
      What `fun` returns.
    """
    _, linear = varying_alike((coefficients, linear))
    coefficient_leaves, coefficient_tree = jax.tree.flatten(coefficients)
    linear_leaves, linear_tree = jax.tree.flatten(linear)
    out = jax.eval_shape(fun, coefficients, linear)
    out_tree = jax.tree.structure(out)

    def flat_fun(coefficients, linear):
        coefficients = jax.tree.unflatten(coefficient_tree, coefficients)
        linear = jax.tree.unflatten(linear_tree, linear)
        return tuple(jax.tree.leaves(fun(coefficients, linear)))

    def flat_transpose(coefficients, ct_out):
        coefficients = jax.tree.unflatten(coefficient_tree, coefficients)
        ct_out = jax.tree.unflatten(out_tree, ct_out)
        return tuple(jax.tree.leaves(transpose(coefficients, ct_out)))

    out_leaves = _linear_p.bind(
        *coefficient_leaves,
        *linear_leaves,
        fun=flat_fun,
        transpose=flat_transpose,
        num_coefficients=len(coefficient_leaves),
        linear_axes=tuple(jax.tree.leaves(jax.tree.broadcast(axes[0], linear))),
        out_axes=tuple(jax.tree.leaves(jax.tree.broadcast(axes[1], out))),
    )
    return jax.tree.unflatten(out_tree, out_leaves)


def varying_alike(tree: Any) -> Any:
    """Under `shard_map`, marks all as varying over the mesh axes that one varies over.

    JAX does so for the arguments of its own primitives. The transpose of the mark is
    the sum over devices that the gradient of replicated params needs.
    """
    axes = [jax.typeof(a).manual_axis_type.varying for a in jax.tree.leaves(tree)]
    every = frozenset().union(*axes)

    def mark(a):
        more = every - jax.typeof(a).manual_axis_type.varying
        return lax.pcast(a, tuple(more), to="varying") if more else a

    return jax.tree.map(mark, tree)


def _call(*args, fun, num_coefficients, **_):
    return fun(args[:num_coefficients], args[num_coefficients:])


def _abstract_eval(*avals, **params):
    return jax.make_jaxpr(lambda *args: _call(*args, **params))(*avals).out_avals


def _jvp(primals, tangents, *, fun, num_coefficients, **params):
    n = num_coefficients
    coefficients, linear = primals[:n], primals[n:]

    def bind(linear):
        return _linear_p.bind(
            *coefficients, *linear, fun=fun, num_coefficients=n, **params
        )

    outs = bind(linear)
    out_tangents = bind([ad.instantiate_zeros(t) for t in tangents[n:]])
    # Coefficients have tangents only in derivatives of second and higher order.
    moving = [i for i, t in enumerate(tangents[:n]) if type(t) is not ad.Zero]
    if moving:

        def of_moving(*values):
            merged = list(coefficients)
            for i, value in zip(moving, values, strict=True):
                merged[i] = value
            return fun(tuple(merged), linear)

        _, more = jax.jvp(
            of_moving,
            [coefficients[i] for i in moving],
            [tangents[i] for i in moving],
        )
        out_tangents = [a + b for a, b in zip(out_tangents, more, strict=True)]
    return outs, out_tangents


def _transpose(cts, *args, transpose, num_coefficients, **_):
    n = num_coefficients
    ct_linear = transpose(args[:n], tuple(ad.instantiate_zeros(ct) for ct in cts))
    # A linear argument that is a known constant (a zero) needs no cotangent.
    return [None] * n + [
        ct if ad.is_undefined_primal(arg) else None
        for arg, ct in zip(args[n:], ct_linear, strict=True)
    ]


def _batch(args, dims, *, fun, transpose, num_coefficients, linear_axes, out_axes):
    n = num_coefficients
    size = next(
        arg.shape[dim] for arg, dim in zip(args, dims, strict=True) if dim is not None
    )

    def place(arg, dim, axis):
        if dim is not None:
            return jnp.moveaxis(arg, dim, axis)
        shape = (*arg.shape[:axis], size, *arg.shape[axis:])
        return jnp.broadcast_to(jnp.expand_dims(arg, axis), shape)

    linear = map(place, args[n:], dims[n:], linear_axes)
    outs = _linear_p.bind(
        *args[:n],
        *linear,
        fun=jax.vmap(fun, (dims[:n], linear_axes), out_axes),
        transpose=jax.vmap(transpose, (dims[:n], out_axes), linear_axes),
        num_coefficients=n,
        linear_axes=linear_axes,
        out_axes=out_axes,
    )
    return outs, out_axes


_linear_p.def_impl(_call)
_linear_p.def_abstract_eval(_abstract_eval)
ad.primitive_jvps[_linear_p] = _jvp
ad.primitive_transposes[_linear_p] = _transpose
batching.primitive_batchers[_linear_p] = _batch
mlir.register_lowering(_linear_p, mlir.lower_fun(_call, multiple_results=True))


_rows_p = Primitive("rows_product")


def rows_product(xs: jax.Array, w: jax.Array, dtype: Any = None) -> jax.Array:
    """Returns `xs @ w`, `[N, D]` times `[D, G]`, in the dtype of w.

    `dtype` is that of the operands of this product and of those in its derivatives;
    None for that of w.
    """
    xs, w = varying_alike((xs, w))
    return _rows_p.bind(xs, w, dtype=jnp.dtype(w.dtype if dtype is None else dtype))


def _contract(a, b, axis_a, axis_b, dtype, sum_dtype):
    """A product over one of the last two axes of each; the axes before are a batch."""
    n = a.ndim - 2
    batch = tuple(range(n))
    return lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        (((n + axis_a,), (n + axis_b,)), (batch, batch)),
        preferred_element_type=sum_dtype,
    )


def _rows(xs, w, dtype):
    return _contract(xs, w, 1, 0, dtype, w.dtype)


def _rows_aval(*avals, dtype):
    return jax.make_jaxpr(partial(_rows, dtype=dtype))(*avals).out_avals[0]


def _ct_xs(ct, xs, w, dtype):
    return _contract(ct, w, 1, 1, dtype, ct.dtype).astype(xs.aval.dtype)


def _ct_w(ct, xs, w, dtype):
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
