"""Stacks of layers with torch's arrays, under names of one's own.

torch, and those that follow it, have for each direction of each layer a matrix and a
bias of the side of x, the same of the side of h, and perhaps a projection.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import fit, flatten, read
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Nonlinearity,
    Weights,
    build,
    merge_biases,
    split_biases,
    stack,
    unstack,
    weights_of,
    widened,
)

NameOf = Callable[[str, int, int], str]  # (leaf, layer, direction) -> name of an entry


def cell_name(leaf: str, layer: int, direction: int) -> str:
    """How the cells call their entries; where there are more, as the layers do."""
    return leaf if layer == direction == 0 else flat_name(leaf, layer, direction)


def flat_name(leaf: str, layer: int, direction: int) -> str:
    """torch's names of the entries of its layers."""
    return f"{leaf}_l{layer}{'_reverse' * direction}"


def read_layers(
    name: str,
    kind: Kind,
    state: Mapping[str, Any],
    name_of: NameOf,
    num_layers: int,
    directions: int,
    nonlinearity: Nonlinearity,
    hint: Callable[[str, int], str],
    projection: str = "weight_hr",
) -> tuple[Cell, Any]:
    """A cell and its params of layers with torch's leaves under names of one's own.

    `projection` is the leaf [P, H], or [H, P] if it is another than torch's.
    """
    entries = flatten(name, state)
    bias = any("bias_" in key for key in entries)
    projected = kind == "lstm" and _key(name_of(projection, 0, 0)) in entries
    leaf = projection if projected else ""
    shapes = _shapes(kind, name_of, num_layers, directions, bias, leaf)
    arrays = read(name, entries, shapes, lambda key: hint(key, num_layers))

    def one(layer, direction):
        def array(leaf):
            return arrays.get(_key(name_of(leaf, layer, direction)))

        weights = Weights(array("weight_ih").T, array("weight_hh").T)  # type: ignore
        if bias:
            biases = array("bias_ih"), array("bias_hh")
            weights = weights._replace(**merge_biases(kind, *biases))  # type: ignore
        if projected:
            w_p = np.asarray(array(projection))
            weights = weights._replace(w_p=w_p.T if projection == "weight_hr" else w_p)
        return build(kind, weights, nonlinearity=nonlinearity)

    return stack([[one(i, d) for d in range(directions)] for i in range(num_layers)])


def write_layers(
    name: str,
    framework: str,
    kind: Kind,
    params: Any,
    name_of: NameOf,
    projection: str = "weight_hr",
) -> dict[str, np.ndarray]:
    """The inverse of `read_layers`."""
    layers = unstack(name, params)
    found = {
        (i, d): weights_of(where, kind, one, reset_after=True, projection=True)
        for i, directions in enumerate(layers)
        for d, (where, one) in enumerate(directions)
    }
    bias = any(w.b is not None or w.b_h is not None for w in found.values())
    state = {}
    for at, weights in found.items():
        state[name_of("weight_ih", *at)] = weights.w_x.T
        state[name_of("weight_hh", *at)] = weights.w_h.T
        if bias:
            biases = split_biases(kind, weights)
            state[name_of("bias_ih", *at)], state[name_of("bias_hh", *at)] = biases
        if weights.w_p is not None:
            w_p = weights.w_p.T if projection == "weight_hr" else weights.w_p
            state[name_of(projection, *at)] = w_p
    leaf = projection if found[0, 0].w_p is not None else ""
    directions = len(layers[0])
    shapes = _shapes(kind, name_of, len(layers), directions, bias, leaf)
    fit(f"{name}: as {framework}'s ", flatten("", state), shapes)
    return {key: widened(a) for key, a in state.items()}


def _key(name: str) -> str:
    return f"['{name}']"


def _shapes(
    kind: Kind,
    name_of: NameOf,
    num_layers: int,
    directions: int,
    bias: bool,
    projection: str,
) -> dict[str, str]:
    """`projection` is its leaf, or empty without one."""
    gates, output = GATES[kind], "P" if projection else "H"
    shapes = {}
    for layer in range(num_layers):
        reads = (output if directions == 1 else f"2{output}") if layer else "D"
        for direction in range(directions):

            def key(leaf, at=(layer, direction)):
                return _key(name_of(leaf, *at))

            if projection:
                transposed = projection == "weight_hr"
                shapes[key(projection)] = "P H" if transposed else "H P"
            shapes[key("weight_hh")] = f"{gates} {output}"
            shapes[key("weight_ih")] = f"{gates} {reads}"
            if bias:
                shapes[key("bias_ih")] = shapes[key("bias_hh")] = gates
    return shapes
