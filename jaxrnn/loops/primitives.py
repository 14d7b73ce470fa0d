"""A linear map given together with its transpose, as a primitive.

Reverse-mode differentiation transposes the linear part of a program.
For most programs JAX finds the transpose itself; for a recurrence a hand-written one is
faster. `jax.custom_vjp` would hide the linear map from `jvp`, and under `vmap` it forms
one weight gradient per example; so this is a primitive, with the rules that make it
compose:

- jvp: the map applied to the tangents of its linear arguments;
- transpose: the given transpose;
- vmap: the map and its transpose, both vmapped, where coefficients that the batch
  shares (a weight matrix) stay unbatched.
"""

from collections.abc import Callable
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
