"""Which runtimes compute a file otherwise, and why."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx.inliner

from jaxrnn.interop.doctor import recurrent
from jaxrnn.interop.doctor.effects import DIFFERS, ENDS, REFUSES, RUNTIMES
from jaxrnn.interop.doctor.fixed import fixed_lengths
from jaxrnn.interop.doctor.graphs import RECURRENT, Place, attributes, subgraphs, walk
from jaxrnn.interop.doctor.rules import RULES
from jaxrnn.interop.onnx.valid import check

Model = onnx.ModelProto | str | os.PathLike[str]


class Finding(NamedTuple):
    """One runtime that does not compute one node as the others do."""

    node: str  # its path: operator and name, through the graphs that hold it
    feature: str
    runtime: str
    kind: str  # "differs", "refuses", "ends the process"
    what: str
    remedy: str


def diagnose(model: Model, runtimes: Collection[str] = RUNTIMES) -> list[Finding]:
    """Tells which runtimes compute an ONNX file otherwise, and how to mend the file.

    The nodes RNN, GRU and LSTM are looked at, in functions and in the subgraphs of If,
    Loop and Scan too, and those operators themselves. Nothing is run: the answers
    are a table of what was measured (`docs/RUNTIMES.md`).

    Args:
      model: the model, or the path of a file.
      runtimes: those that matter, of "onnxruntime", "openvino", "tract", "opencv",
        "mnn", and "reference" (onnx's reference evaluator).

    Returns:
      A `Finding` for each feature of a node and each runtime that drops it, reads it
      otherwise, or refuses it; an empty list where all agree.

    Raises:
      ValueError: if the model is not valid, a node is not what the specification
        allows, or a runtime is not known.

    Example:
      >>> from onnx import parser
      >>> from jaxrnn.interop import doctor
      >>> model = parser.parse_model('''
      ...   <ir_version: 8, opset_import: ["" : 17]>
      ...   g (float[5, 2, 3] X, float[1, 16, 3] W, float[1, 16, 4] R)
      ...     => (float[5, 1, 2, 4] Y)
      ...   { Y, H, C = LSTM <hidden_size = 4, input_forget = 1> (X, W, R) }''')
      >>> [finding.runtime for finding in doctor.diagnose(model)]
      ['openvino', 'tract', 'opencv', 'mnn', 'reference']
    """
    wanted = known(runtimes)
    found = dict.fromkeys(_findings(loaded(model)))  # each one once
    return [finding for finding in found if finding.runtime in wanted]


def known(runtimes: Collection[str]) -> Collection[str]:
    """The runtimes, if there is a table of them."""
    if isinstance(runtimes, str) or not set(runtimes) <= set(RUNTIMES):
        raise ValueError(f"runtimes: expected some of {RUNTIMES}, got {runtimes!r}")
    return runtimes


def loaded(model: Model) -> onnx.ModelProto:
    """A copy of the model with the shapes that can be inferred, or a ValueError."""
    if not isinstance(model, (onnx.ModelProto, str, os.PathLike)):
        raise ValueError(f"model: expected a ModelProto or a path, got {model!r}")
    where = "model" if isinstance(model, onnx.ModelProto) else str(model)
    try:
        if not isinstance(model, onnx.ModelProto):
            if not Path(model).is_file():
                raise ValueError("there is no such file")
            model = onnx.load(model)
        if not model.graph.node:
            raise ValueError("it has no node")
        onnx.checker.check_model(model)
        check(model, ValueError)
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # of protobuf, of onnx: all say that it is no model
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{where}: not a valid ONNX model: {reason}") from error


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without functions of its own."""
    if not model.functions:
        return model
    try:
        model = onnx.inliner.inline_local_functions(model)
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # of several classes
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"functions: they cannot be put in: {reason}") from error


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with shapes, if the nodes that were written fit what stands there."""
    try:
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # of several classes
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"rewrite: the shapes in the file do not fit one another: {reason}"
        ) from error


def _findings(model: onnx.ModelProto) -> Iterator[Finding]:
    for function in model.functions:
        remedy = "onnx.inliner.inline_local_functions"
        for runtime in ("openvino", "tract", "opencv", "mnn"):
            yield Finding(
                *(f"function:{function.name}", "function", runtime, REFUSES),
                *("refuses", remedy),
            )
    model = inlined(model)
    for place in walk(model):
        if place.node.op_type in RECURRENT and place.node.domain in ("", "ai.onnx"):
            yield from of_node(place)
        else:
            yield from _of_operator(place)
    for path, axis, steps in fixed_lengths(model):
        for runtime in RUNTIMES:
            yield Finding(
                *(path, "unrolled over an example's length", runtime, DIFFERS),
                f"reads the first {steps} steps, though axis {axis} has any length",
                f"declare {steps} as its length, or export a recurrent node",
            )


def of_node(place: Place) -> Iterator[Finding]:
    """The findings of one RNN, GRU or LSTM."""
    node = recurrent.read(place)
    for rule in RULES:
        if not rule.has(node):
            continue
        done = set()
        for effect in rule.effects:
            if effect.runtime not in done and effect.when(node):
                done.add(effect.runtime)
                yield Finding(
                    *(place.path, rule.feature, effect.runtime, effect.kind),
                    *(effect.what, rule.remedy),
                )
    if "If" in place.inside and node.op != "RNN":
        yield Finding(
            *(place.path, "inside an If", "mnn", ENDS, "ends the process"),
            "the step in standard operators: unrolled",
        )


def _of_operator(place: Place) -> Iterator[Finding]:
    node, op = place.node, place.node.op_type

    def found(feature: str, kind: str, what: str, remedy: str, *runtimes: str):
        for runtime in runtimes:
            yield Finding(place.path, feature, runtime, kind, what, remedy)

    fix = "declare the length, so that the loop can be unrolled"
    if op == "Scan":
        yield from found("Scan", REFUSES, "refuses", fix, "opencv", "mnn")
        given = attributes(node)
        ways = (given.get(f"scan_{k}_directions", ()) for k in ("input", "output"))
        if any(map(any, ways)):
            flip = "flip the tensors outside by a Slice with step -1"
            yield from found("Scan backward", REFUSES, "refuses", flip, "reference")
    elif op == "Loop":
        yield from found("Loop", REFUSES, "refuses", fix, "tract")
        held = len(subgraphs(node)["body"].output) - 1
        states = max(len(node.input) - 2, 0)
        stacked = [o for o in node.output[states:held] if o]
        if any(not _reshaped(place, name) for name in stacked):
            what, remedy = "stacked outputs of another shape", "Reshape them"
            yield from found("Loop", DIFFERS, what, remedy, "opencv", "reference")
    elif op == "ReverseSequence":
        slices = "a Slice with step -1, where all rows have one length"
        yield from found(op, REFUSES, "refuses", slices, "tract", "opencv")


def _reshaped(place: Place, name: str) -> bool:
    readers = place.scope.readers(name)
    return all(r is not None and r.op_type == "Reshape" for r in readers)
