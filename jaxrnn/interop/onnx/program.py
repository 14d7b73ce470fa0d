"""What a file computes, as a program of JAX for a batch of sequences."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.attention import attend
from jaxrnn.build import step_of
from jaxrnn.combinators.time import forward_only
from jaxrnn.core import Cell, scan_unroll
from jaxrnn.interop.onnx.graph import Graph
from jaxrnn.interop.onnx.shapes import counted
from jaxrnn.interop.onnx.walk import walk_closed
from jaxrnn.loops.substitute import whole_loops


class Given(NamedTuple):
    """An input of the file."""

    name: str
    shape: tuple[Any, ...]  # with the batch
    dtype: Any
    doc: str


def leaves(name: str, tree: Any) -> dict[str, Any]:
    """The leaves of a tree, each under its path: "carry.0.h"."""
    found = jax.tree_util.tree_leaves_with_path(tree)
    names = jax.tree_util.keystr
    return {
        ".".join([name, *filter(None, [names(path, simple=True, separator=".")])]): leaf
        for path, leaf in found
    }


def runner(cell: Cell, params: Any, initial: Any, stream: bool) -> Callable[..., Any]:
    """The program of the file for one sequence, by an unroll."""
    structure = jax.tree.structure(initial)
    names = list(leaves("carry" if stream else "initial_carry", initial))

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


def examples(given: list[Given]) -> list[Any]:
    """One sequence of two steps."""
    shapes = {}
    for i in given:
        sizes = [s if isinstance(s, int) else 2 for s in i.shape[1:]]
        name, dtype = i.name.replace("lengths", "mask"), i.dtype
        if name != i.name:
            sizes, dtype = [2], bool
        shapes[name] = jax.ShapeDtypeStruct(sizes, dtype)
    return [shapes]


def written(
    g: Graph, given: list[Given], run: Callable[..., Any]
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
