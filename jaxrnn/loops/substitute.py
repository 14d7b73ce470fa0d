"""The seam through which a kernel replaces a loop on a platform.

The law of kernels: a kernel equals its loop. A kernel is a function that computes for a
batch of sequences what the loop computes for one. Where the table has a kernel for the
platform, and the kernel takes the operands at hand, it replaces the loop. Its
derivative is that of the loop. `vmap` gives the kernel its batch axis; batches of
batches are folded into one. A program exported for several platforms chooses on each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn.loops.primitives import varying_alike

SHARED = -1  # the axis of operands that all sequences of a batch share, such as weights


def _takes_all(static: Any, *shapes: Any) -> str:
    del static, shapes
    return ""


class Kernel(NamedTuple):
    """What replaces a loop.

    Attributes:
      run: `(static, *operands) -> outputs`, as the loop, but for a batch: arrays with a
        time axis are `[T, B, ...]`, all others of a sequence `[B, ...]`; what sequences
        share, such as weights, is as in the loop.
      why_not: `(static, *shapes) -> str`, why it does not run operands of these
        `jax.ShapeDtypeStruct`s; an empty string if it does.
      exports: whether a program that `jax.export` writes may call it. One that calls
        code of this machine alone may not: there the loop is exported.
      groups: whether `run` takes several sets of weights, each with sequences of its
        own, as where one trains from several seeds at once: all operands and outputs
        then have a leading axis, of size 1 for an operand that the sets share.
    """

    run: Callable[..., Any]
    why_not: Callable[..., str] = _takes_all
    exports: bool = True
    groups: bool = False


# By the name of the loop and the platform: "cpu", "cuda", "rocm" or "tpu". The table is
# read when a program is traced, so what is compiled already does not change with it.
KERNELS: dict[tuple[str, str], Kernel] = {}
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


_WHOLE = ContextVar("_WHOLE", default=False)


@contextmanager
def whole_loops() -> Iterator[None]:
    """Keeps each loop one operation in the programs traced here, for a translator.

    The operation is `substituted`, with the loop's `name`, its `static` and `loop`
    itself among its parameters.
    """
    token = _WHOLE.set(True)
    try:
        yield
    finally:
        _WHOLE.reset(token)


def substituted(*axes: Any, out: Any) -> Callable[[Callable], Callable]:
    """Lets kernels replace a loop, `(static, *operands) -> outputs`.

    Args:
      *axes: for each operand, a pytree prefix that says where a batch goes: 1 for
        arrays with a leading time axis, 0 for others, `SHARED` for what a batch
        shares. Where that has a batch of its own, only kernels with `groups` run.
      out: the same for the outputs.

    Returns:
      A decorator. Without a kernel in the table the decorated loop is the loop itself.
    """

    def decorate(loop):
        @wraps(loop)
        def call(static, *operands):
            kernels = _kernels(loop.__name__)
            if not kernels and not _WHOLE.get():
                return loop(static, *operands)
            operands = varying_alike(operands)
            leaves, tree = jax.tree.flatten(operands)
            shapes = jax.eval_shape(partial(loop, static), *operands)
            outs = _substituted_p.bind(
                *leaves,
                name=loop.__name__,
                loop=_Flat(loop, static, tree),
                kernels=tuple(kernels.items()),
                static=static,
                trees=(tree, jax.tree.structure(shapes)),
                axes=tuple(jax.tree.leaves(jax.tree.broadcast(axes, operands))),
                out_axes=tuple(jax.tree.leaves(jax.tree.broadcast(out, shapes))),
                batched=False,
                groups=None,
            )
            return jax.tree.unflatten(jax.tree.structure(shapes), outs)

        return call

    return decorate


@dataclass(frozen=True)
class _Flat:
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

    def mapped(self, in_axes: Any, out_axes: Any) -> "_Flat":
        return replace(self, maps=(*self.maps, (tuple(in_axes), out_axes)))


def _kernels(name: str) -> dict[str, Kernel]:
    for loop, platform in KERNELS:
        if platform not in PLATFORMS:
            raise ValueError(
                f"KERNELS: {loop}: expected a platform among {', '.join(PLATFORMS)}, "
                f"got {platform!r}"
            )
    return {platform: k for (loop, platform), k in KERNELS.items() if loop == name}


_substituted_p = Primitive("substituted")
_substituted_p.multiple_results = True


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
    return _substituted_p.bind(*args, **dict(params))


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
        outs = _substituted_p.bind(
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
    outs = _substituted_p.bind(
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


_substituted_p.def_impl(_impl)
_substituted_p.def_abstract_eval(_abstract_eval)
ad.primitive_jvps[_substituted_p] = _jvp
ad.primitive_transposes[_substituted_p] = _transpose
batching.primitive_batchers[_substituted_p] = _batch


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
    mlir.register_lowering(_substituted_p, rule, platform=_platform)
