"""Captions: which are right, and in what the others are wrong."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


def right(said: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Whether what was said is a true caption, to the word; [N] bool.

    Args:
      said: a caption of each image.
      references: the true captions of each.

    Example:
      >>> right(["a dog", "dogs"], [["the dog", "a dog"], ["two dogs"]]).tolist()
      [True, False]
    """
    return np.array([s in true for s, true in zip(said, references, strict=True)])


def all_found(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> float:
    """How often the K best hypotheses are the K true captions of an image.

    Args:
      hypotheses: of each image, the best first.
      references: the true captions of each image.

    Example:
      >>> all_found([["a", "b", "c"], ["a", "c"]], [["b", "a"], ["a", "b"]])
      0.5
    """
    pairs = zip(hypotheses, references, strict=True)
    return float(np.mean([set(h[: len(true)]) == set(true) for h, true in pairs]))


def wilson_interval(hits: int, count: int, confidence: float = 0.95) -> list[float]:
    """An interval for a probability, from `hits` successes in `count` trials.

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    with p = hits / n and z the normal quantile of the confidence.

    References:
      Wilson, "Probable inference, the law of succession, and statistical inference",
      1927.

    Example:
      >>> [round(end, 3) for end in wilson_interval(9, 10)]
      [0.596, 0.982]
    """
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(confidence, method="wilson")
    return [float(found.low), float(found.high)]


def closest(said: str, references: Sequence[str]) -> str:
    """The reference that has the most words of what was said; of several the first.

    Example:
      >>> closest("a brown dog runs", ["a cat", "the dog runs", "one dog sits"])
      'the dog runs'
    """
    words = set(said.split())
    return max(references, key=lambda text: len(set(text.split()) & words))


class Mistakes(NamedTuple):
    """In what captions differ from the true ones they are most like."""

    counts: dict[str, int]  # captions by kind; one may have several kinds
    tables: dict[
        str, np.ndarray
    ]  # by kind, how often each (true) is called each (said)


def mistakes(
    said: Sequence[str],
    references: Sequence[Sequence[str]],
    parts: Mapping[str, Sequence[int]],
    kinds: Mapping[str, Sequence[int]],
) -> Mistakes:
    """Compares captions of a grammar with the true ones, part by part.

    Args:
      said: a caption of each image.
      references: the true captions of each.
      parts: what each sentence of the grammar says, as a tuple of numbers.
      kinds: by its name, the places in the tuple that a kind of mistake is about.

    Returns:
      The number of captions with each kind of mistake, "not a sentence" last; and for
      each kind a table of numbers (true, said), in which the others are not counted.

    Example:
      >>> parts = {"a dog": (0, 0), "a cat": (0, 1), "the dog": (1, 0)}
      >>> kinds = {"article": [0], "noun": [1]}
      >>> found = mistakes(["a cat", "dog"], [["a dog", "the dog"]] * 2, parts, kinds)
      >>> found.counts, found.tables["noun"].tolist()
      ({'article': 0, 'noun': 1, 'not a sentence': 1}, [[0, 1], [0, 0]])
    """
    sizes = 1 + np.max(list(parts.values()), axis=0)
    counts = dict.fromkeys([*kinds, "not a sentence"], 0)
    tables = {
        kind: np.zeros(2 * [max(sizes[list(places)])], int)
        for kind, places in kinds.items()
    }
    for text, texts in zip(said, references, strict=True):
        if text not in parts:
            counts["not a sentence"] += 1
            continue
        own, *true = (np.array(parts[t]) for t in (text, *texts))
        nearest = max(true, key=lambda t: (t == own).sum())
        for kind, places in kinds.items():
            at = list(places)
            np.add.at(tables[kind], (nearest[at], own[at]), 1)
            counts[kind] += bool((nearest != own)[at].any())
    return Mistakes(counts, tables)
