"""TensorFlow below Keras: BlockLSTM and the cells of TensorFlow 1.

The gates of BlockLSTM and of the cells of TensorFlow 1 are i, g, f, o, and they add a
forget bias, 1 by default, at run time; BlockLSTM also clips the memory to [-3, 3] by
default. BlockLSTMV2 has i, f, g, o, adds nothing and does not clip by default.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import LSTMCarry, RecurrentParams, recurrent
from jaxrnn.checks import check_number
from jaxrnn.core import Cell
from jaxrnn.interop.entries import check_choice, flatten, read, under
from jaxrnn.interop.weights import (
    Kind,
    Nonlinearity,
    Weights,
    build,
    check_kind,
    reorder,
)

Op = Literal[
    "BlockLSTM",
    "BlockLSTMV2",
    "LSTMBlockCell",
    "BasicLSTMCell",
    "LSTMCell",
    "GRUCell",
    "BasicRNNCell",
]
_LSTM_LEAVES = {  # matrix, bias, and the peepholes of i, f and o
    "BlockLSTM": ("w", "b", "wci", "wcf", "wco"),
    "BlockLSTMV2": ("w", "b", "wci", "wcf", "wco"),
    "LSTMBlockCell": ("kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag"),
    "BasicLSTMCell": ("kernel", "bias"),
    "LSTMCell": ("kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag"),
}
_OPS = (*_LSTM_LEAVES, "GRUCell", "BasicRNNCell")


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
    """
    check_choice("load_tensorflow: op", op, _OPS)
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
    if second and forget_bias is not None:
        raise ValueError(
            "load_tensorflow: forget_bias: expected None, since BlockLSTMV2 adds "
            f"nothing to f, got {forget_bias!r}"
        )
    if forget_bias is None:
        forget_bias = 0.0 if second else 1.0
    if cell_clip is None:
        cell_clip = 3.0 if op == "BlockLSTM" else 0.0
    added = check_number(
        "load_tensorflow: forget_bias", forget_bias, "a number", np.isfinite
    )
    clip = check_number(
        "load_tensorflow: cell_clip",
        cell_clip,
        "a number of at least 0",
        lambda value: value >= 0,
    )
    w, b, *peepholes = (f"['{leaf}']" for leaf in _LSTM_LEAVES[op])
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
        *(len(w_x), size, partial(_clipped, clip)),
        gates=4,
        carry_type=LSTMCarry,
        theta_init=partial(_no_peepholes, theta.shape, theta.dtype),
        dtype=b.dtype,
    )
    return cell, RecurrentParams(*map(jnp.array, (w_x, w_h, b)), theta=theta)


def _no_peepholes(shape, dtype, key):
    del key
    return jnp.zeros(shape, dtype)


def _clipped(clip, theta, z, carry):
    """An LSTM whose memory is clipped, with the peepholes of i, f and o, or none."""
    i, f, g, o = jnp.split(z, 4)
    peeps = len(theta) > 0
    if peeps:
        i, f = i + theta[0] * carry.c, f + theta[1] * carry.c
    c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    if clip:
        c = jnp.clip(c, -clip, clip)
    if peeps:
        o = o + theta[2] * c
    return LSTMCarry(jax.nn.sigmoid(o) * jnp.tanh(c), c)
