"""Damages ONNX files, each in a way of its own that a seed chooses."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx_nodes import Case

import jaxrnn as rnn
from jaxrnn import interop

D, H = 3, 4
Key = np.random.Generator
HUGE = 2**40
SIZES = [-7, -1, 0, 1, 2, 5, 12, 16, 17, 2**31, HUGE]
KINDS = [*range(24), 77]  # of tensors
WORDS = ["", "Tanh", "tanh", "Sine", "Affine", "HardSigmoid", "LeakyRelu", "\ud7ff\0"]


def of_one_node() -> dict[str, Case]:
    """Valid files of one recurrent node."""
    both: dict[str, Any] = {"direction": "bidirectional"}
    return {
        "RNN": Case("RNN", activations=["Relu"], clip=2.0),
        "GRU": Case("GRU", linear_before_reset=1, states=["h0"]),
        "LSTM": Case("LSTM", peepholes=True, states=["h0", "c0"], time="T"),
        "reverse": Case("GRU", direction="reverse", clip=0.5),
        "both": Case("LSTM", lengths=[5, 3], fed=True, **both),
        "both GRU": Case(
            "GRU",
            activations=["HardSigmoid", "Tanh", "Sigmoid", "LeakyRelu"],
            activation_alpha=[0.3, 0.1],
            activation_beta=[0.4],
            states=["h0"],
            **both,
        ),
        "layout": Case("RNN", layout=1, states=["h0"], opset=14),
        "old": Case("LSTM", opset=7, input_forget=1),
    }


def exported() -> dict[str, onnx.ModelProto]:
    """Valid files that `to_onnx` has written."""
    import jax

    reader = rnn.chain(
        rnn.embedding(7, D),
        rnn.bidirectional(rnn.gru(D, H), rnn.gru(D, H)),
        rnn.residual(rnn.lstm(2 * H, 2 * H)),
        rnn.linear(2 * H, 2),
    )
    cells = {
        "reader": (reader, {"lengths": True}),
        "state": (rnn.lstm(D, H), {"initial_carry": True}),
        "scan": (rnn.elman(D, H, activation=jax.nn.soft_sign), {}),
    }
    return {
        name: interop.to_onnx(cell, cell.init(jax.random.key(0)), **options)
        for name, (cell, options) in cells.items()
    }


def damaged(
    model: onnx.ModelProto, seed: int, most: int = 3
) -> tuple[onnx.ModelProto, list[str]]:
    """A copy with one damage or a few, and what they are."""
    key = np.random.default_rng(seed)
    model, done = copy.deepcopy(model), []
    for _ in range(key.integers(1, most + 1)):
        damage = DAMAGES[key.integers(len(DAMAGES))]
        try:
            damage(model, key)
        except Exception as error:  # protobuf does not hold it, or it is gone already
            done.append(f"{damage.__name__} failed: {error}")
        else:
            done.append(damage.__name__)
    return model, done


def broken(data: bytes, seed: int) -> bytes:
    """The bytes of a file cut short, or with bits flipped, or with more of them."""
    key = np.random.default_rng(seed)
    array = bytearray(data)
    way = key.integers(4)
    if way == 0:
        return bytes(array[: key.integers(len(array))])
    if way == 1:
        start, count = key.integers(len(array)), int(key.integers(1, 9))
        return bytes(array[:start] + key.bytes(count) + array[start:])
    for _ in range(key.integers(1, 4)):
        # The names and the attributes stand in a small part of the file.
        at = key.integers(len(array) if way == 2 else min(len(array), 200))
        array[at] ^= 1 << key.integers(8)
    return bytes(array)


def _of(key: Key, some):
    some = list(some)
    if not some:
        raise ValueError("there is none")
    return some[key.integers(len(some))]


def _node(model, key):
    nodes = list(model.graph.node)
    special = [n for n in nodes if n.op_type in ("RNN", "GRU", "LSTM")]
    return _of(key, special if special and key.random() < 0.7 else nodes)


def _attribute(model, key):
    return _of(key, _node(model, key).attribute)


def _stored(model, key):
    return _of(key, model.graph.initializer)


def _declared(model, key):
    return _of(key, [*model.graph.input, *model.graph.output])


def no_input(model, key):
    node = _node(model, key)
    node.input[key.integers(len(node.input))] = ""


def fewer_inputs(model, key):
    node = _node(model, key)
    del node.input[key.integers(len(node.input)) :]


def more_inputs(model, key):
    node = _node(model, key)
    node.input.extend([_of(key, node.input)] * key.integers(1, 9))


def other_input(model, key):
    node = _node(model, key)
    names = [o for n in model.graph.node for o in [*n.input, *n.output]]
    node.input[key.integers(len(node.input))] = _of(key, names)


def dangling_input(model, key):
    node = _node(model, key)
    node.input[key.integers(len(node.input))] = "nowhere"


def own_output(model, key):
    node = _node(model, key)
    node.input[key.integers(len(node.input))] = _of(key, node.output)


def cycle(model, key):
    first, second = _node(model, key), _node(model, key)
    first.input[0], second.input[0] = _of(key, second.output), _of(key, first.output)


def other_order(model, key):
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes[i] for i in key.permutation(len(nodes)))


def no_node(model, key):
    model.graph.node.remove(_node(model, key))


def node_twice(model, key):
    model.graph.node.append(_node(model, key))


def other_operator(model, key):
    words = ["RNN", "GRU", "LSTM", "Add", "Loop", "If", "Scan", "Frob", "", "Split"]
    words += ["Expand", "Tile", "Range", "ConstantOfShape", "Gather", "Squeeze", "Cast"]
    _node(model, key).op_type = _of(key, words)


def own_domain(model, key):
    _node(model, key).domain = _of(key, ["ai.onnx", "own", "ai.onnx.ml", "\0"])


def outputs(model, key):
    node = _node(model, key)
    kept = key.integers(len(node.output) + 1)
    if key.random() < 0.5:
        del node.output[kept:]
    else:
        node.output.extend(["more"] * key.integers(1, 5))


def output_name(model, key):
    node = _node(model, key)
    names = ["", *node.input, *node.output, "new"]
    node.output[key.integers(len(node.output))] = _of(key, names)


def no_attribute(model, key):
    node = _node(model, key)
    del node.attribute[key.integers(len(node.attribute))]


def attribute_twice(model, key):
    node = _node(model, key)
    node.attribute.append(_of(key, node.attribute))


def attribute_name(model, key):
    words = ["output_sequence", "clip", "layout", "direction", "axis", "perm", ""]
    _attribute(model, key).name = _of(key, words)


def attribute_type(model, key):
    _attribute(model, key).type = _of(key, AttributeProto.AttributeType.values())


def attribute_value(model, key):
    old = _attribute(model, key)
    graph = helper.make_graph([], "inner", [], [])
    values = [int(_of(key, SIZES)), 0.5, float("nan"), -1.0, "sideways", b"\xff\xfe"]
    values += ["REVERSE", [1], [0.5], [int(n) for n in key.integers(-3, 9, 3)], [-1]]
    values += [["Tanh"], ["Tanh"] * 9, graph, [b"\xff"], [float("inf")] * 2]
    values += [numpy_helper.from_array(np.ones(2, "f")), "bidirectional", 1e30]
    old.CopyFrom(helper.make_attribute(old.name, _of(key, values)))


def new_attribute(model, key):
    names = {
        "hidden_size": SIZES,
        "layout": [0, 1, 2],
        "clip": [-1.0, 0.0, 0.3, np.inf],
    }
    names |= {"direction": ["forward", "reverse", "bidirectional", "Forward"]}
    names |= {"input_forget": [0, 1, 2], "linear_before_reset": [0, 1, -1]}
    names |= {"activation_alpha": [[0.5], [0.5] * 9, [float("nan")]]}
    names |= {"axis": [-9, -1, 0, 1, 2, 9], "axes": [[0], [-5], [7]], "to": KINDS}
    names |= {"perm": [[0, 0, 1], [2, 1], [1, 0, 2], [5, 6, 7]], "keepdims": [0]}
    name = _of(key, names)
    node = _node(model, key)
    for at, attribute in enumerate(node.attribute):
        if attribute.name == name:
            del node.attribute[at]
            break
    node.attribute.append(helper.make_attribute(name, _of(key, names[name])))


def activations(model, key):
    words = [_of(key, WORDS) for _ in range(key.integers(1, 7))]
    _node(model, key).attribute.append(helper.make_attribute("activations", words))


def no_initializer(model, key):
    model.graph.initializer.remove(_stored(model, key))


def initializer_name(model, key):
    names = [n for node in model.graph.node for n in node.input]
    _stored(model, key).name = _of(key, ["", "other", *names])


def initializer_twice(model, key):
    model.graph.initializer.append(_stored(model, key))


def stored_shape(model, key):
    tensor = _stored(model, key)
    tensor.dims[key.integers(len(tensor.dims))] = _of(key, SIZES)


def stored_rank(model, key):
    tensor = _stored(model, key)
    if key.random() < 0.5:
        tensor.dims.append(1)
    else:
        del tensor.dims[key.integers(len(tensor.dims))]


def stored_otherwise(model, key):
    """Another array of the same name."""
    tensor = _stored(model, key)
    array = numpy_helper.to_array(tensor)
    ways = [lambda a: a.T, lambda a: a[:, :-1], lambda a: a.reshape(-1), np.squeeze]
    ways += [lambda a: a[None], lambda a: np.concatenate([a, a]), lambda a: a[:0]]
    ways += [lambda a: a.astype(np.float64), lambda a: a.astype(np.int32)]
    ways += [lambda a: a.astype(np.float16), lambda a: a != 0, lambda a: a * np.nan]
    ways += [lambda a: np.array(["a"]), lambda a: a + 1j, lambda a: a[..., ::-1]]
    try:
        array = _of(key, ways)(array)
    except IndexError as error:
        raise ValueError(str(error)) from error
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def stored_kind(model, key):
    _stored(model, key).data_type = int(_of(key, KINDS))


def stored_less(model, key):
    tensor = _stored(model, key)
    tensor.raw_data = tensor.raw_data[: key.integers(len(tensor.raw_data) + 1)]


def stored_elsewhere(model, key):
    tensor = _stored(model, key)
    tensor.data_location = TensorProto.EXTERNAL
    if key.random() < 0.7:
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", _of(key, ["nowhere.bin", "../../x", ""])


def no_opset(model, key):
    del model.opset_import[:]


def opset(model, key):
    entry = _of(key, model.opset_import)
    entry.version = _of(key, [-1, 0, 1, 6, 10, 13, 14, 22, 999, 2**62])


def opset_domain(model, key):
    _of(key, model.opset_import).domain = _of(key, ["ai.onnx", "own", "ai.onnx.ml"])


def opset_twice(model, key):
    model.opset_import.append(helper.make_opsetid("", int(key.integers(1, 20))))


def ir_version(model, key):
    model.ir_version = _of(key, [0, 1, 3, 4, 999, -1])


def no_declaration(model, key):
    some = model.graph.input if key.random() < 0.5 else model.graph.output
    del some[key.integers(len(some))]


def declared_twice(model, key):
    some = model.graph.input if key.random() < 0.5 else model.graph.output
    some.append(_of(key, some))


def declared_name(model, key):
    names = [o for n in model.graph.node for o in [*n.input, *n.output]]
    _declared(model, key).name = _of(key, ["", "other", *names])


def declared_type(model, key):
    value = _declared(model, key)
    if key.random() < 0.6:
        value.type.tensor_type.elem_type = int(_of(key, KINDS))
    elif key.random() < 0.5:
        value.type.Clear()
    else:
        tensor = copy.deepcopy(value.type)
        value.type.sequence_type.elem_type.CopyFrom(tensor)


def declared_shape(model, key):
    shape = _declared(model, key).type.tensor_type.shape
    way = key.integers(5)
    if way == 0:
        shape.Clear()
    elif way == 1:
        del shape.dim[key.integers(len(shape.dim) + 1) :]
    elif way == 2:
        shape.dim.add().dim_value = int(_of(key, SIZES))
    elif way == 3:
        _of(key, shape.dim).dim_param = _of(key, ["", "T", "B", "T + 1"])
    else:
        _of(key, shape.dim).dim_value = int(_of(key, SIZES))


def every_size(model, key):
    """All axes of the input have sizes that no machine holds."""
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_value = HUGE


def enlarged(model, key):
    """A constant that no machine holds is made of a small one."""
    ways = [("ConstantOfShape", ["size"]), ("Expand", ["size", "size"])]
    ways += [("Tile", ["size", "size"]), ("Range", ["zero", "many", "one"])]
    op, inputs = _of(key, ways)
    stored = {"size": np.array([HUGE] * 2), "zero": 0, "many": HUGE, "one": 1}
    for name, value in stored.items():
        array = np.array(value, np.int64)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.node.insert(0, helper.make_node(op, inputs, ["enlarged"], "enlarged"))
    node = _node(model, key)
    node.input[key.integers(len(node.input))] = "enlarged"


def in_a_function(model, key):
    node = _node(model, key)
    body = helper.make_node("own", node.input, node.output)
    inputs, outs = [n for n in node.input if n], [n for n in node.output if n]
    imports = [helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "own", inputs, outs, [body], imports)
    model.functions.append(function)
    node.op_type, node.domain = "own", "own"
    if key.random() < 0.5:
        body.domain = "own"  # it calls itself


def no_graph(model, key):
    if key.random() < 0.5:
        model.ClearField("graph")
    else:
        del model.graph.node[:]


DAMAGES: list[Callable[[onnx.ModelProto, Key], None]] = [
    *(no_input, fewer_inputs, more_inputs, other_input, dangling_input, own_output),
    *(cycle, other_order, no_node, node_twice, other_operator, own_domain, outputs),
    *(output_name, no_attribute, attribute_twice, attribute_name, attribute_type),
    *(attribute_value, new_attribute, activations, no_initializer, initializer_name),
    *(initializer_twice, stored_shape, stored_rank, stored_otherwise, stored_kind),
    *(stored_less, stored_elsewhere, no_opset, opset, opset_domain, opset_twice),
    *(ir_version, no_declaration, declared_twice, declared_name, declared_type),
    *(declared_shape, every_size, enlarged, in_a_function, no_graph),
]
