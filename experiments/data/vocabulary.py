"""Characters as numbers."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files


class Vocabulary(NamedTuple):
    """The characters of a text, each with a number.

    Example:
      >>> vocabulary = Vocabulary.of("나는 나비")
      >>> vocabulary.encode("비나").tolist(), vocabulary.decode([0, 3])
      ([3, 1], ' 비')
    """

    characters: str  # in the order of their numbers

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """All characters of a text, in Unicode's order."""
        return cls("".join(sorted(set(text))))

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """From a file that `save` wrote; a DataError if it is none."""
        try:
            characters = json.loads(files.read_text(path))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: holds no vocabulary: {error}") from error
        if not isinstance(characters, str) or not characters:
            raise DataError(f"{path}: holds no vocabulary")
        return cls(characters)

    def save(self, path: Path) -> None:
        """Writes JSON."""
        text = json.dumps(self.characters, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")

    @property
    def size(self) -> int:
        """V."""
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """The number of each character, int32 [N].

        Raises:
          ValueError: if the text has a character that the vocabulary lacks.
        """
        known, codes = _codes(self.characters), _codes(text)
        numbers = np.minimum(np.searchsorted(known, codes), self.size - 1)
        unknown = np.flatnonzero(known[numbers] != codes)
        if unknown.size:
            character = text[unknown[0]]
            raise ValueError(
                f"the {self.size} known characters do not include {character!r} "
                f"(U+{ord(character):04X})"
            )
        return numbers.astype(np.int32)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of these numbers."""
        return "".join(self.characters[int(n)] for n in numbers)


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
