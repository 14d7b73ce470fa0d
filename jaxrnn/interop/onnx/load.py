"""A cell and its params from an ONNX file."""

import os
from typing import Any

from onnx import inliner

from jaxrnn.core import Cell
from jaxrnn.interop.onnx.flow import Carry, Flow, Layer, nodes_of, together
from jaxrnn.interop.onnx.graph import onnx
from jaxrnn.interop.onnx.reader import RECURRENT, Reader, refused
from jaxrnn.interop.onnx.states import settled, states_of
from jaxrnn.interop.onnx.valid import check


def read_cell(model: Any) -> tuple[Cell, Any]:
    """See `load_onnx`."""
    model = _read(model)
    graph = model.graph
    version = check(model, refused)
    needed = _needed(graph)
    if not any(node.op_type in RECURRENT for node in needed):
        kinds = sorted({node.op_type for node in needed})
        loops = [kind for kind in ("Loop", "Scan") if kind in kinds]
        hint = "; in a file without one, the exporter has unrolled the steps"
        if loops:
            hint = f"; the step inside a {loops[0]} is not read"
        raise ValueError(
            f"load_onnx: expected a node RNN, GRU or LSTM that the outputs need, got "
            f"{', '.join(kinds) or 'none'}{hint}; the weights can be loaded by "
            "load_torch, load_keras and the like"
        )
    reader = Reader(model, version)
    for node in needed:
        reader.read(node)
    return together(_result({o.name: reader.values[o.name] for o in graph.output}))


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
        try:
            return inliner.inline_local_functions(model)
        except Exception as error:  # of several classes
            reason = str(error).strip().split("\n")[0]
            raise refused(f"functions: they cannot be put in: {reason}") from error
    return model


def _needed(graph: Any) -> list[Any]:
    """The nodes that the outputs depend on, in their order."""
    wanted, found = {output.name for output in graph.output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            found.append(node)
            wanted |= set(node.input)
    return found[::-1]


def _result(found: dict[str, Any]) -> tuple[Layer, ...]:
    """The layers that the outputs of the file have gone through."""
    for name, value in found.items():
        if not isinstance(value, Flow | Carry):
            raise ValueError(
                f"load_onnx: output {name!r}: expected what the recurrent nodes "
                "give, got something else"
            )
    name = max(found, key=lambda name: _rank(found[name]))
    main = found[name]
    if isinstance(main, Flow) and main.states:
        # Side by side they are an output; as the node has them they are the carry.
        main = settled(main) if main.ready else Carry(main.layers)
    for other, value in found.items():
        if not nodes_of(value.layers) <= nodes_of(main.layers) or not (
            other == name or value.layers == main.layers or _is_state(value)
        ):
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


def _rank(value: Any) -> tuple[Any, ...]:
    """Of several outputs the first is that of a step, with all of the layers."""
    flow = isinstance(value, Flow)
    state = not flow or bool(value.states)
    return len(value.layers), not state, flow and not value.last, flow and value.ready


def _is_state(value: Any) -> bool:
    return isinstance(value, Carry) or bool(states_of(value))
