"""The linear recurrent unit."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.cells.modes import modes, modes_cell, skip_init
from jaxrnn.checks import check_floating, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.precision import wide, widened


class LRUCarry(NamedTuple):
    """Carry of `lru`."""

    h: jax.Array  # [N], complex


class LRUParams(NamedTuple):
    """Weights of `lru`."""

    nu_log: jax.Array  # [N]
    theta_log: jax.Array  # [N]
    gamma_log: jax.Array  # [N]
    b_re: jax.Array  # [D, N]
    b_im: jax.Array  # [D, N]
    c_re: jax.Array  # [N, O]
    c_im: jax.Array  # [N, O]
    d: jax.Array  # [D], or [D, O] where O is not D


@recorded
def lru(
    input_size: int,
    state_size: int,
    *,
    output_size: int | None = None,
    r_min: float = 0.0,
    r_max: float = 1.0,
    max_phase: float = 6.28,
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """The linear recurrent unit: complex decays, each with its own input and output.

        a = exp(-exp(nu_log) + i exp(theta_log))
        h_t = a h_{t-1} + exp(gamma_log) x_t (b_re + i b_im)
        y_t = Re(h_t (c_re + i c_im)) + x_t d

    It computes what the authors' later code computes (N. Zucchet, minimal-LRU): gamma
    begins as sqrt(1 - |a|^2), as in the paper, and is then learned by itself, so that
    it does not follow |a|. In the paper d is a matrix; in the code it is a vector, for
    as many outputs as inputs. Here it is a matrix where these differ. There is no
    factor 2: h is not half of a conjugate pair.

    Args:
      input_size: D.
      state_size: N, of complex numbers.
      output_size: O; None for D.
      r_min, r_max: |a| begins uniformly in the ring between them.
      max_phase: the angle of a begins uniformly between 0 and this, in radians.
      dtype: of the params. The carry is complex, in at least single precision.
      method: of the unroll; see `linear_recurrence`.

    Returns:
      A cell from `x` `[D]` to `y` `[O]`, with `LRUParams` and `LRUCarry`. b begins with
      the variance 1 / (2 D) in each of its parts, c with 1 / N, d with 1.

    Raises:
      ValueError: if a size is below 1, or not 0 <= r_min < r_max <= 1; later, if an
        argument does not fit the cell.

    References:
      Orvieto et al., "Resurrecting recurrent neural networks for long sequences", ICML
      2023.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.lru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.h.dtype, ys.shape
      (dtype('complex64'), (7, 3))
    """
    input_size = check_size("lru: input_size", input_size)
    state_size = check_size("lru: state_size", state_size)
    if output_size is None:
        output_size = input_size
    output_size = check_size("lru: output_size", output_size)
    r_min = check_number("lru: r_min", r_min, "0 <= r_min < 1", lambda r: 0 <= r < 1)
    r_max = check_number(
        "lru: r_max", r_max, f"{r_min} < r_max <= 1", lambda r: r_min < r <= 1
    )
    max_phase = check_number(
        "lru: max_phase",
        max_phase,
        "a positive number",
        lambda phase: 0 < phase < math.inf,
    )
    check_floating("lru: dtype", dtype)

    def init(key):
        keys = iter(jax.random.split(key, 7))
        real = wide(dtype)
        # Neither 0 nor 1, of which the logarithms would be infinite.
        low = float(jnp.finfo(real).eps)
        u, phase = (
            jax.random.uniform(next(keys), (state_size,), real, low, 1 - low)
            for _ in range(2)
        )
        nu_log = jnp.log(-0.5 * jnp.log(u * (r_max**2 - r_min**2) + r_min**2))
        gamma_log = 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(nu_log)))

        def matrix(rows, columns, variance):
            draw = jax.random.normal(next(keys), (rows, columns), dtype)
            return draw * jnp.asarray(variance**0.5, dtype)

        b_re, b_im = (
            matrix(input_size, state_size, 0.5 / input_size) for _ in range(2)
        )
        c_re, c_im = (matrix(state_size, output_size, 1 / state_size) for _ in range(2))
        return LRUParams(
            nu_log.astype(dtype),
            jnp.log(max_phase * phase).astype(dtype),
            gamma_log.astype(dtype),
            *(b_re, b_im, c_re, c_im),
            skip_init(next(keys), input_size, output_size, dtype),
        )

    def prepare(params):
        exact = widened(params)
        decay = jnp.exp(lax.complex(-jnp.exp(exact.nu_log), jnp.exp(exact.theta_log)))
        c = jnp.concatenate([params.c_re, -params.c_im])
        return modes(decay, jnp.exp(exact.gamma_log), params, c, params.d)

    name = f"lru({input_size}, {state_size})"
    return modes_cell(name, input_size, state_size, init, LRUCarry, prepare, method)
