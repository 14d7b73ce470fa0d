"""Updates that are not finite change nothing: a seed stops before one, or skips it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Guard(NamedTuple):
    """Whether a seed had to stop, and why: its first loss that was not finite."""

    stopped: Any  # [S] bool
    step: Any  # [S] int32, of the update that was not made
    loss: Any  # [S]
    grad_norm: Any  # [S]

    def reason(self, index: int) -> str:
        """Why the seed with this index stopped."""
        return (
            f"the loss is {self.loss[index]:g} and the gradient's norm "
            f"{self.grad_norm[index]:g} at update {self.step[index] + 1}"
        )


def no_guard(seeds: int) -> Guard:
    """Before the first update."""
    nothing = jnp.zeros(seeds)
    return Guard(nothing != 0, nothing.astype(jnp.int32), nothing, nothing)


def guarded(update: Callable, nonfinite: str, start: Any, *batches: Any) -> Any:
    """Several updates of one seed, without those that are not finite.

    Args:
      update: from `rnn.make_update`.
      nonfinite: "stop" or "skip".
      start: the state and its guard.
      *batches: arrays [updates, B, ...].

    Returns:
      The state and its guard, and the metrics of each update.
    """

    def body(carry, batch):
        state, guard = carry
        new, metrics = update(state, *batch)
        finite = jnp.isfinite(metrics.loss) & jnp.isfinite(metrics.grad_norm)
        first = ~finite & ~guard.stopped
        state = jax.tree.map(partial(jnp.where, finite & ~guard.stopped), new, state)
        if nonfinite == "stop":
            found = Guard(True, state.step, metrics.loss, metrics.grad_norm)
            guard = jax.tree.map(partial(jnp.where, first), found, guard)
        return (state, guard), metrics

    return lax.scan(body, start, batches)
