"""Texts of any size, of which no more than a few pieces are ever in memory."""

import codecs
import hashlib
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.vocabulary import Vocabulary

BLOCK = 1 << 22  # bytes read at once
AT_ONCE = 1024  # parts of a file that are mapped at once
CODES = 0x110000  # of Unicode


def tidy(text: str) -> str:
    """With line feeds for line ends, and accents and syllables as one character each.

    A Korean syllable can be written as one character or as its letters; the same text
    is to be the same characters.
    """
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


def pieces(path: Path) -> Iterator[str]:
    """A file, or all files `*.txt` of a folder, one after the other by name; `tidy`.

    Raises:
      DataError: if there is none, or one is empty, unreadable or not UTF-8.
    """
    path = path.expanduser()
    if not path.is_dir():
        yield from _tidied(_decoded(path))
        return
    found = sorted((*path.glob("*.txt"), *path.glob("*.txt.gz")))
    if not found:
        raise DataError(f"the folder {path} has no files *.txt")
    for i, own in enumerate(found):
        yield from ("\n",) * (i > 0)
        yield from _stripped(_tidied(_decoded(own)))
    yield "\n"


def first(texts: Iterable[str], characters: int | None) -> Iterator[str]:
    """The first characters of a text in pieces; None: all.

    Example:
      >>> list(first(["to ", "be or ", "not"], 5)), list(first(["to ", "be"], None))
      (['to ', 'be'], ['to ', 'be'])
    """
    for text in texts:
        yield text if characters is None else text[:characters]
        if characters is not None:
            characters -= len(text)
            if characters <= 0:
                return


def _decoded(path: Path) -> Iterator[str]:
    decoder, lines, empty = codecs.getincrementaldecoder("utf-8-sig")(), 1, True
    try:
        with files.opened(path) as file:
            while block := file.read(BLOCK):
                empty = False
                yield (text := decoder.decode(block))
                lines += text.count("\n")
        yield decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        lines += error.object.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {lines}: is not UTF-8: {error.reason}"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if empty:
        raise DataError(f"{path}: is empty")


def _tidied(texts: Iterable[str]) -> Iterator[str]:
    rest = ""
    for text in texts:
        rest += text
        places = range(len(rest) - 1, 0, -1)
        cut = next((i for i in places if _begins(rest[i])), 0)
        if cut:
            yield tidy(rest[:cut])
            rest = rest[cut:]
    if rest:
        yield tidy(rest)


def _begins(character: str) -> bool:
    """Whether a text may be cut before it: it never becomes one with what precedes."""
    return (
        (character < "\x80" and character != "\n")
        or "\u3041" <= character <= "\u3096"  # Hiragana
        or "\u4e00" <= character <= "\u9fff"  # Chinese characters
        or "\uac00" <= character <= "\ud7a3"  # Korean syllables
    )


def _stripped(texts: Iterable[str]) -> Iterator[str]:
    """Without the line ends at the start and at the end."""
    held, begun = "", False
    for text in texts:
        text = text if begun else text.lstrip("\n")
        body = text.rstrip("\n")
        if body:
            yield held + body
            held, begun = "", True
        held += text[len(body) :]


@dataclass(frozen=True)
class Tokens:
    """The first tokens of a file, which stay there until they are asked for.

    The file is mapped into memory anew each time: pages that were read would count as
    the process's own memory for as long as it is mapped.
    """

    path: Path
    dtype: str
    count: int

    def __len__(self) -> int:
        return self.count

    def _mapped(self) -> np.ndarray:
        return np.memmap(self.path, self.dtype, "r", shape=(self.count,))

    def __getitem__(self, part: slice) -> np.ndarray:
        """A part, int32."""
        return self._mapped()[part].astype(np.int32)

    def windows(self, places: np.ndarray, size: int) -> np.ndarray:
        """The tokens from each place on, int32 [..., size]."""
        flat = places.ravel()
        found = np.empty((len(flat), size), np.int32)
        for i in range(0, len(flat), AT_ONCE):
            every = np.lib.stride_tricks.sliding_window_view(self._mapped(), size)
            found[i : i + AT_ONCE] = every[flat[i : i + AT_ONCE]]
        return found.reshape(*places.shape, size)


class LongText(NamedTuple):
    """A text that is read piece by piece, and has been read once."""

    pieces: Callable[[], Iterator[str]]
    size: int  # characters
    vocabulary: Vocabulary  # of all of it
    digest: str

    @property
    def dtype(self) -> str:
        """Of a token in a file: the smallest that holds the vocabulary."""
        return np.min_scalar_type(self.vocabulary.size - 1).name

    def write(self, path: Path) -> None:
        """Writes the tokens.

        Raises:
          DataError: if the text is no longer the one that was read.
        """
        table = np.zeros(CODES, self.dtype)
        table[_codes(self.vocabulary.characters)] = np.arange(self.vocabulary.size)
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for piece in self.pieces():
                digest.update(piece.encode())
                file.write(table[_codes(piece)].tobytes())
        if digest.hexdigest() != self.digest:
            raise DataError("the text was changed while it was read")

    def tokens(self, path: Path) -> Tokens:
        """Those that `write` wrote.

        Raises:
          DataError: if the file has not as many as the text.
        """
        size = self.size * np.dtype(self.dtype).itemsize
        if path.stat().st_size != size:
            raise DataError(f"{path}: expected {size:,} bytes, the tokens of the text")
        return Tokens(path, self.dtype, self.size)


def read_once(every: Callable[[], Iterator[str]]) -> LongText:
    """Reads a text from its first to its last piece.

    Example:
      >>> text = read_once(lambda: iter(["to be ", "or not"]))
      >>> text.size, text.vocabulary.characters, text.dtype
      (12, ' benort', 'uint8')
    """
    seen, count, digest = np.zeros(CODES, bool), 0, hashlib.sha256()
    for piece in every():
        seen[_codes(piece)] = True
        count += len(piece)
        digest.update(piece.encode())
    characters = "".join(map(chr, np.flatnonzero(seen)))
    return LongText(every, count, Vocabulary(characters), digest.hexdigest())


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
