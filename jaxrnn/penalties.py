"""Penalties on the outputs of a recurrent layer, to be added to a loss."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.checks import check_flag, check_length, check_mask, check_starts
from jaxrnn.losses import squared_error


def activation_penalty(
    hs: jax.Array, mask: jax.Array | None = None, *, weighted: bool = False
) -> Any:
    """Activation regularization (AR): how large the outputs are.

        penalty = mean over valid t and all units of h_t^2

    A loss adds it times a number, such as 2 for the outputs of the last LSTM of a
    language model. The paper writes the L2 norm of h_t, its authors' code computes the
    mean of the squares, as here; the code penalizes outputs after dropout.

    Args:
      hs: `[T, ...]`, the outputs of a layer.
      mask: `[T]` bool, or None if all steps are valid.
      weighted: whether to return `Weighted`: the penalty, and of how many numbers.

    Returns:
      The penalty, `[]`: 0 if no step is valid.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Merity, McCann and Socher, "Revisiting activation regularization for language
      RNNs", 2017.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.activation_penalty(jnp.array([[1.0, 3.0], [9.0, 9.0]]),
      ...     jnp.array([True, False])).item()
      5.0
    """
    name = "activation_penalty"
    weighted = check_flag(f"{name}: weighted", weighted)
    hs, mask, _ = _check(name, hs, mask, None)
    return squared_error(hs, jnp.zeros_like(hs), mask, weighted=weighted)


def temporal_activation_penalty(
    hs: jax.Array,
    mask: jax.Array | None = None,
    *,
    starts: jax.Array | None = None,
    weighted: bool = False,
) -> Any:
    """Temporal activation regularization (TAR): how fast the outputs change.

        penalty = mean over t of (h_t - h_{t-1})^2, where both steps are valid

    A loss adds it times a number, such as 1. The paper writes the L2 norm of the
    difference, its authors' code computes the mean of the squares, as here, of outputs
    before dropout.

    Args:
      hs: `[T, ...]`, the outputs of a layer.
      mask: `[T]` bool, or None if all steps are valid.
      starts: `[T]` bool, or None: where it is True a sequence begins, and the step
        before belongs to another.
      weighted: whether to return `Weighted`: the penalty, and of how many numbers.

    Returns:
      The penalty, `[]`: 0 if there are no two such steps.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Merity, McCann and Socher, "Revisiting activation regularization for language
      RNNs", 2017.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.temporal_activation_penalty(jnp.array([[1.0], [4.0], [5.0]])).item()
      5.0
    """
    name = "temporal_activation_penalty"
    weighted = check_flag(f"{name}: weighted", weighted)
    hs, mask, starts = _check(name, hs, mask, starts)
    together = jnp.ones(hs.shape[0], bool) if mask is None else mask
    together = together[1:] & together[:-1]
    if starts is not None:
        together &= ~starts[1:]
    if hs.shape[0] == 1:  # no pair: the mean of nothing
        hs, together = jnp.concatenate([hs, hs]), jnp.zeros(1, bool)
    return squared_error(hs[1:], hs[:-1], together, weighted=weighted)


def _check(name: str, hs: Any, mask: Any, starts: Any) -> tuple[Any, Any, Any]:
    length = check_length(f"{name}: hs", hs)
    hs = jnp.asarray(hs)
    if not jnp.issubdtype(hs.dtype, jnp.floating):
        raise ValueError(f"{name}: hs: expected floating numbers, got {hs.dtype}")
    return hs, check_mask(name, mask, length), check_starts(name, starts, length)
