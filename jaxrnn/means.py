"""Means over what counts: the valid steps of a sequence, the weights of a batch."""

import numbers
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.checks import check_mask
from jaxrnn.precision import wide


class Weighted(NamedTuple):
    """A mean, and its weight in a mean over a batch.

    A loss with `weighted=True` weighs as much as it has valid decisions, so that the
    mean over a batch of sequences weighs all their tokens alike, as torch's does, and
    not all sequences alike. The loss of an example, and any leaf of what it returns
    besides, may be one: see `make_update`.

        mean over a batch = sum of weight_i value_i / sum of weight_i

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> def loss(predictions, mask):
      ...     zeros = jnp.zeros_like(predictions)
      ...     return rnn.squared_error(predictions, zeros, mask, weighted=True)
      >>> masks = jnp.array([[True, True, True], [True, False, False]])
      >>> losses = jax.vmap(loss)(jnp.array([[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]]), masks)
      >>> losses.mean().item(), losses.value.mean().item()
      (3.0, 5.0)
    """

    value: Any  # [], or [B] after `jax.vmap`
    weight: Any  # the same shape, at least 0; no gradient flows through it

    def sums(self) -> "Weighted":
        """Over the batch: of weight times value, and of the weights."""
        value, weight = map(jnp.asarray, self)
        if value.shape != weight.shape or not value.ndim:
            raise ValueError(
                "Weighted: weight: expected the shape of the value, [B, ...], "
                f"{value.shape}, got {weight.shape}"
            )
        floating = jnp.issubdtype(value.dtype, jnp.floating)
        dtype = wide(value.dtype) if floating else jnp.float32
        value, weight = value.astype(dtype), weight.astype(dtype)
        weight = lax.stop_gradient(weight)
        return Weighted((weight * value).sum(0), weight.sum(0))

    def ratio(self) -> jax.Array:
        """Of `sums`: the mean, which is 0 where all weights are."""
        return self.value / jnp.where(self.weight > 0, self.weight, 1)

    def mean(self) -> jax.Array:
        """The mean over the batch, 0 if all weights are; in single precision or more.

        Raises:
          ValueError: unless both are of one shape, `[B, ...]`.
        """
        return self.sums().ratio()


def mean_of(
    values: jax.Array, valid: jax.Array | None, weighted: bool
) -> jax.Array | Weighted:
    """The mean of the values that count, 0 if none does, and how many there are."""
    if valid is None:
        loss = values.mean()
        return Weighted(loss, jnp.ones_like(values).sum()) if weighted else loss
    total = jnp.where(valid, values, jnp.zeros_like(values)).sum()
    count = valid.sum().astype(values.dtype)
    loss = total / jnp.maximum(count, 1)
    return Weighted(loss, count) if weighted else loss


def or_nan(fits: jax.Array, values: jax.Array) -> jax.Array:
    """The values, and where they do not fit NaN, which is also their gradient."""
    # Not of values made from bool, of which XLA makes a select: 0 times NaN is 0 then.
    return values * jnp.where(fits, 1.0, jnp.nan).astype(values.dtype)


def which_count(
    name: str, mask: Any, labels: jax.Array, ignore_label: Any
) -> jax.Array | None:
    """Of each label whether it counts, or None if all do."""
    mask = _check_mask(name, mask, labels)
    if mask is not None:
        mask = mask.reshape(-1, *[1] * (labels.ndim - 1))
        mask = jnp.broadcast_to(mask, labels.shape)
    if ignore_label is None:
        return mask
    integral = isinstance(ignore_label, numbers.Integral)
    if isinstance(ignore_label, bool) or not integral:
        raise ValueError(
            f"{name}: ignore_label: expected an integer, got {ignore_label!r}"
        )
    if not -(2**31) < int(ignore_label) < 2**31:
        raise ValueError(
            f"{name}: ignore_label: expected one that fits int32, got {ignore_label}"
        )
    counts = labels != jnp.asarray(ignore_label, labels.dtype)
    return counts if mask is None else mask & counts


def zeroed(valid: jax.Array | None, values: jax.Array) -> jax.Array:
    """Zeros what does not count, so that no NaN there reaches a gradient."""
    if valid is None:
        return values
    more = values.ndim - valid.ndim
    valid = valid.reshape(*valid.shape, *[1] * more)
    valid = jnp.broadcast_to(valid, values.shape)
    return jnp.where(valid, values, jnp.zeros_like(values))


def _check_mask(name: str, mask: Any, values: jax.Array) -> jax.Array | None:
    if mask is not None and values.ndim == 0:
        raise ValueError(f"{name}: mask: there is no time axis to mask")
    return check_mask(name, mask, values.shape[0] if values.ndim else 0)
