"""Texts as sequences of characters: one file, a folder, or Python's own source."""

import hashlib
import json
import sysconfig
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files

FEWEST = 30  # characters in a text that can be cut in two

# Folders of the standard library that are not its own source, or hold tables.
_NOT_SOURCE = {
    "encodings",
    "idle_test",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
}


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


def tidy(text: str) -> str:
    """With line feeds for line ends, and accents and syllables as one character each.

    A Korean syllable can be written as one character or as its letters; the same text
    is to be the same characters.
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


def shakespeare(data_dir: Path | None) -> str:
    """Tiny Shakespeare (Karpathy, 2015): parts of the plays, 1,115,394 characters.

    Raises:
      DataError: if it is not found or cannot be read.
    """
    (path,) = files.find("shakespeare", data_dir, "input.txt")
    return tidy(files.read_text(path))


def from_path(path: Path) -> str:
    """A file, or all files `*.txt` of a folder, one after the other by name.

    Raises:
      DataError: if there is none, or one is empty, unreadable or not UTF-8.
    """
    path = path.expanduser()
    if not path.is_dir():
        return tidy(files.read_text(path))
    found = sorted(path.glob("*.txt"))
    if not found:
        raise DataError(f"the folder {path} has no files *.txt")
    return "\n".join(tidy(files.read_text(p)).strip("\n") for p in found) + "\n"


def python_source(characters: int | None) -> str:
    """The standard library of this Python, in ASCII; no file is needed.

    The modules come in the order of a hash of their names, so that a part of the text
    is a fair sample of it, and the same one for a version of Python.

    Args:
      characters: stop after the module that reaches so many; None for all.

    Raises:
      DataError: if this Python has no source of its standard library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if not _NOT_SOURCE.intersection(path.relative_to(root).parts)
        and not path.name.startswith("_sysconfigdata")  # depends on the machine
    ]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    texts, total = [], 0
    for name in names:
        data = (root / name).read_bytes()
        if data and data.isascii():
            texts.append(tidy(data.decode()))
            total += len(texts[-1])
        if characters is not None and total >= characters:
            break
    if not texts:
        raise DataError(f"{root} has no source of the standard library: pass --text")
    return "".join(texts)


class Corpus(NamedTuple):
    """A text, the last tenth of which is for validation."""

    train: np.ndarray  # int32 [N]
    valid: np.ndarray
    vocabulary: Vocabulary  # of both


def make_corpus(text: str, source: str = "the text") -> Corpus:
    """Cuts a text in two.

    Args:
      text: to be cut.
      source: what it is called in messages, its file.

    Raises:
      DataError: if it has fewer than FEWEST characters.

    Example:
      >>> corpus = make_corpus("to be or not to be, that is the question")
      >>> corpus.vocabulary.decode(corpus.valid), len(corpus.train)
      ('tion', 36)
    """
    if len(text) < FEWEST:
        raise DataError(
            f"{source} has {len(text)} characters, expected at least {FEWEST}"
        )
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    cut = len(tokens) * 9 // 10
    return Corpus(tokens[:cut], tokens[cut:], vocabulary)


class Streams(NamedTuple):
    """A text as B streams side by side, each cut into chunks of T characters.

    A stream goes on where the one before ends, as a page in columns does.

    Example:
      >>> streams = make_streams(np.arange(16), batch_size=2, chunk=3)
      >>> streams.steps, streams.rest
      (2, 3)
      >>> streams.chunks(0, 0, 2).tolist()
      [[[0, 1, 2, 3], [6, 7, 8, 9]], [[3, 4, 5, 6], [9, 10, 11, 12]]]
    """

    tokens: np.ndarray  # [N]
    batch_size: int
    chunk: int  # T
    steps: int  # chunks of a stream

    @property
    def rest(self) -> int:
        """Characters left over by full chunks."""
        return len(self.tokens) - 1 - self.steps * self.batch_size * self.chunk

    def chunks(self, start: int, first: int, stop: int) -> np.ndarray:
        """Some chunks of all streams, [stop - first, B, T + 1].

        Each has one character more at its end, which the next one begins with: what is
        to be predicted stands one place after what is read.

        Args:
          start: where the first stream begins, in 0..rest.
          first, stop: which chunks.
        """
        stream = self.steps * self.chunk
        starts = start + (
            np.arange(first, stop)[:, None] * self.chunk
            + np.arange(self.batch_size) * stream
        )
        return np.lib.stride_tricks.sliding_window_view(self.tokens, self.chunk + 1)[
            starts
        ]


def make_streams(
    tokens: np.ndarray, batch_size: int, chunk: int, source: str = "the text"
) -> Streams:
    """Lays a text out in streams of as many full chunks as it has.

    Raises:
      DataError: if it does not have one for each stream.
    """
    steps = (len(tokens) - 1) // (batch_size * chunk)
    if steps < 1:
        raise DataError(
            f"{source} has {len(tokens):,} characters to train on; {batch_size} "
            f"streams (--batch-size) of {chunk} characters (--chunk) and one to begin "
            f"with need {batch_size * chunk + 1:,}"
        )
    return Streams(tokens, batch_size, chunk, steps)
