"""What a classifier of texts says by which words."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Explanation(NamedTuple):
    """What a classifier says of a document, and by which words."""

    words: list[str]
    label: int | None  # the true one; None where nobody knows it
    logit: float  # of "positive", or of the class that is the answer
    contributions: np.ndarray  # [words], to the logit
    attention: np.ndarray  # [words], shares
    answer: int | None = None  # of more than two classes

    @property
    def probability(self) -> float:
        """The probability of "positive", or of the answer."""
        return float(1 / (1 + np.exp(-self.logit)))


Read = Callable[
    [Sequence[np.ndarray]], tuple[Sequence[float] | np.ndarray, Sequence[np.ndarray]]
]


def explain(
    read: Read,
    words: Sequence[list[str]],
    tokens: Sequence[np.ndarray],
    owners: Sequence[np.ndarray],
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    unknown: int,
) -> list[Explanation]:
    """Reads documents with all their words, and without each of them.

        contribution of a word = logit(document) - logit(document, that word unknown)

    Args:
      read: (sequences of tokens) -> the logit of each, [N], or those of K classes,
        [N, K], and for each the weights of its steps, [T]. It is called once, for all
        versions of all documents. Of K classes the one that the whole document has is
        explained, by log p / (1 - p).
      words: of each document.
      tokens: of each document, [T] integers.
      owners: for each document and token, the number of the word it is a part of, [T].
      labels: of the documents, if they are known.
      unknown: the token that stands in for each token of a word that is left out.

    References:
      Li, Monroe and Jurafsky, "Understanding neural networks through representation
      erasure", 2016.

    Example:
      >>> def read(sequences):
      ...     return [s.sum() for s in sequences], [s / s.sum() for s in sequences]
      >>> tokens, owners = np.array([3, 1, 4]), np.array([0, 0, 1])
      >>> (found,) = explain(read, [["fine", "film"]], [tokens], [owners], unknown=0)
      >>> found.logit, found.contributions.tolist(), found.attention.tolist()
      (8.0, [4, 4], [0.5, 0.5])
    """
    versions = []
    for own_words, own, owner in zip(words, tokens, owners, strict=True):
        versions.append(own)
        for word in range(len(own_words)):
            versions.append(np.where(owner == word, own.dtype.type(unknown), own))
    logits, weights = read(versions)
    found, at = [], 0
    for i, own_words in enumerate(words):
        count = len(own_words)
        own = np.asarray(logits[at : at + 1 + count])
        answer = None
        if own.ndim == 2:
            answer = int(own[0].argmax())
            others = np.delete(own, answer, axis=1)
            own = own[:, answer] - np.logaddexp.reduce(others, axis=1)
        label = None if labels is None else int(labels[i])
        attention = np.bincount(owners[i], weights[at], count)
        logit, moved = float(own[0]), own[0] - own[1:]
        found.append(Explanation(own_words, label, logit, moved, attention, answer))
        at += 1 + count
    return found


class Telling(NamedTuple):
    """A word that pushes to one side."""

    word: str
    contribution: float  # the mean over its occurrences
    occurrences: int


def telling_words(
    explanations: Sequence[Explanation], often: int = 10
) -> list[Telling]:
    """The words of documents by their mean contribution, the most negative ones first.

    Args:
      explanations: of documents.
      often: words that occur less often are left out.

    Example:
      >>> one = Explanation(["not", "bad"], 1, 0.5, np.array([1.0, -0.5]), np.ones(2))
      >>> [(t.word, t.contribution, t.occurrences) for t in telling_words([one] * 2, 2)]
      [('bad', -0.5, 2), ('not', 1.0, 2)]
    """
    found = defaultdict(list)
    for explanation in explanations:
        for word, value in zip(
            explanation.words, explanation.contributions, strict=True
        ):
            found[word].append(value)
    telling = [
        Telling(word, float(np.mean(values)), len(values))
        for word, values in found.items()
        if len(values) >= often
    ]
    return sorted(telling, key=lambda one: one.contribution)


def agreement(explanations: Sequence[Explanation]) -> tuple[float, float]:
    """How often the word with most attention is the one that moved the logit most.

    Args:
      explanations: of documents; those of one word are left out.

    Returns:
      The share of the documents, and the share that chance alone would give, the mean
      of 1 / words; NaN if there are no documents of several words.

    References:
      Jain and Wallace, "Attention is not explanation", 2019.

    Example:
      >>> one = Explanation(["a", "b"], 1, 0.5, np.array([0.1, -1.0]), np.array([0, 1]))
      >>> agreement([one, one._replace(attention=np.array([1, 0]))])
      (0.5, 0.5)
    """
    several = [e for e in explanations if len(e.words) > 1]
    if not several:
        return math.nan, math.nan
    same = [e.attention.argmax() == np.abs(e.contributions).argmax() for e in several]
    chance = [1 / len(e.words) for e in several]
    return float(np.mean(same)), float(np.mean(chance))
