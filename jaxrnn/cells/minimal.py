"""The minimal GRU and the minimal LSTM, whose gates do not read the state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softplus

from jaxrnn.cells.draws import TORCH_LINEAR
from jaxrnn.cells.linear import linear_recurrence
from jaxrnn.checks import (
    Input,
    check_flag,
    check_floating,
    check_function,
    check_size,
)
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import wide


class MinGRUCarry(NamedTuple):
    """Carry of `mingru`."""

    h: jax.Array  # [H], in at least single precision


class MinGRUParams(NamedTuple):
    """Weights of `mingru`."""

    w_x: jax.Array  # [D, 2H], candidate v, gate k
    b: jax.Array | None = None  # [2H]
    w_y: jax.Array | None = None  # [H, O]


class MinLSTMCarry(NamedTuple):
    """Carry of `minlstm`."""

    h: jax.Array  # [H], in at least single precision


class MinLSTMParams(NamedTuple):
    """Weights of `minlstm`."""

    w_x: jax.Array  # [D, 3H], candidate v, gates f, i
    b: jax.Array | None = None  # [3H]
    w_y: jax.Array | None = None  # [H, O]


def positive(v: jax.Array) -> jax.Array:
    """v + 1/2 where v is not negative, else sigmoid(v): never below zero."""
    return jnp.where(v >= 0, v + 0.5, sigmoid(v))


@recorded
def mingru(
    input_size: int,
    hidden_size: int,
    *,
    output_size: int | None = None,
    activation: Callable[[jax.Array], jax.Array] = positive,
    bias: bool = False,
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """The minimal GRU: a running mean whose rate depends on the input alone.

        v, k = split(x_t w_x + b, 2)
        h_t = (1 - sigmoid(k)) h_{t-1} + sigmoid(k) g(v),    y_t = h_t w_y
        g(v) = v + 1/2 where v >= 0, else sigmoid(v)

    with y_t = h_t if there is no w_y. With this g the state is never below zero.

    The paper and the authors' code unroll it by sums of logarithms, which lose digits
    as sequences grow, and whose gradient at a zero state is NaN. Here it is computed as
    it is written above: one step, and the parallel forms, from any state. The paper's
    first form has no g: `activation=lambda v: v`. The paper has biases; the code that
    is widely used (minGRU-pytorch) has none, and a w_y wherever H is not D.

    Args:
      input_size: D.
      hidden_size: H; in that code D times the `expansion_factor`.
      output_size: O, of y = h w_y; None for y = h.
      activation: g, any pointwise function.
      bias: whether there is a b.
      dtype: of the params. The carry has at least single precision.
      method: of the unroll; see `linear_recurrence`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, or `[O]`, with `MinGRUParams` and
      `MinGRUCarry`. The matrices begin uniformly in +-1/sqrt(rows), b at zero.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Feng et al., "Were RNNs all we needed?", 2024.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.mingru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.h.shape, ys.shape
      ((5,), (7, 5))
    """

    def decays(v, k):
        return sigmoid(-k), sigmoid(k) * activation(v)

    check_function("mingru: activation", activation)
    sizes = "mingru", input_size, hidden_size, output_size
    return _minimal(*sizes, bias, dtype, method, (MinGRUParams, MinGRUCarry), 2, decays)


@recorded
def minlstm(
    input_size: int,
    hidden_size: int,
    *,
    output_size: int | None = None,
    activation: Callable[[jax.Array], jax.Array] = positive,
    bias: bool = False,
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """The minimal LSTM: as `mingru`, with two gates that are made to sum to one.

        v, f, i = split(x_t w_x + b, 3)
        f' = sigmoid(f) / (sigmoid(f) + sigmoid(i)),    i' = 1 - f'
        h_t = f' h_{t-1} + i' g(v),    y_t = h_t w_y

    with g as for `mingru`, and y_t = h_t if there is no w_y. The ratio is computed as
    f' = sigmoid(-d), i' = sigmoid(d) with d = softplus(-f) - softplus(-i), which is
    finite where both gates are closed.

    In minGRU-pytorch 0.2.1 a parallel unroll from a state reads g of the state, so
    that two halves of a sequence do not give what the whole gives. Here they do.

    Args:
      input_size, hidden_size, output_size, activation, bias, dtype, method: as for
        `mingru`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, or `[O]`, with `MinLSTMParams` and
      `MinLSTMCarry`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Feng et al., "Were RNNs all we needed?", 2024.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.minlstm(3, 5, output_size=3)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.h.shape, ys.shape
      ((5,), (7, 3))
    """

    def decays(v, f, i):
        d = softplus(-f) - softplus(-i)
        return sigmoid(-d), sigmoid(d) * activation(v)

    check_function("minlstm: activation", activation)
    sizes = "minlstm", input_size, hidden_size, output_size
    types = MinLSTMParams, MinLSTMCarry
    return _minimal(*sizes, bias, dtype, method, types, 3, decays)


def _minimal(
    name: str,
    input_size: Any,
    hidden_size: Any,
    output_size: Any,
    bias: Any,
    dtype: Any,
    method: str,
    types: Any,
    gates: int,
    decays: Callable[..., tuple[jax.Array, jax.Array]],
) -> Cell:
    """h_t = a_t h_{t-1} + b_t, both of them functions of the gates."""
    input_size = check_size(f"{name}: input_size", input_size)
    hidden_size = check_size(f"{name}: hidden_size", hidden_size)
    if output_size is not None:
        output_size = check_size(f"{name}: output_size", output_size)
    bias = check_flag(f"{name}: bias", bias)
    check_floating(f"{name}: dtype", dtype)
    params_type, carry_type = types

    def init(key):
        x_key, y_key = jax.random.split(key)
        w_x = TORCH_LINEAR(x_key, (input_size, gates * hidden_size), dtype)
        b = jnp.zeros(gates * hidden_size, dtype) if bias else None
        if output_size is None:
            return params_type(w_x, b)
        return params_type(
            w_x, b, TORCH_LINEAR(y_key, (hidden_size, output_size), dtype)
        )

    def initial_carry(params, key=None):
        return carry_type(jnp.zeros(hidden_size, wide(params.w_x.dtype)))

    def terms(params, x):
        z = rows_product(x.astype(params.w_x.dtype)[None], params.w_x)[0]
        z = z.astype(wide(z.dtype))
        if params.b is not None:
            z = z + params.b.astype(z.dtype)
        a, b = decays(*jnp.split(z, gates))
        return carry_type(a), carry_type(b)

    def output(params, carry, x):
        h = carry.h.astype(params.w_x.dtype)
        return h if params.w_y is None else rows_product(h[None], params.w_y)[0]

    reads = Input((input_size,))
    name = f"{name}({input_size}, {hidden_size})"
    return linear_recurrence(
        name, reads, init, initial_carry, terms, output, method=method
    )
