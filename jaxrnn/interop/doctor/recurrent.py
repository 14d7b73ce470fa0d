"""RNN, GRU and LSTM nodes of ONNX as records."""

from typing import Any, NamedTuple

import numpy as np
import onnx

from jaxrnn.interop.doctor.graphs import Place, attributes

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}
# Names of the specification, and the defaults of the operators of these names.
ACTIVATIONS: dict[str, tuple[float | None, float | None]] = {
    "Affine": (1.0, 0.0),
    "Elu": (1.0, None),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01, None),
    "Relu": (None, None),
    "ScaledTanh": (1.0, 1.0),
    "Sigmoid": (None, None),
    "Softplus": (None, None),
    "Softsign": (None, None),
    "Tanh": (None, None),
    "ThresholdedRelu": (1.0, None),
}


class Activation(NamedTuple):
    """A function of one gate, with the constants of the specification filled in."""

    name: str
    alpha: float | None
    beta: float | None


class Recurrent(NamedTuple):
    """What a node says, with the specification's defaults filled in."""

    place: Place
    op: str
    direction: str
    directions: int
    hidden_size: int
    activations: tuple[tuple[Activation, ...], ...]  # one tuple for a direction
    clip: float | None
    layout: int
    linear_before_reset: int
    input_forget: int
    weights: dict[str, np.ndarray | None]  # W, R, B, P: None if not a constant
    lengths: np.ndarray | str | None  # the name, where they are no constant
    states: tuple[str, str]  # names of initial_h and initial_c, "" where not given
    time: int | str | None
    batch: int | str | None
    dtype: int
    given: dict[str, Any]  # the attributes as the file has them
    outputs: tuple[str, ...]  # as the file has them
    used: frozenset[str]  # of "Y", "Y_h", "Y_c": those that something reads

    @property
    def ragged(self) -> bool:
        """Whether there may be a row that is shorter than the others."""
        if self.lengths is None or isinstance(self.lengths, str):
            return self.lengths is not None
        whole = self.time if isinstance(self.time, int) else self.lengths.max()
        return bool((self.lengths != whole).any())

    @property
    def constant(self) -> bool:
        """Whether the file holds the weights."""
        return all(w is not None for w in self.weights.values())

    @property
    def usual(self) -> bool:
        """Whether the activations are the default ones."""
        names = tuple(a.name for a in self.activations[0])
        return names == DEFAULTS[self.op] and self.same_both_ways

    @property
    def same_both_ways(self) -> bool:
        """Whether the directions have the same activations."""
        return self.activations[0] == self.activations[-1]

    def functions(self) -> set[str]:
        """The names of the activations."""
        return {a.name for each in self.activations for a in each}


def read(place: Place) -> Recurrent:
    """The node as a record; ValueError for what the specification does not allow."""
    node, scope = place.node, place.scope
    given = attributes(node)
    inputs = [*node.input, *[""] * 8]
    gates, op = GATES[node.op_type], node.op_type
    direction = given.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(
            f"{place.path}: attribute direction: ONNX has no {direction!r}"
        )
    directions = 2 if direction == "bidirectional" else 1
    names = {"W": inputs[1], "R": inputs[2], "B": inputs[3], "P": inputs[7]}
    weights = {k: scope.constant(name) for k, name in names.items() if name}
    for key, array in weights.items():
        if array is not None and "float" not in array.dtype.name:
            raise ValueError(
                f"{place.path}: input {key}: expected floats, got {array.dtype}"
            )
    hidden_size = given.get("hidden_size") or (scope.shape(inputs[2]) or [None])[-1]
    if not isinstance(hidden_size, int):
        raise ValueError(
            f"{place.path}: neither hidden_size nor the shape of R is known"
        )
    sizes = {"W": gates, "R": gates, "B": 2 * gates, "P": 3}
    for key, name in names.items():
        shape = scope.shape(name) if name else None
        if shape is not None and len(shape) != (3 if key in "WR" else 2):
            raise ValueError(f"{place.path}: {key} has the shape {shape}")
        rows = None if shape is None else shape[1]
        if isinstance(rows, int) and rows != sizes[key] * hidden_size:
            raise ValueError(
                f"{place.path}: {key} has {rows} rows, expected "
                f"{sizes[key]} x hidden_size = {sizes[key] * hidden_size}"
            )
        fixed = {0: directions} | ({2: hidden_size} if key == "R" else {})
        for axis, size in fixed.items():
            found = size if shape is None else shape[axis]
            if isinstance(found, int) and found != size:
                raise ValueError(
                    f"{place.path}: {key} has the shape {shape}, expected {size} "
                    f"on axis {axis}"
                )
    states = (inputs[5], inputs[6] if op == "LSTM" else "")
    for name in filter(None, states):
        size = (scope.shape(name) or [hidden_size])[-1]
        if isinstance(size, int) and size != hidden_size:
            raise ValueError(
                f"{place.path}: the initial state {name} has {size} units, expected "
                f"hidden_size = {hidden_size}; torch's proj_size=, which ONNX's nodes "
                "do not have, is exported so, without its projection"
            )
    shape = scope.shape(inputs[0]) or [None] * 3
    if len(shape) != 3:
        raise ValueError(f"{place.path}: X has the shape {shape}, expected [T, B, D]")
    layout = given.get("layout", 0)
    batch, time = shape[:2] if layout else (shape[1], shape[0])
    lengths = None
    if inputs[4]:
        lengths = scope.constant(inputs[4])
        lengths = inputs[4] if lengths is None else lengths
    outputs = tuple(node.output)
    named = zip(("Y", "Y_h", "Y_c"), outputs, strict=False)
    return Recurrent(
        place=place,
        op=op,
        direction=direction,
        directions=directions,
        hidden_size=hidden_size,
        activations=_activations(place, given, directions),
        clip=given.get("clip") or None,
        layout=layout,
        linear_before_reset=given.get("linear_before_reset", 0),
        input_forget=given.get("input_forget", 0),
        weights=weights,
        lengths=lengths,
        states=states,
        time=time,
        batch=batch,
        dtype=scope.dtype(inputs[0])
        or scope.dtype(inputs[1])
        or onnx.TensorProto.FLOAT,
        given=given,
        outputs=outputs,
        used=frozenset(k for k, name in named if name and scope.readers(name)),
    )


def _activations(
    place: Place, given: dict[str, Any], directions: int
) -> tuple[tuple[Activation, ...], ...]:
    usual = DEFAULTS[place.node.op_type]
    names = given.get("activations") or list(usual) * directions
    if len(names) != len(usual) * directions:
        raise ValueError(
            f"{place.path}: attribute activations: expected "
            f"{len(usual) * directions} of them, got {names}"
        )
    known = {name.lower(): name for name in ACTIVATIONS}
    alphas, betas = (list(given.get(f"activation_{k}", [])) for k in ("alpha", "beta"))
    found = []
    for name in names:
        if name.lower() not in known:
            raise ValueError(
                f"{place.path}: attribute activations: ONNX has no {name!r}"
            )
        alpha, beta = ACTIVATIONS[known[name.lower()]]
        # One after the other, for those that have such a constant.
        if alpha is not None and alphas:
            alpha = alphas.pop(0)
        if beta is not None and betas:
            beta = betas.pop(0)
        found.append(Activation(known[name.lower()], alpha, beta))
    size = len(usual)
    return tuple(tuple(found[d * size : (d + 1) * size]) for d in range(directions))
