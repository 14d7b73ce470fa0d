"""Networks that forecast a variable of a time series, with quantiles.

Every variable is a sequence of its own, read by the same network; which variable it is
decides the state s_0 that the network starts from. A window is cut into patches of P
steps, each of which is one step of the recurrence.

L is the length of a window, H that of its horizon, Q the number of quantiles (odd,
rising, so that the middle one is the median), C the number of variables.

References:
  Lin et al., "SegRNN", 2023, for patches before a recurrent network; Zeng et al., "Are
  transformers effective for time series forecasting?", AAAI 2023, for the last value
  taken off.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers

import jaxrnn as rnn


class Forecaster(NamedTuple):
    """A network as pure functions of one window of one variable."""

    init: Callable[..., Any]  # (key) -> params
    # (params, variable, values [L + H], key=None) -> quantiles [K, Q], targets [K]
    outputs: Callable[..., Any]
    # (params, variable, window [L]) -> quantiles [H, Q], rising
    forecast: Callable[..., jax.Array]


class DirectParams(NamedTuple):
    """Weights of `direct`."""

    start: Any  # [C, hidden_size], the first state for each variable
    reader: Any
    skip: Any
    readout: Any


def direct(
    window: int,
    horizon: int,
    patch: int,
    hidden_size: int,
    *,
    variables: int,
    quantiles: int,
    dropout: float = 0.0,
) -> Forecaster:
    """Many to one: reads the window w, then tells all quantiles of the whole horizon.

        s_k = GRU(relu(p_k A), s_{k-1}),    y_q = w_L + (w - w_L) W + s_K V_q

    with p_k the patches of w - w_L. The outputs are the quantiles of the horizon.

    Args:
      window: L, a multiple of P.
      horizon: H.
      patch: P.
      hidden_size: of the state, and of what is made of a patch.
      variables: C.
      quantiles: Q.
      dropout: the share of the state that is left out while training.

    Raises:
      ValueError: if the window is no multiple of the patch.

    Example:
      >>> net = direct(6, 4, 3, 5, variables=2, quantiles=3)
      >>> params = jax.eval_shape(net.init, jax.random.key(0))
      >>> jax.eval_shape(net.forecast, params, jnp.int32(1), jnp.arange(6.0)).shape
      (4, 3)
    """
    if window % patch:
        raise ValueError(f"window: expected a multiple of {patch}, got {window}")
    start = _start(variables, hidden_size)
    reader = rnn.chain(*_reader(patch, hidden_size, dropout))
    skip = rnn.linear(window, horizon, bias=False, w_init=initializers.zeros)
    readout = rnn.linear(hidden_size, horizon * quantiles)

    def init(key):
        keys = jax.random.split(key, 4)
        parts = (start, reader, skip, readout)
        return DirectParams(*(p.init(k) for p, k in zip(parts, keys, strict=True)))

    def told(params, variable, values, key=None):
        relative = values - values[-1]
        _, state = start.unroll(params.start, (), variable[None])
        carry = _begin(reader, params.reader, state[0], key)
        patches = relative.reshape(-1, patch)
        _, states = reader.unroll(params.reader, carry, patches)
        _, middle = skip.unroll(params.skip, (), relative[None])
        _, spread = readout.unroll(params.readout, (), states[-1:])
        return values[-1] + middle[0][:, None] + spread.reshape(horizon, -1)

    def outputs(params, variable, values, key=None):
        return told(params, variable, values[:-horizon], key), values[-horizon:]

    def forecast(params, variable, values):
        return jnp.sort(told(params, variable, values), axis=-1)

    return Forecaster(init, outputs, forecast)


class StepwiseParams(NamedTuple):
    """Weights of `stepwise`."""

    start: Any  # [C, hidden_size], the first state for each variable
    cell: Any


def stepwise(
    horizon: int,
    patch: int,
    hidden_size: int,
    *,
    variables: int,
    quantiles: int,
    dropout: float = 0.0,
) -> Forecaster:
    """Many to many in step: tells the quantiles of the next patch after each patch.

        s_k = GRU(relu((p_k - l_k) A), s_{k-1}),    p_{k+1,q} = l_k + s_k V_q

    with l_k the last value of p_k; in p_k - l_k the entry of l_k, which would be zero,
    is left out, and l_{k-1} - l_k comes first. To forecast it reads its own medians.
    The outputs are the quantiles of all patches but the first.

    Args:
      horizon: H, a multiple of P.
      patch: P.
      hidden_size: of the state, and of what is made of a patch.
      variables: C.
      quantiles: Q.
      dropout: the share of the state that is left out while training.

    Raises:
      ValueError: if the horizon is no multiple of the patch.

    Example:
      >>> net = stepwise(4, 2, 5, variables=1, quantiles=3)
      >>> params = jax.eval_shape(net.init, jax.random.key(0))
      >>> jax.eval_shape(net.forecast, params, jnp.int32(0), jnp.arange(6.0)).shape
      (4, 3)
    """
    if horizon % patch:
        raise ValueError(f"horizon: expected a multiple of {patch}, got {horizon}")
    start = _start(variables, hidden_size)
    reader = _reader(patch, hidden_size, dropout)
    readout = rnn.linear(hidden_size, patch * quantiles)
    cell = relative(rnn.chain(*reader, readout), patch)

    def init(key):
        start_key, cell_key = jax.random.split(key)
        return StepwiseParams(start.init(start_key), cell.init(cell_key))

    def begin(params, variable, key):
        _, state = start.unroll(params.start, (), variable[None])
        return _begin(cell, params.cell, state[0], key)

    def outputs(params, variable, values, key=None):
        patches = _patches(values, patch)
        carry = begin(params, variable, key)
        _, found = cell.unroll(params.cell, carry, patches[:-1])
        return found[:, 1:].reshape(-1, quantiles), values[patch:]

    def median(found, key):  # [P + 1, Q] -> [P + 1], the next input
        del key
        return jnp.sort(found, axis=-1)[:, quantiles // 2]

    def forecast(params, variable, values):
        patches = _patches(values, patch)
        carry = begin(params, variable, None)
        carry, _ = cell.unroll(params.cell, carry, patches[:-1])
        first = patches[-1]
        made = rnn.generate(cell, params.cell, carry, first, horizon // patch, median)
        # Reading what was made once more gives the quantiles beside the medians.
        read = jnp.concatenate([first[None], made.tokens[:-1]])
        _, found = cell.unroll(params.cell, carry, read)
        return jnp.sort(found[:, 1:].reshape(-1, quantiles), axis=-1)

    return Forecaster(init, outputs, forecast)


def relative(cell: rnn.Cell, patch: int) -> rnn.Cell:
    """Reads and tells differences from the last value that was read.

    Args:
      cell: from [P] to [P Q].
      patch: P.

    Returns:
      A cell with the params and the carry of `cell`. Its input is a patch after the
      value before it, [P + 1]; its output the quantiles of the next patch after those
      of the last value read, which are all that value, [P + 1, Q].
    """

    def before(x):
        return x[:-1] - x[-1]

    def after(x, y):
        return x[-1] + jnp.pad(y.reshape(patch, -1), ((1, 0), (0, 0)))

    def step(params, carry, x):
        assert cell.step is not None  # a GRU streams
        carry, y = cell.step(params, carry, before(x))
        return carry, after(x, y)

    def unroll(params, carry, xs, *, mask=None, reverse=False):
        inputs = jax.vmap(before)(xs)
        carry, ys = cell.unroll(params, carry, inputs, mask=mask, reverse=reverse)
        return carry, jax.vmap(after)(xs, ys)

    return rnn.Cell(lambda key: cell.init(key), cell.initial_carry, step, unroll)


def _start(variables: int, hidden_size: int) -> rnn.Cell:
    return rnn.embedding(variables, hidden_size, w_init=initializers.zeros)


def _reader(patch: int, hidden_size: int, dropout: float) -> list[rnn.Cell]:
    return [
        rnn.linear(patch, hidden_size),
        rnn.activation(jax.nn.relu),
        rnn.gru(hidden_size, hidden_size),
        rnn.dropout(dropout),
    ]


def _begin(cell: rnn.Cell, params: Any, state: jax.Array, key: jax.Array | None) -> Any:
    """The carry of `_reader`, or of a chain that begins with it, from a state."""
    carry = cell.initial_carry(params, key)
    return *carry[:2], rnn.GRUCarry(state), *carry[3:]


def _patches(values: jax.Array, patch: int) -> jax.Array:
    """Each patch after the last value of the one before, [K, P + 1]."""
    patches = values.reshape(-1, patch)
    before = jnp.concatenate([values[:1], patches[:-1, -1]])
    return jnp.concatenate([before[:, None], patches], axis=1)
