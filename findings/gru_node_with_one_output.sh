#!/usr/bin/env bash
# A GRU node of which one output alone is wanted gives the other one, in OpenCV and in MNN.
#
# One would guess: leaving out an output of an ONNX GRU, as the specification allows for each
# of them, changes nothing about the other. Both runtimes are right with both outputs named.
#
# What happens, without a word:
#   OpenCV: outputs ["Y"] give Y_h, the state after the last step, [1, batch, hidden], where
#           Y is [time, 1, batch, hidden]; outputs ["", "Y_h"] are right.
#   MNN:    outputs ["", "Y_h"] give Y, the states of all the steps, where Y_h is
#           [1, batch, hidden]; outputs ["Y"] are right. RNN nodes do so too.
# An LSTM node of Y alone is right in OpenCV. So a tagger (Y alone) breaks in one runtime,
# a classifier (Y_h alone) in the other. What helps: name both outputs in the file.
#
# Seen with opencv-python-headless 5.0.0.93, mnn 3.6.1, onnx 1.23.2, onnxruntime 1.32.0.
# The script calls MNN's converter as a function of its module `_tools`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93 mnn==3.6.1

cat > one.py <<'END'
import cv2
import MNN
import _tools
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

T, B, D, H = 4, 1, 2, 3
x = np.random.default_rng(1).normal(size=(T, B, D)).astype(np.float32)
SHAPES = {"Y": (T, 1, B, H), "Y_h": (1, B, H)}


def write(path, operator, gates, outputs):
    rng = np.random.default_rng(0)
    shapes = {"W": (1, gates * H, D), "R": (1, gates * H, H), "B": (1, 2 * gates * H)}
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    more = {"linear_before_reset": 1} if operator == "GRU" else {}
    node = helper.make_node(operator, ["X", "W", "R", "B"], outputs, hidden_size=H, **more)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, SHAPES[n]) for n in outputs if n],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def opencv(path, name):
    net = cv2.dnn.readNetFromONNX(path)
    net.setInput(x, "X")
    return np.array(net.forward(name))


def mnn(path, name):
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", path, "--MNNModel", "m.mnn"])
    net = MNN.nn.load_module_from_file("m.mnn", ["X"], [name])
    return np.array(net.forward([MNN.expr.const(x, list(x.shape), MNN.expr.NCHW)])[0].read())


def near(out, right):
    return out.size == right.size and np.abs(out.ravel() - right.ravel()).max() < 1e-5


lines = []
for runtime, operator, gates, swapped in (
    (opencv, "GRU", 3, "Y"),
    (opencv, "LSTM", 4, None),
    (mnn, "GRU", 3, "Y_h"),
    (mnn, "RNN", 1, "Y_h"),
):
    write("both.onnx", operator, gates, ["Y", "Y_h"])
    session = ort.InferenceSession("both.onnx", providers=["CPUExecutionProvider"])
    right = dict(zip(("Y", "Y_h"), session.run(None, {"X": x}), strict=True))
    for wanted, other, outputs in (("Y", "Y_h", ["Y"]), ("Y_h", "Y", ["", "Y_h"])):
        write("one.onnx", operator, gates, outputs)
        out = runtime("one.onnx", wanted)
        got = wanted if near(out, right[wanted]) else other if near(out, right[other]) else "?"
        lines.append(f"{runtime.__name__} {operator}: {wanted} alone gives {got}, {out.shape}")
        assert got == (other if wanted == swapped else wanted), lines[-1]
print(*lines, sep="\n")
END
env/bin/python one.py
echo "as described"
