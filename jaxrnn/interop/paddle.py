"""Paddle: `nn.SimpleRNN`, `nn.GRU`, `nn.LSTM` and their cells.

The numbers are torch's. A `state_dict()` has each array of a layer twice: under names
such as `0.cell.weight_ih`, and under torch's, `weight_ih_l0`. With `proj_size` the
latter count four arrays for each cell though there are five, so that they stand for
others than they say; only the former are read then.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import as_numpy, under
from jaxrnn.interop.layers import cell_name, flat_name, read_layers, write_layers
from jaxrnn.interop.weights import Kind, Nonlinearity, check_kind, check_layers

_FLAT = re.compile(r"(weight|bias)_(ih|hh)_l(\d+)(_reverse)?")


def load_paddle(
    kind: Kind,
    state: Mapping[str, Any],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    nonlinearity: Nonlinearity = "tanh",
    prefix: str = "",
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what a recurrent layer of Paddle does.

    The cell is that of `load_torch`. A mask does what Paddle's `sequence_length` does
    in `SimpleRNN`, `GRU` and `LSTM`.

    Args:
      kind: "rnn" for `SimpleRNN`, "gru" for `GRU`, "lstm" for `LSTM`, or their cells.
      state: the layer's or the cell's `state_dict()`, with both names of each array or
        with one. A layer with `proj_size` needs the names with `cell` in them.
      num_layers: as the layer was made.
      bidirectional: whether its direction is "bidirect".
      nonlinearity: "relu" for a `SimpleRNN` with that `activation`.
      prefix: what stands before these names, such as "encoder."; entries without it are
        then not read.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if an array is not the one that its second
        name has; if it is float64 while `jax_enable_x64` is off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> shapes = {"weight_ih": (20, 3), "weight_hh": (20, 2), "weight_ho": (5, 2)}
      >>> state = {f"0.cell.{k}": np.ones(s, "f") for k, s in shapes.items()}
      >>> cell, params = interop.load_paddle("lstm", state)
      >>> cell
      projected_lstm(3, 5, 2)
      >>> list(interop.to_paddle("lstm", params))
      ['0.cell.weight_ih', '0.cell.weight_hh', '0.cell.weight_ho']
    """
    check_kind("load_paddle", kind, nonlinearity)
    name, found = under("load_paddle", "state", state, prefix)
    num_layers, directions = check_layers(
        "load_paddle", num_layers, bidirectional, len(found)
    )
    if any(".cell" in str(key) for key in found):
        name_of, found = _name(directions), _once(name, found)
    elif "weight_ih" in found and num_layers * directions == 1:
        name_of = cell_name
    else:
        name_of = flat_name
    return read_layers(
        *(name, kind, found, name_of, num_layers, directions, nonlinearity, _hint),
        projection="weight_ho",
    )


def to_paddle(kind: Kind, params: Any, *, cell: bool = False) -> dict[str, np.ndarray]:
    """The params under Paddle's names, for a layer that computes the same.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: as for `to_torch`.
      cell: whether it is for `SimpleRNNCell`, `GRUCell` or `LSTMCell`.

    Returns:
      Arrays for `set_state_dict`, under the names that stand for one array each
      whether there is a projection or not; biases only if one of the layers has some.
      Params in bfloat16 are float32.

    Raises:
      ValueError: if the params are of another kind, reset before the product, or do not
        fit one another; if there is more than one layer or direction for a cell.
    """
    check_kind("to_paddle", kind)
    if not isinstance(cell, bool):
        raise ValueError(f"to_paddle: cell: expected a bool, got {cell!r}")
    name_of = cell_name if cell else _name(2 if _both(params) else 1)
    state = write_layers(
        "to_paddle: params", "Paddle", kind, params, name_of, "weight_ho"
    )
    if cell and any("_l" in key for key in state):
        raise ValueError(
            "to_paddle: params: expected those of one layer in one direction for a "
            "cell, got more"
        )
    return state


def _both(params: Any) -> bool:
    first = params[0] if type(params) in (tuple, list) and params else params
    return hasattr(first, "backward")


def _name(directions: int):
    cells = ("cell",) if directions == 1 else ("cell_fw", "cell_bw")

    def name_of(leaf, layer, direction):
        # A direction that is not there is one too many under any name.
        cell = cells[direction] if direction < len(cells) else "cell_bw"
        return f"{layer}.{cell}.{leaf}"

    return name_of


def _once(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Without the second names, each of which has to stand for an array that is there.

    For which one, they do not tell: see the docstring of this module.
    """
    arrays, rest = {}, {}
    for key, value in state.items():
        second = isinstance(key, str) and _FLAT.fullmatch(key)
        (rest if second else arrays)[key] = value
    there = [as_numpy(f"{name}[{key!r}]", value) for key, value in arrays.items()]
    for key, value in rest.items():
        array = as_numpy(f"{name}[{key!r}]", value)
        if not any(np.array_equal(array, other, equal_nan=True) for other in there):
            raise ValueError(
                f"{name}[{key!r}]: expected an array that also stands under one of "
                f"{', '.join(map(str, arrays))}, as in a state_dict() of Paddle, got "
                "another"
            )
    return arrays


def _hint(key: str, num_layers: int) -> str:
    layer = re.search(r"\['(\d+)\.cell", key) or re.search(r"_l(\d+)", key)
    if layer and int(layer[1]) >= num_layers:
        return f"; for that many layers pass num_layers={int(layer[1]) + 1}"
    if "cell_fw" in key or "cell_bw" in key or "_reverse" in key:
        return "; for two directions pass bidirectional=True"
    return ""
