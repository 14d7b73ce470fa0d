"""Decisions between yes and no or K classes: S classifiers, N examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def binary_scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The accuracy and the cross-entropy of each classifier.

        loss = mean of log(1 + exp(-z)) where the label is 1, log(1 + exp(z)) where 0

    Args:
      logits: z, [S, N].
      labels: [N], 1 or 0.

    Returns:
      "accuracy" and, in nats, "loss", [S] each.

    Example:
      >>> found = binary_scores(np.array([[2.0, -1.0, 0.5]]), np.array([1, 0, 0]))
      >>> {name: values.round(3).tolist() for name, values in found.items()}
      {'accuracy': [0.667], 'loss': [0.471]}
    """
    losses = np.logaddexp(0, np.where(labels > 0, -logits, logits).astype(float))
    return {
        "accuracy": ((logits > 0) == (labels > 0)).mean(axis=1),
        "loss": losses.mean(axis=1),
    }


def accuracy_on(
    logits: np.ndarray, labels: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """The accuracy of each classifier on some of the examples, [S]; NaN on none.

    Args:
      logits: [S, N].
      labels: [N], 1 or 0.
      chosen: [N] bool.

    Example:
      >>> logits, labels = np.array([[2.0, -1.0, 0.5]]), np.array([1, 0, 0])
      >>> accuracy_on(logits, labels, np.array([True, False, True])).tolist()
      [0.5]
    """
    if not chosen.any():
        return np.full(len(logits), np.nan)
    return binary_scores(logits[:, chosen], labels[chosen])["accuracy"]


def together(logits: np.ndarray) -> np.ndarray:
    """The logit [1, N] of the mean probability of all classifiers, an ensemble.

    Args:
      logits: [S, N].

    Example:
      >>> together(np.log([[1.0], [3.0]])).round(3).tolist()  # 1 / 2 and 3 / 4: 5 / 8
      [[0.511]]
      >>> round(float(np.log(5 / 3)), 3)
      0.511
    """
    positive, negative = (
        np.logaddexp.reduce(-np.logaddexp(0, x)) for x in (-logits, logits)
    )
    return (positive - negative)[None]


def majority(train_labels: np.ndarray, labels: np.ndarray) -> float:
    """The accuracy of always giving the answer that is more frequent in training.

    Args:
      train_labels: [N], 1 or 0.
      labels: [M], 1 or 0, to be told.

    Example:
      >>> majority(np.array([1, 1, 0]), np.array([1, 0, 0, 0]))
      0.25
    """
    return float((labels == (train_labels.mean() > 0.5)).mean())


def mean_probabilities(logits: np.ndarray) -> np.ndarray:
    """The mean over classifiers of the softmax, [N, K] float64.

    Args:
      logits: [S, N, K].

    Example:
      >>> mean_probabilities(np.log([[[1.0, 3.0]], [[1.0, 1.0]]])).tolist()
      [[0.375, 0.625]]
    """
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    shares = np.exp(logits)
    return (shares / shares.sum(-1, keepdims=True)).mean(0)


def by_class(
    answers: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, list[Any]]:
    """Of each class: its examples, the share [S] that is right, and the usual mistake.

    Args:
      answers: [S, N], numbers of classes.
      labels: [N], the true ones.
      classes: their names.

    Example:
      >>> found = by_class(np.array([[0, 1, 0]]), np.array([0, 0, 1]), ["a", "b", "c"])
      >>> [(name, n, wrong) for name, (n, _, wrong) in found.items()]
      [('a', 2, 'b'), ('b', 1, 'a'), ('c', 0, None)]
      >>> found["a"][1].tolist()
      [0.5]
    """
    found = {}
    for number, name in enumerate(classes):
        own = answers[:, labels == number]
        taken = np.bincount(own[own != number], minlength=len(classes))
        right = (own == number).mean(1) if own.size else None
        mistake = classes[taken.argmax()] if taken.any() else None
        found[name] = [own.shape[1], right, mistake]
    return found
