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
import numpy as np
from jax import lax
from jax.nn import initializers

import jaxrnn as rnn


class Forecaster(NamedTuple):
    """A network as pure functions of one window of one variable."""

    init: Callable[..., Any]  # (key) -> params
    # (params, variable, values [L + H], key=None) -> quantiles [K, Q], targets [K]
    outputs: Callable[..., Any]
    # (params, variable, window [L]) -> quantiles [H, Q], rising
    forecast: Callable[..., jax.Array]


def of_all(forecast: Callable[..., jax.Array], batch: int = 500):
    """A forecast of one window as one of many windows, some at a time.

    Args:
      forecast: that of a `Forecaster`.
      batch: windows that are forecast at once.

    Returns:
      (params, windows [C, N, L]) -> quantiles [C, N, H, Q].
    """

    def of_windows(params, windows):
        C, N, L = windows.shape
        # Full batches, so that one program does for all of them.
        index = np.minimum(np.arange(-(-C * N // batch) * batch), C * N - 1)
        examples = np.int32(index // N), windows.reshape(-1, L)[index]
        found = lax.map(lambda e: forecast(params, *e), examples, batch_size=batch)
        return found[: C * N].reshape(C, N, *found.shape[1:])

    return of_windows


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
    cell: str = "gru",
    variables: int,
    quantiles: int,
    dropout: float = 0.0,
) -> Forecaster:
    """Many to one: reads the window w, then tells all quantiles of the whole horizon.

        s_k = cell(relu(p_k A), s_{k-1}),    y_q = w_L + (w - w_L) W + s_K V_q

    with p_k the patches of w - w_L. The outputs are the quantiles of the horizon.

    Args:
      window: L, a multiple of P.
      horizon: H.
      patch: P.
      hidden_size: of the state, and of what is made of a patch.
      cell: its name. One with a state h begins with a vector of the variable; of
        another each input has the vector added to it.
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
    reader = _reader(cell, patch, hidden_size, dropout)
    skip = rnn.linear(window, horizon, bias=False, w_init=initializers.zeros)
    readout = rnn.linear(hidden_size, horizon * quantiles)

    def init(key):
        keys = jax.random.split(key, 4)
        parts = start, rnn.chain(*reader()), skip, readout
        return DirectParams(*(p.init(k) for p, k in zip(parts, keys, strict=True)))

    def told(params, variable, values, key=None):
        relative = values - values[-1]
        cells = rnn.chain(*reader(rnn.apply(start, params.start, variable)))
        carry = cells.initial_carry(params.reader, key)
        _, states = cells.unroll(params.reader, carry, relative.reshape(-1, patch))
        middle = rnn.apply(skip, params.skip, relative)
        spread = rnn.apply(readout, params.readout, rnn.last(states))
        return values[-1] + middle[:, None] + spread.reshape(horizon, -1)

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
    cell: str = "gru",
    variables: int,
    quantiles: int,
    dropout: float = 0.0,
) -> Forecaster:
    """Many to many in step: tells the quantiles of the next patch after each patch.

        s_k = cell(relu((p_k - l_k) A), s_{k-1}),    p_{k+1,q} = l_k + s_k V_q

    with l_k the last value of p_k; in p_k - l_k the entry of l_k, which would be zero,
    is left out, and l_{k-1} - l_k comes first. To forecast it reads its own medians.
    The outputs are the quantiles of all patches but the first.

    Args:
      horizon: H, a multiple of P.
      patch: P.
      hidden_size: of the state, and of what is made of a patch.
      cell: its name. One with a state h begins with a vector of the variable; of
        another each input has the vector added to it.
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
    reader = _reader(cell, patch, hidden_size, dropout)
    readout = rnn.linear(hidden_size, patch * quantiles)

    def network(state=None):
        return relative(rnn.chain(*reader(state), readout), patch)

    def init(key):
        start_key, cell_key = jax.random.split(key)
        return StepwiseParams(start.init(start_key), network().init(cell_key))

    def read(params, variable, patches, key=None):  # -> the cell, its carry, quantiles
        net = network(rnn.apply(start, params.start, variable))
        carry = net.initial_carry(params.cell, key)
        return net, *net.unroll(params.cell, carry, patches)

    def outputs(params, variable, values, key=None):
        patches = _patches(values, patch)
        _, _, found = read(params, variable, patches[:-1], key)
        return found[:, 1:].reshape(-1, quantiles), values[patch:]

    def median(found, key):  # [P + 1, Q] -> [P + 1], the next input
        del key
        return jnp.sort(found, axis=-1)[:, quantiles // 2]

    def forecast(params, variable, values):
        patches = _patches(values, patch)
        net, carry, _ = read(params, variable, patches[:-1])
        first = patches[-1]
        made = rnn.generate(net, params.cell, carry, first, horizon // patch, median)
        # Reading what was made once more gives the quantiles beside the medians.
        again = jnp.concatenate([first[None], made.tokens[:-1]])
        _, found = net.unroll(params.cell, carry, again)
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

    def before(xs):  # [N, P + 1] -> [N, P]
        return xs[:, :-1] - xs[:, -1:]

    def after(pair):
        xs, ys = pair  # [N, P + 1], [N, P Q]
        told = jnp.pad(ys.reshape(len(ys), patch, -1), ((0, 0), (1, 0), (0, 0)))
        return xs[:, -1:, None] + told

    def run(at, params, carry, x):
        carry, y = at.run(cell, params, carry, at.rows(before, x))
        return carry, at.blank(at.rows(after, (x, y)))

    reads = rnn.Input((patch + 1,))
    return rnn.around(f"relative({cell.about.name}, {patch})", cell, run, reads=reads)


def _start(variables: int, hidden_size: int) -> rnn.Cell:
    return rnn.embedding(variables, hidden_size, w_init=initializers.zeros)


def _reader(name: str, patch: int, hidden_size: int, dropout: float):
    """Makes (vector of the variable, or None) -> the cells that read patches."""
    recurrent = rnn.cells.by_name(name)(hidden_size, hidden_size)
    usual = recurrent.initial_carry(recurrent.init(jax.random.key(0)))
    h = getattr(usual, "h", jnp.zeros(()))
    begins = h.shape == (hidden_size,) and jnp.issubdtype(h.dtype, jnp.floating)

    def cells(state: jax.Array | None = None) -> list[rnn.Cell]:
        reading = [rnn.linear(patch, hidden_size), rnn.activation(jax.nn.relu)]
        if begins:
            carry = None if state is None else usual._replace(h=state)
            reading += [rnn.starting(recurrent, carry)]
        else:
            added = jnp.zeros(hidden_size) if state is None else state
            reading += [rnn.activation(lambda x: x + added), recurrent]
        return [*reading, rnn.dropout(dropout)]

    return cells


def _patches(values: jax.Array, patch: int) -> jax.Array:
    """Each patch after the last value of the one before, [K, P + 1]."""
    patches = values.reshape(-1, patch)
    before = jnp.concatenate([values[:1], patches[:-1, -1]])
    return jnp.concatenate([before[:, None], patches], axis=1)
