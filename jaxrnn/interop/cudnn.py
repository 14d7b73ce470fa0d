"""The canonical weights of cuDNN, with an array for each gate of each side."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import read
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    check_layers,
    merge_biases,
    stack,
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
      >>> interop.load_cudnn("lstm", weights, [np.ones(5, "f")] * 8)[0]
      lstm(3, 5)
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

    def name_of(leaf, at, i):
        return f"{leaf}[{at * 2 * gates_of(kind) + i}]"

    return read_gates(
        *("load_cudnn: ", kind, entries, name_of, num_layers, directions, nonlinearity),
        leaves=("weights", "biases"),
    )


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
    shapes = {}
    for at in range(num_layers * directions):
        reads = "D" if at < directions else ("H" if directions == 1 else "2H")
        for i in reversed(range(2 * gates)):
            shapes[name_of(matrix, at, i)] = f"H {reads}" if i < gates else "H H"
            shapes[name_of(bias, at, i)] = "H"
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
