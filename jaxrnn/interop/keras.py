"""Keras 2 and 3: the layers `SimpleRNN`, `GRU` and `LSTM`, and their cells.

The LSTM's gates i, f, c, o are in the order of jaxrnn. The GRU has gates z, r, h and
resets after the product, with a bias `[2, 3H]` for the sides of x and h, or before it,
with one `[3H]`. What the weights do not tell, the activations first of all, the layer
does: hard_sigmoid is clip(x / 5 + 1 / 2, 0, 1) in Keras 2 and clip(x / 6 + 1 / 2, 0, 1)
in Keras 3.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxrnn.combinators import Directions, bidirectional
from jaxrnn.core import Cell
from jaxrnn.interop.entries import read
from jaxrnn.interop.keras_layers import function_of, version_of
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Weights,
    build,
    check_kind,
    merge_biases,
    own,
    reorder,
    split_biases,
    weights_of,
)

_CLASSES = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
_MERGES: dict[Any, Any] = {"concat": "concatenate", "sum": "sum", "ave": "mean"}


class _Layer(NamedTuple):
    """What a layer computes with its weights."""

    activation: Callable
    gate_activation: Callable
    reset_after: bool | None  # None: what the shape of the bias says


def load_keras(
    kind: Kind,
    weights: Any,
    *,
    recurrent_activation: str | Callable | None = None,
    nonlinearity: str | Callable = "tanh",
    reset_after: bool | None = None,
    version: Literal[2, 3] | None = None,
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent layer of Keras does.

    Give it the layer: what the weights do not tell is then read from there. The cell of
    a `Bidirectional` is `bidirectional` of two.

    Keras's states [h, c] of an LSTM are jaxrnn's `LSTMCarry(h, c)`. A mask freezes the
    carry in both. In the padding jaxrnn gives zeros; Keras repeats the output before,
    and before the first valid step it gives zeros, or on the JAX backend the initial h.

    Args:
      kind: "rnn" for `SimpleRNN`, "gru" for `GRU`, "lstm" for `LSTM`.
      weights: the layer, its cell, or a `Bidirectional` of it; or the `get_weights()`
        of a layer or cell: kernel, recurrent kernel and, if it has one, bias. (Those of
        a `Bidirectional` are two such lists, the first half for forward.)
      recurrent_activation: of a list for "gru" or "lstm", where it has to be said since
        the weights do not tell: "sigmoid", which is Keras's default, another name of
        Keras, or a function.
      nonlinearity: of a list: the layer's `activation`, by name or as a function.
      reset_after: of a list for a GRU, as the layer was made; None for what the shape
        of the bias says and, without a bias, for True, as in Keras.
      version: of a list: 2 or 3, of the Keras whose "hard_sigmoid" it is; other
        activations are the same in both.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if an activation is not known or not said;
        if a layer is of another class or runs backwards (give its weights,
        and unroll with `reverse=True`); if it is float64 while `jax_enable_x64` is off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> weights = [np.ones(s, "f") for s in ((3, 15), (5, 15), (2, 15))]
      >>> cell, params = interop.load_keras(
      ...     "gru", weights, recurrent_activation="sigmoid")
      >>> params.b[0].item(), params.b_h[0].item()
      (2.0, 1.0)
      >>> [a.shape for a in interop.to_keras("gru", params)]
      [(3, 15), (5, 15), (2, 15)]
    """
    check_kind("load_keras", kind)
    if hasattr(weights, "get_weights"):
        given = {
            "recurrent_activation": recurrent_activation,
            "nonlinearity": None if nonlinearity == "tanh" else nonlinearity,
            "reset_after": reset_after,
            "version": version,
        }
        for option, value in given.items():
            if value is not None:
                raise ValueError(
                    f"load_keras: {option}: expected none beside a layer, which says "
                    f"it itself, got {value!r}"
                )
        return _of_layer(kind, weights)
    if not isinstance(weights, list | tuple):
        raise ValueError(
            "load_keras: weights: expected a layer, or a list of its arrays, got "
            f"{type(weights).__name__}"
        )
    if reset_after is not None and (kind != "gru" or not isinstance(reset_after, bool)):
        raise ValueError(
            "load_keras: reset_after: expected a bool for kind 'gru', else None, "
            f"got {reset_after!r} for kind {kind!r}"
        )
    if version is not None and (type(version) is not int or version not in (2, 3)):
        raise ValueError(f"load_keras: version: expected 2 or 3, got {version!r}")
    if (recurrent_activation is None) != (kind == "rnn"):
        expected = (
            "None, since a SimpleRNN has none"
            if kind == "rnn"
            else "'sigmoid', which is Keras's default, or another, since the weights "
            "do not tell; or pass the layer instead of its weights"
        )
        raise ValueError(
            f"load_keras: recurrent_activation of {kind!r}: expected {expected}, got "
            f"{recurrent_activation!r}"
        )
    layer = _Layer(
        function_of("nonlinearity", nonlinearity, version),
        function_of("recurrent_activation", recurrent_activation or "sigmoid", version),
        reset_after,
    )
    return _of_list(kind, "load_keras: weights", weights, layer)


def to_keras(kind: Kind, params: Any) -> list[np.ndarray]:
    """The params in Keras's order, for a layer that computes the same.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: `ElmanParams`, `GRUParams` or `LSTMParams`; or `Directions` of those, for
        a `Bidirectional`.

    Returns:
      A list for `set_weights` of a layer with `use_bias` if the params have a bias, the
      activations of the cell, and for a GRU its `reset_after`.

    Raises:
      ValueError: if the params are of another kind.
    """
    check_kind("to_keras", kind)
    parts = {"to_keras: params": params}
    if isinstance(params, Directions):
        fields = params._asdict().items()
        parts = {f"to_keras: params.{name}": one for name, one in fields}
    found = []
    for name, one in parts.items():
        weights = weights_of(name, kind, one)
        arrays = [weights.w_x, weights.w_h]
        if weights.b_h is not None:
            arrays.append(np.stack(split_biases(kind, weights)))
        elif weights.b is not None:
            arrays.append(weights.b)
        if kind == "gru":
            arrays = [reorder(a, "rzn", "zrn") for a in arrays]
        found += map(own, arrays)
    return found


def _of_list(
    kind: Kind, name: str, weights: Sequence[Any], layer: _Layer
) -> tuple[Cell, Any]:
    gates, bias = GATES[kind], len(weights) > 2
    reset_after = layer.reset_after
    if reset_after is None:
        reset_after = not bias or np.ndim(weights[2]) != 1
    shapes = {"[1]": f"H {gates}", "[0]": f"D {gates}"}
    if bias:
        shapes["[2]"] = f"2 {gates}" if kind == "gru" and reset_after else gates
    entries = {f"[{i}]": a for i, a in enumerate(weights)}
    arrays = read(name, entries, shapes, _hint)
    if kind == "gru":
        arrays = {key: reorder(a, "zrn", "rzn") for key, a in arrays.items()}
    biases = {"b": arrays["[2]"]} if bias else {}
    if bias and kind == "gru" and reset_after:
        biases = merge_biases(kind, *arrays["[2]"])
    return build(
        kind,
        Weights(arrays["[0]"], arrays["[1]"], **biases),
        nonlinearity=layer.activation,
        gate_activation=layer.gate_activation,
        reset_after=reset_after,
    )


def _of_layer(kind: Kind, layer: Any, *, backwards: bool = False) -> tuple[Cell, Any]:
    name, known = type(layer).__name__, _CLASSES[kind]
    if name == "Bidirectional" and not backwards:
        merge = getattr(layer, "merge_mode", None)
        if merge not in _MERGES:
            raise ValueError(
                "load_keras: weights: expected a Bidirectional with merge_mode "
                f"{', '.join(_MERGES)}, got {merge!r}"
            )
        cells, params = zip(
            _of_layer(kind, layer.forward_layer),
            _of_layer(kind, layer.backward_layer, backwards=True),
            strict=True,
        )
        return bidirectional(*cells, merge=_MERGES[merge]), Directions(*params)
    cell = getattr(layer, "cell", layer)
    base = type(cell).__name__
    if base != f"{known}Cell" or name not in (known, base, "RNN"):
        raise ValueError(
            f"load_keras: weights: expected a layer {known} for kind {kind!r}, or its "
            f"cell, got {name if cell is layer else f'{name} of {base}'}"
        )
    if bool(getattr(layer, "go_backwards", False)) != backwards:
        raise ValueError(
            f"load_keras: weights: expected a layer with go_backwards={backwards}, got "
            f"{not backwards}; load its get_weights() and unroll with reverse=True"
        )
    config, version = cell.get_config(), version_of(cell)
    functions = (
        function_of(option, config.get(option, "sigmoid"), version)
        for option in ("activation", "recurrent_activation")
    )
    described = _Layer(*functions, reset_after=config.get("reset_after"))
    return _of_list(kind, f"load_keras: {name}", layer.get_weights(), described)


def _hint(key: str) -> str:
    return "; of a Bidirectional, pass each half by itself" if key == "[3]" else ""
