"""A cell and its params as an ONNX file."""

import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxrnn.attention import AttentionParams, attend
from jaxrnn.build import check_cell, step_of
from jaxrnn.checks import check_flag, check_size
from jaxrnn.combinators.time import forward_only
from jaxrnn.core import Cell, is_key, scan_unroll
from jaxrnn.interop.onnx.graph import Graph, helper, onnx, width
from jaxrnn.interop.onnx.shapes import counted
from jaxrnn.interop.onnx.walk import walk_closed
from jaxrnn.loops.substitute import whole_loops

OLDEST = 14


class _Given(NamedTuple):
    """An input of the file."""

    name: str
    shape: tuple[Any, ...]  # with the batch
    dtype: Any
    doc: str


def export_cell(
    cell: Cell,
    params: Any,
    batch: int | None,
    time: int | None,
    lengths: bool,
    stream: bool,
    initial_carry: bool,
    x: Any,
    opset: int,
) -> "onnx.ModelProto":
    """See `to_onnx`."""
    check_cell("to_onnx: cell", cell)
    flags = {"lengths": lengths, "stream": stream, "initial_carry": initial_carry}
    for name, flag in flags.items():
        check_flag(f"to_onnx: {name}", flag)
    newest = onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or opset not in range(OLDEST, newest + 1):
        raise ValueError(
            f"to_onnx: opset: expected one from {OLDEST} to {newest}, got {opset!r}"
        )
    if stream and (lengths or initial_carry or time is not None):
        raise ValueError(
            "to_onnx: stream: expected no time, lengths and initial_carry beside it, "
            f"got time={time}, lengths={lengths}, initial_carry={initial_carry}"
        )
    params = jax.tree.map(_single, params)
    initial = cell.initial_carry(params)
    if any(map(is_key, jax.tree.leaves(initial))):
        raise ValueError(
            f"to_onnx: cell: expected a carry without random keys, got {cell}"
        )
    B, T, S = export.symbolic_shape(
        "B, T, S", constraints=["B >= 1", "T >= 1", "S >= 1"]
    )
    B = B if batch is None else check_size("to_onnx: batch", batch)
    T = T if time is None else check_size("to_onnx: time", time)
    read = _one(cell, x)
    size = _memory_size(cell, params)
    given = [_Given("x", (B, *read.shape), read.dtype, "one step of each sequence")]
    if not stream:
        given = [_Given("xs", (B, T, *read.shape), read.dtype, "the sequences")]
    if lengths:
        given.append(_Given("lengths", (B,), np.int32, "of the sequences, 0 to T"))
    if size is not None:
        given.append(_Given("memory", (B, S, size), np.float32, "what is attended to"))
        if lengths:
            doc = "of the memories, 0 to S"
            given.append(_Given("memory_lengths", (B,), np.int32, doc))
    before, after = ("initial", "final") if not stream else ("", "next")
    if stream or initial_carry:
        for path, leaf in _leaves(f"{before}_carry".strip("_"), initial).items():
            doc = "the carry before the first step" if initial_carry else "the carry"
            given.append(_Given(path, (B, *leaf.shape), leaf.dtype, doc))
    run = _runner(cell, params, initial, stream)
    g = Graph(opset)
    ys_name = "y" if stream else "ys"
    try:
        results = _trace(g, given, run(cell.unroll))
    except (ValueError, TypeError, NotImplementedError) as error:
        if not stream:
            jax.eval_shape(
                run(cell.unroll), *_examples(given)
            )  # what the user got wrong
        if stream or cell.step is None:
            if isinstance(error, ValueError):
                raise
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"to_onnx: cell: {cell} cannot be traced for any batch and time; with "
                f"batch= and time= it may be: {reason}"
            ) from error
        g = Graph(opset)
        results = _trace(g, given, run(scan_unroll(cell.step, cell.initial_carry)))
    names, avals, (carry, ys) = results
    declared = [*_leaves(ys_name, ys), *_leaves(f"{after}_carry", carry)]
    order = [*_leaves(f"{after}_carry", carry), *_leaves(ys_name, ys)]
    outputs = {
        label: g.value(g.named(label, name), aval.dtype, aval.shape)
        for label, name, aval in zip(order, names, avals, strict=True)
    }
    inputs = [g.value(i.name, i.dtype, i.shape) for i in given]
    for entry, one in zip(inputs, given, strict=True):
        entry.doc_string = one.doc
    proto = g.proto("jaxrnn", inputs, [outputs[label] for label in declared]).proto
    proto.doc_string = f"{cell.about.name}: B sequences of T steps"
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
    model.producer_name, model.producer_version = "jaxrnn", version("jaxrnn")
    model.doc_string = f"{cell.about.name}, written by jaxrnn"
    values = _leaves("carry", initial)
    metadata = {"jaxrnn.version": version("jaxrnn"), "jaxrnn.cell": cell.about.name}
    if values:
        lists = {k: np.asarray(a, width(a.dtype)).tolist() for k, a in values.items()}
        metadata["jaxrnn.initial_carry"] = json.dumps(lists)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


def _single(leaf: Any) -> Any:
    """Params as the file holds them: every floating array in float32."""
    if is_key(leaf) or not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        return leaf
    return jnp.asarray(leaf, jnp.float32)


def _one(cell: Cell, x: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of one input."""
    reads = cell.about.reads
    if x is not None:
        shape, dtype = jnp.shape(x), jnp.result_type(x)
    elif reads is None or reads.shape is None:
        raise ValueError(
            f"to_onnx: x: expected one input of {cell}, which does not tell what it "
            "reads, got None"
        )
    else:
        shape = reads.shape
        dtype = jnp.int32 if reads.kind is jnp.integer else jnp.float32
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(width(dtype)))


def _memory_size(cell: Cell, params: Any) -> int | None:
    """M of the memory that the attentions in a cell wait for; None for no memory."""
    if cell.about.bind is None:
        return None
    found = jax.tree.leaves(params, is_leaf=lambda p: isinstance(p, AttentionParams))
    sizes = {
        p.w.shape[0] - p.w.shape[1] for p in found if isinstance(p, AttentionParams)
    }
    if len(sizes) != 1:
        raise ValueError(
            f"to_onnx: cell: expected attentions to one memory, got sizes {sizes}"
        )
    return sizes.pop()


def _leaves(name: str, tree: Any) -> dict[str, Any]:
    """The leaves of a tree, each under its path: "carry.0.h"."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    names = jax.tree_util.keystr
    return {
        ".".join([name, *filter(None, [names(path, simple=True, separator=".")])]): leaf
        for path, leaf in found
    }


def _runner(cell: Cell, params: Any, initial: Any, stream: bool) -> Callable[..., Any]:
    """The program of the file for one sequence, by an unroll."""
    structure = jax.tree.structure(initial)
    names = list(_leaves("carry" if stream else "initial_carry", initial))

    def with_unroll(unroll):
        def run(given):
            carry = [given[name] for name in names if name in given]
            carry = structure.unflatten(carry) if carry else None
            memory = given.get("memory")
            reader, bound = cell, unroll
            if memory is not None:
                reader = attend(cell, memory, given.get("memory_mask"))
                bound = reader.unroll
                if unroll is not cell.unroll:
                    step = step_of("to_onnx: cell", reader)
                    bound = scan_unroll(step, reader.initial_carry)
            if carry is None:
                carry = reader.initial_carry(params)
            if stream:
                return step_of("to_onnx: stream", reader)(params, carry, given["x"])
            prepared = reader.about.prepare(params)
            return bound(prepared, carry, given["xs"], mask=given.get("mask"))

        return run

    return with_unroll


def _examples(given: list[_Given]) -> list[Any]:
    """One sequence of two steps."""
    shapes = {}
    for i in given:
        sizes = [s if isinstance(s, int) else 2 for s in i.shape[1:]]
        name, dtype = i.name.replace("lengths", "mask"), i.dtype
        if name != i.name:
            sizes, dtype = [2], bool
        shapes[name] = jax.ShapeDtypeStruct(sizes, dtype)
    return [shapes]


def _trace(
    g: Graph, given: list[_Given], run: Callable[..., Any]
) -> tuple[list[Any], list[Any], Any]:
    """Writes the program of a batch; names, avals and the tree of what it gives."""
    shapes, names = {}, {}
    for i in given:
        for axis, size in enumerate(i.shape):
            if not isinstance(size, int):
                g.symbols.setdefault(str(size), (i.name, axis))
    whole = {i.name: i.shape for i in given}
    for i in given:
        if not i.name.endswith("lengths"):
            shapes[i.name] = jax.ShapeDtypeStruct(i.shape, i.dtype)
            names[i.name] = i.name
            continue
        steps = whole["xs" if i.name == "lengths" else "memory"][1]
        mask = i.name.replace("lengths", "mask")
        shapes[mask] = jax.ShapeDtypeStruct((i.shape[0], steps), bool)
        end = g.op("Unsqueeze", i.name, np.array([1], np.int64))
        names[mask] = g.op("Less", g.cast(counted(g, steps), np.int32), end)
        if mask == "mask":
            g.mask, g.lengths = names[mask], i.name
    with whole_loops(), forward_only():
        closed, out = jax.make_jaxpr(jax.vmap(run), return_shape=True)(shapes)
    flat = jax.tree.leaves({k: names[k] for k in shapes})
    return walk_closed(g, closed, flat), closed.out_avals, out
