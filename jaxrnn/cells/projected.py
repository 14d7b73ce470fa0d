"""The long short-term memory with a projection of its output."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.gated import dense, dense_init, gated
from jaxrnn.cells.lstm import LSTMCarry, forget_biased
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.dense import dot
from jaxrnn.loops.pointwise import Pointwise

PROJECTED = "projected_lstm"  # by which a translator knows the pointwise part


class ProjectedLSTMParams(NamedTuple):
    """Weights of `projected_lstm`; P is the size of h."""

    w_x: jax.Array  # [D, 4H], gates i, f, g, o
    w_h: jax.Array  # [P, 4H], gates i, f, g, o, or [heads, P / heads, 4H / heads]
    w_p: jax.Array  # [H, P]
    b: jax.Array | None = None  # [4H]


@recorded
def projected_lstm(
    input_size: int,
    hidden_size: int,
    projection_size: int,
    *,
    forget_bias: float = 1.0,
    **options: Unpack[Options],
) -> Cell:
    """The long short-term memory whose output is projected to a smaller size.

        i, f, g, o = split(x_t w_x + h_{t-1} w_h + b, 4)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = (sigmoid(o) tanh(c_t)) w_p,    y_t = h_t

    It is torch's `LSTM(proj_size=P)`, cuDNN's and Sonnet's LSTM with a projection, and
    TensorFlow's `LSTMCell(num_proj=P)` without its own clipping.

    Args:
      input_size: D.
      hidden_size: H, of the memory c.
      projection_size: P, of the output h.
      forget_bias: added to the initial bias of the forget gate, as in `lstm`.
      **options: bias, w_x_init, w_h_init (also of w_p), b_init, carry_init, dtype,
        compute_dtype, unroll, heads (of h, by whose sizes P and H are divided; w_p
        stays full); see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[P]`, with `ProjectedLSTMParams` and an `LSTMCarry`
      of h `[P]` and c `[H]`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Sak, Senior and Beaufays, "Long short-term memory recurrent neural network
      architectures for large scale acoustic modeling", Interspeech 2014; without its
      peepholes and its second, non-recurrent projection.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.projected_lstm(3, 5, 2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.h.shape, carry.c.shape, ys.shape
      ((2,), (5,), (7, 2))
    """
    input_size = check_size("projected_lstm: input_size", input_size)
    hidden_size = check_size("projected_lstm: hidden_size", hidden_size)
    size = check_size("projected_lstm: projection_size", projection_size)
    settings = check_options("projected_lstm", options, hidden_size, size)
    drawn = forget_biased("projected_lstm", settings, hidden_size, forget_bias)

    def init(key):
        weights, key = dense_init(
            key, input_size, hidden_size, 4, drawn, output_size=size
        )
        # Drawn as one gate of w_h [H, P], by the rules that hold for w_h.
        full = drawn._replace(heads=1)
        w_p, _ = dense_init(key, 1, size, 1, full, output_size=hidden_size)
        return ProjectedLSTMParams(**weights, w_p=w_p["w_h"])

    def initial_carry(params, key=None):
        del key
        dtype = params.w_h.dtype
        return LSTMCarry(jnp.zeros(size, dtype), jnp.zeros(hidden_size, dtype))

    def split(params):
        weights = dense(params)
        if settings.heads > 1:
            by_gate = *weights.w_h.shape[:2], 4, hidden_size // settings.heads
            weights = weights._replace(w_h=weights.w_h.reshape(by_gate))
        return weights, params.w_p

    def part(w_p, z, carry):
        i, f, g, o = jnp.split(z, 4)
        c = sigmoid(f) * carry.c + sigmoid(i) * jnp.tanh(g)
        dtype = settings.compute_dtype
        w = w_p if dtype is None else w_p.astype(dtype)
        return LSTMCarry(dot(sigmoid(o) * jnp.tanh(c), w), c)

    return gated(
        f"projected_lstm({input_size}, {hidden_size}, {size})",
        Input((input_size,)),
        init,
        initial_carry,
        split,
        Pointwise(part, name=PROJECTED),
        settings=settings,
    )
