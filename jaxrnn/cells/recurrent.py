"""Recurrent cells of one's own: a pointwise function of the gates."""

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import jax

from jaxrnn.cells.elman import ElmanCarry
from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_function, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.pointwise import Pointwise


class RecurrentParams(NamedTuple):
    """Weights of `recurrent`."""

    w_x: jax.Array  # [D, GH], gate after gate
    w_h: jax.Array  # [H, GH], or [heads, H / heads, GH / heads]
    b: jax.Array | None = None  # [GH]
    theta: Any = ()  # the pointwise part's own params


@recorded
def recurrent(
    input_size: int,
    hidden_size: int,
    apply: Callable[..., Any],
    *,
    gates: int = 1,
    carry_type: Any = ElmanCarry,
    theta_init: Callable[[jax.Array], Any] | None = None,
    **options: Unpack[Options],
) -> Cell:
    """A cell of your own: an affine map and then your pointwise function.

        z_t = x_t w_x + h_{t-1} w_h + b
        carry_t = apply(z_t, carry_{t-1}),    y_t = h_t

    It unrolls as fast as the built-in cells do, and JAX finds the derivative.

    Args:
      input_size: D.
      hidden_size: H.
      apply: `(z, carry) -> carry` with z `[gates * H]`, or `(theta, z, carry) ->
        carry` where `theta_init` is given.
      gates: how many pre-activations each hidden unit has.
      carry_type: a NamedTuple class; each field is `[H]`, and one is called `h`.
      theta_init: `(key) -> theta`, the pointwise part's own params, any pytree.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `RecurrentParams` and the carry type.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or the carry type has no field `h`; later, if
        an argument does not fit the cell.

    Example:
      The LSTM with nothing but a forget gate (van der Westhuizen and Lasenby, 2018):

      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> def janet(z, carry):
      ...     f, g = jnp.split(z, 2)
      ...     f = jax.nn.sigmoid(f)
      ...     return rnn.ElmanCarry(f * carry.h + (1 - f) * jnp.tanh(g))
      >>> cell = rnn.recurrent(3, 5, janet, gates=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """
    input_size = check_size("recurrent: input_size", input_size)
    hidden_size = check_size("recurrent: hidden_size", hidden_size)
    check_function("recurrent: apply", apply)
    gates = check_size("recurrent: gates", gates)
    if "h" not in getattr(carry_type, "_fields", ()):
        raise ValueError(
            "recurrent: carry_type: expected a NamedTuple class with a field h, "
            f"got {carry_type!r}"
        )
    if theta_init is not None:
        check_function("recurrent: theta_init", theta_init)
    settings = check_options("recurrent", options, hidden_size)

    def init(key):
        weights, key = dense_init(key, input_size, hidden_size, gates, settings)
        return RecurrentParams(**weights, theta=theta_init(key) if theta_init else ())

    def with_theta(theta, z, carry):
        return apply(z, carry) if theta_init is None else apply(theta, z, carry)

    return gated(
        f"recurrent({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(carry_type, hidden_size),
        lambda params: (dense(params), params.theta),
        Pointwise(with_theta),
        settings=settings,
    )
