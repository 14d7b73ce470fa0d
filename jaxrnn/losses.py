"""Losses of one sequence, or of one example, as means over the valid steps.

All take a leading time axis or none, and a mask of the leading axis. A sequence with
no valid step has loss zero. Nothing that stands where the mask is False, NaN included,
reaches the loss or its gradient.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxrnn.checks import check_array, check_mask, check_number
from jaxrnn.core import blank


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None = None,
    *,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """Softmax cross-entropy with integer labels, in nats.

        loss = mean over valid t of -sum over k of q_tk log softmax(logits_t)_k
        q_tk = (1 - label_smoothing) [k = label_t] + label_smoothing / K

    exp(loss) is the perplexity, loss / log(2) the bits per token.

    Args:
      logits: `[T, K]`, or `[K]` for one decision.
      labels: `[T]` or `[]`, integers in 0..K-1.
      mask: `[T]` bool, or None if all steps are valid.
      label_smoothing: in [0, 1), the share of the target that all classes have alike.

    Returns:
      The loss, `[]`.

    Raises:
      ValueError: if shapes or dtypes do not fit, or the smoothing is outside [0, 1).

    References:
      Szegedy et al., "Rethinking the inception architecture for computer vision", CVPR
      2016, for the smoothing.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> round(rnn.cross_entropy(jnp.zeros((7, 4)), jnp.zeros(7, int)).item(), 4)
      1.3863
    """
    smoothing = check_number(
        "cross_entropy: label_smoothing",
        label_smoothing,
        "a number in [0, 1)",
        lambda value: 0 <= value < 1,
    )
    logits, labels = _check_labels("cross_entropy", logits, labels)
    mask = _check_mask("cross_entropy", mask, labels)
    logits, labels = blank(mask, (logits, labels))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if smoothing:
        uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(axis=-1)
        losses = (1 - smoothing) * losses + smoothing * uniform
    return _masked_mean(losses, mask)


def sigmoid_cross_entropy(
    logits: jax.Array, targets: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of independent yes/no decisions, in nats a decision.

        loss = mean of -target log sigmoid(logit) - (1 - target) log sigmoid(-logit)

    Args:
      logits: `[T, ...]`, or `[]` for one decision.
      targets: the same shape, in 0..1; floating, integer or bool.
      mask: `[T]` bool, or None if all steps are valid.

    Returns:
      The loss, `[]`.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> loss = rnn.sigmoid_cross_entropy(jnp.zeros((7, 88)), jnp.ones((7, 88)))
      >>> round(loss.item(), 4)
      0.6931
    """
    logits, targets = _check_same("sigmoid_cross_entropy", "logits", logits, targets)
    mask = _check_mask("sigmoid_cross_entropy", mask, logits)
    logits, targets = blank(mask, (logits, targets))
    return _masked_mean(optax.sigmoid_binary_cross_entropy(logits, targets), mask)


def squared_error(
    predictions: jax.Array, targets: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Mean squared error.

        loss = mean of (prediction - target)^2

    Args:
      predictions: `[T, ...]` or `[]`.
      targets: the same shape.
      mask: `[T]` bool, or None if all steps are valid.

    Returns:
      The loss, `[]`.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.squared_error(jnp.array([1.0, 3.0]), jnp.zeros(2)).item()
      5.0
    """
    predictions, targets = _check_same(
        "squared_error", "predictions", predictions, targets
    )
    mask = _check_mask("squared_error", mask, predictions)
    predictions, targets = blank(mask, (predictions, targets))
    return _masked_mean(jnp.square(predictions - targets), mask)


def accuracy(
    logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """The share of valid steps whose largest logit is that of the label.

    Args:
      logits: `[T, K]`, or `[K]` for one decision.
      labels: `[T]` or `[]`, integers in 0..K-1.
      mask: `[T]` bool, or None if all steps are valid.

    Returns:
      The share, `[]`, in 0..1.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.accuracy(jnp.eye(4), jnp.array([0, 1, 2, 0])).item()
      0.75
    """
    logits, labels = _check_labels("accuracy", logits, labels)
    mask = _check_mask("accuracy", mask, labels)
    hits = (jnp.argmax(logits, axis=-1).astype(jnp.int32) == labels).astype(
        logits.dtype
    )
    return _masked_mean(hits, mask)


def _masked_mean(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    if mask is None:
        return values.mean()
    per_step = math.prod(values.shape[1:])
    return blank(mask, values).sum() / jnp.maximum(mask.sum() * per_step, 1).astype(
        values.dtype
    )


def _check_mask(name: str, mask: Any, values: jax.Array) -> jax.Array | None:
    if mask is not None and values.ndim == 0:
        raise ValueError(f"{name}: mask: there is no time axis to mask")
    return check_mask(name, mask, values.shape[0] if values.ndim else 0)


def _check_floating(name: str, what: str, values: Any) -> jax.Array:
    values = check_array(f"{name}: {what}", values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            f"{name}: {what}: expected floating numbers, got {values.dtype}"
        )
    if values.size == 0:
        raise ValueError(f"{name}: {what}: expected some values, got {values.shape}")
    return values


def _check_labels(name: str, logits: Any, labels: Any) -> tuple[jax.Array, jax.Array]:
    logits = _check_floating(name, "logits", logits)
    labels = check_array(f"{name}: labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{name}: labels: expected integers, got {labels.dtype}")
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"{name}: labels: expected the shape of logits {logits.shape} without its "
            f"last axis, got {labels.shape}"
        )
    return logits, labels.astype(jnp.int32)


def _check_same(
    name: str, what: str, values: Any, targets: Any
) -> tuple[jax.Array, jax.Array]:
    values = _check_floating(name, what, values)
    targets = check_array(f"{name}: targets", targets)
    if values.shape != targets.shape:
        raise ValueError(
            f"{name}: targets: expected the shape of {what} {values.shape}, "
            f"got {targets.shape}"
        )
    return values, targets.astype(values.dtype)
