#!/usr/bin/env bash
# A Gather over a Range that counts down, which flips the time axis, comes back empty.
#
# One would guess: Range(T - 1, -1, -1) followed by Gather reverses an axis of any length,
# as the backward half of a bidirectional network needs it, and the level of optimization
# of a session changes the speed and not the answer.
#
# What happens: with the levels "disabled" and "basic" the rows come in reversed order.
# With "extended" and "all" the two nodes become one Slice from T - 1 to -1 with step -1.
# For Slice an end of -1 means the last row and not "before the first", so the result has
# no rows; there is neither an error nor a warning. The fusion needs a start that is not
# known beforehand, which is the rule where the length is dynamic: a constant Range is
# folded into the indices and stays right. A Slice to the smallest integer is right too.
#
# Seen with onnxruntime 1.32.0 and onnx 1.23.2; the optimized graph was written to a file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0

cat > flip.py <<'END'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["time", 2]) for n in "xy")
graph = helper.make_graph(
    [
        helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
        helper.make_node("Squeeze", ["shape"], ["length"]),
        helper.make_node("Sub", ["length", "one"], ["last"]),
        helper.make_node("Range", ["last", "minus", "minus"], ["index"]),
        helper.make_node("Gather", ["x", "index"], ["y"], axis=0),
    ],
    "flip",
    [x],
    [y],
    [
        helper.make_tensor("one", TensorProto.INT64, [], [1]),
        helper.make_tensor("minus", TensorProto.INT64, [], [-1]),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
values = np.arange(8, dtype=np.float32).reshape(4, 2)

shapes = {}
for level in ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL"):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")
    options.optimized_model_filepath = f"{level}.onnx"
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    out = session.run(None, {"x": values})[0]
    nodes = [node.op_type for node in onnx.load(f"{level}.onnx").graph.node]
    print(f"{level}: shape {out.shape}, first column {out[:, 0]}, last node {nodes[-1]}")
    shapes[level] = out.shape
    if out.size:
        assert np.array_equal(out, values[::-1])
    assert ("Slice" in nodes) == (out.size == 0)

assert shapes["DISABLE_ALL"] == shapes["ENABLE_BASIC"] == (4, 2)
assert shapes["ENABLE_EXTENDED"] == shapes["ENABLE_ALL"] == (0, 2)
END
env/bin/python flip.py
echo "as described"
