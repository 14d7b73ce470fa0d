"""An optimizer after whose updates the params are in a set."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from jaxrnn.checks import check_function
from jaxrnn.train.optimizer import check_optimizer


def projected(optimizer: Any, projection: Callable[[Any], Any]) -> Any:
    """An optimizer that takes a step and then projects the params.

        params_{t+1} = projection(params_t + updates_t)

    Such as the bound on the recurrent weights of an `indrnn`, or one on the norm of a
    weight. The state of the optimizer is what it would be without a projection.

    Args:
      optimizer: of optax.
      projection: `(params) -> params`, such as a function of `optax.projections`.

    Returns:
      An optimizer of optax. What it returns is an update, projection(..) - params, so
      that params may differ from those projected by a rounding error.

    Raises:
      ValueError: if an argument is of the wrong kind; from its update, if that is
        given no params.

    Example:
      >>> import functools, jax, jax.numpy as jnp, optax, jaxrnn as rnn
      >>> clip = functools.partial(rnn.cells.clip_indrnn, limit=0.5)
      >>> optimizer = rnn.train.projected(optax.sgd(0.1), clip)
      >>> params = rnn.indrnn(3, 5).init(jax.random.key(0))
      >>> zeros = jax.tree.map(jnp.zeros_like, params)
      >>> updates, _ = optimizer.update(zeros, optimizer.init(params), params)
      >>> float(optax.apply_updates(params, updates).w_h.max())
      0.5
    """
    check_optimizer("projected", optimizer)
    check_function("projected: projection", projection)
    inner = optax.with_extra_args_support(optimizer)

    def update(updates, state, params=None, **extra):
        if params is None:
            raise ValueError("projected: params: expected those to project, got None")
        updates, state = inner.update(updates, state, params, **extra)
        after = projection(optax.apply_updates(params, updates))
        return jax.tree.map(lambda new, old: new - old, after, params), state

    return optax.GradientTransformationExtraArgs(inner.init, update)
