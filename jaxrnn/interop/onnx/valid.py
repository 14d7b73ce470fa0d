"""Whether a file is one of ONNX: names, types, sizes and opsets, before it is read."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Refuse = Callable[[str], ValueError]  # makes the error that names the file or the node
FIELDS = (
    *("raw_data", "float_data", "int32_data", "string_data", "int64_data"),
    *("double_data", "uint64_data"),
)
LARGEST = 2**26  # numbers in a constant that is computed while a file is read


def check(model: onnx.ModelProto, refuse: Refuse) -> int:
    """Checks what no node says of itself; the version of ONNX's own operators."""
    own = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    newest = defs.onnx_opset_version()
    if len(own) != 1 or not 1 <= own[0] <= newest:
        raise refuse(
            f"opset_import: expected one version of ONNX's operators from 1 to "
            f"{newest}, got {own or 'none'}"
        )
    graph, stored, named = model.graph, set(), set()
    for place, node in enumerate(graph.node):
        for text in (node.op_type, node.name, node.domain, *node.input, *node.output):
            if not isinstance(text, str):  # protobuf gives bytes for no UTF-8
                raise refuse(f"node {place}: expected names, got {text!r}")
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in stored:
            raise refuse(f"initializer {tensor.name!r}: the name is missing or twice")
        stored.add(tensor.name)
        array_of_tensor(tensor, refuse)
    for entry in graph.input:
        if not entry.name or entry.name in named:
            raise refuse(f"input {entry.name!r}: the name is missing or twice")
        named.add(entry.name)
        tensor = entry.type.tensor_type
        if not entry.type.HasField("tensor_type"):
            raise refuse(f"input {entry.name!r}: expected a tensor")
        _dtype(
            tensor.elem_type, lambda why, n=entry.name: refuse(f"input {n!r}: {why}")
        )
        sizes = [d.dim_value for d in tensor.shape.dim]
        if any(size < 0 for size in sizes):
            raise refuse(f"input {entry.name!r}: expected sizes, got {sizes}")
    made = stored | named
    for node in graph.node:
        for name in filter(None, node.output):
            if name in made:
                raise refuse(
                    f"output {name!r} of {node.op_type}: the name is there twice"
                )
            made.add(name)
    ends = [output.name for output in graph.output]
    for name in ends:
        if name not in made or ends.count(name) > 1:
            raise refuse(f"output {name!r}: no node makes it, or it is there twice")
    return own[0]


def array_of_tensor(tensor: onnx.TensorProto, refuse: Refuse) -> np.ndarray:
    """The numbers of an initializer, with the name in the error."""

    def refuse_it(why: str) -> ValueError:
        return refuse(f"initializer {tensor.name!r}: {why}")

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise refuse_it("its numbers are in another file; give the path of the model")
    _dtype(tensor.data_type, refuse_it)
    dims = list(tensor.dims)
    if (
        any(size < 0 for size in dims)
        or sum(_has(tensor, field) for field in FIELDS) > 1
    ):
        raise refuse_it(f"expected one field of numbers for the shape {dims}")
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # of numpy, of protobuf
        raise refuse_it(f"its numbers are not of the shape {dims}: {error}") from error


def _has(tensor: onnx.TensorProto, field: str) -> bool:
    return bool(len(getattr(tensor, field)))


def _dtype(number: int, refuse: Refuse) -> np.dtype:
    try:
        return helper.tensor_dtype_to_np_dtype(number)
    except KeyError:
        raise refuse(f"there is no type of numbers {number}") from None


def attributes_of(node: onnx.NodeProto, version: int, refuse: Refuse) -> dict[str, Any]:
    """The attributes, if the node is as this version of its operator has it."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        name = attribute.name
        if name in found:
            raise refuse(f"attribute {name!r} is there twice")
        try:
            value = helper.get_attribute_value(attribute)
            found[name] = _text(value)
        except (ValueError, UnicodeDecodeError) as error:
            raise refuse(f"attribute {name!r}: {error}") from None
    try:
        schema = defs.get_schema(node.op_type, version, "")
    except defs.SchemaError:
        raise refuse(f"opset {version} has no such operator") from None
    for attribute in node.attribute:
        name, known = attribute.name, schema.attributes.get(attribute.name)
        if known is None:
            raise refuse(f"attribute {name}={found[name]!r} is not known")
        expected: Any = known.type
        if attribute.type != expected.value:
            raise refuse(f"attribute {name}={found[name]!r}: expected {expected.name}")
    for name, known in schema.attributes.items():
        if known.required and name not in found:
            raise refuse(f"attribute {name}: it is missing")
    for what, some, least, most in (
        ("inputs", node.input, schema.min_input, schema.max_input),
        ("outputs", node.output, schema.min_output, schema.max_output),
    ):
        if not least <= len(some) <= most:
            raise refuse(f"{what}: expected {least} to {most}, got {list(some)}")
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    for name, formal in zip(node.input, schema.inputs, strict=False):
        if not name and formal.option == single:
            raise refuse(f"input {formal.name}: it is missing")
    return found


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [item.decode() for item in value]
    return value


def computed(
    node: onnx.NodeProto,
    arrays: Sequence[np.ndarray | None],
    version: int,
    refuse: Refuse,
) -> list[Any]:
    """What a node makes of constants, unless it is more than a machine should hold."""
    given: dict[str, Any] = {n: a for n, a in zip(node.input, arrays, strict=True) if n}
    names = [name for name in node.output if name]
    blank = onnx.TypeProto()
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_value_info(name, blank) for name in given],
        [helper.make_value_info(name, blank) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    try:
        if _size(model, given) > LARGEST:
            raise ValueError(f"it makes more than {LARGEST} numbers")
        results = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # of onnx and of numpy, of any class
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise refuse(f"it cannot be computed: {reason}") from error
    found = iter(results)
    return [next(found) if name else None for name in node.output]


def _size(model: onnx.ModelProto, given: dict[str, Any]) -> int:
    """How many numbers there will be, as far as can be told before."""
    known = onnx.ModelProto()
    known.CopyFrom(model)
    for entry in known.graph.input:
        array = given[entry.name]
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        entry.CopyFrom(helper.make_tensor_value_info(entry.name, kind, array.shape))
        if array.size <= 64 and array.dtype != object:
            known.graph.initializer.append(numpy_helper.from_array(array, entry.name))
    inferred = onnx.shape_inference.infer_shapes(known)
    sizes = [0]
    for entry in inferred.graph.output:
        dims = entry.type.tensor_type.shape.dim
        sizes.append(int(np.prod([float(d.dim_value) for d in dims])))
    return max(sizes)
