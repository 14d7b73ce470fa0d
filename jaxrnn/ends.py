"""What a cell ends with."""

from typing import Any

import jax
import jax.numpy as jnp


def summary(carry: Any) -> jax.Array:
    """The states in which a cell ends: one vector that has read all of a sequence.

        summary = h_T                                    of one direction
        summary = [h_T of forward, h_1 of backward]      of `bidirectional`

    The last output of a bidirectional cell is no such vector: its backward half begins
    there and has read one step. Of a `chain` it is the state of the last part that has
    one; apply layers after that, such as `linear`, to the summary. A masked `unroll`
    freezes the carry, so padding does not matter; of a sequence of length 0 the summary
    is the initial state.

    Args:
      carry: that which `unroll` returns, of one sequence or with more leading axes.

    Returns:
      `[..., S]`; S is H of one direction, and the sum of both for two.

    Raises:
      ValueError: if no part of the carry has a field `h`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> reader = rnn.chain(
      ...     rnn.embedding(9, 3), rnn.bidirectional(rnn.gru(3, 5), rnn.lstm(3, 4))
      ... )
      >>> params = reader.init(jax.random.key(0))
      >>> carry, ys = reader.unroll(params, reader.initial_carry(params), jnp.arange(7))
      >>> rnn.summary(carry).shape
      (9,)
    """
    found = _state(carry)
    if found is None:
        raise ValueError(
            "summary: carry: expected one with a state h, such as the carry of an lstm "
            f"or of a chain with one, got {jax.tree.map(jnp.shape, carry)!r}"
        )
    return found


def _state(carry: Any) -> jax.Array | None:
    """The state of the last part that has one."""
    for name in ("h", "cell"):  # of a gated cell; of what goes on inside of another
        if hasattr(carry, name):
            inner = getattr(carry, name)
            return inner if name == "h" else _state(inner)
    if hasattr(carry, "forward"):
        halves = [_state(carry.forward), _state(carry.backward)]
        found = [h for h in halves if h is not None]
        return jnp.concatenate(found, axis=-1) if len(found) == 2 else None
    if isinstance(carry, tuple) and not hasattr(carry, "_fields"):
        return next((h for h in map(_state, reversed(carry)) if h is not None), None)
    return None
