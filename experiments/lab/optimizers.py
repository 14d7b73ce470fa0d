"""The optimizer that the options name, with its schedule and clipping."""

from functools import partial
from typing import Any

import jax
import optax

from experiments.lab.options import Training


def make_optimizer(training: Training, steps: int) -> optax.GradientTransformation:
    """The optimizer; only matrices decay.

    Args:
      training: which optimizer, and how fast.
      steps: updates in the whole run, for the schedule.
    """
    rate: Any = training.learning_rate
    if training.schedule == "cosine":
        warmup = max(1, steps // 20)
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, warmup, steps + 1)
    decay = {"weight_decay": training.weight_decay, "mask": matrices}
    optimizer = {
        "adamw": partial(optax.adamw, **decay),
        "adam": optax.adam,
        "sgd": optax.sgd,
    }[training.optimizer](rate)
    if training.clip is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(training.clip), optimizer)


def matrices(params: Any) -> Any:
    """True for matrices, False for biases, scales and first states."""
    return jax.tree.map(lambda a: a.ndim > 1, params)
