"""What the nodes of an ONNX file see: constants, shapes, dtypes, readers of a name."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from jaxrnn.interop.onnx.valid import computed

RECURRENT = ("RNN", "GRU", "LSTM")
_FOLDED = 20  # nodes between a weight and the constants that it is made of, at most


class Scope:
    """The names that a graph sees: its own, and those of the graphs around it."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        opsets: Mapping[str, int],
        outer: "Scope | None" = None,
    ):
        """Collects what the graph defines."""
        self.graph, self.opsets, self.outer = graph, opsets, outer
        self.initializers = {i.name: i for i in graph.initializer}
        self.makers = {o: node for node in graph.node for o in node.output if o}
        infos = [*graph.input, *graph.output, *graph.value_info]
        self.infos = {i.name: i.type.tensor_type for i in infos}

    def _found(self, table: str, name: str) -> Any:
        found = getattr(self, table).get(name)
        if found is None and self.outer and name not in self.makers:
            return self.outer._found(table, name)
        return found

    def constant(self, name: str, left: int = _FOLDED) -> np.ndarray | None:
        """The value of a name that depends on constants alone, else None."""
        stored = self._found("initializers", name)
        if stored is not None:
            return numpy_helper.to_array(stored)
        maker = self._found("makers", name)
        if maker is None or not left or maker.op_type in RECURRENT or subgraphs(maker):
            return None
        if maker.op_type == "Shape":
            shape = self.shape(maker.input[0]) or [None]
            whole = not maker.attribute and all(isinstance(s, int) for s in shape)
            return np.array(shape, np.int64) if whole else None
        feeds = {i: self.constant(i, left - 1) for i in maker.input if i}
        if any(value is None for value in feeds.values()):
            return None
        version = self.opsets.get("", self.opsets.get("ai.onnx", 0))
        try:
            given = [feeds.get(i) for i in maker.input]
            found = computed(maker, given, version, ValueError)
        except ValueError:  # an operator that onnx does not have: no constant to us
            return None
        return np.asarray(found[list(maker.output).index(name)])

    def shape(self, name: str) -> list[int | str | None] | None:
        """The sizes, where known: an int, or the name that the file gives it."""
        stored = self._found("initializers", name)
        if stored is not None:
            return list(stored.dims)
        info = self._found("infos", name)
        if info is None or not info.HasField("shape"):
            return None
        return [
            d.dim_value if d.HasField("dim_value") else d.dim_param or None
            for d in info.shape.dim
        ]

    def dtype(self, name: str) -> int:
        """ONNX's number of the dtype, 0 where it is not known."""
        stored = self._found("initializers", name)
        if stored is not None:
            return stored.data_type
        info = self._found("infos", name)
        return info.elem_type if info is not None else 0

    def readers(self, name: str) -> list[onnx.NodeProto | None]:
        """The nodes that read a name, in subgraphs too; None for the graph's output."""
        found: list[onnx.NodeProto | None] = [
            n for n in self.graph.node if name in n.input or _inside(n, name)
        ]
        return found + [None] * (name in {o.name for o in self.graph.output})


def _inside(node: onnx.NodeProto, name: str) -> bool:
    return any(
        name in inner.input or _inside(inner, name)
        for graph in subgraphs(node).values()
        for inner in graph.node
    ) or any(o.name == name for g in subgraphs(node).values() for o in g.output)


def subgraphs(node: onnx.NodeProto) -> dict[str, onnx.GraphProto]:
    """The graphs that a node holds, by the name of the attribute."""
    return {a.name: a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH}


class Place(NamedTuple):
    """A node, where it stands, and what it sees."""

    node: onnx.NodeProto
    scope: Scope
    path: str  # of the node, through the graphs that hold it

    @property
    def inside(self) -> tuple[str, ...]:
        """The operators whose subgraphs hold the node."""
        return tuple(p.split(":")[0] for p in self.path.split("/")[:-1])


def walk(model: onnx.ModelProto) -> Iterator[Place]:
    """Every node of the model, those of the subgraphs of If, Loop and Scan too."""
    opsets = {o.domain: o.version for o in model.opset_import}
    yield from _walk(Scope(model.graph, opsets), "")


def _walk(scope: Scope, prefix: str) -> Iterator[Place]:
    for place, node in enumerate(scope.graph.node):
        first = next((o for o in node.output if o), str(place))
        path = f"{prefix}{node.op_type}:{node.name or first}"
        yield Place(node, scope, path)
        for graph in subgraphs(node).values():
            yield from _walk(Scope(graph, scope.opsets, scope), f"{path}/")


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes as Python values, graphs left out."""
    found = {}
    for a in node.attribute:
        if a.type == onnx.AttributeProto.GRAPH:
            continue
        value = onnx.helper.get_attribute_value(a)
        try:
            if isinstance(value, bytes):
                value = value.decode()
            elif a.type == onnx.AttributeProto.STRINGS:
                value = [v.decode() for v in value]
        except UnicodeDecodeError as error:
            where = f"{node.op_type} {node.name!r}: attribute {a.name!r}"
            raise ValueError(f"{where}: expected text: {error}") from error
        if a.type in (onnx.AttributeProto.FLOATS, onnx.AttributeProto.INTS):
            value = list(value)
        found[a.name] = value
    return found
