"""Sentences and their translations as tokens."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.data.parallel import Part
from experiments.data.subwords import START, STOP, Subwords


class Pairs(NamedTuple):
    """Tokens of N sentences and of their translations."""

    sources: list[np.ndarray]  # see `source_tokens`
    targets: list[np.ndarray]  # see `target_tokens`

    @property
    def lengths(self) -> np.ndarray:
        """The steps that both the encoder and the decoder need, [N]."""
        pairs = zip(self.sources, self.targets, strict=True)
        return np.array([max(len(s), len(t) - 1) for s, t in pairs])

    def up_to(self, most: int) -> "Pairs":
        """The pairs with at most `most` steps."""
        chosen = np.flatnonzero(self.lengths <= most)
        return Pairs(*([of_pairs[i] for i in chosen] for of_pairs in self))


def make_pairs(part: Part, source: Subwords, target: Subwords) -> Pairs:
    """The tokens of each sentence beside each of its translations.

    Example:
      >>> texts = ["low lower", "new newer"]
      >>> subwords = Subwords.of(texts, 30)
      >>> part = Part(["low"], [["new", "newer"]])
      >>> pairs = make_pairs(part, subwords, subwords)
      >>> len(pairs.sources), pairs.lengths.tolist()
      (2, [2, 2])
    """
    sources, targets = part.pairs()
    return Pairs(source_tokens(source, sources), target_tokens(target, targets))


def source_tokens(subwords: Subwords, texts: Sequence[str]) -> list[np.ndarray]:
    """What an encoder reads: the tokens of each text, and a stop."""
    return [np.append(tokens, np.int32(STOP)) for tokens in subwords.encode(texts)]


def target_tokens(subwords: Subwords, texts: Sequence[str]) -> list[np.ndarray]:
    """A start, the tokens of each text, and a stop.

    A decoder reads all but the last, and is to write all but the first.
    """
    ends = np.int32(START), np.int32(STOP)
    return [np.r_[ends[0], tokens, ends[1]] for tokens in subwords.encode(texts)]


def side_by_side(texts: Mapping[str, Sequence[str]]) -> str:
    """Columns of N texts as a table with tabs, their names in the first line.

    A tab within a text is written as a space.

    Example:
      >>> side_by_side({"source": ["low", "new"], "target": ["high", "old"]})
      'source\\ttarget\\nlow\\thigh\\nnew\\told\\n'
    """
    lines = [tuple(texts), *zip(*texts.values(), strict=True)]
    rows = ([text.replace("\t", " ") for text in line] for line in lines)
    return "".join("\t".join(row) + "\n" for row in rows)


def one_below_another(texts: Mapping[str, Sequence[str]], most: int) -> list[str]:
    """The first `most` texts of each column, each text in a line with its name.

    Example:
      >>> one_below_another({"source": ["low"], "target": ["high"]}, 1)
      ['source  low\\ntarget  high\\n']
    """
    width = max(map(len, texts)) + 2
    return [
        "".join(
            f"{name:<{width}}{text}\n" for name, text in zip(texts, line, strict=True)
        )
        for line in list(zip(*texts.values(), strict=True))[:most]
    ]
