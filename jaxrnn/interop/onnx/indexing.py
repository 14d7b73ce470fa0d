"""Rows taken from an array and put into one, as operators of ONNX."""

from typing import Any

import numpy as np
from jax import lax

from jaxrnn.interop.onnx.graph import UnsaidError
from jaxrnn.interop.onnx.operators import says
from jaxrnn.interop.onnx.shapes import counted, ints, same_size


@says("gather")
def _gather(g, eqn, x, indices):
    n, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    shape = eqn.invars[0].aval.shape
    at, batch = list(n.start_index_map), list(n.operand_batching_dims)
    clips = eqn.params["mode"] == lax.GatherScatterMode.CLIP
    used = [
        i for i, d in enumerate(at) if not (clips and same_size(sizes[d], shape[d]))
    ]
    if len(used) < len(at):  # a slice of all there is begins at 0
        at = [at[i] for i in used]
        indices = g.op("Gather", indices, ints(used), axis=-1)
    others = [i for i in range(len(shape)) if i not in at and i not in batch]
    whole = all(same_size(sizes[i], shape[i]) for i in others)
    single = all(same_size(sizes[i], 1) for i in at)
    kept = [i for i in at if i not in n.collapsed_slice_dims]
    leading = list(n.start_indices_batching_dims) == list(range(len(batch)))
    if not (whole and single and leading):
        raise UnsaidError("primitive gather: can write whole rows only")
    order = [*batch, *at, *others]
    if order != list(range(len(shape))):
        constant = isinstance(x, np.ndarray)
        x = x.transpose(order) if constant else g.op("Transpose", x, perm=order)
    indices = g.cast(indices, np.int64)
    fills = eqn.params["mode"] == lax.GatherScatterMode.FILL_OR_DROP
    first = eqn.invars[1].aval.ndim - 1  # axes of the output that the indices give
    rank = eqn.outvars[0].aval.ndim
    trailing = not kept and list(n.offset_dims) == list(range(first, rank))
    if fills and isinstance(x, np.ndarray) and len(at) == 1 and not batch and trailing:
        # A table with one row more, for what is outside of it.
        size = np.int64(len(x))
        row = np.full((1, *x.shape[1:]), _fill(eqn), x.dtype)
        index = g.op("Squeeze", indices, ints([-1]))
        above = g.op("GreaterOrEqual", index, np.int64(0))
        known = g.op("And", above, g.op("Less", index, size))
        index = g.op("Where", known, index, size)
        return g.op("Gather", np.concatenate([x, row]), index, axis=0)
    most = g.op("Sub", g.shape([shape[i] for i in at]), ints([1]))
    inside = g.op("Max", g.op("Min", indices, most), ints([0]))
    if len(at) == 1 and not batch:
        rows = g.op("Gather", x, g.op("Squeeze", inside, ints([-1])), axis=0)
    else:
        rows = g.op("GatherND", x, inside, batch_dims=len(batch))
    if kept:
        left = [i for i in range(len(shape)) if i in others or i in kept]
        rows = g.op("Unsqueeze", rows, ints(first + left.index(i) for i in kept))
    back, of_index, of_row = [], iter(range(first)), iter(range(first, rank))
    for axis in range(rank):
        back.append(next(of_row if axis in n.offset_dims else of_index))
    if back != list(range(rank)):
        rows = g.op("Transpose", rows, perm=back)
    if not fills:
        return rows
    equal = g.cast(g.op("Equal", inside, indices), np.int32)
    found = g.op("ReduceSum", equal, ints([-1]), keepdims=0)
    fits = g.op("Equal", found, np.int32(len(at)))
    if n.offset_dims:
        fits = g.op("Unsqueeze", fits, ints(n.offset_dims))
    return g.op("Where", fits, rows, np.array(_fill(eqn), eqn.outvars[0].aval.dtype))


def _fill(eqn: Any) -> Any:
    """What a gather gives for an index outside."""
    fill, dtype = eqn.params["fill_value"], eqn.outvars[0].aval.dtype
    if fill is not None:
        return fill
    return np.iinfo(dtype).min if np.issubdtype(dtype, np.signedinteger) else np.nan


@says("scatter", "scatter-add", "scatter_add")
def _scatter(g, eqn, x, indices, updates):
    """One update for each member of the batch, where its index is."""
    n = eqn.params["dimension_numbers"]
    shape, rank = eqn.invars[0].aval.shape, eqn.invars[0].aval.ndim
    batch, inserted = list(n.operand_batching_dims), list(n.inserted_window_dims)
    given = eqn.invars[2].aval
    windows = [i for i in range(rank) if i not in batch and i not in inserted]
    outer = [i for i in range(given.ndim) if i not in n.update_window_dims]
    axis_of = dict(zip(windows, n.update_window_dims, strict=True))
    sizes = {i: given.shape[axis_of[i]] for i in windows} | dict.fromkeys(inserted, 1)
    clips = eqn.params["mode"] == lax.GatherScatterMode.CLIP
    columns = list(enumerate(n.scatter_dims_to_operand_dims))
    points = [
        (j, i) for j, i in columns if not (clips and same_size(sizes[i], shape[i]))
    ]
    single = all(same_size(sizes[i], 1) for _, i in points)
    one_each = len(outer) == len(batch) and batch == sorted(batch)
    if not (single and one_each):
        raise UnsaidError(
            f"primitive {eqn.primitive.name}: can write one row a time only"
        )
    axis_of |= dict(zip(batch, outer, strict=True))
    perm = [int(axis_of[i]) for i in range(rank) if i in axis_of]
    if perm != list(range(len(perm))):
        updates = g.op("Transpose", updates, perm=perm)
    if inserted:
        updates = g.op("Unsqueeze", updates, ints(inserted))
    meant = None
    others = [i for i in range(rank) if i not in batch]
    for j, i in points:
        index = g.op("Gather", g.cast(indices, np.int64), np.int64(j), axis=-1)
        if others:
            index = g.op("Unsqueeze", index, ints(others))
        if clips:
            most = g.op("Sub", g.size(shape[i]), ints([1]))
            index = g.op("Max", g.op("Min", index, most), ints([0]))
        steps = [-1 if axis == i else 1 for axis in range(rank)]
        steps = g.op("Reshape", counted(g, shape[i]), ints(steps))
        here = g.op("Equal", steps, index)
        meant = here if meant is None else g.op("And", meant, here)
    if meant is None:
        meant = np.array(True)
    if eqn.primitive.name != "scatter":
        updates = g.op("Add", x, updates)
    return g.op("Where", meant, updates, x)
