"""A cell with all that the RNN, GRU and LSTM of ONNX can have."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxrnn.build import leaf
from jaxrnn.cells import ElmanCarry, GRUCarry, LSTMCarry
from jaxrnn.checks import Input
from jaxrnn.core import Cell, recorded, restarted, scan_unroll
from jaxrnn.loops.dense import dot
from jaxrnn.loops.substitute import SHARED, substituted

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
CARRIES: dict[str, Any] = {"RNN": ElmanCarry, "GRU": GRUCarry, "LSTM": LSTMCarry}
DEFAULT = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}

# With the values of alpha and beta where a file gives none: those of the operator.
ACTIVATIONS: dict[str, tuple[Callable[..., jax.Array], tuple[float, ...]]] = {
    "Relu": (jax.nn.relu, ()),
    "Tanh": (jnp.tanh, ()),
    "Sigmoid": (jax.nn.sigmoid, ()),
    "Softsign": (jax.nn.soft_sign, ()),
    "Softplus": (jax.nn.softplus, ()),
    "Affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "LeakyRelu": (lambda x, a: jnp.where(x < 0, a * x, x), (0.01,)),
    "ThresholdedRelu": (lambda x, a: jnp.where(x > a, x, 0), (1.0,)),
    "ScaledTanh": (lambda x, a, b: a * jnp.tanh(b * x), (1.0, 1.0)),
    "HardSigmoid": (lambda x, a, b: jnp.clip(a * x + b, 0, 1), (0.2, 0.5)),
    "Elu": (lambda x, a: jax.nn.elu(x, a), (1.0,)),
}


class Activation(NamedTuple):
    """An activation of ONNX's recurrent operators."""

    name: str
    numbers: tuple[float, ...] = ()  # alpha, beta, as many as it has

    def __call__(self, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.name][0](x, *self.numbers)


class Operator(NamedTuple):
    """What the attributes of a recurrent operator say of one direction."""

    kind: str  # "RNN", "GRU" or "LSTM"
    activations: tuple[Activation, ...]
    clip: float | None = None
    input_forget: bool = False
    linear_before_reset: bool = False
    reverse: bool = False  # of an unroll


class ONNXParams(NamedTuple):
    """Weights of `onnx_cell`, gates in the order of ONNX: i, o, f, c and z, r, h."""

    w_x: jax.Array  # [D, GH]
    w_h: jax.Array  # [H, GH]
    b: jax.Array  # [GH]
    b_h: jax.Array | None = None  # [H], of a GRU with linear_before_reset
    p: jax.Array | None = None  # [3H], peepholes i, o, f of an LSTM


@recorded
def onnx_cell(
    input_size: int,
    hidden_size: int,
    operator: Operator,
    *,
    peepholes: bool,
    dtype: Any,
) -> Cell:
    """One direction of an RNN, GRU or LSTM of ONNX, with all its attributes.

    The equations are those of the specification. `clip` bounds what the gates'
    activations read; as in the runtimes that have it, it spares the C that is read by
    the last activation of an LSTM.

    References:
      ONNX, operators RNN, GRU and LSTM, version 22.
    """
    kind = operator.kind
    name = f"onnx_{kind.lower()}({input_size}, {hidden_size})"

    def init(key):
        size = GATES[kind] * hidden_size
        x_key, h_key = jax.random.split(key)
        draw = initializers.lecun_normal()
        shared = kind == "GRU" and operator.linear_before_reset
        return ONNXParams(
            draw(x_key, (input_size, size), dtype),
            draw(h_key, (hidden_size, size), dtype),
            jnp.zeros(size, dtype),
            jnp.zeros(hidden_size, dtype) if shared else None,
            jnp.zeros(3 * hidden_size, dtype) if peepholes else None,
        )

    def initial_carry(params, key=None):
        del key
        fields = CARRIES[kind]._fields
        return CARRIES[kind](*(jnp.zeros(hidden_size, dtype) for _ in fields))

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        initial = None
        if starts is not None:
            initial = restarted(initial_carry, params, carry)
        static = operator._replace(reverse=reverse)
        return operator_loop(static, params, carry, initial, xs, mask, starts)

    step = partial(_STEPS[kind], operator)
    return leaf(name, Input((input_size,)), init, initial_carry, step, unroll)


@substituted(SHARED, 0, 0, 1, 1, 1, out=(0, 1))
def operator_loop(
    static: Operator,
    params: ONNXParams,
    carry: Any,
    initial: Any,
    xs: jax.Array,
    mask: jax.Array | None,
    starts: jax.Array | None,
) -> tuple[Any, jax.Array]:
    """The unroll of `onnx_cell`."""
    unroll = scan_unroll(partial(_STEPS[static.kind], static), lambda *_: initial)
    order: Any = {"mask": mask, "reverse": static.reverse, "starts": starts}
    return unroll(params, carry, xs, **order)


def _clipped(operator: Operator, z: jax.Array) -> jax.Array:
    return z if operator.clip is None else jnp.clip(z, -operator.clip, operator.clip)


def _of_x(params: ONNXParams, x: jax.Array) -> jax.Array:
    return dot(x.astype(params.w_x.dtype), params.w_x) + params.b


def _rnn(operator, params, carry, x):
    (f,) = operator.activations
    h = f(_clipped(operator, _of_x(params, x) + dot(carry.h, params.w_h)))
    return ElmanCarry(h), h


def _gru(operator, params, carry, x):
    f, g = operator.activations
    size = len(carry.h)
    zr_x, h_x = jnp.split(_of_x(params, x), [2 * size])
    zr = zr_x + dot(carry.h, params.w_h[:, : 2 * size])
    z, r = jnp.split(f(_clipped(operator, zr)), 2)
    w = params.w_h[:, 2 * size :]
    if params.b_h is None:
        of_h = dot(r * carry.h, w)
    else:
        of_h = r * (dot(carry.h, w) + params.b_h)
    new = g(_clipped(operator, h_x + of_h))
    h = (1 - z) * new + z * carry.h
    return GRUCarry(h), h


def _lstm(operator, params, carry, x):
    f, g, h = operator.activations
    p_i, p_o, p_f = (0, 0, 0) if params.p is None else jnp.split(params.p, 3)
    gates = _of_x(params, x) + dot(carry.h, params.w_h)
    i, o, forget, c = jnp.split(gates, 4)
    i = f(_clipped(operator, i + p_i * carry.c))
    if operator.input_forget:
        forget = 1 - i
    else:
        forget = f(_clipped(operator, forget + p_f * carry.c))
    c = forget * carry.c + i * g(_clipped(operator, c))
    o = f(_clipped(operator, o + p_o * c))
    y = o * h(c)
    return LSTMCarry(y, c), y


_STEPS: dict[str, Callable[..., Any]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}
