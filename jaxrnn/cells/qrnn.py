"""The quasi-recurrent network."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.build import leaf, step_of
from jaxrnn.cells.draws import uniform
from jaxrnn.cells.linear import linear_recurrence
from jaxrnn.checks import Input, check_floating, check_size
from jaxrnn.core import Cell, blank, recorded
from jaxrnn.loops.recent import recent
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import wide

GATES = {"f": 2, "fo": 3, "ifo": 4}


class QRNNCarry(NamedTuple):
    """Carry of `qrnn`."""

    h: jax.Array  # [H], in at least single precision
    window: jax.Array  # [W - 1, D], the last inputs, the oldest first


class QRNNParams(NamedTuple):
    """Weights of `qrnn`."""

    w_x: jax.Array  # [WD, GH], of x_t, x_{t-1}, ...; gates z, f, o, i
    b: jax.Array  # [GH]


class _State(NamedTuple):
    h: Any


@recorded
def qrnn(
    input_size: int,
    hidden_size: int,
    *,
    window: int = 1,
    pooling: Literal["f", "fo", "ifo"] = "fo",
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """The quasi-recurrent network: a causal convolution, and a gated running mean.

        z, f, o = split([x_t, ..., x_{t-W+1}] w_x + b, 3)
        h_t = (1 - sigmoid(f)) h_{t-1} + sigmoid(f) tanh(z),    y_t = sigmoid(o) h_t

    This is what the authors' code computes (salesforce/pytorch-qrnn): its f lets the
    new value in. In the paper f keeps the old one, c_t = f c_{t-1} + (1 - f) z: there
    sigmoid(f) is 1 minus that of the code, which is f of the other sign. What is h here
    is c in the paper and in the code, and y is h.

    With pooling "f" there is no o, and y_t = h_t. With "ifo", which is in the paper
    alone, h_t = (1 - sigmoid(f)) h_{t-1} + sigmoid(i) tanh(z).

    Args:
      input_size: D.
      hidden_size: H.
      window: W, how many inputs a step reads; the code has 1 and 2. The carry holds
        the others than the last, and begins with zeros.
      pooling: "f", "fo" or "ifo".
      dtype: of the params. The state h has at least single precision.
      method: of the unroll; see `linear_recurrence`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `QRNNParams` and `QRNNCarry`. The
      weights begin uniformly in +-1/sqrt(WD), as by torch.

    Raises:
      ValueError: if a size is below 1, or there is no such pooling; later, if an
        argument does not fit the cell.

    References:
      Bradbury, Merity, Xiong and Socher, "Quasi-recurrent neural networks", ICLR 2017.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.qrnn(3, 5, window=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.h.shape, carry.window.shape, ys.shape
      ((5,), (1, 3), (7, 5))
    """
    input_size = check_size("qrnn: input_size", input_size)
    hidden_size = check_size("qrnn: hidden_size", hidden_size)
    window = check_size("qrnn: window", window)
    check_floating("qrnn: dtype", dtype)
    if not isinstance(pooling, str) or pooling not in GATES:
        raise ValueError(
            f"qrnn: pooling: expected one of {', '.join(GATES)}, got {pooling!r}"
        )
    gates, rows = GATES[pooling], window * input_size

    def init(key):
        w_key, b_key = jax.random.split(key)
        shape, draw = (rows, gates * hidden_size), uniform(rows**-0.5)
        return QRNNParams(draw(w_key, shape, dtype), draw(b_key, shape[1:], dtype))

    def initial_state(params, key=None):
        return _State(jnp.zeros(hidden_size, wide(params.w_x.dtype)))

    def terms(params, z):
        z, f, *others = jnp.split(z, gates)
        i = others[1] if pooling == "ifo" else f
        return _State(sigmoid(-f)), _State(sigmoid(i) * jnp.tanh(z))

    def output(params, state, z):
        y = state.h
        if pooling != "f":
            y = sigmoid(jnp.split(z, gates)[2]) * y
        return y.astype(params.w_x.dtype)

    name = f"qrnn({input_size}, {hidden_size})"
    reads = Input((gates * hidden_size,))
    inner = linear_recurrence(
        name, reads, init, initial_state, terms, output, method=method
    )

    advance = step_of(name, inner)

    def initial_carry(params, key=None):
        zeros = jnp.zeros((window - 1, input_size), params.w_x.dtype)
        return QRNNCarry(initial_state(params).h, zeros)

    def gated(params, *lags):
        """The gates of steps whose inputs `[N, D]` these are, the last one first."""
        z = rows_product(jnp.concatenate(lags, axis=1), params.w_x)
        z = z.astype(wide(z.dtype))
        return z + params.b.astype(z.dtype)[None]

    def step(params, carry, x):
        xs = jnp.concatenate([carry.window, x.astype(params.w_x.dtype)[None]])
        z = gated(params, *xs[::-1, None])[0]
        state, y = advance(params, _State(carry.h), z)
        return QRNNCarry(state.h, xs[1:]), y

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        options = {"mask": mask, "reverse": reverse, "starts": starts}
        xs = blank(mask, xs).astype(params.w_x.dtype)
        after, before = recent(
            carry.window, xs, jnp.zeros_like(carry.window), **options
        )
        zs = gated(params, xs, *before[::-1])
        state, ys = inner.unroll(params, _State(carry.h), zs, **options)
        return QRNNCarry(state.h, after), ys

    return leaf(name, Input((input_size,)), init, initial_carry, step, unroll)
