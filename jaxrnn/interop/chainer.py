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
from jaxrnn.interop.cudnn import read_gates
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
)


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
      >>> interop.load_chainer("lstm", state)[0]
      lstm(3, 5)
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
    gates = "_r", "_z", ""
    shapes = {f"['U{gate}/W']": "H H" for gate in gates}
    shapes |= {f"['W{gate}/W']": "H D" for gate in gates}
    shapes |= {f"['{side}{gate}/b']": "H" for side in "WU" for gate in gates}
    arrays = read(name, entries, shapes)

    def joined(side, leaf):
        whole = np.concatenate([arrays[f"['{side}{gate}/{leaf}']"] for gate in gates])
        return minus_z(whole.T)

    return Weights(
        joined("W", "W"), joined("U", "W"), joined("W", "b") + joined("U", "b")
    )


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
        *(name, kind, entries, lambda leaf, at, i: f"['{at}/{leaf}{i}']"),
        *(num_layers, directions, nonlinearity),
        leaves=("w", "b"),
        hint=hint,
    )
