"""An ONNX graph under construction: operators that call one another by name.

The same operator of the same inputs is written once, and what no output needs is left
out, so that a translator may write whatever it meets.
"""

import ast
import graphlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import onnx
from onnx import helper

LAST = np.iinfo(np.int64).max  # as the end of a Slice
FIRST = np.iinfo(np.int64).min  # as the end of a Slice that goes back

Operand = Any  # the name of a value, or an array, or None for an input left out


class UnsaidError(ValueError):
    """What ONNX has no operators for."""


class Node(NamedTuple):
    """An operator before it is written."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Body(NamedTuple):
    """A graph inside an operator, and the names that it reads from outside."""

    proto: Any
    reads: tuple[str, ...]


def width(dtype: Any) -> np.dtype:
    """The dtype in which a file computes: every floating one is float32."""
    return np.dtype(np.float32 if jnp.issubdtype(dtype, jnp.floating) else dtype)


def tensor_type(dtype: Any) -> int:
    """ONNX's number of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Graph:
    """Collects operators, constants and the inputs from which sizes are read."""

    def __init__(self, opset: int, root: "Graph | None" = None):
        self.opset = opset
        self.root: Graph = self if root is None else root
        self.nodes: dict[str, Node] = {}  # by the name of each output
        self.known: dict[Any, tuple[str, ...]] = {}  # operators that were written
        self.forward: dict[Any, Any] = {}  # loops that may get another direction
        if root is None:
            self.constants: dict[str, np.ndarray] = {}
            self.symbols: dict[str, tuple[str, int]] = {}  # an input, and its axis
            self.names = 0
            self.mask: str | None = None  # [B, T], which steps are within the lengths
            self.lengths: str | None = None  # [B]

    def inner(self) -> "Graph":
        """A graph for the body of an operator of this one."""
        return Graph(self.opset, self.root)

    def name(self, kind: str) -> str:
        """A name that nothing else has."""
        self.root.names += 1
        return f"{kind}_{self.root.names}"

    def operand(self, value: Operand) -> str:
        """The name of a value; an array becomes a constant of the file."""
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        array = np.asarray(value)
        array = np.ascontiguousarray(array.astype(width(array.dtype)))
        array = array.reshape(np.shape(value))
        key = "constant", array.dtype.str, array.shape, array.tobytes()
        if key not in self.root.known:
            name = self.name("constant")
            self.root.known[key] = (name,)
            self.root.constants[name] = array
        return self.root.known[key][0]

    def ops(
        self, kind: str, *inputs: Operand, outputs: int, **attributes: Any
    ) -> tuple[str, ...]:
        """Writes an operator; the names of its outputs."""
        names = tuple(map(self.operand, inputs))
        key = None
        if not any(isinstance(a, Body) for a in attributes.values()):
            key = kind, names, repr(sorted(attributes.items()))
            if key in self.known:
                return self.known[key]
        results = tuple(self.name(kind.lower()) for _ in range(outputs))
        self.put(Node(kind, names, results, attributes))
        if key is not None:
            self.known[key] = results
        return results

    def op(self, kind: str, *inputs: Operand, **attributes: Any) -> str:
        """Writes an operator with one output; its name."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def put(self, node: Node) -> None:
        """Adds a node, in the place of those that had its outputs."""
        for name in node.outputs:
            self.nodes[name] = node

    def named(self, name: str, value: Operand) -> str:
        """A value under a name of its own, as the output of a graph has it."""
        self.put(Node("Identity", (self.operand(value),), (name,), {}))
        return name

    def cast(self, value: Operand, dtype: Any) -> str:
        return self.op("Cast", value, to=tensor_type(width(dtype)))

    def size(self, size: Any) -> Operand:
        """A size, or what is computed from symbols such as "T - 1", int64 [1]."""
        if isinstance(size, int | np.integer):
            return np.array([size], np.int64)
        return self._size(ast.parse(str(size), mode="eval").body)

    def _size(self, node: ast.AST) -> Operand:
        match node:
            case ast.Constant(value=int(value)):
                return np.array([value], np.int64)
            case ast.Name(id=symbol) if symbol in self.root.symbols:
                name, axis = self.root.symbols[symbol]
                return self.op("Gather", self.op("Shape", name), np.array([axis]))
            case ast.UnaryOp(op=ast.USub(), operand=a):
                return self.op("Neg", self._size(a))
            case ast.BinOp(left=a, op=op, right=b):
                kinds = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
                kind = kinds.get(type(op), "Pow")
                return self.op(kind, self._size(a), self._size(b))
            case ast.Call(func=ast.Name(id=function), args=[a, b]):
                x, y = self._size(a), self._size(b)
                if function in ("max", "min"):
                    return self.op(function.capitalize(), x, y)
                rest = self.op("Mod", x, y)  # of the sign of y, as in Python
                if function == "mod":
                    return rest
                if function == "floordiv":
                    return self.op("Div", self.op("Sub", x, rest), y)
        raise UnsaidError(f"cannot write the size {ast.unparse(node)}")

    def shape(self, sizes: Sequence[Any]) -> Operand:
        """A shape, int64 [rank]."""
        if all(isinstance(size, int | np.integer) for size in sizes):
            return np.array(sizes, np.int64)
        return self.op("Concat", *map(self.size, sizes), axis=0)

    def value(
        self, name: str, dtype: Any, shape: Sequence[Any], *, inner: bool = False
    ) -> Any:
        """The declaration of an input or an output.

        Inside an operator a size that may be anything has no name: tract, which is
        told the sizes of the file's inputs, would not have the two be one.
        """
        sizes = [
            int(s)
            if isinstance(s, int | np.integer)
            else None
            if inner
            else str(s).replace(" ", "")
            for s in shape
        ]
        kind = tensor_type(width(dtype))
        return helper.make_tensor_value_info(name, kind, sizes)

    def proto(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Body:
        """The graph that computes the outputs."""
        order = graphlib.TopologicalSorter()
        todo, seen = [o.name for o in outputs], set()
        while todo:
            node = self.nodes.get(todo.pop())
            if node is None or node.outputs in seen:
                continue
            seen.add(node.outputs)
            reads = [n for n in _reads(node) if n in self.nodes]
            order.add(node.outputs, *(self.nodes[n].outputs for n in reads))
            todo += reads
        nodes = [self.nodes[outputs[0]] for outputs in order.static_order()]
        made = {n for node in nodes for n in node.outputs} | {i.name for i in inputs}
        reads = {n: None for node in nodes for n in _reads(node) if n not in made}
        constants = []
        if self is self.root:
            constants = [
                onnx.numpy_helper.from_array(self.constants[n], n) for n in reads if n
            ]
        proto = helper.make_graph(
            [_write(node) for node in nodes], name, inputs, outputs, constants
        )
        return Body(proto, tuple(n for n in reads if n))


def _reads(node: Node) -> list[str]:
    bodies = [a for a in node.attributes.values() if isinstance(a, Body)]
    return [n for n in node.inputs if n] + [n for body in bodies for n in body.reads]


def _write(node: Node) -> Any:
    attributes = {
        key: value.proto if isinstance(value, Body) else value
        for key, value in node.attributes.items()
    }
    name = f"{node.kind}/{node.outputs[0]}"
    return helper.make_node(node.kind, node.inputs, node.outputs, name, **attributes)
