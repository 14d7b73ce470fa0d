"""Files that declare a time axis of any length and read an example's length of it."""

from collections.abc import Iterator

import numpy as np
import onnx

from jaxrnn.interop.doctor.graphs import Scope, attributes

# Operators whose output has the axis where the input has it.
_SAME = ("Identity", "Cast", "Add", "Sub", "Mul", "Div", "MatMul", "Relu", "Tanh")


def fixed_lengths(model: onnx.ModelProto) -> Iterator[tuple[str, int, int]]:
    """Inputs of the graph, the axis, and how many of its first steps are read.

    The axis has no declared length, and everything that takes it apart takes constant
    places 0 to k - 1 of it; nothing reads the whole of it.
    """
    scope = Scope(model.graph, {o.domain: o.version for o in model.opset_import})
    for value in model.graph.input:
        shape = scope.shape(value.name) or []
        for axis, size in enumerate(shape[:2]):  # time is the first or the second
            if isinstance(size, int) or len(shape) < 3:
                continue
            places = _places(scope, value.name, axis, len(shape))
            if places and places == set(range(len(places))):
                yield f"input:{value.name}", axis, len(places)


def _places(scope: Scope, name: str, axis: int, rank: int) -> set[int] | None:
    """The constant places that are read of the axis, None if more than these are."""
    found: set[int] = set()
    for node in scope.readers(name):
        if node is None or name not in node.input:
            return None
        given = attributes(node)
        inner: set[int] | None = None
        if node.op_type in _SAME and not (node.op_type == "MatMul" and axis > rank - 2):
            inner = _places(scope, node.output[0], axis, rank)
        elif node.op_type == "Transpose":
            order = given.get("perm", list(range(rank))[::-1])
            if sorted(order) != list(range(rank)):
                raise ValueError(
                    f"Transpose:{node.name or node.output[0]}: attribute perm={order}: "
                    f"expected {rank} axes"
                )
            inner = _places(scope, node.output[0], order.index(axis), rank)
        elif node.op_type == "Shape":
            inner = set()
        elif node.op_type == "Gather":
            if given.get("axis", 0) % rank == axis and node.input[0] == name:
                at = scope.constant(node.input[1])
                inner = None if at is None else set(np.ravel(at).tolist())
        elif node.op_type == "Slice":
            inner = _sliced(scope, node, axis, rank)
        elif node.op_type == "Split" and given.get("axis", 0) % rank == axis:
            sizes = scope.constant(node.input[1]) if len(node.input) > 1 else None
            inner = None if sizes is None else set(range(int(sizes.sum())))
        if inner is None or any(i < 0 for i in inner):
            return None
        found |= inner
    return found


def _sliced(scope: Scope, node: onnx.NodeProto, axis: int, rank: int):
    parts = [scope.constant(i) if i else None for i in node.input[1:]]
    if len(parts) < 2 or parts[0] is None or parts[1] is None:
        return None
    starts, ends = np.ravel(parts[0]).tolist(), np.ravel(parts[1]).tolist()
    axes = parts[2] if len(parts) > 2 else None
    axes = range(len(starts)) if axes is None else (np.ravel(axes) % rank).tolist()
    spans = {a: (s, e) for a, s, e in zip(axes, starts, ends, strict=True)}
    if axis not in spans:
        return _places(scope, node.output[0], axis, rank)
    start, end = spans[axis]
    return set(range(start, end)) if 0 <= start <= end < 2**31 - 1 else None
