"""JAX's primitives that move numbers and compute none, as operators of ONNX."""

from typing import Any

import numpy as np

from jaxrnn.interop.onnx.graph import FIRST, LAST, Graph, Operand, UnsaidError
from jaxrnn.interop.onnx.operators import says


def ints(values: Any) -> np.ndarray:
    """A list of integers as ONNX wants it."""
    return np.array([int(value) for value in values], np.int64)


@says("transpose")
def _transpose(g, eqn, x):
    return g.op("Transpose", x, perm=list(map(int, eqn.params["permutation"])))


@says("squeeze")
def _squeeze(g, eqn, x):
    return g.op("Squeeze", x, ints(eqn.params["dimensions"]))


@says("concatenate")
def _concatenate(g, eqn, *xs):
    return g.op("Concat", *xs, axis=int(eqn.params["dimension"]))


@says("broadcast_in_dim")
def _broadcast(g, eqn, x, *_):
    old, new = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    kept = list(map(int, eqn.params["broadcast_dimensions"]))
    added = [i for i in range(len(new)) if i not in kept]
    if added:
        x = g.op("Unsqueeze", x, ints(added))
    widened = [1] * len(new)
    for i, size in zip(kept, old, strict=True):
        widened[i] = size
    return x if tuple(widened) == tuple(new) else g.op("Expand", x, g.shape(new))


@says("reshape")
def _reshape(g, eqn, x, *_):
    sizes = list(eqn.outvars[0].aval.shape)
    symbolic = [i for i, s in enumerate(sizes) if not isinstance(s, int | np.integer)]
    if len(symbolic) == 1:
        sizes[symbolic[0]] = -1
    return g.op("Reshape", x, g.shape(sizes))


@says("split")
def _split(g, eqn, x):
    sizes, axis = eqn.params["sizes"], int(eqn.params["axis"])
    return g.ops("Split", x, g.shape(sizes), outputs=len(sizes), axis=axis)


@says("stack")
def _stack(g, eqn, *xs):
    axis = int(eqn.params["axis"])
    return g.op("Concat", *(g.op("Unsqueeze", x, ints([axis])) for x in xs), axis=axis)


@says("unstack")
def _unstack(g, eqn, x):
    count, axis = len(eqn.outvars), int(eqn.params["axis"])
    parts = g.ops("Split", x, g.shape([1] * count), outputs=count, axis=axis)
    return tuple(g.op("Squeeze", part, ints([axis])) for part in parts)


@says("iota")
def _iota(g, eqn, *_):
    aval, axis = eqn.outvars[0].aval, int(eqn.params["dimension"])
    count = counted(g, aval.shape[axis])
    sizes = [1] * aval.ndim
    sizes[axis] = -1
    steps = g.op("Reshape", g.cast(count, aval.dtype), ints(sizes))
    return steps if aval.ndim == 1 else g.op("Expand", steps, g.shape(aval.shape))


def counted(g: Graph, size: Any) -> str:
    """0, 1, ... up to a size, int64."""
    end = g.op("Squeeze", g.size(size), ints([0]))
    return g.op("Range", np.int64(0), end, np.int64(1))


@says("slice")
def _slice(g, eqn, x):
    starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
    steps = eqn.params["strides"] or (1,) * len(starts)
    shape = eqn.invars[0].aval.shape
    cut = [
        i
        for i, size in enumerate(shape)
        if not (
            same_size(starts[i], 0)
            and same_size(ends[i], size)
            and same_size(steps[i], 1)
        )
    ]
    if not cut:
        return x
    return g.op(
        "Slice",
        x,
        g.shape([starts[i] for i in cut]),
        g.shape([ends[i] for i in cut]),
        ints(cut),
        ints([steps[i] for i in cut]),
    )


def same_size(size: Any, other: Any) -> bool:
    """Whether two sizes, perhaps symbols, are equal."""
    return bool(size == other)


@says("rev")
def _rev(g, eqn, x):
    axes = eqn.params["dimensions"]
    n = len(axes)
    back = ints([-1] * n)
    return g.op("Slice", x, back, ints([FIRST] * n), ints(axes), back)


@says("pad")
def _pad(g, eqn, x, value):
    lows, highs, inner = zip(*eqn.params["padding_config"], strict=True)
    of_bool = eqn.invars[0].aval.dtype == bool
    if of_bool:
        x, value = g.cast(x, np.int32), g.cast(value, np.int32)
    shape = list(eqn.invars[0].aval.shape)
    for axis, between in enumerate(inner):
        if between:
            x = _spread(g, x, shape, axis, between, value)
            shape[axis] = shape[axis] * (between + 1) - between
    at = [i for i in range(len(lows)) if _negative(lows[i]) or _negative(highs[i])]
    if at:
        ends = ints([int(highs[i]) if _negative(highs[i]) else LAST for i in at])
        starts = ints([max(-int(lows[i]), 0) for i in at])
        x = g.op("Slice", x, starts, ends, ints(at))
    sizes = [0 if _negative(size) else size for size in (*lows, *highs)]
    padded = g.op("Pad", x, g.shape(sizes), value)
    return g.cast(padded, bool) if of_bool else padded


def _spread(
    g: Graph, x: Operand, shape: list[Any], axis: int, between: int, value: Operand
) -> Operand:
    """Puts as many values between any two neighbors along an axis."""
    x = g.op("Unsqueeze", x, ints([axis + 1]))
    ends = [0] * (len(shape) + 1)
    ends[axis + 1] = between
    x = g.op("Pad", x, ints([0] * len(ends) + ends), value)
    wide = [*shape[:axis], shape[axis] * (between + 1), *shape[axis + 1 :]]
    x = g.op("Reshape", x, g.shape(wide))
    return g.op("Slice", x, ints([0]), ints([-between]), ints([axis]))


def _negative(size: Any) -> bool:
    return isinstance(size, int | np.integer) and bool(size < 0)


@says("dynamic_slice")
def _dynamic_slice(g, eqn, x, *starts):
    shape, sizes = eqn.invars[0].aval.shape, eqn.params["slice_sizes"]
    for axis, (whole, size) in enumerate(zip(shape, sizes, strict=True)):
        if not same_size(whole, size):
            low = _begin(g, starts[axis], whole, size)
            x = g.op("Slice", x, low, g.op("Add", low, g.size(size)), ints([axis]))
    return x


def _begin(g: Graph, start: Operand, whole: Any, size: Any) -> str:
    """Where a slice begins, int64 [1]: moved so far that it fits, as in JAX."""
    start = g.op("Reshape", g.cast(start, np.int64), ints([1]))
    most = g.op("Sub", g.size(whole), g.size(size))
    return g.op("Max", g.op("Min", start, most), ints([0]))


@says("dynamic_update_slice")
def _dynamic_update_slice(g, eqn, x, update, *starts):
    shape, sizes = (v.aval.shape for v in eqn.invars[:2])
    axes = [
        i
        for i, (whole, size) in enumerate(zip(shape, sizes, strict=True))
        if not same_size(whole, size)
    ]
    if not axes:
        return update
    if len(axes) > 1:
        raise UnsaidError(
            "primitive dynamic_update_slice: cannot write an update of part of more "
            "than one axis"
        )
    (axis,) = axes
    low = _begin(g, starts[axis], shape[axis], sizes[axis])
    high = g.op("Add", low, g.size(sizes[axis]))
    before = g.op("Slice", x, ints([0]), low, ints([axis]))
    after = g.op("Slice", x, high, ints([LAST]), ints([axis]))
    return g.op("Concat", before, update, after, axis=axis)
