"""Rules for what a node computes: operators, directions, lengths, activations."""

from jaxrnn.interop.doctor.effects import (
    STANDARD,
    Rule,
    Test,
    any_state,
    both_states,
    differs,
    one_of,
    refuses,
    unlike,
)
from jaxrnn.interop.doctor.guards import guarded
from jaxrnn.interop.doctor.recurrent import Recurrent


def _lstm_without_states(node: Recurrent) -> bool:
    return node.op == "LSTM" and not all(node.states)


def _only(*names: str) -> Test:
    return lambda node: node.functions() <= set(names)


def _zero(node: Recurrent) -> bool:
    peepholes = node.weights["P"]
    return peepholes is not None and not peepholes.any()


def _spelt_otherwise(node: Recurrent) -> bool:
    names = [a.name for each in node.activations for a in each]
    return list(node.given.get("activations", names)) != names


def _may_be_empty(node: Recurrent) -> bool:
    if not any_state(node) or not node.used & {"Y_h", "Y_c"} or node.lengths is None:
        return False
    if isinstance(node.lengths, str):
        return not guarded(node)
    return bool((node.lengths == 0).any())


def _of_any_size(node: Recurrent) -> bool:
    return not all(isinstance(size, int) for size in (node.batch, node.time))


def _lacks_constants(node: Recurrent) -> bool:
    bare = not node.given.get("activation_alpha")
    return bare and bool(node.functions() & {"Affine", "ScaledTanh", "ThresholdedRelu"})


EQUATIONS: tuple[Rule, ...] = (
    Rule("RNN", one_of("RNN"), refuses("opencv"), STANDARD),
    Rule(
        "peepholes",
        lambda node: "P" in node.weights and not _zero(node),
        (
            *differs("drops P", "openvino", P=None),
            *refuses(
                "opencv",
                when=lambda node: (
                    not both_states(node) or node.direction == "bidirectional"
                ),
            ),
            *differs("reads P as i, f, o", "opencv", P="ifo"),
            *refuses("mnn"),
        ),
        STANDARD,
    ),
    Rule(
        "peepholes of zeros",
        lambda node: "P" in node.weights and _zero(node),
        (*refuses("opencv", when=_lstm_without_states), *refuses("mnn")),
        "leave out P",
    ),
    Rule(
        "input_forget=1",
        lambda node: node.op == "LSTM" and bool(node.input_forget),
        differs(
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
            *differs("runs forward", "tract", "mnn", direction="forward"),
            *differs("runs forward", "opencv", when=one_of("GRU"), direction="forward"),
            *differs(
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
            *refuses("mnn", when=lambda node: node.direction == "bidirectional"),
            *differs(
                "n = tanh(W x + b_w + b_r + r (R h))", "mnn", linear_before_reset="mnn"
            ),
        ),
        STANDARD,
    ),
    Rule(
        "sequence_lens",
        lambda node: node.ragged,
        (
            *refuses("tract"),
            *refuses("opencv", when=_lstm_without_states),
            *differs(
                "reads the padding", "opencv", when=unlike(one_of("RNN")), lengths=None
            ),
            *differs("reads the padding", "mnn", "reference", lengths=None),
        ),
        f"{STANDARD}, which keeps the state where t >= length",
    ),
    Rule(
        "sequence_lens, a batch or time axis of any length",
        lambda node: node.ragged and _of_any_size(node),
        differs("reads the padding", "openvino", lengths=None),
        f"declare both lengths, or {STANDARD}",
    ),
    Rule(
        "sequence_lens, all of them T",
        lambda node: node.lengths is not None and not node.ragged,
        refuses("opencv", when=_lstm_without_states),
        "leave out sequence_lens",
    ),
    Rule(
        "a length of 0 with an initial state",
        _may_be_empty,
        differs(
            "zeros as the final state of a row of length 0",
            *("onnxruntime", "openvino"),
            empty="zeros",
        ),
        f"{STANDARD}: the final state of an empty row is its initial state",
    ),
    Rule(
        "clip",
        lambda node: node.clip is not None,
        differs("does not clip", "tract", "opencv", "mnn", "reference", clip=None),
        f"{STANDARD}, with Clip before each gate",
    ),
    Rule(
        "other activations",
        lambda node: not node.usual,
        (
            *refuses("openvino", when=unlike(_only("Sigmoid", "Tanh", "Relu"))),
            *differs(
                "the forward direction's in both",
                *("openvino",),
                when=unlike(lambda node: node.same_both_ways),
                activations="forward's",
            ),
            *differs("the default ones", "tract", activations="default"),
            *refuses("opencv", when=one_of("GRU")),
            *refuses(
                "opencv",
                when=lambda node: (
                    node.op == "LSTM" and not _only("Sigmoid", "Tanh")(node)
                ),
            ),
            *refuses(
                "mnn",
                when=lambda node: (
                    node.op == "LSTM" and not _only("Sigmoid", "Tanh", "Relu")(node)
                ),
            ),
            *differs(
                "the forward direction's in both",
                "mnn",
                when=lambda node: node.op == "LSTM" and not node.same_both_ways,
                activations="forward's",
            ),
            *differs(
                "the default ones",
                "mnn",
                when=unlike(one_of("LSTM")),
                activations="default",
            ),
            *refuses("reference", when=one_of("RNN")),
            *differs("the default ones", "reference", activations="default"),
        ),
        STANDARD,
    ),
    Rule(
        "default activations written out",
        lambda node: node.usual and bool(node.given.get("activations")),
        refuses("opencv", when=one_of("GRU")),
        "leave out the attribute activations",
    ),
    Rule(
        "activations in lower case",
        _spelt_otherwise,
        (
            *refuses("onnxruntime", when=one_of("RNN")),
            *refuses("opencv", "mnn", when=one_of("LSTM")),
        ),
        "write the names as the specification does",
    ),
    Rule(
        "Affine, ScaledTanh or ThresholdedRelu without alpha",
        _lacks_constants,
        differs("alpha = beta = 0", "onnxruntime", activation_alpha=(0.0,)),
        "write activation_alpha and activation_beta",
    ),
)
