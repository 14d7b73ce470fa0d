"""Rewrites a file to forms that all runtimes compute alike."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, version_converter

from jaxrnn.interop.doctor import recurrent
from jaxrnn.interop.doctor.diagnosis import (
    Model,
    inferred,
    inlined,
    known,
    loaded,
    of_node,
)
from jaxrnn.interop.doctor.effects import REFUSES, RUNTIMES
from jaxrnn.interop.doctor.fixed import fixed_lengths
from jaxrnn.interop.doctor.graphs import RECURRENT, Place, walk
from jaxrnn.interop.doctor.loops import names_of, replaced
from jaxrnn.interop.doctor.notation import lacks_states
from jaxrnn.interop.doctor.operators import Writer
from jaxrnn.interop.doctor.recurrent import Recurrent
from jaxrnn.interop.onnx.valid import LARGEST

LONGEST = 512  # steps that are unrolled; a longer sequence becomes a Loop or a Scan
REFUSED = {"Loop": {"tract"}, "Scan": {"opencv", "mnn"}}


def rewrite(
    model: Model, runtimes: Collection[str] = RUNTIMES, *, time: int | None = None
) -> onnx.ModelProto:
    """Gives a model that the runtimes compute alike, as onnxruntime computes it.

    A node stays what it is where that is enough: a reverse node becomes one half of a
    bidirectional one, layout=1 becomes transposes, other dtypes casts; a coupled
    forget gate has minus the weights of the input gate, since
    1 - sigmoid(z) = sigmoid(-z). What no node says in all of the runtimes becomes
    standard operators, unrolled where the number of steps is known and at most 512,
    else in a Loop or a Scan. The final state of a row of length 0 is its initial
    state. What is left over, `diagnose` of the result names.

    Args:
      model: the model, or the path of a file; it is not changed.
      runtimes: those that shall agree, as in `diagnose`.
      time: declares this as the length of the recurrent nodes' time axis, where
        the file leaves it open.

    Raises:
      ValueError: as in `diagnose`; if the file's opset cannot be raised to 14, or
        `time` is given and no open axis is found.

    Example:
      >>> from onnx import parser
      >>> from jaxrnn.interop import doctor
      >>> model = parser.parse_model('''
      ...   <ir_version: 8, opset_import: ["" : 17]>
      ...   g (float[5, 2, 3] X) => (float[5, 1, 2, 1] Y)
      ...   <float[1, 3, 3] W = {0, 1, 2, 3, 4, 5, 6, 7, 8},
      ...    float[1, 3, 1] R = {1, 2, 3}>
      ...   { Y, H = GRU <hidden_size = 1, direction = "reverse"> (X, W, R) }''')
      >>> {finding.runtime for finding in doctor.diagnose(model)} == {
      ...     "tract", "opencv", "mnn"}
      True
      >>> doctor.diagnose(doctor.rewrite(model))
      []
    """
    wanted = set(known(runtimes))
    model = _new_enough(inlined(loaded(model)))
    if time is not None:
        model = _declared(model, time)
    for path, axis, steps in fixed_lengths(model):
        value = next(i for i in model.graph.input if path == f"input:{i.name}")
        value.type.tensor_type.shape.dim[axis].dim_value = steps
    count = 0
    for change in (_tidied, _best):
        for place in [p for p in walk(model) if p.node.op_type in RECURRENT]:
            if not any(f.runtime in wanted for f in of_node(place)):
                continue
            node = recurrent.read(place)
            prefix = f"doctor{count}"
            while any(name.startswith(prefix) for name in names_of(model.graph)):
                count += 1
                prefix = f"doctor{count}"
            written = change(node, prefix, wanted)
            if written is not None:
                _put(place, written)
            count += 1
        model = inferred(model)
    # Names of sizes that are no input's keep tract from other sizes.
    for graph in (model.graph, *(p.scope.graph for p in walk(model))):
        del graph.value_info[:]
        for value in () if graph is model.graph else (*graph.input, *graph.output):
            for dim in value.type.tensor_type.shape.dim:
                dim.ClearField("dim_param")
    return model


def _new_enough(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < 14:
        try:
            model = version_converter.convert_version(model, 17)
        except Exception as error:  # its own errors are of many classes
            raise ValueError(
                f"opset {opset} cannot be raised to 17: {error}"
            ) from error
        model = onnx.shape_inference.infer_shapes(model)
    model.ir_version = max(model.ir_version, 7)
    return model


def _declared(model: onnx.ModelProto, time: int) -> onnx.ModelProto:
    if isinstance(time, bool) or not isinstance(time, int) or time < 1:
        raise ValueError(f"time: expected an int of at least 1, got {time!r}")
    names = {recurrent.read(p).time for p in walk(model) if p.node.op_type in RECURRENT}
    names = {n for n in names if isinstance(n, str) and not n.startswith("unk__")}
    if not names:
        raise ValueError("time: no recurrent node has a time axis with a declared name")
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_value = time
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def _put(place: Place, w: Writer) -> None:
    """Puts the written nodes where the node stood."""
    graph = place.scope.graph
    nodes = list(graph.node)
    at = next(i for i, n in enumerate(nodes) if n is place.node or n == place.node)
    del graph.node[:]
    graph.node.extend([*nodes[:at], *w.nodes, *nodes[at + 1 :]])
    graph.initializer.extend(w.constants)


def _tidied(node: Recurrent, prefix: str, wanted: set[str]) -> Writer:
    """The same node, said so that most runtimes read it."""
    w, old = Writer(prefix), node.place.node
    inputs = [*old.input, *[""] * (8 - len(old.input))]
    given = dict(node.given)
    given["hidden_size"] = node.hidden_size
    for key in ("activations", "activation_alpha", "activation_beta", "layout"):
        given.pop(key, None)
    if not node.usual:
        each = [a for direction in node.activations for a in direction]
        given["activations"] = [a.name for a in each]
        for key in ("alpha", "beta"):
            values = [getattr(a, key) for a in each]
            if numbers := [v for v in values if v is not None]:
                given[f"activation_{key}"] = numbers
    if node.dtype != TensorProto.FLOAT:
        for k in (0, 1, 2, 3, 5, 6, 7):
            inputs[k] = inputs[k] and w("Cast", inputs[k], to=TensorProto.FLOAT)
    if node.layout:
        inputs[0] = w("Transpose", inputs[0], perm=[1, 0, 2])
        for k in (5, 6):
            inputs[k] = inputs[k] and w("Transpose", inputs[k], perm=[1, 0, 2])
    if not node.ragged:
        inputs[4] = ""
    peepholes = node.weights.get("P")
    if peepholes is not None and not peepholes.any():
        inputs[7] = ""
    if node.input_forget and node.constant and _coupled(w, node, inputs):
        given.pop("input_forget")
    if node.op == "LSTM":
        _completed(w, node, inputs)
    # Two directions are read where one alone is not: the other one's answer is left.
    twice = node.direction == "reverse" and not node.ragged
    if lacks_states(node) and "tract" in wanted:
        twice = False  # tract does not read it either way
    if twice:
        given["direction"] = "bidirectional"
        for key in ("activations", "activation_alpha", "activation_beta"):
            if key in given:
                given[key] *= 2
        for k, axis in ((1, 0), (2, 0), (3, 0), (5, 0), (6, 0), (7, 0)):
            inputs[k] = inputs[k] and w("Concat", inputs[k], inputs[k], axis=axis)
    while not inputs[-1]:
        inputs.pop()
    keys = ("Y", "Y_h", "Y_c") if node.op == "LSTM" else ("Y", "Y_h")
    names = dict(zip(keys, [*node.outputs, "", "", ""], strict=False))
    cast = node.dtype != TensorProto.FLOAT
    changed = cast or node.layout or twice
    raw = {k: f"{prefix}/{k}" if changed or not names[k] else names[k] for k in keys}
    outputs = [raw[k] for k in keys]
    w.nodes.append(helper.make_node(old.op_type, inputs, outputs, old.name, **given))
    for k in keys:
        if not names[k] or not changed:
            continue
        after: list[tuple[str, list[str], dict[str, Any]]] = []
        if twice:
            side = w.ints(int(node.direction == "reverse"))
            after.append(("Gather", [side], {"axis": int(k == "Y")}))
        if node.layout:
            perm = [2, 0, 1, 3] if k == "Y" else [1, 0, 2]
            after.append(("Transpose", [], {"perm": perm}))
        if cast:
            after.append(("Cast", [], {"to": node.dtype}))
        name = raw[k]
        for i, (op, more, attrs) in enumerate(after):
            out = names[k] if i == len(after) - 1 else ""
            name = w(op, name, *more, out=out, **attrs)
    return w


def _completed(w: Writer, node: Recurrent, inputs: list[str]) -> None:
    """Writes an LSTM's bias, and the second of two initial states, if absent."""
    if not any(node.states):
        return
    if not inputs[3]:
        inputs[3] = w.constant(np.zeros((node.directions, 8 * node.hidden_size)))
    if not all(node.states):
        if isinstance(node.batch, int) and node.batch * node.hidden_size <= LARGEST:
            size = (node.directions, node.batch, node.hidden_size)
            zeros = w.constant(np.zeros(size))
        else:
            shape = w.sizes(inputs[0], node.directions, -2, node.hidden_size)
            zeros = w.zeros(shape)
        inputs[5], inputs[6] = inputs[5] or zeros, inputs[6] or zeros


def _coupled(w: Writer, node: Recurrent, inputs: list[str]) -> bool:
    """Gives f minus the weights of i, if the gates are sigmoids."""
    if any(each[0].name != "Sigmoid" for each in node.activations):
        return False
    size = node.hidden_size
    places = {"W": 1, "R": 2, "B": 3, "P": 7}
    for key, array in node.weights.items():
        if array is None or not inputs[places[key]]:
            continue
        array = np.array(array, np.float32)
        for start in (0, 4 * size) if key == "B" else (0,):  # i, o, f, c
            i = array[:, start : start + size]
            array[:, start + 2 * size : start + 3 * size] = -i
        inputs[places[key]] = w.constant(array)
    return True


def _best(node: Recurrent, prefix: str, wanted: set[str]) -> Writer | None:
    """The form that most runtimes compute alike; None if the node is it."""
    if not node.constant or node.dtype != TensorProto.FLOAT or node.layout:
        return None
    found = [f for f in of_node(node.place) if f.runtime in wanted]
    silent = len({f.runtime for f in found if f.kind != REFUSES})
    forms: list[tuple[int, int, str]] = [(silent, len({f.runtime for f in found}), "")]
    if isinstance(node.time, int) and node.time <= LONGEST:
        forms.append((0, 0, "unrolled"))
    forms += [(0, len(REFUSED[f] & wanted), f) for f in ("Loop", "Scan")]
    form = min(forms, key=lambda f: f[:2])[2]
    return replaced(node, form, prefix) if form else None
