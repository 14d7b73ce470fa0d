"""The ops of TensorFlow's recurrences: the names of their variables, what they do."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells import LSTMCarry
from jaxrnn.checks import check_number

Op = Literal[
    "BlockLSTM",
    "BlockLSTMV2",
    "LSTMBlockCell",
    "BasicLSTMCell",
    "LSTMCell",
    "GRUCell",
    "BasicRNNCell",
]
LSTM_LEAVES = {  # matrix, bias, and the peepholes of i, f and o
    "BlockLSTM": ("w", "b", "wci", "wcf", "wco"),
    "BlockLSTMV2": ("w", "b", "wci", "wcf", "wco"),
    "LSTMBlockCell": ("kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag"),
    "BasicLSTMCell": ("kernel", "bias"),
    "LSTMCell": ("kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag"),
}
OPS = (*LSTM_LEAVES, "GRUCell", "BasicRNNCell")


def added_to_f(call: str, op: Op, forget_bias: float | None) -> float:
    """What the op adds to f at run time."""
    if op == "BlockLSTMV2":
        if forget_bias is not None:
            raise ValueError(
                f"{call}: forget_bias: expected None, since BlockLSTMV2 adds "
                f"nothing to f, got {forget_bias!r}"
            )
        return 0.0
    given = 1.0 if forget_bias is None else forget_bias
    return check_number(f"{call}: forget_bias", given, "a number", np.isfinite)


def no_peepholes(shape, dtype, key):
    """An initializer of peepholes that do nothing."""
    del key
    return jnp.zeros(shape, dtype)


def clipped(clip, theta, z, carry):
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
