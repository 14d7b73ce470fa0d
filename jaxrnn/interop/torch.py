"""torch: `nn.RNN`, `nn.GRU`, `nn.LSTM` and their cells; MindSpore and tinygrad.

Weights are transposed, gates are in the order of jaxrnn (r, z, n and i, f, g, o), and
there are two biases. The GRU resets after the product.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.entries import under
from jaxrnn.interop.layers import cell_name, flat_name, read_layers, write_layers
from jaxrnn.interop.weights import Kind, Nonlinearity, check_kind, check_layers


def load_torch(
    kind: Kind,
    state: Mapping[str, Any],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    nonlinearity: Nonlinearity = "tanh",
    prefix: str = "",
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what `torch.nn.RNN`, `GRU` or `LSTM` does.

    The cell is `elman`, `gru` or `lstm`, or `projected_lstm` for an LSTM with
    `proj_size`; with two directions `bidirectional` of two; with several layers `chain`
    of those. Dropout between layers, which acts only in training, is left out. A mask
    does what `pack_padded_sequence` does.

    torch's h_n `[num_layers * directions, B, H]` holds the leaves of the carry, in
    their order, where `vmap` adds the B: `h_n = jnp.stack(jax.tree.leaves(carry))`. In
    an LSTM's, h and c alternate: every second leaf from 0 is in h_n, from 1 in c_n.

    `RNNCell`, `GRUCell` and `LSTMCell` are read by their names `weight_ih`,
    `weight_hh`, `bias_ih`, `bias_hh`. MindSpore's and tinygrad's layers and cells have
    torch's names and numbers, and are read as well.

    Args:
      kind: "rnn", "gru" or "lstm".
      state: the module's `state_dict()`, or a safetensors file of it: `weight_ih_l0`,
        `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `weight_hr_l0` with a projection,
        `weight_ih_l0_reverse` and so on: numpy or jax arrays or tensors of any of these
        frameworks, bfloat16 too. Without biases if the module has none.
      num_layers, bidirectional, nonlinearity: as the module was made.
      prefix: what stands before these names, such as "encoder.rnn.", or "module." and
        "_orig_mod." of a wrapped module; entries without it are then not read.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many, or has not the shape, or not
        the dtype, that the others call for; if no entry has the prefix; if it is
        float64 while `jax_enable_x64` is off.

    Example:
      >>> import numpy as np, jaxrnn as rnn
      >>> from jaxrnn import interop
      >>> noise = np.random.default_rng(0)
      >>> shapes = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5)}
      >>> state = {k: noise.normal(size=s).astype("f") for k, s in shapes.items()}
      >>> cell, params = interop.load_torch("lstm", state)
      >>> cell.unroll(params, cell.initial_carry(params), np.ones((7, 3)))[1].shape
      (7, 5)
      >>> list(interop.to_torch("lstm", params))
      ['weight_ih_l0', 'weight_hh_l0']
    """
    check_kind("load_torch", kind, nonlinearity)
    name, found = under("load_torch", "state", state, prefix)
    _check_prefix(name, found, prefix)
    num_layers, directions = check_layers(
        "load_torch", num_layers, bidirectional, len(found)
    )
    of_cell = "weight_ih" in found and num_layers * directions == 1
    name_of = cell_name if of_cell else flat_name
    return read_layers(
        name, kind, found, name_of, num_layers, directions, nonlinearity, _hint
    )


def to_torch(
    kind: Kind, params: Any, *, prefix: str = "", cell: bool = False
) -> dict[str, np.ndarray]:
    """The params under torch's names, for a module that computes the same.

    How many layers and directions there are, the params tell. torch's second bias is
    zero but for what a GRU has inside its reset. What the params do not tell is taken
    to be what torch does: a GRU without biases resets after the product, and two
    directions are concatenated.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: as `load_torch` returns them: `ElmanParams`, `GRUParams`, `LSTMParams` or
        `ProjectedLSTMParams`; `Directions` of those; or a tuple with one of these for
        each layer.
      prefix: what is to stand before the names, such as "encoder.".
      cell: whether it is for `RNNCell`, `GRUCell` or `LSTMCell`.

    Returns:
      Arrays for `load_state_dict`, by way of `torch.from_numpy`; biases only if one
      of the layers has some. Params in bfloat16, which `torch.from_numpy` does not
      know, are float32: `load_state_dict` writes them into a module of bfloat16, and
      nothing is rounded.

    Raises:
      ValueError: if the params are of another kind, reset before the product, or do not
        fit one another; if there is more than one layer or direction, or a projection,
        for a cell.
    """
    check_kind("to_torch", kind)
    if not isinstance(prefix, str):
        raise ValueError(f"to_torch: prefix: expected a string, got {prefix!r}")
    if not isinstance(cell, bool):
        raise ValueError(f"to_torch: cell: expected a bool, got {cell!r}")
    state = write_layers(
        "to_torch: params", "torch", kind, params, cell_name if cell else flat_name
    )
    if cell and ("weight_hr" in state or any("_l" in key for key in state)):
        raise ValueError(
            "to_torch: params: expected those of one layer without a projection, since "
            "torch's cells are that, got others"
        )
    return {prefix + key: array for key, array in state.items()}


def _check_prefix(name: str, state: Mapping[str, Any], prefix: str) -> None:
    """Raises a ValueError where all recurrent weights stand under a longer prefix."""
    first = r"weight_ih(_l0)?"
    names = [key for key in state if isinstance(key, str)]
    longer = [re.fullmatch(rf"(.+\.){first}", key) for key in names]
    if prefix and not prefix.endswith("."):
        prefix += "."
    candidates = [f"{prefix}{m[1]}" for m in longer if m]
    if candidates and not any(re.fullmatch(first, key) for key in names):
        raise ValueError(
            f"{name}: expected the names of one module, such as weight_ih_l0, got them "
            f"under a prefix; pass prefix={' or '.join(map(repr, candidates))}"
        )


def _hint(key: str, num_layers: int) -> str:
    layer = re.search(r"_l(\d+)(_reverse)?'", key)
    if layer and int(layer[1]) >= num_layers:
        return f"; for that many layers pass num_layers={int(layer[1]) + 1}"
    if layer and layer[2]:
        return "; for two directions pass bidirectional=True"
    return ""
