"""Texts as sequences of characters: one file, a folder, or Python's own source."""

import hashlib
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.files import Files
from experiments.data.streamed import LongText, Tokens, first, pieces, read_once, tidy
from experiments.data.vocabulary import Vocabulary

FEWEST = 30  # characters in a text that can be cut in two
SHORT = 1 << 24  # characters of a text that is held in memory, at most
VALID = 1 << 22  # characters of a validation part, at most
COUNTED = 1 << 21  # characters of a text that is not in memory that are counted in

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


def from_path(path: Path) -> str:
    """The text of `pieces`, in memory."""
    return "".join(pieces(path))


def python_source(characters: int | None = None) -> str:
    """The standard library of this Python, in ASCII; no file is needed.

    The modules come in the order of a hash of their names, so that a part of the text
    is a fair sample of it, and the same one for a version of Python.

    Args:
      characters: stop after the module that reaches this number; None: read all.

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


class TextSet(NamedTuple):
    """A known text, and how it is read."""

    title: str
    files: Files | None  # None: Python comes with it
    read: Callable[[list[Path], int | None], str]  # (files, characters) -> the text


DATASETS = {
    "shakespeare": TextSet(
        "tiny Shakespeare, parts of the plays: 1,115,394 characters",
        Files(
            "shakespeare",
            {"input.txt": "86c4e6aa9db7c042"},
            "Karpathy, 2015: github.com/karpathy/char-rnn",
            "curl -L --create-dirs -o shakespeare/input.txt https://raw."
            "githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
            "input.txt",
        ),
        lambda paths, _: from_path(paths[0]),
    ),
    "python": TextSet(
        "the source of Python's standard library",
        None,
        lambda _, characters: python_source(characters),
    ),
}


def load_text(
    name: str, data_dir: Path | None = None, characters: int | None = None
) -> str:
    """Reads one of `DATASETS`.

    Args:
      name: of the text.
      data_dir: see `files.find`.
      characters: read only the first `characters`; None: read all.

    Raises:
      DataError: if the name is unknown, or its file is not found or cannot be read.
    """
    known = files.record(DATASETS, name)
    paths = [] if known.files is None else known.files.find(data_dir)
    return known.read(paths, characters)[:characters]


class Corpus(NamedTuple):
    """A text, the last tenth of which is for validation, or the last `VALID` of it."""

    train: np.ndarray | Tokens  # int32 [N]
    valid: np.ndarray  # int32
    vocabulary: Vocabulary  # of both

    @property
    def size(self) -> int:
        """Characters of both."""
        return len(self.train) + len(self.valid)


def load_corpus(
    name: str | Path, data_dir: Path | None = None, characters: int | None = None
) -> Corpus | LongText:
    """Reads a text and cuts it in two.

    Args:
      name: one of `DATASETS`; or the path of a file or of a folder, see `pieces`.
      data_dir: see `files.find`.
      characters: read only the first `characters`; None: read all.

    Returns:
      The text in memory; or, with more characters than `SHORT`, what `long_corpus`
      makes a corpus of.

    Raises:
      DataError: as `load_text`, `pieces` and `make_corpus`.
    """
    if isinstance(name, str):
        text = load_text(name, data_dir, characters)
        return make_corpus(text, f"--dataset {name}")

    def every():
        return first(pieces(name), characters)

    texts, count = [], 0
    for text in every():
        texts.append(text)
        count += len(text)
        if count > SHORT:
            del texts, text
            return read_once(every)
    return make_corpus("".join(texts), str(name))


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
    cut = train_count(len(tokens))
    return Corpus(tokens[:cut], tokens[cut:], vocabulary)


def long_corpus(text: LongText, path: Path) -> Corpus:
    """Cuts a text in two; its training part stays in the file that `write` wrote."""
    tokens, cut = text.tokens(path), train_count(text.size)
    train = Tokens(path, text.dtype, cut)
    return Corpus(train, tokens[cut : text.size], text.vocabulary)


def train_count(characters: int) -> int:
    """How many characters of a text are trained on."""
    return max(characters * 9 // 10, characters - VALID)


def counted_in(train: np.ndarray | Tokens) -> np.ndarray:
    """What n-grams are counted in: all of a text in memory, the end of another one."""
    return train if isinstance(train, np.ndarray) else train[-COUNTED:]


def digested(text: Corpus | LongText) -> tuple:
    """What tells a text from another one."""
    if isinstance(text, LongText):
        return (text.digest,)
    return text.train, text.valid, text.vocabulary.characters
