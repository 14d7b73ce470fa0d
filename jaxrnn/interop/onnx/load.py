"""A cell and its params from an ONNX file."""

import itertools
import os
from typing import Any

import numpy as np
from onnx import inliner
from onnx.reference import ReferenceEvaluator

import jaxrnn.interop.onnx.layers  # noqa: F401 - it registers what it reads
from jaxrnn.core import Cell
from jaxrnn.interop.onnx.axes import LAYERS
from jaxrnn.interop.onnx.flow import (
    Atom,
    Axis,
    Carry,
    Flow,
    Layer,
    Outside,
    join,
    nodes_of,
    together,
)
from jaxrnn.interop.onnx.graph import helper, onnx
from jaxrnn.interop.onnx.recurrent import directions

RECURRENT = ("RNN", "GRU", "LSTM")
# What may be done to a final state before it leaves the file.
MOVES = {
    *("Identity", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Concat", "Slice"),
    *("Gather", "Split", "Flatten", "Cast"),
}


def read_cell(model: Any) -> tuple[Cell, Any]:
    """See `load_onnx`."""
    model = _read(model)
    graph = model.graph
    needed = _needed(graph)
    if not any(node.op_type in RECURRENT for node in needed):
        kinds = sorted({node.op_type for node in needed})
        raise ValueError(
            f"load_onnx: expected a node RNN, GRU or LSTM that the outputs need, got "
            f"{', '.join(kinds) or 'none'}"
        )
    reader = _Reader(model)
    for node in needed:
        reader.read(node)
    layers = reader.result()
    return together(layers)


def _read(model: Any) -> Any:
    if isinstance(model, str | os.PathLike):
        path = os.fspath(model)
        try:
            model = onnx.load(path)
        except FileNotFoundError:
            raise
        except Exception as error:  # of protobuf, which has no public class for it
            raise ValueError(f"load_onnx: {path}: no ONNX file: {error}") from None
    if not isinstance(model, onnx.ModelProto):
        raise ValueError(
            f"load_onnx: model: expected an onnx.ModelProto or a path, got "
            f"{type(model).__name__}"
        )
    if model.functions:
        model = inliner.inline_local_functions(model)
    return model


def _needed(graph: Any) -> list[Any]:
    """The nodes that the outputs depend on, in their order."""
    wanted, found = {output.name for output in graph.output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            found.append(node)
            wanted |= set(node.input)
    return found[::-1]


class _Reader:
    """Goes through the nodes once, with a size for each axis that may have any."""

    def __init__(self, model: Any):
        graph = model.graph
        self.opset = list(model.opset_import)
        self.ir_version = model.ir_version
        self.node: Any = None  # that is read now
        self.version = max(o.version for o in self.opset if o.domain in ("", "ai.onnx"))
        self.outputs = [output.name for output in graph.output]
        self.values: dict[str, Any] = {"": None}
        self.axes: dict[str, str] = {}  # "time" and "batch": the label of the atom
        for tensor in graph.initializer:
            self.values[tensor.name] = onnx.numpy_helper.to_array(tensor)
        used = {size for a in self.values.values() if a is not None for size in a.shape}
        numbers = (n for n in itertools.count(23, 2) if _prime(n))
        self.sizes = (n for n in numbers if not any(s % n == 0 for s in used if s))
        symbols: dict[str, int] = {}
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
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes = {k: _text(a) for k, a in attributes.items()}
        try:
            results = self.results(node, inputs, attributes)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise self.refusal(node)(f"it is not as ONNX has it: {error}") from error
        for name, value in zip(node.output, results, strict=False):
            self.values[name] = value

    def results(self, node: Any, inputs: list[Any], attributes: dict[str, Any]) -> Any:
        refuse = self.refusal(node)
        if node.domain not in ("", "ai.onnx"):
            raise refuse(f"an operator of {node.domain}, not of ONNX")
        if node.op_type in RECURRENT:
            return self.recurrent(node, inputs, attributes)
        if node.op_type == "Shape" and isinstance(inputs[0], Flow | Outside):
            shape = _array(inputs[0]).shape
            part = slice(attributes.get("start"), attributes.get("end"))
            return [np.array(shape[part], np.int64)]
        flows = [value for value in inputs if isinstance(value, Flow)]
        if node.op_type == "Where":
            chosen = self.chosen(inputs, refuse)
            if chosen is not None:
                return [chosen]
        if any(isinstance(value, Carry) for value in inputs):
            carries = [v for v in inputs if isinstance(v, Carry | Flow)]
            if node.op_type not in MOVES:
                raise refuse(
                    "it reads a final state of a direction that runs back, or a c, "
                    "which is no output of a step"
                )
            longest = max((v.layers for v in carries), key=len)
            return [Carry(longest)] * len(node.output)
        said = None
        if flows:
            if node.op_type in LAYERS:
                said = LAYERS[node.op_type](self, refuse, inputs, attributes)
            if said is not None:
                return said
            if any(flow.layers or flow.last for flow in flows):
                if node.op_type in MOVES and all(flow.last for flow in flows):
                    longest = max((flow.layers for flow in flows), key=len)
                    return [Carry(longest)] * len(node.output)
                raise refuse("no layer of jaxrnn does what it does to a sequence")
        arrays = [_array(value) for value in inputs]
        outside = [v for v in inputs if isinstance(v, Flow | Outside)]
        results = self.evaluated(node, arrays, refuse)
        if not outside:
            return results
        made_by = next((v.made_by for v in outside if isinstance(v, Outside)), "")
        made_by = made_by if node.op_type in (*MOVES, "Expand") else node.op_type
        return [Outside(made_by, a) for a in results]

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
        given = {n: a for n, a in zip(node.input, arrays, strict=True) if n}
        inputs = [helper.make_value_info(n, onnx.TypeProto()) for n in given]
        outputs = [
            helper.make_value_info(n, onnx.TypeProto()) for n in node.output if n
        ]
        graph = helper.make_graph([node], "one", inputs, outputs)
        model = helper.make_model(graph, opset_imports=self.opset)
        model.ir_version = self.ir_version
        try:
            results = ReferenceEvaluator(model).run(None, given)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise refuse(f"it cannot be computed: {reason}") from None
        found = iter(results)
        return [next(found) if n else None for n in node.output]

    def recurrent(
        self, node: Any, inputs: list[Any], attributes: dict[str, Any]
    ) -> Any:
        refuse, kind = self.refusal(node), node.op_type
        x, w, r, b, lengths, h, c, p = [*inputs, *[None] * (8 - len(inputs))]
        for name, value in (("W", w), ("R", r), ("B", b), ("P", p)):
            if value is not None and not isinstance(value, np.ndarray):
                raise refuse(f"{name}: expected a constant")
        if not isinstance(x, Flow) or x.last or len(x.axes) != 3 or not x.ready:
            what = getattr(x, "made_by", "") or "no sequence"
            raise refuse(f"X: expected [T, B, D] of the input, got {what}")
        layout = attributes.get("layout", 0)
        if layout not in (0, 1):
            raise refuse(f"attribute layout={layout}: expected 0 or 1")
        steps, rows = (x.axes[1], x.axes[0]) if layout else x.axes[:2]
        for name, axis in (("time", steps), ("batch", rows)):
            labels = ",".join(atom.label for atom in axis if atom.size != 1)
            if labels and self.axes.setdefault(name, labels) != labels:
                raise refuse(
                    f"X: its {name} axis is {labels}, that of an earlier node "
                    f"{self.axes[name]}"
                )
        time = x.shape[1 - (not layout)]
        self.check_lengths(lengths, time, refuse)
        states = [
            self.state(name, s, layout, refuse)
            for name, s in (("initial_h", h), ("initial_c", c))
        ]
        found = directions(kind, attributes, (w, r, b, p), tuple(states), refuse)
        if w.shape[2] != x.shape[2]:
            raise refuse(f"W: expected D = {x.shape[2]}, as X has, got {w.shape[2]}")
        name = frozenset([", ".join(node.output)])
        one = [Layer(d.cell, d.params, d.back != x.flipped, nodes=name) for d in found]
        number = len(x.layers)
        units = (Atom(f"units.{number}", r.shape[2]),)
        way: Axis = ()
        if len(one) == 2:
            if x.flipped:
                raise refuse("attribute direction=bidirectional: X is turned around")
            cell, params = join(*one)
            layer = Layer(cell, params, False, tuple(one), name)
            way = (Atom(f"direction.{number}", 2),)
        else:
            layer = one[0]
        layers = (*x.layers, layer)
        axes = (rows, steps, way, units) if layout else (steps, way, rows, units)
        y = Flow(layers, axes, (*way, *units), x.flipped)
        final: Any = Carry(layers)
        if len(one) == 1 and not found[0].back and not x.flipped:
            final = Flow(
                layers,
                (rows, (), units) if layout else ((), rows, units),
                units,
                last=True,
            )
        return [y, final, Carry(layers)]

    def check_lengths(self, lengths: Any, time: int, refuse: Any) -> None:
        if isinstance(lengths, Carry) or (isinstance(lengths, Flow) and lengths.layers):
            raise refuse("sequence_lens: it depends on what the layers give")
        if isinstance(lengths, Outside) and lengths.made_by:
            raise refuse(f"sequence_lens: {lengths.made_by} computes it from an input")
        if isinstance(lengths, np.ndarray) and (lengths != time).any():
            raise refuse(
                f"sequence_lens={lengths.tolist()}: constant lengths; a cell is given "
                "a mask with each call"
            )

    def state(self, name: str, value: Any, layout: int, refuse: Any) -> Any:
        """A constant initial state, or None for zeros and for what the caller gives."""
        if value is None or isinstance(value, np.ndarray):
            return value if value is None or not layout else value.transpose(1, 0, 2)
        if isinstance(value, Carry) or (isinstance(value, Flow) and value.layers):
            raise refuse(f"{name}: it is the final state of another node")
        if isinstance(value, Outside) and value.made_by:
            raise refuse(f"{name}: {value.made_by} computes it from an input")
        like = _array(value)
        return like.transpose(1, 0, 2) if layout else like

    def refusal(self, node: Any) -> Any:
        """Makes an error that names a node."""
        name = node.name or ", ".join(node.output)
        return lambda why: ValueError(f"load_onnx: node {node.op_type} {name!r}: {why}")

    def result(self) -> tuple[Layer, ...]:
        """The layers that the outputs of the file have gone through."""
        found = [(name, self.values[name]) for name in self.outputs]
        for name, value in found:
            if not isinstance(value, Flow | Carry):
                raise ValueError(
                    f"load_onnx: output {name!r}: expected what the recurrent nodes "
                    "give, got something else"
                )
        name, main = max(
            found,
            key=lambda pair: (
                len(pair[1].layers),
                isinstance(pair[1], Flow),
                isinstance(pair[1], Flow) and not pair[1].last,
            ),
        )
        for other, value in found:
            part = nodes_of(value.layers) <= nodes_of(main.layers)
            state = (
                isinstance(value, Carry) or value.last or value.layers == main.layers
            )
            if not part or not state:
                raise ValueError(
                    f"load_onnx: output {other!r}: a model has one output of a step, "
                    f"here {name!r}, and the final states"
                )
        if isinstance(main, Flow):
            atoms = [a for axis in main.axes for a in axis if a in main.features]
            whole = [a for a in main.features if a.size != 1]
            if main.flipped or [a for a in atoms if a.size != 1] != whole:
                raise ValueError(
                    f"load_onnx: output {name!r}: its steps run back, or its features "
                    "are in another order than the layers give them"
                )
        return main.layers


def _array(value: Any) -> Any:
    if isinstance(value, Flow):
        return np.zeros(value.shape, value.dtype)
    return value.like if isinstance(value, Outside) else value


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [item.decode(errors="replace") for item in value]
    return value


def _prime(n: int) -> bool:
    return all(n % i for i in range(2, int(n**0.5) + 1))
