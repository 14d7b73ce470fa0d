"""torch: `nn.RNN`, `nn.GRU`, `nn.LSTM`.

Weights are transposed, gates are in the order of jaxrnn (r, z, n and i, f, g, o), and
there are two biases. The GRU resets after the product.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.checks import check_size
from jaxrnn.combinators import Directions, chain
from jaxrnn.combinators import bidirectional as both_directions
from jaxrnn.core import Cell
from jaxrnn.interop.weights import (
    GATES,
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    fit,
    flatten,
    merge_biases,
    own,
    read,
    split_biases,
    weights_of,
)


def load_torch(
    kind: Kind,
    state: Mapping[str, Any],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    nonlinearity: Nonlinearity = "tanh",
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what `torch.nn.RNN`, `GRU` or `LSTM` does.

    The cell is `elman`, `gru` or `lstm`; with two directions `bidirectional` of two;
    with several layers `chain` of those. Dropout between layers, which acts only in
    training, is left out. A mask does what `pack_padded_sequence` does.

    torch's h_n `[num_layers * directions, B, H]` holds the leaves of the carry, in
    their order, where `vmap` adds the B: `h_n = jnp.stack(jax.tree.leaves(carry))`. In
    an LSTM's, h and c alternate: every second leaf from 0 is in h_n, from 1 in c_n.

    Args:
      kind: "rnn", "gru" or "lstm".
      state: the module's `state_dict()`, or a safetensors file of it: `weight_ih_l0`,
        `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `weight_ih_l0_reverse` and so on,
        numpy or jax arrays or torch tensors. Without biases if the module has none.
      num_layers, bidirectional, nonlinearity: as the module was made.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many (a projection, for example),
        or has not the shape, or not the dtype, that the others call for; if it is
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
    num_layers = check_size("load_torch: num_layers", num_layers)
    if not isinstance(bidirectional, bool):
        raise ValueError(
            f"load_torch: bidirectional: expected a bool, got {bidirectional!r}"
        )
    suffixes = ("", "_reverse") if bidirectional else ("",)
    entries = flatten("load_torch: state", state)
    if num_layers > max(len(entries), 1):
        raise ValueError(
            f"load_torch: num_layers: expected no more than the {len(entries)} entries "
            f"of the state, got {num_layers}"
        )
    shapes = _shapes(
        kind, num_layers, suffixes, any(k.startswith("['bias") for k in entries)
    )
    arrays = read("load_torch: state", entries, shapes, _hint(num_layers))

    def one(at):
        biases = {}
        if _key("bias_ih", at) in arrays:
            biases = merge_biases(
                kind, arrays[_key("bias_ih", at)], arrays[_key("bias_hh", at)]
            )
        w_x, w_h = arrays[_key("weight_ih", at)].T, arrays[_key("weight_hh", at)].T
        return build(kind, Weights(w_x, w_h, **biases), nonlinearity=nonlinearity)

    layers = []
    for layer in range(num_layers):
        cells, params = zip(*(one(f"_l{layer}{s}") for s in suffixes), strict=True)
        if bidirectional:
            layers.append((both_directions(*cells), Directions(*params)))
        else:
            layers.append((cells[0], params[0]))
    if num_layers == 1:
        return layers[0]
    cells, params = zip(*layers, strict=True)
    return chain(*cells), params


def to_torch(kind: Kind, params: Any) -> dict[str, np.ndarray]:
    """The params under torch's names, for a module that computes the same.

    How many layers and directions there are, the params tell. torch's second bias is
    zero but for what a GRU has inside its reset. What the params do not tell is taken
    to be what torch does: a GRU without biases resets after the product, and two
    directions are concatenated.

    Args:
      kind: "rnn", "gru" or "lstm".
      params: as `load_torch` returns them: `ElmanParams`, `GRUParams` or `LSTMParams`;
        `Directions` of those; or a tuple with one of these for each layer.

    Returns:
      Arrays for `load_state_dict`, by way of `torch.from_numpy`; biases only if one
      of the layers has some.

    Raises:
      ValueError: if the params are of another kind, reset before the product, or do not
        fit one another.
    """
    check_kind("to_torch", kind)
    layers = params if type(params) in (tuple, list) and params else (params,)
    found: dict[str, Weights] = {}
    for i, layer in enumerate(layers):
        name = "to_torch: params" + (f"[{i}]" if layers is params else "")
        directions = [("", "", layer)]
        if isinstance(layer, Directions):
            forward, backward = layer
            directions = [
                ("", ".forward", forward),
                ("_reverse", ".backward", backward),
            ]
        for suffix, field, one in directions:
            weights = weights_of(name + field, kind, one, reset_after=True)
            found[f"_l{i}{suffix}"] = weights
    bias = any(w.b is not None or w.b_h is not None for w in found.values())
    state = {}
    for at, weights in found.items():
        state[f"weight_ih{at}"] = own(weights.w_x.T)
        state[f"weight_hh{at}"] = own(weights.w_h.T)
        if bias:
            of_x, of_h = split_biases(kind, weights)
            state[f"bias_ih{at}"], state[f"bias_hh{at}"] = own(of_x), of_h
    suffixes = ("", "_reverse") if "_l0_reverse" in found else ("",)
    shapes = _shapes(kind, len(layers), suffixes, bias)
    fit("to_torch: params: as torch's ", flatten("", state), shapes)
    return state


def _key(name: str, at: str) -> str:
    return f"['{name}{at}']"


def _shapes(
    kind: Kind, num_layers: int, suffixes: tuple[str, ...], bias: bool
) -> dict[str, str]:
    shapes = {}
    for layer in range(num_layers):
        reads = ("H" if len(suffixes) == 1 else "2H") if layer else "D"
        for suffix in suffixes:
            at = f"_l{layer}{suffix}"
            shapes[_key("weight_hh", at)] = f"{GATES[kind]} H"
            shapes[_key("weight_ih", at)] = f"{GATES[kind]} {reads}"
            if bias:
                shapes[_key("bias_ih", at)] = shapes[_key("bias_hh", at)] = GATES[kind]
    return shapes


def _hint(num_layers: int):
    def hint(key):
        if "weight_hr" in key:
            return "; jaxrnn's lstm has no projection (proj_size)"
        layer = re.search(r"_l(\d+)(_reverse)?'", key)
        if layer and int(layer[1]) >= num_layers:
            return f"; for that many layers pass num_layers={int(layer[1]) + 1}"
        if layer and layer[2]:
            return "; for two directions pass bidirectional=True"
        return ""

    return hint
