"""Texts as sequences of characters: one file, a folder, or Python's own source."""

import hashlib
import sysconfig
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.files import Files
from experiments.data.vocabulary import Vocabulary

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


def tidy(text: str) -> str:
    """With line feeds for line ends, and accents and syllables as one character each.

    A Korean syllable can be written as one character or as its letters; the same text
    is to be the same characters.
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


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
    name: str | Path, data_dir: Path | None = None, characters: int | None = None
) -> str:
    """Reads one of `DATASETS`, or files of the user's own.

    Args:
      name: of the text, or the path of a file or of a folder; see `from_path`.
      data_dir: see `files.find`.
      characters: read only the first `characters`; None: read all.

    Raises:
      DataError: if the name is unknown, or its file is not found or cannot be read.
    """
    if isinstance(name, Path):
        return from_path(name)[:characters]
    known = files.record(DATASETS, name)
    paths = [] if known.files is None else known.files.find(data_dir)
    return known.read(paths, characters)[:characters]


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
