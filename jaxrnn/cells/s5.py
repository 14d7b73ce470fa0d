"""The simplified state space layer, S5."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import initializers

from jaxrnn.cells.hippo import C_INITS, LARGEST_BLOCK, draw_c, hippo, in_blocks
from jaxrnn.cells.modes import modes, modes_cell, skip_init
from jaxrnn.checks import check_flag, check_floating, check_number, check_size
from jaxrnn.combinators.compose import Directions
from jaxrnn.combinators.compose import bidirectional as two_ways
from jaxrnn.core import Cell, Init, recorded
from jaxrnn.lift import around
from jaxrnn.precision import wide, widened


class S5Carry(NamedTuple):
    """Carry of `s5`, of each of its directions if there are two."""

    h: jax.Array  # [P], complex


class S5Params(NamedTuple):
    """Weights of `s5`."""

    lambda_re: jax.Array  # [P]
    lambda_im: jax.Array  # [P]
    log_step: jax.Array  # [P]
    b_re: jax.Array  # [D, P]
    b_im: jax.Array  # [D, P]
    c_re: jax.Array  # [P, O], or [2P, O] of two directions
    c_im: jax.Array  # [P, O], or [2P, O] of two directions
    d: jax.Array  # [D], or [D, O] where O is not D


DISCRETIZATIONS = ("zoh", "bilinear")


@recorded
def s5(
    input_size: int,
    state_size: int,
    *,
    output_size: int | None = None,
    blocks: int = 1,
    discretization: Literal["zoh", "bilinear"] = "zoh",
    bidirectional: bool = False,
    conj_sym: bool = True,
    clip_eigs: bool = False,
    c_init: str = "trunc_standard_normal",
    dt_min: float = 0.001,
    dt_max: float = 0.1,
    step_rescale: float = 1.0,
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """S5: a linear system in continuous time with a diagonal matrix, made discrete.

        z = lambda Delta,    Delta = step_rescale exp(log_step)
        a, g = exp(z), Delta (exp(z) - 1) / z                  zero-order hold, "zoh"
        a, g = (1 + z/2) / (1 - z/2), Delta / (1 - z/2)        "bilinear"
        h_t = a h_{t-1} + g x_t b
        y_t = 2 Re(h_t c) + x_t d

    with lambda, b and c complex, and without the 2 if not `conj_sym`. In two
    directions the same a, g and b run from the first step to the last and back, and
    y_t = 2 Re(h_t c[:P] + back_t c[P:]) + x_t d: the authors' form, not the sum of two
    layers.

    It computes what the authors' code computes, but (exp(z) - 1) / z where they have
    (exp(z) - 1) / lambda: theirs loses digits for small steps, and is NaN at
    lambda = 0. The initial c is called "trunc_standard_normal" in their code; its
    entries have the variance 1 / (number of states), as of LeCun. The paper keeps the
    real part of lambda below zero by `clip_eigs`; their default does not.

    Args:
      input_size: D.
      state_size: P, of complex numbers. With `conj_sym` each stands for a pair of
        conjugates, so the system has 2P states; the authors' `ssm_size` is 2P.
      output_size: O; None for D.
      blocks: of P. lambda begins, in each block, as the eigenvalues of the normal part
        of the HiPPO-LegS matrix, with `conj_sym` those of negative imaginary part.
      discretization: "zoh" or "bilinear".
      bidirectional: whether it reads the future as well.
      conj_sym: whether h is one half of a state that is closed under conjugation.
      clip_eigs: whether the real part of lambda is at most -1e-4.
      c_init: of c: "trunc_standard_normal"; "lecun_normal", which in their code is
        smaller by sqrt(O); or "complex_normal", without the eigenvectors.
      dt_min, dt_max: Delta begins log-uniformly between them.
      step_rescale: a factor of all steps Delta, such as 2 for inputs at half the rate
        of those of the training.
      dtype: of the params. The carry is complex, in at least single precision.
      method: of the unroll; see `linear_recurrence`.

    Returns:
      A cell from `x` `[D]` to `y` `[O]`, with `S5Params` and `S5Carry`. In two
      directions its carry is `Directions` of two of them and its `step` is None.

    Raises:
      ValueError: if a size is below 1, the blocks do not divide P, or an option is of
        the wrong kind; later, if an argument does not fit the cell.

    References:
      Smith, Warrington and Linderman, "Simplified state space layers for sequence
      modeling", ICLR 2023.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.s5(3, 8, blocks=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.h.dtype, ys.shape
      (dtype('complex64'), (7, 3))
    """
    size = check_size("s5: input_size", input_size)
    states = check_size("s5: state_size", state_size)
    outputs = (
        size if output_size is None else check_size("s5: output_size", output_size)
    )
    blocks = check_size("s5: blocks", blocks)
    if states % blocks:
        raise ValueError(
            f"s5: blocks: expected a divisor of state_size = {states}, got {blocks}"
        )
    if states // blocks > LARGEST_BLOCK:
        raise ValueError(
            f"s5: blocks: expected at most {LARGEST_BLOCK} states in a block, whose "
            f"eigenvectors are computed, got {states // blocks}"
        )
    _check_choice("discretization", discretization, DISCRETIZATIONS)
    _check_choice("c_init", c_init, C_INITS)
    both = check_flag("s5: bidirectional", bidirectional)
    conj_sym = check_flag("s5: conj_sym", conj_sym)
    clip_eigs = check_flag("s5: clip_eigs", clip_eigs)
    what = "a positive number"
    dt_min = check_number("s5: dt_min", dt_min, what, lambda dt: 0 < dt < math.inf)
    dt_max = check_number(
        "s5: dt_max",
        dt_max,
        f"at least dt_min = {dt_min}",
        lambda dt: dt_min <= dt < math.inf,
    )
    step_rescale = check_number(
        "s5: step_rescale", step_rescale, what, lambda r: 0 < r < math.inf
    )
    check_floating("s5: dtype", dtype)
    real = wide(dtype)

    def init(key):
        b_key, d_key, step_key, *c_keys = jax.random.split(key, 5)
        eigenvalues, vectors = hippo(states // blocks, conj_sym)
        lambdas: Any = np.tile(eigenvalues, blocks)
        v = lax.complex(*(jnp.asarray(a, real) for a in (vectors.real, vectors.imag)))
        b = initializers.lecun_normal()(b_key, (blocks * len(v), size), real)
        b = in_blocks(v.conj(), b).T
        c = [draw_c(c_init, k, v, blocks, outputs) for k in c_keys[: 1 + both]]
        c = jnp.concatenate(c)
        log_step = jax.random.uniform(
            step_key, (states,), real, math.log(dt_min), math.log(dt_max)
        )
        parts = lambdas.real, lambdas.imag, log_step, b.real, b.imag, c.real, c.imag
        given: Any = [jnp.asarray(part, dtype) for part in parts]
        given.append(skip_init(d_key, size, outputs, dtype))
        return S5Params(*given)

    def prepare(params, way=0):
        exact = widened(params)
        re = exact.lambda_re
        lambdas = lax.complex(
            jnp.minimum(re, -1e-4) if clip_eigs else re, exact.lambda_im
        )
        step = (step_rescale * jnp.exp(exact.log_step)).astype(lambdas.dtype)
        if discretization == "zoh":
            decay, gain = jnp.exp(lambdas * step), step * _expm1_over(lambdas * step)
        else:
            half = 0.5 * lambdas * step
            decay, gain = (1 + half) / (1 - half), step / (1 - half)
        rows = slice(way * states, (way + 1) * states)
        c = jnp.concatenate([params.c_re[rows], -params.c_im[rows]])
        d = None if way else params.d
        return modes(decay, gain, params, 2 * c if conj_sym else c, d)

    def one_way(name, prepare):
        return modes_cell(name, size, states, init, S5Carry, prepare, method)

    name = f"s5({size}, {states})"
    if not both:
        return one_way(name, prepare)
    ahead = one_way(f"{name} forward", prepare)
    back = one_way(f"{name} backward", lambda params: prepare(params, 1))
    return _sharing(name, two_ways(ahead, back, merge="sum"), ahead.init)


def _sharing(name: str, cell: Cell, init: Init) -> Cell:
    """A cell of two directions that have the same params."""

    def twice(params):
        return params if isinstance(params, Directions) else Directions(params, params)

    def initial_carry(params, key=None):
        return cell.initial_carry(twice(params), key)

    def run(at, params, carry, xs):
        return at.run(cell, twice(params), carry, xs)

    return around(
        name,
        cell,
        run,
        init=init,
        initial_carry=initial_carry,
        split=lambda params: (twice(params),),
    )


def _expm1_over(z: jax.Array) -> jax.Array:
    """(exp(z) - 1) / z, and 1 at zero, to all digits, as is its derivative."""
    small = z.real**2 + z.imag**2 < 0.01
    series = jnp.ones_like(z)
    for k in range(11, 1, -1):
        series = 1 + series * z / k
    z = jnp.where(small, jnp.ones_like(z), z)
    return jnp.where(small, series, jnp.expm1(z) / z)


def _check_choice(option: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"s5: {option}: expected one of {', '.join(choices)}, got {value!r}"
        )
