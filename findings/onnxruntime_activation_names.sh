#!/usr/bin/env bash
# Names of activations in small letters pass in GRU and LSTM nodes and not in RNN nodes.
#
# One would guess: activations=["tanh"], as Keras and PyTorch spell it, is either refused in
# all three recurrent operators of ONNX or accepted in all three.
#
# What happens in onnxruntime: GRU and LSTM turn the names into small letters first, so
# "sigmoid", "tanh", "leakyrelu" and "TANH" are all accepted and give the very numbers of
# the names of the specification. RNN compares as it stands and raises an error when the
# session is made. The checker of onnx accepts every spelling of all three, so a converter
# that was tested on an LSTM writes RNN files that nobody can load.
#
# Seen with onnxruntime 1.32.0 and onnx 1.23.2.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0

cat > names.py <<'END'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

H, D, T = 3, 2, 4
x = np.random.default_rng(1).normal(size=(T, 1, D)).astype(np.float32)
ort.set_default_logger_severity(4)


def run(operator, gates, names):
    rng = np.random.default_rng(0)
    arrays = {"W": rng.normal(size=(1, gates * H, D)), "R": rng.normal(size=(1, gates * H, H))}
    weights = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()]
    node = helper.make_node(operator, ["X", "W", "R"], ["Y"], hidden_size=H, activations=names)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [T, 1, 1, H])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x})[0]


for operator, gates, names in (
    ("RNN", 1, ["Tanh"]),
    ("RNN", 1, ["Relu"]),
    ("GRU", 3, ["Sigmoid", "LeakyRelu"]),
    ("LSTM", 4, ["Sigmoid", "Tanh", "Softsign"]),
):
    right = run(operator, gates, names)
    for spelling in (str.lower, str.upper):
        written = [spelling(name) for name in names]
        try:
            out = run(operator, gates, written)
            assert operator != "RNN" and np.array_equal(out, right)
            print(operator, written, "the same numbers")
        except ort.capi.onnxruntime_pybind11_state.Fail as error:
            print(operator, written, "refused:", type(error).__name__)
            assert operator == "RNN"
END
env/bin/python names.py
echo "as described"
