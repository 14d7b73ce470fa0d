"""The selective scan of Mamba, S6: a state of N numbers for each channel."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import silu, softplus

from jaxrnn.cells.draws import delta_bias_init
from jaxrnn.cells.linear import linear_recurrence
from jaxrnn.checks import Input, check_flag, check_floating, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.precision import wide


class SelectiveScanCarry(NamedTuple):
    """Carry of `selective_scan`."""

    h: jax.Array  # [D, N], in at least single precision


class SelectiveScanParams(NamedTuple):
    """Weights of `selective_scan`."""

    a: jax.Array  # [D, N], below zero
    d: jax.Array | None = None  # [D]
    delta_bias: jax.Array | None = None  # [D]
    a_imag: jax.Array | None = None  # [D, N]


class SelectiveScanInput(NamedTuple):
    """What a step of `selective_scan` reads."""

    u: Any  # [D]
    delta: Any  # [D]
    b: Any  # [N], or [N, 2] of complex states
    c: Any  # [N], or [N, 2] of complex states
    z: Any = None  # [D]


@recorded
def selective_scan(
    inner_size: int,
    state_size: int = 16,
    *,
    skip: bool = True,
    gate: bool = True,
    delta_bias: bool = True,
    delta_softplus: bool = True,
    complex_states: bool = False,
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """The selective scan: a linear system whose steps, b and c come with the input.

        Delta_t = softplus(delta_t + delta_bias)
        h_t[d, n] = exp(Delta_t[d] a[d, n]) h_{t-1}[d, n] + Delta_t[d] u_t[d] b_t[n]
        y_t[d] = (sum_n c_t[n] h_t[d, n] + d[d] u_t[d]) silu(z_t[d])

    It computes what the authors' code computes (state-spaces/mamba). The paper
    discretizes b by zero-order hold, (exp(Delta a) - 1) / a; the code by Delta alone.
    With complex states, a + i a_imag, the sum over n is 2 Re of it; b and c then are
    pairs of a real and an imaginary part.

    Args:
      inner_size: D, channels.
      state_size: N, of each channel.
      skip: whether there is a d.
      gate: whether there is a z.
      delta_bias: whether there is a delta_bias.
      delta_softplus: False for Delta_t = delta_t + delta_bias.
      complex_states: whether a, b, c and h are complex.
      dtype: of the params. The carry has at least single precision.
      method: of the unroll; see `linear_recurrence`.

    Returns:
      A cell from `SelectiveScanInput` to `y` `[D]`, with `SelectiveScanParams` and
      `SelectiveScanCarry`. a begins as -1, ..., -N (and a_imag as pi n, n from 0), d as
      1, softplus(delta_bias) log-uniformly between 0.001 and 0.1.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces",
      2023.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.selective_scan(3, 2, gate=False)
      >>> params = cell.init(jax.random.key(0))
      >>> u = delta = jnp.ones((7, 3))
      >>> xs = rnn.SelectiveScanInput(u, delta, jnp.ones((7, 2)), jnp.ones((7, 2)))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), xs)
      >>> carry.h.shape, ys.shape
      ((3, 2), (7, 3))
    """
    size = check_size("selective_scan: inner_size", inner_size)
    states = check_size("selective_scan: state_size", state_size)
    flags = {
        "skip": skip,
        "gate": gate,
        "delta_bias": delta_bias,
        "delta_softplus": delta_softplus,
        "complex_states": complex_states,
    }
    for option, flag in flags.items():
        flags[option] = check_flag(f"selective_scan: {option}", flag)
    pair = flags["complex_states"]
    check_floating("selective_scan: dtype", dtype)

    def init(key):
        n = jnp.arange(states, dtype=dtype)[None]
        a, a_imag = (
            jnp.repeat(values, size, axis=0) for values in (-1 - n, jnp.pi * n)
        )
        return SelectiveScanParams(
            a,
            jnp.ones(size, dtype) if flags["skip"] else None,
            delta_bias_init(key, size, dtype) if flags["delta_bias"] else None,
            a_imag if pair else None,
        )

    def initial_carry(params, key=None):
        zeros = jnp.zeros((size, states), wide(params.a.dtype))
        return SelectiveScanCarry(lax.complex(zeros, zeros) if pair else zeros)

    def terms(params, x):
        real = wide(params.a.dtype)
        u, delta, b = (value.astype(real) for value in (x.u, x.delta, x.b))
        if params.delta_bias is not None:
            delta = delta + params.delta_bias.astype(real)
        if flags["delta_softplus"]:
            delta = softplus(delta)
        exponent, drive = delta[:, None] * params.a.astype(real), (delta * u)[:, None]
        if pair:
            turn = delta[:, None] * params.a_imag.astype(real)
            exponent = lax.complex(exponent, turn)
            b = lax.complex(b[:, 0], b[:, 1])
        a = SelectiveScanCarry(jnp.exp(exponent))
        return a, SelectiveScanCarry(drive.astype(b.dtype) * b[None])

    def output(params, carry, x):
        h, c = carry.h, x.c.astype(carry.h.real.dtype)
        y = 2 * (h.real @ c[:, 0] - h.imag @ c[:, 1]) if pair else h @ c
        if params.d is not None:
            y = y + params.d.astype(y.dtype) * x.u.astype(y.dtype)
        if x.z is not None:
            y = y * silu(x.z.astype(y.dtype))
        return y.astype(params.a.dtype)

    channel, state = Input((size,)), Input((states, 2) if pair else (states,))
    z = channel if flags["gate"] else None
    return linear_recurrence(
        f"selective_scan({size}, {states})",
        SelectiveScanInput(channel, channel, state, state, z),
        init,
        initial_carry,
        terms,
        output,
        method=method,
    )
