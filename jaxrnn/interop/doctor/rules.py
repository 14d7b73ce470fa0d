"""What six runtimes do with recurrent nodes, as data: measured, not read.

A rule says for one feature of a node which runtimes do not compute it as ONNX's
specification says, as onnxruntime, where it runs, does in nearly every case.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx

from jaxrnn.interop.doctor.guards import guarded
from jaxrnn.interop.doctor.recurrent import DEFAULTS, Recurrent

VERSIONS = {  # those on which every rule was measured
    "onnxruntime": "1.32.0",
    "openvino": "2026.4.1",
    "tract": "0.23.9",
    "opencv": "5.0.0.93",
    "mnn": "3.6.1",
    "reference": "1.23.2",  # onnx.reference.ReferenceEvaluator
}
RUNTIMES = tuple(VERSIONS)
DIFFERS, REFUSES, ENDS = "differs", "refuses", "ends the process"

Test = Callable[[Recurrent], bool]
Change = dict[str, Any]


class Effect(NamedTuple):
    """What one runtime does with a feature; the first of a runtime that holds counts.

    `as_if` says which node it computes instead: fields of the node, with "default" for
    those of an absent attribute.
    """

    runtime: str
    kind: str
    what: str
    as_if: Change = {}  # noqa: RUF012 - never changed
    when: Test = lambda node: True


class Rule(NamedTuple):
    """A feature of a node, what the runtimes do with it, and the remedy."""

    feature: str
    has: Test
    effects: tuple[Effect, ...]
    remedy: str


def _is(*ops: str) -> Test:
    return lambda node: node.op in ops


def _differs(what: str, *runtimes: str, when: Test = lambda node: True, **as_if: Any):
    return tuple(Effect(r, DIFFERS, what, as_if, when) for r in runtimes)


def _refuses(*runtimes: str, when: Test = lambda node: True, what: str = "refuses"):
    return tuple(Effect(r, REFUSES, what, {}, when) for r in runtimes)


def _both_states(node: Recurrent) -> bool:
    return node.op == "LSTM" and all(node.states)


def _lstm_without_states(node: Recurrent) -> bool:
    return node.op == "LSTM" and not all(node.states)


def _any_state(node: Recurrent) -> bool:
    return any(node.states)


def _only(*names: str) -> Test:
    return lambda node: node.functions() <= set(names)


def _not(test: Test) -> Test:
    return lambda node: not test(node)


def _zero(node: Recurrent) -> bool:
    peepholes = node.weights["P"]
    return peepholes is not None and not peepholes.any()


def _spelt_otherwise(node: Recurrent) -> bool:
    names = [a.name for each in node.activations for a in each]
    return list(node.given.get("activations", names)) != names


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


def _may_be_empty(node: Recurrent) -> bool:
    if not _any_state(node) or not node.used & {"Y_h", "Y_c"} or node.lengths is None:
        return False
    if isinstance(node.lengths, str):
        return not guarded(node)
    return bool((node.lengths == 0).any())


def _of_any_size(node: Recurrent) -> bool:
    return not all(isinstance(size, int) for size in (node.batch, node.time))


def _time_leads(node: Recurrent) -> bool:
    """Whether the steps are the first axis of an input of the file, or may be."""
    scope = node.place.scope
    while scope.outer is not None:
        scope = scope.outer
    shapes = [i.type.tensor_type.shape.dim for i in scope.graph.input]
    names = [[dim.dim_param for dim in shape] for shape in shapes]
    axes = {shape.index(node.time) for shape in names if node.time in shape}
    return not axes or 0 in axes


def _lacks_constants(node: Recurrent) -> bool:
    bare = not node.given.get("activation_alpha")
    return bare and bool(node.functions() & {"Affine", "ScaledTanh", "ThresholdedRelu"})


STANDARD = "the step in standard operators: unrolled, or in a Loop or Scan"
OUTPUTS = "give every output of the node a name"

RULES: tuple[Rule, ...] = (
    Rule("RNN", _is("RNN"), _refuses("opencv"), STANDARD),
    Rule(
        "peepholes",
        lambda node: "P" in node.weights and not _zero(node),
        (
            *_differs("drops P", "openvino", P=None),
            *_refuses(
                "opencv",
                when=lambda node: (
                    not _both_states(node) or node.direction == "bidirectional"
                ),
            ),
            *_differs("reads P as i, f, o", "opencv", P="ifo"),
            *_refuses("mnn"),
        ),
        STANDARD,
    ),
    Rule(
        "peepholes of zeros",
        lambda node: "P" in node.weights and _zero(node),
        (*_refuses("opencv", when=_lstm_without_states), *_refuses("mnn")),
        "leave out P",
    ),
    Rule(
        "input_forget=1",
        lambda node: node.op == "LSTM" and bool(node.input_forget),
        _differs(
            "has a forget gate of its own",
            *("openvino", "tract", "opencv", "mnn", "reference"),
            input_forget=0,
        ),
        "the weights of f are minus those of i, since 1 - sigmoid(z) = sigmoid(-z)",
    ),
    Rule(
        "direction=reverse",
        lambda node: node.direction == "reverse",
        (
            *_differs("runs forward", "tract", "mnn", direction="forward"),
            *_differs("runs forward", "opencv", when=_is("GRU"), direction="forward"),
            *_differs(
                "Y_h and Y_c of the first step it takes",
                "opencv",
                when=lambda node: (
                    node.op == "LSTM" and bool(node.used & {"Y_h", "Y_c"})
                ),
                final="first",
            ),
        ),
        "one half of a bidirectional node, whose other half is left",
    ),
    Rule(
        "linear_before_reset=0",
        lambda node: node.op == "GRU" and not node.linear_before_reset,
        (
            *_refuses("mnn", when=lambda node: node.direction == "bidirectional"),
            *_differs(
                "n = tanh(W x + b_w + b_r + r (R h))", "mnn", linear_before_reset="mnn"
            ),
        ),
        STANDARD,
    ),
    Rule(
        "sequence_lens",
        lambda node: node.ragged,
        (
            *_refuses("tract"),
            *_refuses("opencv", when=_lstm_without_states),
            *_differs(
                "reads the padding", "opencv", when=_not(_is("RNN")), lengths=None
            ),
            *_differs("reads the padding", "mnn", "reference", lengths=None),
        ),
        f"{STANDARD}, which keeps the state where t >= length",
    ),
    Rule(
        "sequence_lens, a batch or time axis of any length",
        lambda node: node.ragged and _of_any_size(node),
        _differs("reads the padding", "openvino", lengths=None),
        f"declare both lengths, or {STANDARD}",
    ),
    Rule(
        "sequence_lens, all of them T",
        lambda node: node.lengths is not None and not node.ragged,
        _refuses("opencv", when=_lstm_without_states),
        "leave out sequence_lens",
    ),
    Rule(
        "a length of 0 with an initial state",
        _may_be_empty,
        _differs(
            "zeros as the final state of a row of length 0",
            *("onnxruntime", "openvino"),
            empty="zeros",
        ),
        f"{STANDARD}: the final state of an empty row is its initial state",
    ),
    Rule(
        "clip",
        lambda node: node.clip is not None,
        _differs("does not clip", "tract", "opencv", "mnn", "reference", clip=None),
        f"{STANDARD}, with Clip before each gate",
    ),
    Rule(
        "other activations",
        lambda node: not node.usual,
        (
            *_refuses("openvino", when=_not(_only("Sigmoid", "Tanh", "Relu"))),
            *_differs(
                "the forward direction's in both",
                *("openvino",),
                when=_not(lambda node: node.same_both_ways),
                activations="forward's",
            ),
            *_differs("the default ones", "tract", activations="default"),
            *_refuses("opencv", when=_is("GRU")),
            *_refuses(
                "opencv",
                when=lambda node: (
                    node.op == "LSTM" and not _only("Sigmoid", "Tanh")(node)
                ),
            ),
            *_refuses(
                "mnn",
                when=lambda node: (
                    node.op == "LSTM" and not _only("Sigmoid", "Tanh", "Relu")(node)
                ),
            ),
            *_differs(
                "the forward direction's in both",
                "mnn",
                when=lambda node: node.op == "LSTM" and not node.same_both_ways,
                activations="forward's",
            ),
            *_differs(
                "the default ones",
                "mnn",
                when=_not(_is("LSTM")),
                activations="default",
            ),
            *_refuses("reference", when=_is("RNN")),
            *_differs("the default ones", "reference", activations="default"),
        ),
        STANDARD,
    ),
    Rule(
        "default activations written out",
        lambda node: node.usual and bool(node.given.get("activations")),
        _refuses("opencv", when=_is("GRU")),
        "leave out the attribute activations",
    ),
    Rule(
        "activations in lower case",
        _spelt_otherwise,
        (
            *_refuses("onnxruntime", when=_is("RNN")),
            *_refuses("opencv", "mnn", when=_is("LSTM")),
        ),
        "write the names as the specification does",
    ),
    Rule(
        "Affine, ScaledTanh or ThresholdedRelu without alpha",
        _lacks_constants,
        _differs("alpha = beta = 0", "onnxruntime", activation_alpha=(0.0,)),
        "write activation_alpha and activation_beta",
    ),
    Rule(
        "layout=1",
        lambda node: bool(node.layout),
        (
            *_refuses("onnxruntime", "opencv"),
            *_refuses("openvino", when=_any_state),
            *_refuses("mnn", when=lambda node: node.op != "RNN" and _any_state(node)),
            *_differs("takes the batch for time", "openvino", "mnn", layout=0),
        ),
        "layout=0 between two Transposes",
    ),
    Rule(
        "float64",
        lambda node: node.dtype == onnx.TensorProto.DOUBLE,
        (
            *_refuses("onnxruntime", "tract"),
            *_refuses("opencv", when=_is("GRU")),
            *_differs("computes something else", "opencv", when=_is("LSTM")),
        ),
        "float32 between two Casts",
    ),
    Rule(
        "float16",
        lambda node: node.dtype == onnx.TensorProto.FLOAT16,
        _refuses("tract", when=_not(_is("LSTM"))),
        "float32 between two Casts",
    ),
    Rule(
        "Y_c of a batch, initial states absent or constant",
        lacks_states,
        _refuses("tract", what="refuses, or works beside another node"),
        STANDARD,
    ),
    Rule(
        "initial states without bias",
        lambda node: _both_states(node) and "B" not in node.weights,
        _refuses("opencv"),
        "write a bias of zeros",
    ),
    Rule(
        "one of two initial states",
        lambda node: node.op == "LSTM" and _any_state(node) and not all(node.states),
        _refuses("opencv"),
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
            *_differs(
                "gives Y in the place of Y_h",
                "mnn",
                when=lambda node: node.op != "LSTM" and not node.outputs[0],
                outputs="Y",
            ),
            *_differs(
                "gives Y_h in the place of Y",
                "opencv",
                when=lambda node: node.op == "GRU" and len(node.outputs) == 1,
                outputs="Y_h",
            ),
            *_refuses(
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
            *_refuses("onnxruntime", "openvino"),
            *_refuses("opencv", when=_is("LSTM")),
            *_refuses("mnn", when=_not(_is("LSTM"))),
        ),
        "write hidden_size",
    ),
    Rule(
        "a time axis of any length",
        lambda node: not isinstance(node.time, int),
        _refuses(
            "mnn",
            when=lambda node: (
                _time_leads(node)
                and (node.op == "GRU" or (node.op == "LSTM" and _any_state(node)))
            ),
            what="reads one step, and refuses more",
        ),
        "declare the length: rewrite(model, time=T), --time T",
    ),
    Rule(
        "weights that are computed",
        lambda node: not node.constant,
        _refuses("mnn", when=_is("GRU")),
        "store the weights as initializers (no rewriting here)",
    ),
)
