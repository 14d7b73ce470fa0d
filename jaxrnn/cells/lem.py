"""The long expressive memory: two coupled states, each with a time step of its own."""

import math
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.draws import uniform
from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.inner import inner, inner_product
from jaxrnn.loops.pointwise import Pointwise


class LEMCarry(NamedTuple):
    """Carry of `lem`."""

    h: jax.Array  # [H], y in the paper
    z: jax.Array  # [H]


class LEMParams(NamedTuple):
    """Weights of `lem`."""

    w_x: jax.Array  # [D, 4H], columns a, b, s, p
    w_h: jax.Array  # [H, 4H], columns a, b, s of h; columns p of z
    b: jax.Array | None = None  # [4H]


@recorded
def lem(
    input_size: int, hidden_size: int, *, dt: float = 1.0, **options: Unpack[Options]
) -> Cell:
    """The long expressive memory.

        a, b, s = split(x_t w_x[a, b, s] + h_{t-1} w_h[a, b, s] + b[a, b, s], 3)
        z_t = (1 - dt sigmoid(b)) z_{t-1} + dt sigmoid(b) tanh(s)
        p = x_t w_x[p] + z_t w_h[p] + b[p]
        h_t = (1 - dt sigmoid(a)) h_{t-1} + dt sigmoid(a) tanh(p),    y_t = h_t

    It discretizes two ordinary differential equations, whose time constants are learned
    gates. h is y in the paper, sigmoid(a) that of its second time step and sigmoid(b)
    that of its first. h_t reads the new z_t, in the paper as in the code.

    The authors' code has a bias on the side of x and another one on that of h or z;
    here one b is their sum, and is drawn as the sum of two. All weights are drawn from
    U(-1/sqrt(H), 1/sqrt(H)), also those of x, whatever D is.

    Args:
      input_size: D.
      hidden_size: H.
      dt: the longest time step, above 0.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        heads, unroll; see `jaxrnn.cells.Options`. The defaults of w_x_init, w_h_init
        and b_init are those of the authors.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `LEMParams` and `LEMCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or dt is not positive; later, if an argument does
        not fit the cell.

    References:
      Rusch, Mishra, Erichson and Mahoney, "Long expressive memory for sequence
      modeling", ICLR 2022; github.com/tk-rusch/LEM.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.lem(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.z.shape, ys.shape
      ((5,), (7, 5))
    """
    input_size = check_size("lem: input_size", input_size)
    hidden_size = check_size("lem: hidden_size", hidden_size)
    dt = check_number("lem: dt", dt, "a positive number", lambda value: value > 0)
    drawn = uniform(1 / math.sqrt(hidden_size))

    def twice(key, shape, dtype):
        return sum(drawn(k, shape, dtype) for k in jax.random.split(key))

    defaults = {"w_x_init": drawn, "w_h_init": drawn, "b_init": twice}
    settings = check_options("lem", defaults | options, hidden_size)

    def init(key):
        weights, _ = dense_init(key, input_size, hidden_size, 4, settings)
        return LEMParams(**weights)

    part = Pointwise(
        partial(_lem, dt),
        partial(_lem_forward, dt),
        partial(_lem_backward, dt),
    )
    return gated(
        f"lem({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(LEMCarry, hidden_size),
        lambda params: (dense(params), ()),
        part,
        DENSE_MIX if settings.heads == 1 else HEADS_MIX,
        settings,
    )


def _lem(dt, theta, pre, carry):
    return _lem_forward(dt, theta, pre, carry)[0]


def _lem_forward(dt, theta, pre, carry):
    w, _ = theta
    a, b, s, p = jnp.split(pre, 4)
    a, b, s = sigmoid(a), sigmoid(b), jnp.tanh(s)
    z = carry.z + dt * b * (s - carry.z)
    q = jnp.tanh(p + inner_product(z, w))
    h = carry.h + dt * a * (q - carry.h)
    return LEMCarry(h, z), (jnp.concatenate([a, b, s, q]), carry.z, z)


def _lem_backward(dt, theta, residuals, h, ct):
    _, w_turned = theta
    together, z_prev, _ = residuals
    a, b, s, q = jnp.split(together, 4)
    ct_q = ct.h * dt * a * (1 - q * q)
    ct_z = ct.z + inner_product(ct_q, w_turned)
    ct_pre = [
        ct.h * (q - h) * dt * a * (1 - a),
        ct_z * (s - z_prev) * dt * b * (1 - b),
        ct_z * dt * b * (1 - s * s),
        ct_q,
    ]
    carry = LEMCarry(ct.h * (1 - dt * a), ct_z * (1 - dt * b))
    return (), jnp.concatenate(ct_pre), carry


def _new_z(residuals, hs):
    del hs
    return residuals[2]


DENSE_MIX, HEADS_MIX = inner(_new_z)
