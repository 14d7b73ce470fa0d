"""Losses of one sequence, or of one example, as means over the valid steps.

All take a leading time axis or none, and a mask of the leading axis. A sequence with
no valid step has loss zero. Nothing that stands where the mask is False, NaN included,
reaches the loss or its gradient. Logits in half precision are widened first, so that
means and counts are right for any length; the loss has at least single precision.

A label that is none of the classes, -1 for instance, never counts as another class: the
loss is NaN, and so is its gradient, whether or not the program is traced. To leave
labels out, use the mask or `ignore_label`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxrnn.checks import as_index, check_array, check_flag, check_number
from jaxrnn.means import mean_of, or_nan, which_count, zeroed
from jaxrnn.precision import widened


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_label: int | None = None,
    weighted: bool = False,
) -> Any:
    """Softmax cross-entropy with integer labels, in nats.

        loss = mean over valid t of -sum over k of q_tk log softmax(logits_t)_k
        q_tk = (1 - label_smoothing) [k = label_t] + label_smoothing / K

    exp(loss) is the perplexity, loss / log(2) the bits per token.

    Args:
      logits: `[T, K]`, or `[K]` for one decision.
      labels: `[T]` or `[]`, integers in 0..K-1.
      mask: `[T]` bool, or None if all steps are valid.
      label_smoothing: in [0, 1), the share of the target that all classes have alike.
      ignore_label: the label of steps that do not count, such as torch's -100, or None.
      weighted: whether to return `Weighted`: the loss, and how many labels count.

    Returns:
      The loss, `[]`: 0 if no label counts, NaN if one that counts is none of 0..K-1.

    Raises:
      ValueError: if shapes or dtypes do not fit, or an option is none of those above.

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
    weighted = check_flag("cross_entropy: weighted", weighted)
    logits, labels = _check_labels("cross_entropy", logits, labels)
    valid = which_count("cross_entropy", mask, labels, ignore_label)
    logits, labels = zeroed(valid, logits), zeroed(valid, labels)
    fits = (labels >= 0) & (labels < logits.shape[-1])
    labels = zeroed(fits, labels)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if smoothing:
        uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(axis=-1)
        losses = (1 - smoothing) * losses + smoothing * uniform
    return mean_of(or_nan(fits, losses), valid, weighted)


def sigmoid_cross_entropy(
    logits: jax.Array,
    targets: jax.Array,
    mask: jax.Array | None = None,
    *,
    ignore_label: int | None = None,
    weighted: bool = False,
) -> Any:
    """Cross-entropy of independent yes/no decisions, in nats a decision.

        loss = mean of -target log sigmoid(logit) - (1 - target) log sigmoid(-logit)

    Args:
      logits: `[T, ...]`, or `[]` for one decision.
      targets: the same shape, in 0..1; floating, integer or bool.
      mask: `[T]` bool, or None if all steps are valid.
      ignore_label: the target of decisions that do not count, or None.
      weighted: whether to return `Weighted`: the loss, and how many decisions count.

    Returns:
      The loss, `[]`: 0 if no target counts, NaN if one that counts is outside 0..1.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> loss = rnn.sigmoid_cross_entropy(jnp.zeros((7, 88)), jnp.ones((7, 88)))
      >>> round(loss.item(), 4)
      0.6931
    """
    name = "sigmoid_cross_entropy"
    weighted = check_flag(f"{name}: weighted", weighted)
    logits, targets = _check_same(name, "logits", logits, targets)
    valid = which_count(name, mask, targets, ignore_label)
    logits, targets = zeroed(valid, logits), zeroed(valid, targets)
    losses = optax.sigmoid_binary_cross_entropy(logits, targets)
    fits = (targets >= 0) & (targets <= 1)
    return mean_of(or_nan(fits, losses), valid, weighted)


def squared_error(
    predictions: jax.Array,
    targets: jax.Array,
    mask: jax.Array | None = None,
    *,
    weighted: bool = False,
) -> Any:
    """Mean squared error.

        loss = mean of (prediction - target)^2

    Args:
      predictions: `[T, ...]` or `[]`.
      targets: the same shape.
      mask: `[T]` bool, or None if all steps are valid.
      weighted: whether to return `Weighted`: the loss, and of how many numbers.

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
    weighted = check_flag("squared_error: weighted", weighted)
    valid = which_count("squared_error", mask, predictions, None)
    predictions, targets = zeroed(valid, predictions), zeroed(valid, targets)
    return mean_of(jnp.square(predictions - targets), valid, weighted)


def accuracy(
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None = None,
    *,
    ignore_label: int | None = None,
    weighted: bool = False,
) -> Any:
    """The share of valid steps whose largest logit is that of the label.

    Args:
      logits: `[T, K]`, or `[K]` for one decision.
      labels: `[T]` or `[]`, integers in 0..K-1.
      mask: `[T]` bool, or None if all steps are valid.
      ignore_label: the label of steps that do not count, or None.
      weighted: whether to return `Weighted`: the share, and how many labels count.

    Returns:
      The share, `[]`, in 0..1: 0 if no label counts, NaN if one that counts is none of
      0..K-1.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.accuracy(jnp.eye(4), jnp.array([0, 1, 2, 0])).item()
      0.75
    """
    weighted = check_flag("accuracy: weighted", weighted)
    logits, labels = _check_labels("accuracy", logits, labels)
    valid = which_count("accuracy", mask, labels, ignore_label)
    labels = zeroed(valid, labels)
    fits = (labels >= 0) & (labels < logits.shape[-1])
    hits = jnp.argmax(logits, axis=-1).astype(jnp.int32) == labels
    shares = jnp.where(fits, hits.astype(logits.dtype), jnp.nan)
    return mean_of(shares, valid, weighted)


def _check_floating(name: str, what: str, values: Any) -> jax.Array:
    values = check_array(f"{name}: {what}", values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            f"{name}: {what}: expected floating numbers, got {values.dtype}"
        )
    if values.size == 0:
        raise ValueError(f"{name}: {what}: expected some values, got {values.shape}")
    return widened(values)


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
    return logits, as_index(labels)


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
