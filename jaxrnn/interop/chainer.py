"""Chainer: `L.LSTM`, `L.StatelessLSTM`, the GRUs, and the NStep links.

Weights are transposed. `LSTM` has one matrix with the gates a, i, f, o of each unit
side by side, and one bias. The NStep links (cuDNN's) have an array for each gate, r, z,
n or i, f, g, o, and two biases; their GRU is torch's. `StatelessGRU` and `StatefulGRU`
reset before the product, and h' = (1 - z) h + z n, so that z has the other sign.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.cudnn import read_gates, write_gates
from jaxrnn.interop.entries import flatten, read, under
from jaxrnn.interop.weights import (
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    check_layers,
    minus_z,
    reorder,
    weights_of,
    widened,
)

_GATES = "_r", "_z", ""  # of the GRUs, as their names end


def load_chainer(
    kind: Kind,
    state: Mapping[str, Any],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    nonlinearity: Nonlinearity = "tanh",
    prefix: str = "",
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent link of Chainer does.

    The names of the entries tell which link it was. The state of `L.LSTM`, (c, h) for
    `StatelessLSTM`, is jaxrnn's `LSTMCarry(h, c)`; that of an NStep link is torch's. A
    `StatefulGRU` whose state was never set leaves the biases of U out of its first
    step; here, as after `set_state` with zeros, it has them.

    Args:
      kind: "rnn" for `NStepRNNTanh` and `NStepRNNReLU`; "gru" for `StatelessGRU`,
        `StatefulGRU`, `GRU` and `NStepGRU`; "lstm" for `LSTM`, `StatelessLSTM` and
        `NStepLSTM`; and the NStepBi links.
      state: a file of `chainer.serializers.save_npz`, as `numpy.load` reads it, or a
        mapping with its names: `upward/W`, `W_r/W`, `0/w0` and so on.
      num_layers: of an NStep link.
      bidirectional: whether it is an NStepBi link.
      nonlinearity: "relu" for `NStepRNNReLU`.
      prefix: what stands before these names in a file of a whole model, such as
        "encoder/"; entries without it are then not read.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if it is float64 while `jax_enable_x64` is
        off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> shapes = {"upward/W": (20, 3), "upward/b": 20, "lateral/W": (20, 5)}
      >>> state = {k: np.ones(s, "f") for k, s in shapes.items()}
      >>> cell, params = interop.load_chainer("lstm", state)
      >>> cell
      lstm(3, 5)
      >>> list(interop.to_chainer("lstm", params, n_step=False))
      ['upward/W', 'upward/b', 'lateral/W']
    """
    check_kind("load_chainer", kind, nonlinearity)
    name, found = under("load_chainer", "state", state, prefix, "/")
    num_layers, directions = check_layers(
        "load_chainer", num_layers, bidirectional, len(found)
    )
    entries = flatten(name, found)
    plain = num_layers * directions == 1 and nonlinearity == "tanh"
    if plain and kind == "lstm" and "['upward/W']" in entries:
        return build(kind, _interleaved(name, entries))
    if plain and kind == "gru" and "['W_r/W']" in entries:
        return build(kind, _by_gate(name, entries), reset_after=False)
    return _n_step(name, entries, kind, num_layers, directions, nonlinearity)


def to_chainer(
    kind: Kind, params: Any, *, n_step: bool = True, prefix: str = ""
) -> dict[str, np.ndarray]:
    """The params under Chainer's names, for a link that computes the same.

    Chainer's links always have biases; where the params have none, they are zeros.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: as `load_chainer` returns them: `ElmanParams`, `GRUParams` or
        `LSTMParams`; `Directions` of those; or a tuple with one of these for each
        layer. A GRU without biases is taken to reset where the link does.
      n_step: whether it is for an NStep or NStepBi link; else it is for `LSTM` or
        `StatelessLSTM`, or for `StatelessGRU`, `StatefulGRU` or `GRU`, which reset
        before the product.
      prefix: what is to stand before the names, such as "encoder/".

    Returns:
      Arrays for `chainer.serializers.load_npz`, by way of `numpy.savez`. Params in
      bfloat16, which Chainer does not know, are float32.

    Raises:
      ValueError: if the params are of another kind, have a projection, reset where the
        link does not, or do not fit one another; if there is more than one layer or
        direction, or an "rnn", for a link that is no NStep link.
    """
    check_kind("to_chainer", kind)
    if not isinstance(n_step, bool):
        raise ValueError(f"to_chainer: n_step: expected a bool, got {n_step!r}")
    if not isinstance(prefix, str):
        raise ValueError(f"to_chainer: prefix: expected a string, got {prefix!r}")
    where = "to_chainer: params"
    if n_step:
        leaves = ("w", "b")
        state = write_gates(where, "Chainer", kind, params, _n_step_name, leaves=leaves)
    elif kind == "rnn":
        raise ValueError(
            "to_chainer: n_step: expected True for 'rnn', since Chainer has it as "
            "NStepRNNTanh and NStepRNNReLU alone, got False"
        )
    else:
        weights = weights_of(where, kind, params, reset_after=False)
        state = (_to_interleaved if kind == "lstm" else _to_gates)(weights)
    return {f"{prefix}{key}": widened(a) for key, a in state.items()}


def _to_interleaved(weights: Weights) -> dict[str, np.ndarray]:
    def by_unit(a):
        blocks = reorder(a, "ifgo", "gifo").T
        size = len(blocks) // 4
        return blocks.reshape(4, size, -1).transpose(1, 0, 2).reshape(4 * size, -1)

    return {
        "upward/W": by_unit(weights.w_x),
        "upward/b": by_unit(weights.bias()[None])[:, 0],
        "lateral/W": by_unit(weights.w_h),
    }


def _to_gates(weights: Weights) -> dict[str, np.ndarray]:
    state = {}
    biases = weights.bias(), np.zeros_like(weights.bias())
    sides = zip("WU", (weights.w_x, weights.w_h), biases, strict=True)
    for side, w, b in sides:
        each = zip(
            _GATES, np.split(minus_z(w).T, 3), np.split(minus_z(b), 3), strict=True
        )
        for gate, w_gate, b_gate in each:
            state[f"{side}{gate}/W"], state[f"{side}{gate}/b"] = w_gate, b_gate
    return state


def _interleaved(name: str, entries: dict[str, Any]) -> Weights:
    """Of `LSTM` and `StatelessLSTM`."""
    shapes = {"['lateral/W']": "4H H", "['upward/W']": "4H D", "['upward/b']": "4H"}
    w_h, w_x, b = read(name, entries, shapes).values()

    def of_gates(a):
        size = len(a) // 4
        blocks = a.reshape(size, 4, -1).transpose(1, 0, 2).reshape(4 * size, -1)
        return reorder(blocks.T, "gifo", "ifgo")

    return Weights(of_gates(w_x), of_gates(w_h), of_gates(b)[0])


def _by_gate(name: str, entries: dict[str, Any]) -> Weights:
    """Of `StatelessGRU` and `StatefulGRU`."""
    shapes = {f"['U{gate}/W']": "H H" for gate in _GATES}
    shapes |= {f"['W{gate}/W']": "H D" for gate in _GATES}
    shapes |= {f"['{side}{gate}/b']": "H" for side in "WU" for gate in _GATES}
    arrays = read(name, entries, shapes)

    def joined(side, leaf):
        whole = np.concatenate([arrays[f"['{side}{gate}/{leaf}']"] for gate in _GATES])
        return minus_z(whole.T)

    return Weights(
        joined("W", "W"), joined("U", "W"), joined("W", "b") + joined("U", "b")
    )


def _n_step_name(leaf: str, at: int, i: int) -> str:
    return f"{at}/{leaf}{i}"


def _n_step(
    name: str,
    entries: dict[str, Any],
    kind: Kind,
    num_layers: int,
    directions: int,
    nonlinearity: Nonlinearity,
) -> tuple[Cell, Any]:
    there = len({key.split("/")[0] for key in entries if re.match(r"\['\d+/", key)})

    def hint(key):
        if re.match(r"\['\d+/", key) and there != num_layers * directions:
            return (
                f"; there are {there} layers times directions: pass num_layers and, of "
                "an NStepBi link, bidirectional=True"
            )
        return ""

    return read_gates(
        *(name, kind, entries, lambda *at: f"['{_n_step_name(*at)}']"),
        *(num_layers, directions, nonlinearity),
        leaves=("w", "b"),
        hint=hint,
    )
