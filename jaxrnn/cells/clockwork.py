"""The clockwork recurrent network: modules that run every so many steps."""

import math
import numbers
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.gated import dense, dense_init, gated
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_function, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class ClockworkCarry(NamedTuple):
    """Carry of `clockwork`."""

    h: jax.Array  # [H], module after module
    clock: jax.Array  # [], int32: how many steps were taken


class ClockworkParams(NamedTuple):
    """Weights of `clockwork`; G modules of M = H / G units, the fastest first."""

    w_x: jax.Array  # [D, H]
    w_h: tuple[jax.Array, ...]  # of module i: [(G - i) M, M], rows of i, i+1, ..., G-1
    b: jax.Array | None = None  # [H]


class _Matrices(NamedTuple):
    """What a sequence reads in the place of the params."""

    w_x: jax.Array  # [D, H]
    w_h: jax.Array  # [H, H], zero where a module does not hear another
    b: jax.Array | None  # [H]


@recorded
def clockwork(
    input_size: int,
    hidden_size: int,
    *,
    periods: Sequence[int] = (1, 2, 4, 8),
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    **options: Unpack[Options],
) -> Cell:
    """The clockwork recurrent network.

        h_t[i] = activation(x_t w_x[i] + sum_{j >= i} h_{t-1}[j] w_h[j, i] + b[i])
                                                           where periods[i] divides t
        h_t[i] = h_{t-1}[i]                                otherwise
        y_t = h_t

    The hidden units are divided into as many modules as there are periods, and a module
    hears itself and the slower ones. t counts the steps from 0, in the order in which
    they are taken, so that all modules run at the first step; it is part of the carry:
    where a mask freezes the carry the clock stands still, and a start sets it to 0.

    The paper saves the arithmetic of the modules that do not run. Here each step is one
    product of all, which takes no longer on the machines of today.

    Args:
      input_size: D.
      hidden_size: H, a multiple of the number of periods.
      periods: of the modules, increasing; the paper has 1, 2, 4, 8, ...
      activation: `jnp.tanh`, or any pointwise function.
      **options: bias, w_x_init, w_h_init (for what each module hears), b_init, dtype,
        compute_dtype, unroll; see `jaxrnn.cells.Options`. There is no carry_init: a
        clock is not learned.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `ClockworkParams` and `ClockworkCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1, the periods do not increase or H is no multiple
        of their number; later, if an argument does not fit the cell.

    References:
      Koutnik, Greff, Gomez and Schmidhuber, "A clockwork RNN", ICML 2014.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.clockwork(3, 6, periods=(1, 2, 4))
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> bool((ys[4] == ys[5]).all()), bool((ys[4, 4:] == ys[5, 4:]).all())
      (False, True)
    """
    input_size = check_size("clockwork: input_size", input_size)
    hidden_size = check_size("clockwork: hidden_size", hidden_size)
    periods = _check_periods(periods)
    size, rest = divmod(hidden_size, len(periods))
    if rest:
        raise ValueError(
            f"clockwork: hidden_size: expected a multiple of {len(periods)}, the "
            f"number of periods, got {hidden_size}"
        )
    check_function("clockwork: activation", activation)
    settings = check_options("clockwork", options)
    if settings.carry_init is not None:
        raise ValueError(
            "clockwork: carry_init: expected None, since the clock is part of the "
            f"carry, got {settings.carry_init!r}"
        )

    def init(key):
        # Of these weights w_h is not used, and it is drawn small.
        drawn, key = dense_init(
            key, input_size, hidden_size, 1, settings, output_size=1
        )
        blocks = []
        for heard in range(len(periods), 0, -1):
            more, key = dense_init(key, 1, size, 1, settings, output_size=heard * size)
            blocks.append(more["w_h"])
        return ClockworkParams(drawn["w_x"], tuple(blocks), drawn["b"])

    def prepare(params):
        columns = [jnp.pad(w, ((hidden_size - len(w), 0), (0, 0))) for w in params.w_h]
        return _Matrices(params.w_x, jnp.concatenate(columns, 1), params.b)

    def initial_carry(params, key=None):
        del key
        h = jnp.zeros(hidden_size, params.w_x.dtype)
        return ClockworkCarry(h, jnp.zeros((), jnp.int32))

    clocks = np.array(periods, np.int32), math.lcm(*periods)
    forward = backward = None
    if activation is jnp.tanh:
        forward, backward = (
            partial(_tanh_forward, clocks),
            partial(_tanh_backward, clocks),
        )
    return gated(
        f"clockwork({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        initial_carry,
        lambda made: (dense(made), ()),
        Pointwise(partial(_clockwork, clocks, activation), forward, backward),
        settings=settings,
        prepare=prepare,
    )


def _check_periods(periods: Sequence[int]) -> tuple[int, ...]:
    found = list(periods) if isinstance(periods, Sequence | np.ndarray) else []
    whole = all(isinstance(n, numbers.Integral) and n >= 1 for n in found)
    increasing = whole and all(a < b for a, b in pairwise(found))
    if not (found and increasing and math.lcm(*map(int, found)) < 2**31):
        raise ValueError(
            "clockwork: periods: expected increasing integers of at least 1, with a "
            f"common multiple below 2**31, got {periods!r}"
        )
    return tuple(map(int, found))


def _running(clocks, carry):
    """Whether it is the turn of each unit."""
    modules = carry.clock % clocks[0] == 0
    return jnp.repeat(modules, len(carry.h) // len(modules))


def _clockwork(clocks, activation, theta, z, carry):
    del theta
    runs = _running(clocks, carry)
    # Modulo their common multiple, so that it never overflows.
    return ClockworkCarry(
        jnp.where(runs, activation(z), carry.h), (carry.clock + 1) % clocks[1]
    )


def _tanh_forward(clocks, theta, z, carry):
    new = _clockwork(clocks, jnp.tanh, theta, z, carry)
    return new, (new.h, _running(clocks, carry))


def _tanh_backward(clocks, theta, residuals, h, ct):
    del clocks, theta, h
    y, runs = residuals
    ct_z = jnp.where(runs, ct.h * (1 - y * y), 0)
    return (), ct_z, ClockworkCarry(jnp.where(runs, 0, ct.h), ct.clock)
