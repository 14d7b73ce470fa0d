"""Rules for how a file says it: layout, dtypes, states, outputs and sizes."""

import numpy as np
import onnx

from jaxrnn.interop.doctor.effects import (
    ENDS,
    STANDARD,
    Effect,
    Rule,
    any_state,
    both_states,
    differs,
    one_of,
    refuses,
    unlike,
)
from jaxrnn.interop.doctor.recurrent import DEFAULTS, Recurrent


def lacks_states(node: Recurrent) -> bool:
    """Whether tract takes the batch of the cell state for 1."""
    values = [node.place.scope.constant(s) if s else np.zeros(1) for s in node.states]
    fixed = [v for v in values if v is not None and np.ptp(v) == 0]
    return (
        node.op == "LSTM"
        and node.direction != "bidirectional"
        and node.batch != 1
        and "Y_c" in node.used
        and len(fixed) == 2
        and "P" not in node.weights
        and not node.ragged
    )


def _time_leads(node: Recurrent) -> bool:
    """Whether the steps are the first axis of an input of the file, or may be."""
    scope = node.place.scope
    while scope.outer is not None:
        scope = scope.outer
    shapes = [i.type.tensor_type.shape.dim for i in scope.graph.input]
    names = [[dim.dim_param for dim in shape] for shape in shapes]
    axes = {shape.index(node.time) for shape in names if node.time in shape}
    return not axes or 0 in axes


OUTPUTS = "give every output of the node a name"

NOTATION: tuple[Rule, ...] = (
    Rule(
        "layout=1",
        lambda node: bool(node.layout),
        (
            *refuses("onnxruntime", "opencv"),
            *refuses("openvino", when=any_state),
            *refuses("mnn", when=lambda node: node.op != "RNN" and any_state(node)),
            *differs("takes the batch for time", "openvino", "mnn", layout=0),
        ),
        "layout=0 between two Transposes",
    ),
    Rule(
        "float64",
        lambda node: node.dtype == onnx.TensorProto.DOUBLE,
        (
            *refuses("onnxruntime", "tract"),
            *refuses("opencv", when=one_of("GRU")),
            *differs("computes something else", "opencv", when=one_of("LSTM")),
        ),
        "float32 between two Casts",
    ),
    Rule(
        "float16",
        lambda node: node.dtype == onnx.TensorProto.FLOAT16,
        refuses("tract", when=unlike(one_of("LSTM"))),
        "float32 between two Casts",
    ),
    Rule(
        "Y_c of a batch, initial states absent or constant",
        lacks_states,
        refuses("tract", what="refuses, or works beside another node"),
        STANDARD,
    ),
    Rule(
        "initial states without bias",
        lambda node: both_states(node) and "B" not in node.weights,
        refuses("opencv"),
        "write a bias of zeros",
    ),
    Rule(
        "one of two initial states",
        lambda node: node.op == "LSTM" and any_state(node) and not all(node.states),
        refuses("opencv"),
        "write the other one, of zeros",
    ),
    Rule(
        "an output without a name",
        lambda node: (
            len(node.outputs) < len(DEFAULTS[node.op]) + (node.op == "RNN")
            or "" in node.outputs
        ),
        (
            Effect(
                "mnn",
                ENDS,
                "ends the process, or works",
                when=lambda node: node.op == "LSTM" and len(node.outputs) < 3,
            ),
            *differs(
                "gives Y in the place of Y_h",
                "mnn",
                when=lambda node: node.op != "LSTM" and not node.outputs[0],
                outputs="Y",
            ),
            *differs(
                "gives Y_h in the place of Y",
                "opencv",
                when=lambda node: node.op == "GRU" and len(node.outputs) == 1,
                outputs="Y_h",
            ),
            *refuses(
                "opencv",
                when=lambda node: (
                    node.op == "LSTM"
                    and len(node.outputs) == 3
                    and "" in node.outputs[1:]
                ),
            ),
        ),
        OUTPUTS,
    ),
    Rule(
        "no hidden_size",
        lambda node: not node.given.get("hidden_size"),
        (
            *refuses("onnxruntime", "openvino"),
            *refuses("opencv", when=one_of("LSTM")),
            *refuses("mnn", when=unlike(one_of("LSTM"))),
        ),
        "write hidden_size",
    ),
    Rule(
        "a time axis of any length",
        lambda node: not isinstance(node.time, int),
        refuses(
            "mnn",
            when=lambda node: (
                _time_leads(node)
                and (node.op == "GRU" or (node.op == "LSTM" and any_state(node)))
            ),
            what="reads one step, and refuses more",
        ),
        "declare the length: rewrite(model, time=T), --time T",
    ),
    Rule(
        "weights that are computed",
        lambda node: not node.constant,
        refuses("mnn", when=one_of("GRU")),
        "store the weights as initializers (no rewriting here)",
    ),
)
