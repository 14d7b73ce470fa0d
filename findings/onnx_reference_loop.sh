#!/usr/bin/env bash
# The reference evaluator of ONNX stacks no outputs of a Loop, and skips a Loop of no condition.
#
# One would guess: an unrolled cell written as a Loop, which is how exporters write what is
# neither RNN, GRU nor LSTM, gives its outputs as [time, batch, hidden] (the specification:
# each scan output has the number of iterations as its leading axis), and a Loop with a trip
# count and an empty condition runs that often (the specification: as a for loop).
#
# What happens in the reference evaluator: the outputs of the steps are concatenated along
# their first axis, so 4 steps of [2, 3] are [8, 3] and not [4, 2, 3], though the checker
# has inferred [4, 2, 3]. And an empty condition counts as false: the body runs no time at
# all, and the final state is the initial one, without a word. onnxruntime does both right.
#
# Seen with onnx 1.23.2 and onnxruntime 1.32.0; onnx/reference/ops/op_loop.py.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q onnx==1.23.2 onnxruntime==1.32.0

cat > loop.py <<'END'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

STATE = [2, 3]


def info(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def counter(condition, stacked):
    """A state of which each of 4 steps makes one more; the states as outputs if `stacked`."""
    nodes = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("Add", ["h", "one"], ["h_next"]),
    ]
    outputs = [info("go_on", [], TensorProto.BOOL), info("h_next", STATE)]
    graph_outputs = [info("final", STATE)]
    if stacked:
        nodes.append(helper.make_node("Identity", ["h_next"], ["y"]))
        outputs.append(info("y", STATE))
        graph_outputs.append(info("ys", [4, *STATE]))
    body = helper.make_graph(
        nodes,
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("h", STATE)],
        outputs,
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )
    constants = [helper.make_tensor("steps", TensorProto.INT64, [], [4])]
    if condition:
        constants.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    names = [output.name for output in graph_outputs]
    loop = helper.make_node("Loop", ["steps", "yes" if condition else "", "h0"], names, body=body)
    graph = helper.make_graph([loop], "loop", [info("h0", STATE)], graph_outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def both(model):
    feed = {"h0": np.zeros(STATE, np.float32)}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return ReferenceEvaluator(model).run(None, feed), session.run(None, feed)


reference, runtime = both(counter(condition=True, stacked=True))
print("4 steps of [2, 3]:", reference[1].shape, "in the reference,", runtime[1].shape, "in onnxruntime")
assert reference[1].shape == (8, 3) and runtime[1].shape == (4, 2, 3)
assert np.array_equal(reference[1].reshape(4, 2, 3), runtime[1])

reference, runtime = both(counter(condition=False, stacked=False))
print("state after 4 steps without a condition:", reference[0][0, 0], "and", runtime[0][0, 0])
assert np.all(reference[0] == 0) and np.all(runtime[0] == 4)
END
env/bin/python loop.py
echo "as described"
