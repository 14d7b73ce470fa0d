"""What a rule says of a feature, and of the runtimes that do not compute it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxrnn.interop.doctor.recurrent import Recurrent

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


def one_of(*ops: str) -> Test:
    """Whether the node is one of these operators."""
    return lambda node: node.op in ops


def differs(what: str, *runtimes: str, when: Test = lambda node: True, **as_if: Any):
    """What runtimes that compute another node do: that with these fields."""
    return tuple(Effect(r, DIFFERS, what, as_if, when) for r in runtimes)


def refuses(*runtimes: str, when: Test = lambda node: True, what: str = "refuses"):
    """What runtimes do that do not read the feature."""
    return tuple(Effect(r, REFUSES, what, {}, when) for r in runtimes)


def both_states(node: Recurrent) -> bool:
    """Whether it is an LSTM that is given h and c."""
    return node.op == "LSTM" and all(node.states)


def any_state(node: Recurrent) -> bool:
    """Whether the node is given an initial state."""
    return any(node.states)


def unlike(test: Test) -> Test:
    """The opposite of a test."""
    return lambda node: not test(node)


STANDARD = "the step in standard operators: unrolled, or in a Loop or Scan"
