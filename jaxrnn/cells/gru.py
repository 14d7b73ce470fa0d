"""The gated recurrent unit."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.build import leaf
from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options, with_carry
from jaxrnn.checks import Input, check_flag, check_function, check_size
from jaxrnn.core import Cell, recorded, scan_unroll
from jaxrnn.loops.dense import dot
from jaxrnn.loops.inner import INNER, INNER_HEADS, inner_product
from jaxrnn.loops.pointwise import Pointwise


class GRUCarry(NamedTuple):
    """Carry of `gru`."""

    h: jax.Array  # [H]


class GRUParams(NamedTuple):
    """Weights of `gru`."""

    w_x: jax.Array  # [D, 3H], gates r, z, n
    w_h: jax.Array  # [H, 3H], gates r, z, n, or [heads, H / heads, 3H / heads]
    b: jax.Array | None = None  # [3H]
    b_h: jax.Array | None = None  # [H], inside the reset gate's product


@recorded
def gru(
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = True,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    gate_activation: Callable[[jax.Array], jax.Array] = sigmoid,
    **options: Unpack[Options],
) -> Cell:
    """The gated recurrent unit.

        r, z = sigmoid(split(x_t w_x[r, z] + h_{t-1} w_h[r, z] + b[r, z], 2))
        n = tanh(x_t w_x[n] + b[n] + r (h_{t-1} w_h[n] + b_h))    reset_after
        n = tanh(x_t w_x[n] + b[n] + (r h_{t-1}) w_h[n])          otherwise
        h_t = (1 - z) n + z h_{t-1},    y_t = h_t

    Args:
      input_size: D.
      hidden_size: H.
      reset_after: whether the reset gate acts after the product with w_h, as in
        cuDNN and torch, or before it, as in the paper. After it is faster, since one
        product serves all gates.
      activation: in the place of tanh, any pointwise function.
      gate_activation: in the place of sigmoid, such as `jax.nn.hard_sigmoid`. With
        other functions than tanh and sigmoid JAX finds the derivative.
      **options: bias (both b and b_h), w_x_init, w_h_init, b_init, carry_init, dtype,
        compute_dtype, unroll, heads; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `GRUParams` and `GRUCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Cho et al., "Learning phrase representations using RNN encoder-decoder for
      statistical machine translation", EMNLP 2014.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.gru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """
    input_size = check_size("gru: input_size", input_size)
    hidden_size = check_size("gru: hidden_size", hidden_size)
    reset_after = check_flag("gru: reset_after", reset_after)
    check_function("gru: activation", activation)
    check_function("gru: gate_activation", gate_activation)
    settings = check_options("gru", options, hidden_size)
    name, reads = f"gru({input_size}, {hidden_size})", Input((input_size,))
    initial_carry = zeros_of(GRUCarry, hidden_size)

    def init(key):
        weights, key = dense_init(key, input_size, hidden_size, 3, settings)
        if settings.bias and reset_after:
            weights["b_h"] = settings.b_init(key, (hidden_size,), settings.dtype)
        return GRUParams(**weights)

    functions = activation, gate_activation
    usual = activation is jnp.tanh and gate_activation is sigmoid
    make = partial(gated, name, reads, init, initial_carry, settings=settings)
    if reset_after:
        return make(
            gru_weights, GRU if usual else Pointwise(partial(_other, functions))
        )
    if usual:
        mix = INNER if settings.heads == 1 else INNER_HEADS
        return make(lambda params: (dense(params), ()), RESET_BEFORE, mix)
    step = partial(_reset_before, functions, settings.compute_dtype)
    unroll = scan_unroll(step, initial_carry, unroll=settings.unroll)
    cell = leaf(name, reads, init, initial_carry, step, unroll)
    return with_carry(cell, settings)


def gru_weights(params: GRUParams) -> tuple[Any, tuple[()]]:
    """The weights of the mix: z is r, z, n from x, n from h. No theta."""
    b_h = params.b_h
    if b_h is None:
        b_h = jnp.zeros(params.w_x.shape[1] // 3, params.w_h.dtype)
    w = dense(params)
    return w._replace(b=jnp.concatenate([w.b, b_h])), ()


def _reset_before(functions, compute_dtype, params: GRUParams, carry: GRUCarry, x):
    activation, gate_activation = functions
    w = dense(params)
    if compute_dtype is not None:
        w = w.rounded(compute_dtype)
    of_h, size = partial(_of_h, w.w_h), 2 * len(carry.h)
    rz_x, n_x = jnp.split(dot(x.astype(params.w_x.dtype), w.w_x) + w.b, [size])
    r, z = jnp.split(gate_activation(rz_x + of_h(carry.h, 0, 2)), 2)
    n = activation(n_x + of_h(r * carry.h, 2, 3))
    h = (1 - z) * n + z * carry.h
    return GRUCarry(h), h


def _of_h(w_h, h, start, stop):
    """The product with the columns of some of the gates."""
    size = w_h.shape[-2]
    return inner_product(h, w_h[..., start * size : stop * size])


def _other(functions, theta, gates, carry):
    del theta
    activation, gate_activation = functions
    r, z, n_x, n_h = jnp.split(gates, 4)
    r, z = gate_activation(r), gate_activation(z)
    n = activation(n_x + r * n_h)
    return GRUCarry(n + z * (carry.h - n))


def _gru(theta, z, carry):
    return _gru_forward(theta, z, carry)[0]


def _gru_forward(theta, gates, carry):
    r, z, n_x, n_h = jnp.split(gates, 4)
    r, z = sigmoid(r), sigmoid(z)
    n = jnp.tanh(n_x + r * n_h)
    # In one array, and apart: a kernel puts the gradients of the gates in their place.
    return GRUCarry(n + z * (carry.h - n)), (jnp.concatenate([r, z, n_h]), n)


def _gru_backward(theta, residuals, h, ct):
    together, n = residuals
    r, z, n_h = jnp.split(together, 3)
    ct_n = ct.h * (1 - z) * (1 - n * n)
    ct_gates = jnp.concatenate(
        [
            ct_n * n_h * r * (1 - r),
            ct.h * (h - n) * z * (1 - z),
            ct_n,
            ct_n * r,
        ]
    )
    return (), ct_gates, GRUCarry(ct.h * z)


def _reset(theta, z, carry):
    return _reset_forward(theta, z, carry)[0]


def _reset_forward(theta, z, carry):
    w, _ = theta
    r, z, n_x = jnp.split(z, 3)
    r, z = sigmoid(r), sigmoid(z)
    n = jnp.tanh(n_x + inner_product(r * carry.h, w))
    return GRUCarry(n + z * (carry.h - n)), (jnp.concatenate([r, z]), n)


def _reset_backward(theta, residuals, h, ct):
    _, w_turned = theta
    together, n = residuals
    r, z = jnp.split(together, 2)
    ct_n = ct.h * (1 - z) * (1 - n * n)
    ct_reset = inner_product(ct_n, w_turned)
    ct_z = [ct_reset * h * r * (1 - r), ct.h * (h - n) * z * (1 - z), ct_n]
    return (), jnp.concatenate(ct_z), GRUCarry(ct.h * z + ct_reset * r)


GRU = Pointwise(_gru, _gru_forward, _gru_backward, "gru")
RESET_BEFORE = Pointwise(_reset, _reset_forward, _reset_backward, "gru reset before")
