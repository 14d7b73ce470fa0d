"""The recurrent network of rectified linear units that begins at the identity."""

import math
from typing import Any, Unpack

import jax.numpy as jnp
from jax.nn import initializers

from jaxrnn.cells.elman import RELU, ElmanCarry, ElmanParams
from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_number, check_size
from jaxrnn.core import Cell, recorded


@recorded
def irnn(
    input_size: int,
    hidden_size: int,
    *,
    scale: float = 1.0,
    **options: Unpack[Options],
) -> Cell:
    """The IRNN: rectified linear units whose recurrent matrix begins at the identity.

        h_t = relu(x_t w_x + h_{t-1} w_h + b),    y_t = h_t

    It is `elman` with `jax.nn.relu` and other initial weights: w_h is `scale` times the
    identity, w_x is normal with standard deviation 0.001, and b is zero. So without
    input a state is kept for ever, and so is the gradient that goes back through it.

    Args:
      input_size: D.
      hidden_size: H.
      scale: of the identity. The paper takes 1 for long memories, and 0.01 for speech,
        where they are short.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`. w_x_init and w_h_init take the place
        of what is said above.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `ElmanParams` and `ElmanCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or scale is no number; later, if an argument does
        not fit the cell.

    References:
      Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified
      linear units", arXiv:1504.00941, 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.irnn(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> bool((params.w_h == jnp.eye(5)).all())
      True
    """
    input_size = check_size("irnn: input_size", input_size)
    hidden_size = check_size("irnn: hidden_size", hidden_size)
    scale = check_number("irnn: scale", scale, "a finite number", math.isfinite)

    def identity(key, shape, dtype):
        del key
        return scale * jnp.eye(*shape, dtype=dtype)

    given: Any = {"w_x_init": initializers.normal(0.001), "w_h_init": identity}
    settings = check_options("irnn", given | options, hidden_size)

    def init(key):
        weights, _ = dense_init(key, input_size, hidden_size, 1, settings)
        return ElmanParams(**weights)

    return gated(
        f"irnn({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(ElmanCarry, hidden_size),
        lambda params: (dense(params), ()),
        RELU,
        settings=settings,
    )
