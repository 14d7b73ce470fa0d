"""The sLSTM of the xLSTM: exponential gates, a normaliser, and heads."""

from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import initializers, log_sigmoid, sigmoid

from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, Settings, check_options
from jaxrnn.checks import Input, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class SLSTMCarry(NamedTuple):
    """Carry of `slstm`: c and n are those of the equations divided by exp(m)."""

    h: jax.Array  # [H]
    c: jax.Array  # [H]
    n: jax.Array  # [H], at least 1, or 0 where nothing has been read
    m: jax.Array  # [H]


class SLSTMParams(NamedTuple):
    """Weights of `slstm`."""

    w_x: jax.Array  # [D, 4H], gates i, f, z, o
    w_h: jax.Array  # [H, 4H], gates i, f, z, o, or [heads, H / heads, 4H / heads]
    b: jax.Array | None = None  # [4H]


@recorded
def slstm(
    input_size: int,
    hidden_size: int,
    *,
    depth: float = 0.0,
    **options: Unpack[Options],
) -> Cell:
    """The sLSTM: an LSTM with an exponential input gate and a normaliser.

        i, f, z, o = split(x_t w_x + h_{t-1} w_h + b, 4)
        c_t = sigmoid(f) c_{t-1} + exp(i) tanh(z)
        n_t = sigmoid(f) n_{t-1} + exp(i)
        h_t = sigmoid(o) c_t / n_t,    y_t = h_t

    It is computed without overflow: the carry has c_t / exp(m_t) and n_t / exp(m_t),

        m_t = max(log sigmoid(f) + m_{t-1}, i), or i where n_{t-1} = 0

    so that each exponent is at most 0 and n is at least 1 from the first step on. A
    carry of zeros is one that has read nothing. Since m cancels in h, it has no effect
    on outputs but for rounding.

    The paper allows exp(f) for the forget gate too; the authors' code has sigmoid(f)
    alone, and so has this cell. Their code asks whether n is 0 in the whole batch at
    once, so that a sequence which begins anew in a batch of others divides 0 by 0
    where i is very negative; here each unit is asked by itself.

    Args:
      input_size: D.
      hidden_size: H.
      depth: where the cell is in a stack, from 0, the first block, to 1, the last; for
        the initial bias of the forget gate, 5 - 12 (k / (H / heads - 1))^(0.3 + 1.3
        depth) for unit k of a head. It is added to what b_init draws.
      **options: bias, w_x_init, w_h_init (zeros, as the authors have it), b_init,
        carry_init, dtype, compute_dtype, unroll, heads (4 in the authors' models); see
        `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `SLSTMParams` and `SLSTMCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or depth is not in 0 to 1; later, if an argument
        does not fit the cell.

    References:
      Beck et al., "xLSTM: Extended long short-term memory", NeurIPS 2024; package
      xlstm 2.0.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.slstm(3, 8, heads=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> params.w_h.shape, ys.shape
      ((2, 4, 16), (7, 8))
    """
    input_size = check_size("slstm: input_size", input_size)
    hidden_size = check_size("slstm: hidden_size", hidden_size)
    depth = check_depth("slstm", depth)
    given: Any = {"w_h_init": initializers.zeros}
    settings = check_options("slstm", given | options, hidden_size)
    drawn = decay_biased(settings, hidden_size, settings.heads, depth)

    def init(key):
        weights, _ = dense_init(key, input_size, hidden_size, 4, drawn)
        return SLSTMParams(**weights)

    return gated(
        f"slstm({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(SLSTMCarry, hidden_size),
        lambda params: (dense(params), ()),
        SLSTM,
        settings=settings,
    )


def check_depth(name: str, depth: Any) -> float:
    """Returns the depth, or raises a ValueError that names it."""
    return check_number(
        f"{name}: depth", depth, "a number from 0 to 1", lambda value: 0 <= value <= 1
    )


def decay_biased(
    settings: Settings, hidden_size: int, heads: int, depth: float
) -> Settings:
    """The settings with a b_init that adds the bias of the forget gate: see `slstm`."""
    units = hidden_size // heads

    def biased(key, shape, dtype):
        # The authors divide by 0 where a head has one unit.
        place = jnp.arange(units) / max(units - 1, 1)
        bias = jnp.tile(5 - 12 * place ** (0.3 + 1.3 * depth), heads)
        b = settings.b_init(key, shape, dtype)
        return b.at[hidden_size : 2 * hidden_size].add(bias.astype(dtype))

    return settings._replace(b_init=biased)


def _slstm(theta, z, carry):
    return _slstm_forward(theta, z, carry)[0]


def _slstm_forward(theta, z, carry):
    i, f, g, o = jnp.split(z, 4)
    first = carry.n == 0
    kept = log_sigmoid(f) + carry.m
    m = jnp.where(first, i, jnp.maximum(kept, i))
    # Where nothing has been read kept - m may be large: it is no exponent there.
    decay = jnp.exp(jnp.where(first, jnp.full_like(m, -jnp.inf), kept - m))
    write, g, o = jnp.exp(i - m), jnp.tanh(g), sigmoid(o)
    c, n = decay * carry.c + write * g, decay * carry.n + write
    # What kept has of the derivative of m: a half where both are the largest.
    share = (jnp.sign(kept - i) + 1) / 2
    share = jnp.where(first, jnp.zeros_like(share), share)
    gates = jnp.concatenate([decay, write, g, o, sigmoid(-f), share])
    return SLSTMCarry(o * c / n, c, n, m), (gates, carry.c, carry.n)


def _slstm_backward(theta, residuals, h, ct):
    gates, c_prev, n_prev = residuals
    decay, write, g, o, d_f, share = jnp.split(gates, 6)
    c, n = decay * c_prev + write * g, decay * n_prev + write
    ct_ratio = ct.h * o / n
    ct_c, ct_n = ct.c + ct_ratio, ct.n - ct_ratio * c / n
    ct_decay = (ct_c * c_prev + ct_n * n_prev) * decay  # of its exponent, kept - m
    ct_write = (ct_c * g + ct_n) * write  # of i - m
    ct_m = ct.m - ct_decay - ct_write
    ct_kept = ct_decay + share * ct_m
    ct_z = jnp.concatenate(
        [
            ct_write + (1 - share) * ct_m,
            ct_kept * d_f,
            ct_c * write * (1 - g * g),
            ct.h * c / n * o * (1 - o),
        ]
    )
    return (), ct_z, SLSTMCarry(jnp.zeros_like(h), ct_c * decay, ct_n * decay, ct_kept)


SLSTM = Pointwise(_slstm, _slstm_forward, _slstm_backward, "slstm")
