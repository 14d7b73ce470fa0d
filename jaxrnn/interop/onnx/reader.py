"""Goes through the nodes of a file, from its inputs to its outputs."""

import itertools
from typing import Any

import numpy as np

import jaxrnn.interop.onnx.layers  # noqa: F401 - it registers what it reads
from jaxrnn.interop.onnx.axes import LAYERS
from jaxrnn.interop.onnx.flow import Atom, Axis, Carry, Flow, Outside, array_of, place
from jaxrnn.interop.onnx.graph import helper
from jaxrnn.interop.onnx.nodes import recurrent
from jaxrnn.interop.onnx.states import part_of, settled, stacked, unstacked
from jaxrnn.interop.onnx.valid import array_of_tensor, attributes_of, computed

RECURRENT = ("RNN", "GRU", "LSTM")
# What may be done to a final state before it leaves the file.
MOVES = {
    *("Identity", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Concat", "Slice"),
    *("Gather", "Split", "Flatten", "Cast"),
}


NAME = "load_onnx: "


def refused(why: str) -> ValueError:
    """The error that says so."""
    return ValueError(f"{NAME}{why}")


class Reader:
    """Goes through the nodes once, with a size for each axis that may have any."""

    def __init__(self, model: Any, version: int):
        graph = model.graph
        self.version = version  # of ONNX's operators
        self.node: Any = None  # that is read now
        self.values: dict[str, Any] = {"": None}
        self.axes: dict[str, str] = {}  # "time" and "batch": the label of the atom
        self.ragged = False  # whether the sequences have lengths
        for tensor in graph.initializer:
            self.values[tensor.name] = array_of_tensor(tensor, refused)
        used = {size for a in self.values.values() if a is not None for size in a.shape}
        numbers = (n for n in itertools.count(23, 2) if _prime(n))
        self.sizes = (n for n in numbers if not any(s % n == 0 for s in used if s))
        symbols: dict[str, int] = {}
        self.free = set()  # sizes in the place of those that may be any
        for entry in graph.input:
            if entry.name in self.values:
                continue  # a constant that may be overridden
            tensor = entry.type.tensor_type
            axes: list[Axis] = []
            for i, dim in enumerate(tensor.shape.dim):
                size = dim.dim_value
                if not size:
                    symbol = dim.dim_param or f"{entry.name}.{i}"
                    size = symbols.setdefault(symbol, 0) or next(self.sizes)
                    symbols[symbol] = size
                    self.free.add(size)
                axes.append((Atom(f"{entry.name}.{i}", size),))
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            features = axes[-1] if axes else ()
            self.values[entry.name] = Flow((), tuple(axes), features, dtype=dtype)

    def read(self, node: Any) -> None:
        """Finds what a node gives."""
        self.node = node
        inputs = []
        for name in node.input:
            if name not in self.values:
                raise self.refusal(node)(f"input {name!r} comes from nowhere")
            inputs.append(self.values[name])
        if node.domain not in ("", "ai.onnx"):
            raise self.refusal(node)(f"an operator of {node.domain}, not of ONNX")
        attributes = attributes_of(node, self.version, self.refusal(node))
        try:
            results = self.results(node, inputs, attributes)
        except Exception as error:  # numbers that do not fit one another
            if isinstance(error, ValueError) and str(error).startswith(NAME):
                raise
            raise self.refusal(node)(f"it is not as ONNX has it: {error}") from error
        for name, value in zip(node.output, results, strict=False):
            self.values[name] = value

    def results(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Any:
        refuse = self.refusal(node)
        if node.op_type in RECURRENT:
            return recurrent(self, node, inputs, attributes)
        if node.op_type == "Shape" and isinstance(inputs[0], Flow | Outside):
            value = inputs[0]
            shape = value.shape if isinstance(value, Flow) else value.like.shape
            part = slice(attributes.get("start"), attributes.get("end"))
            return [np.array(shape[part], np.int64)]
        flows = [value for value in inputs if isinstance(value, Flow)]
        if node.op_type == "Where":
            chosen = self.chosen(inputs, refuse)
            if chosen is not None:
                return [chosen]
        if any(isinstance(value, Carry) for value in inputs):
            return self.stacked(node, inputs, attributes)
        if node.op_type not in (*MOVES, "Dropout", "Add"):
            inputs = [settled(value) for value in inputs]
        said = None
        if flows and node.op_type in LAYERS:
            said = LAYERS[node.op_type](self, refuse, inputs, attributes)
        if said is not None:
            return said
        if any(flow.layers or flow.last for flow in flows):
            if (
                node.op_type == "Concat"
                and all(f.last for f in flows)
                and len(flows) == len(inputs)
            ):
                return [stacked(flows, place(attributes["axis"], len(flows[0].axes)))]
            raise refuse("no layer of jaxrnn does what it does to a sequence")
        arrays = [array_of(value) for value in inputs]
        outside = [v for v in inputs if isinstance(v, Flow | Outside)]
        results = self.evaluated(node, arrays, refuse)
        if not outside:
            return results
        made_by = next((v.made_by for v in outside if isinstance(v, Outside)), "")
        made_by = made_by if node.op_type in (*MOVES, "Expand") else node.op_type
        return [Outside(made_by, a) for a in results]

    def stacked(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Any:
        """What a node makes of the final states of several layers."""
        refuse, carry, op = self.refusal(node), inputs[0], node.op_type
        if op not in MOVES or not isinstance(carry, Carry):
            raise refuse("it reads the final states of several layers at once")
        constants = all(isinstance(value, np.ndarray) for value in inputs[1:])
        if op == "Gather" and constants and inputs[1].size == 1:
            found = part_of(carry, int(inputs[1].item()))
            if found is not None and not attributes.get("axis"):
                part, at = found
                at = np.full(inputs[1].shape, at)
                return LAYERS[op](self, refuse, [part, at], attributes)
        if op == "Reshape" and constants:
            new = unstacked(carry, [int(size) for size in inputs[1]])
            if new is not None:
                return [new]
        return [Carry(carry.layers)] * len(node.output)

    def chosen(self, inputs: list[Any], refuse: Any) -> Any:
        """What a Where with a mask gives, which a cell does when it has that mask."""
        condition, *cases = inputs
        ours = [v for v in cases if isinstance(v, Flow | Carry)]
        if len(ours) == 2:  # an initial state that is an input, and a final one
            ours = [v for v in ours if v.layers]
        if len(ours) != 1 or not isinstance(condition, Outside | Flow):
            return None
        other = next((v for v in cases if v is not ours[0]), None)
        tokens = isinstance(ours[0], Flow) and np.issubdtype(ours[0].dtype, np.integer)
        one = isinstance(other, np.ndarray) and other.size == 1 and other.any()
        if tokens and one:
            return ours[0]._replace(outside=int(np.asarray(other).item()))
        zero = isinstance(other, np.ndarray) and not other.any()
        state = isinstance(ours[0], Carry) or ours[0].last
        if not zero and not state:
            raise refuse("it puts something else than zeros where a mask is False")
        return ours[0]

    def evaluated(self, node: Any, arrays: list[Any], refuse: Any) -> list[Any]:
        """What a node makes of constants."""
        if any(attribute.type == 5 for attribute in node.attribute):
            raise refuse("it has a graph of its own")
        return computed(node, arrays, self.version, refuse)

    def refusal(self, node: Any) -> Any:
        """Makes an error that names a node."""
        name = node.name or ", ".join(node.output)
        return lambda why: refused(f"node {node.op_type} {name!r}: {why}")


def _prime(n: int) -> bool:
    return all(n % i for i in range(2, int(n**0.5) + 1))
