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
from jaxrnn.core import Cell, recorded, restarted, scan_unroll
from jaxrnn.loops.dense import dot
from jaxrnn.loops.pointwise import Pointwise
from jaxrnn.loops.substitute import SHARED, substituted


class GRUCarry(NamedTuple):
    """Carry of `gru`."""

    h: jax.Array  # [H]


class GRUParams(NamedTuple):
    """Weights of `gru`."""

    w_x: jax.Array  # [D, 3H], gates r, z, n
    w_h: jax.Array  # [H, 3H], gates r, z, n
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
        product serves all gates; before it the cell unrolls by a plain scan.
      activation: in the place of tanh, any pointwise function.
      gate_activation: in the place of sigmoid, such as `jax.nn.hard_sigmoid`. With
        other functions than tanh and sigmoid JAX finds the derivative.
      **options: bias (both b and b_h), w_x_init, w_h_init, b_init, carry_init, dtype,
        compute_dtype, unroll; see `jaxrnn.cells.Options`.

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
    settings = check_options("gru", options)
    name, reads = f"gru({input_size}, {hidden_size})", Input((input_size,))
    initial_carry = zeros_of(GRUCarry, hidden_size)

    def init(key):
        weights, key = dense_init(key, input_size, hidden_size, 3, settings)
        if settings.bias and reset_after:
            weights["b_h"] = settings.b_init(key, (hidden_size,), settings.dtype)
        return GRUParams(**weights)

    functions = activation, gate_activation
    if reset_after:
        usual = activation is jnp.tanh and gate_activation is sigmoid
        part = GRU if usual else Pointwise(partial(_other, functions))
        return gated(name, reads, init, initial_carry, _split, part, settings=settings)
    static = ResetBefore(functions, settings.compute_dtype, settings.unroll)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        initial = None
        if starts is not None:
            initial = restarted(initial_carry, params, carry)
        order = static._replace(reverse=reverse)
        return reset_before_loop(order, params, carry, initial, xs, mask, starts)

    step = partial(_reset_before, functions, settings.compute_dtype)
    cell = leaf(name, reads, init, initial_carry, step, unroll)
    return with_carry(cell, settings)


class ResetBefore(NamedTuple):
    """What is fixed in `reset_before_loop`."""

    functions: tuple[Callable, Callable]  # activation, gate_activation
    compute_dtype: Any
    unroll: int
    reverse: bool = False


@substituted(SHARED, 0, 0, 1, 1, 1, out=(0, 1))
def reset_before_loop(
    static: ResetBefore,
    params: GRUParams,
    carry: GRUCarry,
    initial: GRUCarry | None,
    xs: jax.Array,
    mask: jax.Array | None,
    starts: jax.Array | None,
) -> tuple[GRUCarry, jax.Array]:
    """The unroll of a `gru` that resets before the product."""
    step = partial(_reset_before, static.functions, static.compute_dtype)
    unroll = scan_unroll(step, lambda *_: initial, unroll=static.unroll)
    order: Any = {"mask": mask, "reverse": static.reverse, "starts": starts}
    return unroll(params, carry, xs, **order)


def _split(params):
    # The gate vector is r, z, n from x, n from h.
    b_h = params.b_h
    if b_h is None:
        b_h = jnp.zeros(params.w_h.shape[0], params.w_h.dtype)
    w = dense(params)
    return w._replace(b=jnp.concatenate([w.b, b_h])), ()


def _reset_before(functions, compute_dtype, params: GRUParams, carry: GRUCarry, x):
    activation, gate_activation = functions
    w = dense(params)
    if compute_dtype is not None:
        w = w.rounded(compute_dtype)
    size = 2 * w.w_h.shape[0]
    rz_x, n_x = jnp.split(dot(x.astype(params.w_x.dtype), w.w_x) + w.b, [size])
    r, z = jnp.split(gate_activation(rz_x + dot(carry.h, w.w_h[:, :size])), 2)
    n = activation(n_x + dot(r * carry.h, w.w_h[:, size:]))
    h = (1 - z) * n + z * carry.h
    return GRUCarry(h), h


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
    return GRUCarry(n + z * (carry.h - n)), (r, z, n, n_h)


def _gru_backward(theta, residuals, h, ct):
    r, z, n, n_h = residuals
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


GRU = Pointwise(_gru, _gru_forward, _gru_backward, "gru")
