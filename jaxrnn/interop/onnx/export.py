"""A cell and its params as an ONNX file."""

import json
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxrnn.attention import AttentionParams
from jaxrnn.build import check_cell
from jaxrnn.checks import check_flag, check_size, is_input
from jaxrnn.core import Cell, is_key, scan_unroll
from jaxrnn.interop.onnx.graph import Graph, UnsaidError, helper, onnx, width
from jaxrnn.interop.onnx.program import Given, examples, leaves, runner, written

OLDEST = 14
UNWRITTEN = (  # of sizes that are symbols, and of primitives
    *(ValueError, TypeError, NotImplementedError),
    jax.errors.InconclusiveDimensionOperation,
)


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
    options = {"batch": batch, "time": time, "lengths": lengths, "stream": stream}
    options |= {"initial_carry": False, "x": None, "opset": opset}  # of a part of it
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
    given = [Given("x", (B, *read.shape), read.dtype, "one step of each sequence")]
    if not stream:
        given = [Given("xs", (B, T, *read.shape), read.dtype, "the sequences")]
    if lengths:
        given.append(Given("lengths", (B,), np.int32, "of the sequences, 0 to T"))
    if size is not None:
        given.append(Given("memory", (B, S, size), np.float32, "what is attended to"))
        if lengths:
            doc = "of the memories, 0 to S"
            given.append(Given("memory_lengths", (B,), np.int32, doc))
    before, after = ("initial", "final") if not stream else ("", "next")
    if stream or initial_carry:
        for path, leaf in leaves(f"{before}_carry".strip("_"), initial).items():
            doc = "the carry before the first step" if initial_carry else "the carry"
            given.append(Given(path, (B, *leaf.shape), leaf.dtype, doc))
    run = runner(cell, params, initial, stream)
    g = Graph(opset)
    ys_name = "y" if stream else "ys"
    try:
        results = written(g, given, run(cell.unroll))
    except UNWRITTEN as error:
        if not stream:
            jax.eval_shape(run(cell.unroll), *examples(given))  # what does not fit
        if stream or cell.step is None:
            raise _refused(cell, error, options) from error
        g, by_steps = Graph(opset), run(scan_unroll(cell.step, cell.initial_carry))
        try:
            results = written(g, given, by_steps)
        except UNWRITTEN as error:
            raise _refused(cell, error, options) from error
    names, avals, (carry, ys) = results
    declared = [*leaves(ys_name, ys), *leaves(f"{after}_carry", carry)]
    order = [*leaves(f"{after}_carry", carry), *leaves(ys_name, ys)]
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
    values = leaves("carry", initial)
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
    elif reads is not None and not is_input(reads):
        raise ValueError(
            f"to_onnx: cell: expected one that reads one array, got {cell}, which "
            f"reads {type(reads).__name__}"
        )
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


class _RefusedError(ValueError):
    """What names the cell that ONNX cannot say."""


def _refused(cell: Cell, error: Exception, options: dict[str, Any]) -> Exception:
    """The error that names the innermost cell for which there are no operators."""
    unsaid = isinstance(error, UnsaidError)
    if options["stream"] and isinstance(error, ValueError) and not unsaid:
        return error  # what the user got wrong
    made = cell.about.made
    for part in [] if made is None else [*made.args, *made.options.values()]:
        if isinstance(part, Cell):
            try:
                export_cell(part, part.init(jax.random.key(0)), **options)
            except _RefusedError as inner:
                return inner
            except ValueError:
                continue  # by itself it does not tell what it reads
    reason = str(error).split("\n")[0]
    if not unsaid:
        reason = (
            "cannot be traced for any batch and time; with batch= and time= it may "
            f"be: {reason}"
        )
    return _RefusedError(f"to_onnx: cell: {cell}: {reason}")
