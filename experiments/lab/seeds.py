"""Several seeds at once: their keys, functions over them, statistics over them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.lab.options import Training


def keys(training: Training) -> jax.Array:
    """A key for each seed, [S]."""
    return jax.vmap(jax.random.key)(training.seed + jnp.arange(training.seeds))


def over_seeds(fun: Callable[..., Any], *, batch: int | None = None) -> Callable:
    """A function of the params of one seed as a jitted function of those of all.

    Args:
      fun: (params, *arrays) -> arrays.
      batch: None: `fun` takes the arrays as they are. A number: `fun` takes one
        example, the result takes N of them and computes `batch` at a time.

    Returns:
      (params [S, ...], *arrays) -> arrays [S, ...], or [S, N, ...] with a batch.

    Example:
      >>> scaled = over_seeds(lambda scale, x: scale * x, batch=2)
      >>> scaled(jnp.array([1.0, 10.0]), jnp.array([1.0, 2.0, 3.0])).tolist()
      [[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]
    """

    def of_one_seed(params, arrays):
        if batch is None:
            return fun(params, *arrays)
        return lax.map(lambda one: fun(params, *one), arrays, batch_size=batch)

    @jax.jit
    def of_all(params, *arrays):
        return jax.vmap(of_one_seed, in_axes=(0, None))(params, arrays)

    return of_all


def of_seed(params: Any, index: int) -> Any:
    """The params of one seed, by its index."""
    return jax.tree.map(lambda a: a[index], params)


def local(tree: Any) -> Any:
    """The arrays as this process has them, on one of its devices."""
    return jax.tree.map(lambda a: a.addressable_data(0), tree)


def spread(
    values: Any, form: str, middle: Callable[[np.ndarray], Any] = np.mean
) -> str:
    """The mean over seeds [S] and, of several, the lowest and the highest.

    Args:
      values: of each seed, or one number.
      form: the format of a number.
      middle: what stands in place of the mean, such as `np.median`.

    Example:
      >>> spread([0.91, 0.93], ".1%"), spread(0.5, ".1%")
      ('92.0% (91.0% to 93.0%)', '50.0%')
    """
    values = np.atleast_1d(np.array(values, float))
    mean, low, high = (f"{f(values):{form}}" for f in (middle, np.min, np.max))
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def lowest(
    history: Sequence[Mapping[str, Any]], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest value of a metric, and the epoch, from 1, that has it; [S] and [S].

    Args:
      history: of the epochs; a metric is a list over seeds, with None for a number that
        is not finite, which counts as infinite.
      name: of the metric.

    Example:
      >>> history = [{"loss": [3.0, None]}, {"loss": [2.0, 5.0]}, {"loss": [4.0, 6.0]}]
      >>> [values.tolist() for values in lowest(history, "loss")]
      [[2.0, 5.0], [2, 2]]
    """
    values = np.array([line[name] for line in history], float)  # [epochs, S]
    values = np.where(np.isnan(values), np.inf, values)
    return values.min(axis=0), values.argmin(axis=0) + 1


def divergence(history: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Which seeds ended far below their own best epoch, or in numbers not finite.

    Args:
      history: of the epochs; a metric is a list over seeds, with None for a number that
        is not finite.
      name: of an accuracy.
    """
    accuracy = np.array([line[name] for line in history], float)  # [epochs, S]
    loss = np.array([line["train_loss"] for line in history], float)
    best = accuracy.max(axis=0)
    diverged = (accuracy[-1] < best - 0.05) | ~np.isfinite(loss[-1])
    return {
        "best_epoch_accuracy_per_seed": best,
        "diverged_per_seed": diverged,
        "diverged": int(diverged.sum()),
    }
