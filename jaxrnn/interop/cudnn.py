"""The canonical weights of cuDNN, with an array for each gate of each side."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import fit, read
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    check_layers,
    merge_biases,
    own,
    split_biases,
    stack,
    unstack,
    weights_of,
)


def load_cudnn(
    kind: Kind,
    weights: Sequence[Any],
    biases: Sequence[Any],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    nonlinearity: Nonlinearity = "tanh",
) -> tuple[Cell, Any]:
    """A cell, and its params, from the canonical weights of cuDNN's recurrences.

    They come from `tf.raw_ops.CudnnRNNParamsToCanonical`: for each layer, and in it for
    each direction, a matrix `[H, D]` for each gate of the side of x and then one
    `[H, H]` for each of the side of h, and as many biases `[H]`. Gates are i, f, g, o
    and r, z, n; the GRU resets after the product, as torch's does.

    Args:
      kind: "rnn", "gru" or "lstm".
      weights: 2, 6 or 8 matrices for each layer and direction.
      biases: as many.
      num_layers, bidirectional: as the layer was made.
      nonlinearity: "relu" for `rnn_mode="rnn_relu"`.

    Returns:
      The cell, as of `load_torch`, and its params, in the dtype of the arrays.

    Raises:
      ValueError: if there are more or fewer arrays (those of a projection, for example)
        or one has not the shape, or not the dtype, that the others call for; if they
        are float64 while `jax_enable_x64` is off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> weights = [np.ones((5, 3), "f")] * 4 + [np.ones((5, 5), "f")] * 4
      >>> cell, params = interop.load_cudnn("lstm", weights, [np.ones(5, "f")] * 8)
      >>> cell
      lstm(3, 5)
      >>> weights, biases = interop.to_cudnn("lstm", params)
      >>> len(weights), len(biases)
      (8, 8)
    """
    check_kind("load_cudnn", kind, nonlinearity)
    for name, value in (("weights", weights), ("biases", biases)):
        if not isinstance(value, list | tuple):
            raise ValueError(
                f"load_cudnn: {name}: expected a list, got {type(value).__name__}"
            )
    num_layers, directions = check_layers(
        "load_cudnn", num_layers, bidirectional, len(weights)
    )
    entries = {f"weights[{i}]": a for i, a in enumerate(weights)}
    entries |= {f"biases[{i}]": a for i, a in enumerate(biases)}
    return read_gates(
        *("load_cudnn: ", kind, entries, _name_of(kind)),
        *(num_layers, directions, nonlinearity),
        leaves=("weights", "biases"),
    )


def to_cudnn(kind: Kind, params: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The params as canonical weights of cuDNN, for a layer that computes the same.

    cuDNN's layers always have biases; where the params have none, they are zeros. A GRU
    without biases is taken to reset after the product, as cuDNN does.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: as `load_cudnn` returns them: `ElmanParams`, `GRUParams` or `LSTMParams`;
        `Directions` of those; or a tuple with one of these for each layer.

    Returns:
      `weights` and `biases` for `tf.raw_ops.CudnnRNNCanonicalToParams`, in the order
      that `load_cudnn` reads.

    Raises:
      ValueError: if the params are of another kind, have a projection, reset before the
        product, or do not fit one another.
    """
    check_kind("to_cudnn", kind)
    leaves = ("weights", "biases")
    arrays = write_gates(
        *("to_cudnn: params", "cuDNN", kind, params, _name_of(kind)), leaves=leaves
    )
    weights, biases = (
        [a for key, a in arrays.items() if key.startswith(leaf)] for leaf in leaves
    )
    return weights, biases


def _name_of(kind: Kind) -> Callable[[str, int, int], str]:
    return lambda leaf, at, i: f"{leaf}[{at * 2 * gates_of(kind) + i}]"


def gates_of(kind: Kind) -> int:
    """How many gates a cell has."""
    return int(GATES[kind][:-1] or 1)


def read_gates(
    name: str,
    kind: Kind,
    entries: Mapping[str, Any],
    name_of: Callable[[str, int, int], str],
    num_layers: int,
    directions: int,
    nonlinearity: Nonlinearity,
    *,
    leaves: tuple[str, str],
    hint: Callable[[str], str] = lambda key: "",
) -> tuple[Cell, Any]:
    """A cell and its params of layers with an array for each gate of each side.

    The matrix and the bias of gate i, counted over the side of x and then that of h, of
    the layers times directions before `at`, have the names `name_of(leaf, at, i)`.
    """
    gates, (matrix, bias) = gates_of(kind), leaves
    shapes = _shapes(kind, name_of, num_layers, directions, leaves)
    arrays = read(name, entries, shapes, hint)

    def one(at):
        def joined(leaf, side):
            of_side = range(side * gates, (side + 1) * gates)
            return np.concatenate([arrays[name_of(leaf, at, i)] for i in of_side])

        both = merge_biases(kind, joined(bias, 0), joined(bias, 1))
        weights = Weights(joined(matrix, 0).T, joined(matrix, 1).T, **both)
        return build(kind, weights, nonlinearity=nonlinearity)

    return stack(
        [
            [one(layer * directions + d) for d in range(directions)]
            for layer in range(num_layers)
        ]
    )


def write_gates(
    name: str,
    framework: str,
    kind: Kind,
    params: Any,
    name_of: Callable[[str, int, int], str],
    *,
    leaves: tuple[str, str],
) -> dict[str, np.ndarray]:
    """The inverse of `read_gates`."""
    layers = unstack(name, params)
    gates, (matrix, bias) = gates_of(kind), leaves
    arrays = {}
    each = [one for directions in layers for one in directions]
    for at, (where, one) in enumerate(each):
        found = weights_of(where, kind, one, reset_after=True)
        sides = zip((found.w_x, found.w_h), split_biases(kind, found), strict=True)
        for side, (w, b) in enumerate(sides):
            of_gates = zip(np.split(w.T, gates), np.split(b, gates), strict=True)
            for i, (w_i, b_i) in enumerate(of_gates, side * gates):
                arrays[name_of(matrix, at, i)] = own(w_i)
                arrays[name_of(bias, at, i)] = own(b_i)
    shapes = _shapes(kind, name_of, len(layers), len(layers[0]), leaves)
    fit(f"{name}: as {framework}'s ", arrays, shapes)
    return arrays


def _shapes(
    kind: Kind,
    name_of: Callable[[str, int, int], str],
    num_layers: int,
    directions: int,
    leaves: tuple[str, str],
) -> dict[str, str]:
    gates, (matrix, bias) = gates_of(kind), leaves
    shapes = {}
    for at in range(num_layers * directions):
        reads = "D" if at < directions else ("H" if directions == 1 else "2H")
        for i in reversed(range(2 * gates)):
            shapes[name_of(matrix, at, i)] = f"H {reads}" if i < gates else "H H"
            shapes[name_of(bias, at, i)] = "H"
    return shapes
