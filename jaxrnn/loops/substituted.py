"""The operation that runs a loop, or a kernel in its place, with its rules.

Its derivative is that of the loop. `vmap` gives the kernel its batch axis; batches of
batches are folded into one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn.loops.kernels import PLATFORMS, SHARED, Kernel


@dataclass(frozen=True)
class Flat:
    """The loop from leaves to leaves. It is a key: equal calls are compiled once."""

    loop: Callable[..., Any]
    static: Any
    tree: Any
    maps: tuple[tuple[Any, Any], ...] = ()  # the axes of each `vmap` around it

    def __call__(self, *leaves: Any) -> tuple[Any, ...]:
        def flat(*leaves):
            operands = self.tree.unflatten(leaves)
            return tuple(jax.tree.leaves(self.loop(self.static, *operands)))

        for in_axes, out_axes in self.maps:
            flat = jax.vmap(flat, in_axes, out_axes)
        return flat(*leaves)

    def mapped(self, in_axes: Any, out_axes: Any) -> "Flat":
        return replace(self, maps=(*self.maps, (tuple(in_axes), out_axes)))


substituted_p = Primitive("substituted")
substituted_p.multiple_results = True


def refusal(kernel: Kernel, args: Any, params: Any) -> str:
    """Why a kernel does not run an operation of this module, or an empty string.

    `args` are the operands, or their types, and `params` those of the operation.
    """
    groups = params["groups"]
    if groups is not None and not kernel.groups:
        return "sequences have weights of their own"
    alone, shapes = _alone(params), []
    for i, (a, axis) in enumerate(zip(args, params["axes"], strict=True)):
        shape = a.shape[1:] if groups is not None and groups[i] else a.shape
        if alone and axis != SHARED:
            shape = (*shape[:axis], 1, *shape[axis:])
        shapes.append(jax.ShapeDtypeStruct(shape, a.dtype))
    if not all(isinstance(size, int) for a in shapes for size in a.shape):
        return "a size is a symbol"
    in_tree, _ = params["trees"]
    return kernel.why_not(params["static"], *in_tree.unflatten(shapes))


def _alone(params: Any) -> bool:
    """Whether the operation is for one sequence, which a kernel takes as a batch."""
    return not params["batched"] and set(params["axes"]) != {SHARED}


def _run(*args, kernel, platform, **params):
    """The kernel of the platform, where it takes these operands, or the loop."""
    loop, axes, out_axes, groups = (
        params[name] for name in ("loop", "axes", "out_axes", "groups")
    )
    if kernel is None or refusal(kernel, args, params):
        return loop(*args)
    taken, lead = list(args), groups is not None
    if lead:
        taken = [a if g else a[None] for a, g in zip(args, groups, strict=True)]
    if alone := _alone(params):
        taken = [
            a if axis == SHARED else jnp.expand_dims(a, axis + lead)
            for a, axis in zip(taken, axes, strict=True)
        ]
    in_tree, out_tree = params["trees"]
    outs, got = jax.tree.flatten(
        kernel.run(params["static"], *in_tree.unflatten(taken))
    )
    name = f"kernel of {params['name']} on {platform}"
    if got != out_tree:
        raise ValueError(
            f"{name}: expected outputs of the structure {out_tree}, got {got}"
        )
    expected = jax.eval_shape(loop, *args)
    for i, (a, like, axis) in enumerate(zip(outs, expected, out_axes, strict=True)):
        shape = list(like.shape)
        if alone:
            shape.insert(axis + lead, 1)
        if (a.shape, a.dtype) != (tuple(shape), like.dtype):
            raise ValueError(
                f"{name}: expected an output {like.dtype} {tuple(shape)}, got "
                f"{a.dtype} {a.shape}"
            )
        outs[i] = a.reshape(like.shape)
    return outs


def _in_axes(axes):
    return [None if axis == SHARED else axis for axis in axes]


def _abstract_eval(*avals, loop, **_):
    return jax.make_jaxpr(loop)(*avals).out_avals


@partial(jax.jit, static_argnums=0)
def _compiled(params, *args):
    return substituted_p.bind(*args, **dict(params))


def _impl(*args, **params):
    return _compiled(tuple(params.items()), *args)


def _jvp(primals, tangents, *, loop, **_):
    moving = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]

    def of_moving(*values):
        args = list(primals)
        for i, value in zip(moving, values, strict=True):
            args[i] = value
        return loop(*args)

    outs, out_tangents = jax.jvp(
        of_moving, [primals[i] for i in moving], [tangents[i] for i in moving]
    )
    return outs, [
        ad.Zero(jax.typeof(t)) if t.dtype == jax.dtypes.float0 else t
        for t in out_tangents
    ]


def _transpose(cts, *args, loop, **_):
    linear = [i for i, a in enumerate(args) if ad.is_undefined_primal(a)]

    def of_linear(*values):
        merged = list(args)
        for i, value in zip(linear, values, strict=True):
            merged[i] = value
        return loop(*merged)

    transpose = jax.linear_transpose(of_linear, *(args[i].aval for i in linear))
    ct_linear = transpose(tuple(ad.instantiate_zeros(ct) for ct in cts))
    found = dict(zip(linear, ct_linear, strict=True))
    return [found.get(i) for i in range(len(args))]


def _batch(args, dims, *, loop, axes, out_axes, batched, groups, kernels, **params):
    pairs = list(zip(args, dims, axes, strict=True))
    own = [dim is not None for dim in dims]
    if any(axis == SHARED and g for g, axis in zip(own, axes, strict=True)):
        if groups is not None or not any(kernel.groups for _, kernel in kernels):
            out_axes = tuple(max(axis, 0) for axis in out_axes)
            return jax.vmap(loop, dims, out_axes)(*args), out_axes
        args = [a if dim is None else jnp.moveaxis(a, dim, 0) for a, dim, _ in pairs]
        outs = substituted_p.bind(
            *args,
            loop=loop.mapped((0 if g else None for g in own), 0),
            axes=axes,
            out_axes=out_axes,
            batched=batched,
            groups=tuple(own),
            kernels=kernels,
            **params,
        )
        return outs, (0,) * len(outs)
    if groups is not None:
        return jax.vmap(loop, dims)(*args), (0,) * len(out_axes)
    size = next(a.shape[dim] for a, dim, _ in pairs if dim is not None)

    def placed(a, dim, axis):
        """With the batch on its axis, or folded into the batch that is there."""
        if axis == SHARED:
            return a
        if dim is None:
            a, dim = jnp.broadcast_to(a[None], (size, *a.shape)), 0
        a = jnp.moveaxis(a, dim, axis)
        return a.reshape(*a.shape[:axis], -1, *a.shape[axis + 2 :]) if batched else a

    if not batched:
        loop = loop.mapped(_in_axes(axes), out_axes)
    outs = substituted_p.bind(
        *(placed(*pair) for pair in pairs),
        loop=loop,
        axes=axes,
        out_axes=out_axes,
        batched=True,
        groups=groups,
        kernels=kernels,
        **params,
    )
    if batched:
        outs = [
            a.reshape(*a.shape[:axis], size, -1, *a.shape[axis + 1 :])
            for a, axis in zip(outs, out_axes, strict=True)
        ]
    return outs, out_axes


substituted_p.def_impl(_impl)
substituted_p.def_abstract_eval(_abstract_eval)
ad.primitive_jvps[substituted_p] = _jvp
ad.primitive_transposes[substituted_p] = _transpose
batching.primitive_batchers[substituted_p] = _batch


def _lower(ctx, *args, platform, kernels, **params):
    module, kernel = ctx.module_context, dict(kernels).get(platform)
    if module.lowering_parameters.for_export and not (kernel and kernel.exports):
        kernel = None
    if _divides(module.axis_context):
        kernel = None
    run = partial(_run, kernel=kernel, platform=platform)
    return mlir.lower_fun(run, multiple_results=True)(ctx, *args, **params)


def _divides(context: Any) -> bool:
    """Whether XLA may divide the arrays of a program over devices.

    It can divide a loop, but knows nothing of a kernel, for which each device would
    gather all arrays. Inside `shard_map` a program sees the arrays of one device.
    """
    if hasattr(context, "num_devices"):
        return context.num_devices > 1
    axes = getattr(getattr(context, "mesh", None), "axis_names", ())
    return bool(set(axes) - set(getattr(context, "manual_axes", ())))


for _platform in PLATFORMS:
    rule = partial(_lower, platform=_platform)
    mlir.register_lowering(substituted_p, rule, platform=_platform)
