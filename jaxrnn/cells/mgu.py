"""The minimal gated unit."""

from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_flag, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.inner import INNER, INNER_HEADS, inner_product
from jaxrnn.loops.pointwise import Pointwise


class MGUCarry(NamedTuple):
    """Carry of `mgu`."""

    h: jax.Array  # [H]


class MGUParams(NamedTuple):
    """Weights of `mgu`."""

    w_x: jax.Array  # [D, 2H], gates f, n
    w_h: jax.Array  # [H, 2H], gates f, n, or [heads, H / heads, 2H / heads]
    b: jax.Array | None = None  # [2H]
    b_h: jax.Array | None = None  # [H], inside the product that f resets


@recorded
def mgu(
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = False,
    **options: Unpack[Options],
) -> Cell:
    """The minimal gated unit: a gated recurrent unit with one gate for two.

        f = sigmoid(x_t w_x[f] + h_{t-1} w_h[f] + b[f])
        n = tanh(x_t w_x[n] + b[n] + (f h_{t-1}) w_h[n])
        n = tanh(x_t w_x[n] + b[n] + f (h_{t-1} w_h[n] + b_h))    reset_after
        h_t = (1 - f) h_{t-1} + f n,    y_t = h_t

    The gate f is both the GRU's reset gate r and, as here, 1 - z of `gru`: where it is
    closed the state stays, and n does not see it. memax's `MGU` is this cell without
    `reset_after`. flax's `MGUCell` resets after the product and takes (1 - f) n + f h,
    which is another function: where its gate is closed the state is lost.

    The order of the update differs among GRUs too: h_t = (1 - z) n + z h in cuDNN,
    torch and `gru`, h_t = (1 - z) h + z n in memax's `GRU` and in Chung et al. (2014).
    The one is the other with w_x, w_h and b of z negated.

    Args:
      input_size: D.
      hidden_size: H.
      reset_after: whether the gate acts after the product with w_h. Then one product
        serves both gates.
      **options: bias (both b and b_h), w_x_init, w_h_init, b_init, carry_init, dtype,
        compute_dtype, unroll, heads; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `MGUParams` and `MGUCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Zhou, Wu, Zhang and Zhou, "Minimal gated unit for recurrent neural networks",
      International Journal of Automation and Computing 13, 2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.mgu(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """
    input_size = check_size("mgu: input_size", input_size)
    hidden_size = check_size("mgu: hidden_size", hidden_size)
    reset_after = check_flag("mgu: reset_after", reset_after)
    settings = check_options("mgu", options, hidden_size)

    def init(key):
        weights, key = dense_init(key, input_size, hidden_size, 2, settings)
        if settings.bias and reset_after:
            weights["b_h"] = settings.b_init(key, (hidden_size,), settings.dtype)
        return MGUParams(**weights)

    make = partial(
        gated,
        f"mgu({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(MGUCarry, hidden_size),
        settings=settings,
    )
    if reset_after:
        return make(_split, RESET_AFTER)
    mix = INNER if settings.heads == 1 else INNER_HEADS
    return make(lambda params: (dense(params), ()), RESET_BEFORE, mix)


def _split(params):
    # The gate vector is f, n from x, n from h.
    w, b_h = dense(params), params.b_h
    if b_h is None:
        b_h = jnp.zeros(len(w.b) // 2, w.b.dtype)
    return w._replace(b=jnp.concatenate([w.b, b_h])), ()


def _after(theta, z, carry):
    return _after_forward(theta, z, carry)[0]


def _after_forward(theta, z, carry):
    f, n_x, n_h = jnp.split(z, 3)
    f = sigmoid(f)
    n = jnp.tanh(n_x + f * n_h)
    return MGUCarry(carry.h + f * (n - carry.h)), (f, n_h, n)


def _after_backward(theta, residuals, h, ct):
    f, n_h, n = residuals
    ct_n = ct.h * f * (1 - n * n)
    ct_f = ct.h * (n - h) + ct_n * n_h
    ct_z = jnp.concatenate([ct_f * f * (1 - f), ct_n, ct_n * f])
    return (), ct_z, MGUCarry(ct.h * (1 - f))


def _before(theta, z, carry):
    return _before_forward(theta, z, carry)[0]


def _before_forward(theta, z, carry):
    w, _ = theta
    f, n_x = jnp.split(z, 2)
    f = sigmoid(f)
    n = jnp.tanh(n_x + inner_product(f * carry.h, w))
    return MGUCarry(carry.h + f * (n - carry.h)), (f, n)


def _before_backward(theta, residuals, h, ct):
    _, w_turned = theta
    f, n = residuals
    ct_n = ct.h * f * (1 - n * n)
    ct_reset = inner_product(ct_n, w_turned)
    ct_f = ct.h * (n - h) + ct_reset * h
    ct_z = jnp.concatenate([ct_f * f * (1 - f), ct_n])
    return (), ct_z, MGUCarry(ct.h * (1 - f) + ct_reset * f)


RESET_AFTER = Pointwise(_after, _after_forward, _after_backward, "mgu reset after")
RESET_BEFORE = Pointwise(_before, _before_forward, _before_backward, "mgu")
