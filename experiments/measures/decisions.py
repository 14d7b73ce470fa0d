"""Decisions between yes and no or K classes: S classifiers, N examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The accuracy and the cross-entropy in nats of each classifier, [S] each.

    Args:
      logits: of yes, [S, N]; see `binary_scores`. Or of K classes, [S, N, K].
      labels: [N].

    Example:
      >>> found = scores(np.log([[[1.0, 3.0], [2.0, 2.0]]]), np.array([1, 1]))
      >>> {name: values.round(3).tolist() for name, values in found.items()}
      {'accuracy': [0.5], 'loss': [0.49]}
    """
    if logits.ndim == 2:
        return binary_scores(logits, labels)
    z = logits.astype(float)
    log_p = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
    return {
        "accuracy": (logits.argmax(-1) == labels).mean(axis=1),
        "loss": -log_p[:, np.arange(len(labels)), labels].mean(axis=1),
    }


def chosen(logits: np.ndarray) -> np.ndarray:
    """The numbers of the classes that are chosen, [S, N]; see `scores`."""
    return logits.argmax(-1) if logits.ndim == 3 else (logits > 0).astype(int)


def macro_f1(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean over classes of F1 = 2 hits / (answers + true ones), [S].

    It counts the classes that are in the labels or the answers.

    Args:
      answers: [S, N], numbers of classes.
      labels: [N].

    Example:
      >>> macro_f1(np.array([[0, 0, 0, 1]]), np.array([0, 0, 1, 1])).round(3).tolist()
      [0.733]
    """
    from sklearn.metrics import f1_score

    options: dict[str, Any] = {"average": "macro", "zero_division": 0.0}
    return np.array([f1_score(labels, own, **options) for own in answers])


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """N / (K n_k) for N examples, K classes and n_k examples of class k, float32 [K].

    Example:
      >>> class_weights(np.array([0, 1, 1, 1, 1, 1, 1, 1]), 2)[0]
      np.float32(4.0)
    """
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The mean over classifiers of the probabilities of all classes, [N, K]; `scores`.

    Example:
      >>> probabilities(np.log([[3.0]])).tolist()
      [[0.25, 0.75]]
    """
    if logits.ndim == 2:
        logits = np.stack([np.zeros_like(logits), logits], axis=-1)
    return mean_probabilities(logits)


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


def accuracy_on(logits: np.ndarray, labels: np.ndarray, some: np.ndarray) -> np.ndarray:
    """The accuracy of each classifier on some of the examples, [S]; NaN on none.

    Args:
      logits: [S, N] or [S, N, K].
      labels: [N].
      some: [N] bool.

    Example:
      >>> logits, labels = np.array([[2.0, -1.0, 0.5]]), np.array([1, 0, 0])
      >>> accuracy_on(logits, labels, np.array([True, False, True])).tolist()
      [0.5]
    """
    if not some.any():
        return np.full(len(logits), np.nan)
    return scores(logits[:, some], labels[some])["accuracy"]


def together(logits: np.ndarray) -> np.ndarray:
    """The logit [1, N] of the mean probability of all classifiers, an ensemble.

    Of K classes, the logarithms [1, N, K] of the mean probabilities.

    Args:
      logits: [S, N] or [S, N, K].

    Example:
      >>> together(np.log([[1.0], [3.0]])).round(3).tolist()  # 1 / 2 and 3 / 4: 5 / 8
      [[0.511]]
      >>> round(float(np.log(5 / 3)), 3)
      0.511
    """
    if logits.ndim == 3:
        return np.log(np.maximum(mean_probabilities(logits), 1e-300))[None]
    positive, negative = (
        np.logaddexp.reduce(-np.logaddexp(0, x)) for x in (-logits, logits)
    )
    return (positive - negative)[None]


def majority(train_labels: np.ndarray, labels: np.ndarray) -> float:
    """The accuracy of always giving the answer that is more frequent in training.

    Args:
      train_labels: [N], numbers of classes.
      labels: [M], to be told.

    Example:
      >>> majority(np.array([1, 1, 0]), np.array([1, 0, 0, 0]))
      0.25
    """
    return float((labels == np.bincount(train_labels).argmax()).mean())


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
        mistake = classes[int(taken.argmax())] if taken.any() else None
        found[name] = [own.shape[1], right, mistake]
    return found
