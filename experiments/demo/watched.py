"""Networks as a page needs them: with their state, or of a whole sequence."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

import jaxrnn as rnn


class Watched(NamedTuple):
    """What one step of a `watched` network gives."""

    state: Any  # what the readout reads, [H]
    logits: Any  # [K]


class Verdict(NamedTuple):
    """What a network says of a whole text."""

    logits: Any  # of yes, [], or of K classes, [K]
    weights: Any  # of each step in it, [T]


def watched(body: rnn.Cell, readout: rnn.Cell) -> rnn.Cell:
    """A network whose step gives the state that its readout reads, too.

        s_t, h_t = body(x_t, s_{t-1}),    y_t = (h_t, readout(h_t))

    Args:
      body: what has the memory, and a step.
      readout: a layer without one.

    Returns:
      The cell; its params are those of the two.

    Example:
      >>> cell = watched(rnn.gru(3, 5), rnn.linear(5, 2))
      >>> params = cell.init(jax.random.key(0))
      >>> carry = cell.initial_carry(params)
      >>> jax.tree.map(len, cell.step(params, carry, jax.numpy.ones(3))[1])
      Watched(state=5, logits=2)
    """
    advance = body.step
    if advance is None:
        raise ValueError(f"watched: body: expected a cell with a step, got {body}")

    def init(key):
        body_key, readout_key = jax.random.split(key)
        return body.init(body_key), readout.init(readout_key)

    def initial_carry(params, key=None):
        return body.initial_carry(params[0], key)

    def step(params, carry, x):
        carry, state = advance(params[0], carry, x)
        return carry, Watched(state, rnn.apply(readout, params[1], state))

    name = f"watched({body.about.name}, {readout.about.name})"
    return rnn.leaf(name, body.about.reads, init, initial_carry, step)


def whole(name: str, read: Callable[[Any, jax.Array], Any]) -> rnn.Cell:
    """A network that reads a whole sequence and has no step, to be exported.

    Args:
      name: for messages.
      read: (params, xs [T, ...]) -> a tree of what it says.

    Example:
      >>> cell = whole("sum", lambda params, xs: xs.sum())
      >>> cell.unroll((), (), jax.numpy.ones((2, 3)))
      ((), Array(6., dtype=float32))
    """

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        return carry, read(params, xs)

    return rnn.Cell(
        lambda key: (), lambda params, key=None: (), None, unroll, rnn.About(name, None)
    )


def by_steps(factory: Callable[..., rnn.Cell]) -> Callable[..., rnn.Cell]:
    """A factory of the same cells, which read a sequence step by step.

    Some cells read all steps at once, in ways that no file says of sequences of any
    length.
    """

    def make(*args, **options):
        cell = factory(*args, **options)
        assert cell.step is not None
        loop = rnn.scan_unroll(cell.step, cell.initial_carry)

        def unroll(params, carry, xs, **how):
            return loop(cell.about.prepare(params), carry, xs, **how)

        return cell._replace(unroll=unroll)

    return make
