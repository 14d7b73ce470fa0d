"""TensorFlow below Keras: BlockLSTM and the cells of TensorFlow 1.

The gates of BlockLSTM and of the cells of TensorFlow 1 are i, g, f, o, and they add a
forget bias, 1 by default, at run time; BlockLSTM also clips the memory to [-3, 3] by
default. BlockLSTMV2 has i, f, g, o, adds nothing and does not clip by default.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import LSTMCarry, LSTMParams, RecurrentParams, recurrent
from jaxrnn.checks import check_number
from jaxrnn.core import Cell
from jaxrnn.interop.entries import as_numpy, check_choice, flatten, read, under
from jaxrnn.interop.tensorflow_ops import (
    LSTM_LEAVES,
    OPS,
    Op,
    added_to_f,
    clipped,
    no_peepholes,
)
from jaxrnn.interop.weights import (
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    own,
    reorder,
    weights_of,
)


def load_tensorflow(
    op: Op,
    variables: Mapping[str, Any],
    *,
    forget_bias: float | None = None,
    cell_clip: float | None = None,
    nonlinearity: Nonlinearity = "tanh",
    prefix: str = "",
) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what an op or cell of TensorFlow does.

    The same arrays are another function for another op, so it has to be named. The
    cell is `lstm`, `gru` or `elman`; with a clip or with peepholes it is `recurrent`,
    with carry `LSTMCarry` and params `RecurrentParams`:

        c_t = clip(sigmoid(f + forget_bias) c_{t-1} + sigmoid(i) tanh(g))

    TensorFlow's state (c, h) is jaxrnn's `LSTMCarry(h, c)`.

    Args:
      op: "BlockLSTM" or "BlockLSTMV2" of `tf.raw_ops`; or a cell of TensorFlow 1, as
        its checkpoints have it: "LSTMBlockCell" (also of `LSTMBlockFusedCell`),
        "BasicLSTMCell", "LSTMCell", "GRUCell" (also of `GRUBlockCellV2`) or
        "BasicRNNCell".
      variables: `w`, `b` and, with `use_peephole`, `wci`, `wcf`, `wco` of a raw op;
        `kernel`, `bias` and perhaps `w_i_diag`, `w_f_diag`, `w_o_diag` of an LSTM cell;
        `gates/kernel`, `gates/bias`, `candidate/kernel` and `candidate/bias` of a GRU
        cell. Names may end in ":0".
      forget_bias: what is added to f at run time; None for the op's default, 1 (of
        BlockLSTMV2, which has none, 0).
      cell_clip: the c of each step is clipped to [-cell_clip, cell_clip]; 0 for no
        clip; None for the op's default, 3 of "BlockLSTM" and 0 of all others.
      nonlinearity: "relu" for a `BasicRNNCell` with that activation.
      prefix: what stands before these names in a checkpoint, such as
        "rnn/basic_lstm_cell/"; entries without it are then not read.

    Returns:
      The cell and its params, in the dtype of the arrays.

    Raises:
      ValueError: if an entry is missing, is one too many (a projection, for example),
        or has not the shape, or not the dtype, that the others call for; if the op has
        no such option; if it is float64 while `jax_enable_x64` is off.

    Example:
      >>> import numpy as np
      >>> from jaxrnn import interop
      >>> variables = {"kernel": np.ones((8, 20), "f"), "bias": np.zeros(20, "f")}
      >>> cell, params = interop.load_tensorflow("BasicLSTMCell", variables)
      >>> cell, params.b[5:10].sum().item()
      (lstm(3, 5), 5.0)
      >>> list(interop.to_tensorflow("BlockLSTMV2", params))
      ['w', 'b']
    """
    check_choice("load_tensorflow: op", op, OPS)
    kind: Kind = "rnn" if op == "BasicRNNCell" else "gru" if op == "GRUCell" else "lstm"
    check_kind("load_tensorflow", kind, nonlinearity)
    name, found = under("load_tensorflow", "variables", variables, prefix, "/")
    found = {
        k.removesuffix(":0") if isinstance(k, str) else k: a for k, a in found.items()
    }
    entries = flatten(name, found)
    if kind == "lstm":
        return _lstm(name, op, entries, forget_bias, cell_clip)
    for option, value in (("forget_bias", forget_bias), ("cell_clip", cell_clip)):
        if value is not None:
            raise ValueError(
                f"load_tensorflow: {option}: expected None for {op!r}, got {value!r}"
            )
    if kind == "rnn":
        shapes = {"['bias']": "H", "['kernel']": "D+H H"}
        b, w = read(name, entries, shapes).values()
        weights = Weights(w[: -len(b)], w[-len(b) :], b)
        return build(kind, weights, nonlinearity=nonlinearity)
    keys = [f"['{a}/{b}']" for a in ("candidate", "gates") for b in ("bias", "kernel")]
    shapes = dict(zip(keys, ("H", "D+H H", "2H", "D+H 2H"), strict=True))
    b_n, w_n, b_rz, w_rz = read(name, entries, shapes).values()
    w, size = np.concatenate([w_rz, w_n], axis=1), len(b_n)
    weights = Weights(w[:-size], w[-size:], np.concatenate([b_rz, b_n]))
    return build(kind, weights, reset_after=False)


def _lstm(
    name: str,
    op: Op,
    entries: dict[str, Any],
    forget_bias: float | None,
    cell_clip: float | None,
) -> tuple[Cell, Any]:
    second = op == "BlockLSTMV2"
    if cell_clip is None:
        cell_clip = 3.0 if op == "BlockLSTM" else 0.0
    added = added_to_f("load_tensorflow", op, forget_bias)
    clip = check_number(
        "load_tensorflow: cell_clip",
        cell_clip,
        "a number of at least 0",
        lambda value: value >= 0,
    )
    w, b, *peepholes = (f"['{leaf}']" for leaf in LSTM_LEAVES[op])
    shapes = {b: "4H", w: "D+H 4H"}
    if any(key in entries for key in peepholes):
        shapes |= dict.fromkeys(peepholes, "H")
    arrays = read(name, entries, shapes)
    gates = "ifgo" if second else "igfo"
    both, b = reorder(arrays[w], gates, "ifgo"), reorder(arrays[b], gates, "ifgo")
    size = len(b) // 4
    b[size : 2 * size] += b.dtype.type(added)
    w_x, w_h = both[:-size], both[-size:]
    if not clip and len(arrays) == 2:
        return build("lstm", Weights(w_x, w_h, b))
    theta = jnp.zeros((0, size), b.dtype)
    if len(arrays) > 2:
        theta = jnp.stack([jnp.array(arrays[key]) for key in peepholes])
    cell = recurrent(
        *(len(w_x), size, partial(clipped, clip)),
        gates=4,
        carry_type=LSTMCarry,
        theta_init=partial(no_peepholes, theta.shape, theta.dtype),
        dtype=b.dtype,
    )
    return cell, RecurrentParams(*map(jnp.array, (w_x, w_h, b)), theta=theta)


def to_tensorflow(
    op: Op, params: Any, *, forget_bias: float | None = None, prefix: str = ""
) -> dict[str, np.ndarray]:
    """The params under TensorFlow's names, for an op or cell that computes the same.

    The params do not tell whether c is clipped: run the op with the `cell_clip` of the
    cell, which is 0 for an `lstm`. ("BlockLSTM" clips at 3 unless told so.)

    Args:
      op: as for `load_tensorflow`.
      params: `LSTMParams`; `RecurrentParams` as `load_tensorflow` returns them, with
        the peepholes of i, f and o or none; `GRUParams` that reset before the product,
        for a "GRUCell"; `ElmanParams` for a "BasicRNNCell". Where they have no bias, it
        is zero.
      forget_bias: what the op adds to f at run time, and so is not in the bias; None
        for the op's default.
      prefix: what is to stand before the names, such as "rnn/lstm_cell/".

    Returns:
      Arrays under the names that `load_tensorflow` reads, without ":0". Without
      peepholes `tf.raw_ops.BlockLSTM` takes any arrays [H] as wci, wcf and wco.

    Raises:
      ValueError: if the params are of another kind, have a projection, reset after the
        product, or have peepholes that the op has not; if the op has no such option.
    """
    check_choice("to_tensorflow: op", op, OPS)
    if not isinstance(prefix, str):
        raise ValueError(f"to_tensorflow: prefix: expected a string, got {prefix!r}")
    where = "to_tensorflow: params"
    if op in LSTM_LEAVES:
        added = added_to_f("to_tensorflow", op, forget_bias)
        found = _to_lstm(where, op, params, added)
    elif forget_bias is not None:
        raise ValueError(
            f"to_tensorflow: forget_bias: expected None for {op!r}, got {forget_bias!r}"
        )
    elif op == "BasicRNNCell":
        weights = weights_of(where, "rnn", params)
        found = {"kernel": _stacked(weights), "bias": weights.bias()}
    else:
        weights = weights_of(where, "gru", params, reset_after=False)
        both, size = _stacked(weights), len(weights.w_h)
        found = {"gates/kernel": both[:, : 2 * size]}
        found["gates/bias"] = weights.bias()[: 2 * size]
        found["candidate/kernel"] = both[:, 2 * size :]
        found["candidate/bias"] = weights.bias()[2 * size :]
    return {f"{prefix}{key}": own(a) for key, a in found.items()}


def _to_lstm(where: str, op: Op, params: Any, added: float) -> dict[str, np.ndarray]:
    theta = np.zeros((0, 1))
    if isinstance(params, RecurrentParams):
        theta = as_numpy(f"{where}.theta", params.theta)
        params = LSTMParams(params.w_x, params.w_h, params.b)
    weights = weights_of(where, "lstm", params)
    size = len(weights.w_h)
    if len(theta) and theta.shape != (3, size):
        raise ValueError(
            f"{where}.theta: expected the peepholes of i, f and o, [3, H] with H = "
            f"{size}, or none, got shape {theta.shape}"
        )
    matrix, bias, *peepholes = LSTM_LEAVES[op]
    if len(theta) and not peepholes:
        raise ValueError(
            f"{where}.theta: expected none, since {op!r} has no peepholes, got some"
        )
    b = np.array(weights.bias())
    b[size : 2 * size] -= b.dtype.type(added)
    gates = "ifgo" if op == "BlockLSTMV2" else "igfo"
    both, b = (reorder(a, "ifgo", gates) for a in (_stacked(weights), b))
    return {matrix: both, bias: b, **dict(zip(peepholes, theta, strict=False))}


def _stacked(weights: Weights) -> np.ndarray:
    """The one matrix for [x; h]."""
    return np.concatenate([weights.w_x, weights.w_h])
