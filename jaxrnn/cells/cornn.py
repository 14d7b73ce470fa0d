"""The coupled oscillatory recurrent network: damped, driven oscillators."""

import math
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from jaxrnn.build import leaf, step_of
from jaxrnn.cells.draws import uniform
from jaxrnn.cells.elman import ElmanCarry
from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options, with_carry
from jaxrnn.checks import Input, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class CoRNNCarry(NamedTuple):
    """Carry of `cornn`."""

    h: jax.Array  # [H], positions, y in the paper
    z: jax.Array  # [H], velocities


class CoRNNParams(NamedTuple):
    """Weights of `cornn`."""

    w_x: jax.Array  # [D, H]
    w_h: jax.Array  # [2H, H], rows of h and then of z
    b: jax.Array | None = None  # [H]


class _Oscillators(NamedTuple):
    """What is fixed in the equations of motion."""

    dt: float
    gamma: float
    epsilon: float


@recorded
def cornn(
    input_size: int,
    hidden_size: int,
    *,
    dt: float = 0.042,
    gamma: float = 2.7,
    epsilon: float = 4.7,
    **options: Unpack[Options],
) -> Cell:
    """The coupled oscillatory recurrent network.

        z_t = z_{t-1} + dt (tanh(x_t w_x + concat(h_{t-1}, z_{t-1}) w_h + b)
                            - gamma h_{t-1} - epsilon z_{t-1})
        h_t = h_{t-1} + dt z_t,    y_t = h_t

    h are the positions, y in the paper, and z the velocities of H oscillators that
    drive each other. The paper leaves open whether the damping epsilon acts on the old
    or on the new z; this is the explicit form, with the old one, as in the authors'
    code. Their code concatenates x, z, h, in this order.

    All weights are drawn from U(-r, r), r = 1/sqrt(D + 2H), as in the authors' code.

    Args:
      input_size: D.
      hidden_size: H.
      dt: the time step, above 0; 0.042, gamma 2.7 and epsilon 4.7 are the authors' for
        permuted MNIST.
      gamma: the frequency, at least 0.
      epsilon: the damping, at least 0.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll; see `jaxrnn.cells.Options`. The defaults of the initializers are those
        of the authors.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `CoRNNParams` and `CoRNNCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or a number out of its range; later, if an
        argument does not fit the cell.

    References:
      Rusch and Mishra, "Coupled oscillatory recurrent neural network (coRNN): an
      accurate and (gradient) stable architecture for learning long time dependencies",
      ICLR 2021; github.com/tk-rusch/coRNN.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.cornn(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.z.shape, ys.shape
      ((5,), (7, 5))
    """
    input_size = check_size("cornn: input_size", input_size)
    hidden_size = check_size("cornn: hidden_size", hidden_size)
    drawn = uniform(1 / math.sqrt(input_size + 2 * hidden_size))
    defaults = {"w_x_init": drawn, "w_h_init": drawn, "b_init": drawn}
    settings = check_options("cornn", defaults | options)
    motion = _Oscillators(
        check_number("cornn: dt", dt, "a positive number", lambda value: value > 0),
        *(
            check_number(f"cornn: {name}", given, "a number of at least 0", _positive)
            for name, given in (("gamma", gamma), ("epsilon", epsilon))
        ),
    )
    name, reads = f"cornn({input_size}, {hidden_size})", Input((input_size,))

    def init(key):
        weights, _ = dense_init(
            key, input_size, hidden_size, 1, settings, output_size=2 * hidden_size
        )
        return CoRNNParams(**weights)

    part = Pointwise(
        partial(_move, motion),
        partial(_move_forward, motion),
        partial(_move_backward, motion),
    )
    both = gated(
        name,
        reads,
        init,
        zeros_of(ElmanCarry, 2 * hidden_size),
        lambda params: (dense(params), ()),
        part,
        settings=settings._replace(carry_init=None),
    )

    one_step = step_of(name, both)

    # In the loop h and z are one state, which the product reads as it stands.
    def joined(carry):
        return ElmanCarry(jnp.concatenate(carry))

    def apart(carry):
        return CoRNNCarry(*jnp.split(carry.h, 2))

    def step(params, carry, x):
        carry = apart(one_step(params, joined(carry), x)[0])
        return carry, carry.h

    def unroll(params, carry, xs, **options):
        carry, states = both.unroll(params, joined(carry), xs, **options)
        return apart(carry), states[:, :hidden_size]

    cell = leaf(name, reads, init, zeros_of(CoRNNCarry, hidden_size), step, unroll)
    return with_carry(cell, settings)


def _positive(value: float) -> bool:
    return value >= 0


def _move(motion, theta, pre, carry):
    return _move_forward(motion, theta, pre, carry)[0]


def _move_forward(motion, theta, pre, carry):
    del theta
    dt, gamma, epsilon = motion
    h, z = jnp.split(carry.h, 2)
    force = jnp.tanh(pre)
    z = z + dt * (force - gamma * h - epsilon * z)
    return ElmanCarry(jnp.concatenate([h + dt * z, z])), force


def _move_backward(motion, theta, force, state, ct):
    del theta, state
    dt, gamma, epsilon = motion
    ct_h, ct_z = jnp.split(ct.h, 2)
    ct_z = ct_z + dt * ct_h
    before = [ct_h - dt * gamma * ct_z, ct_z * (1 - dt * epsilon)]
    return (), dt * ct_z * (1 - force * force), ElmanCarry(jnp.concatenate(before))
