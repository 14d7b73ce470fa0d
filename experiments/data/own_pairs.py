"""Sentences and their translations in files of your own, of any two languages."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import lab
from experiments.data import DataError, files
from experiments.data.parallel import WORDS, Corpus, alike, gathered, load_corpus

# Scripts that put no blanks between words, and Korean, whose words have endings.
_BY_LETTER = (
    "CJK",
    "HANGUL",
    "HIRAGANA",
    "KATAKANA",
    "KHMER",
    "LAO",
    "MYANMAR",
    "THAI",
)


@dataclass(frozen=True)
class OwnPairs(lab.Config):
    """Options of a study that can read such pairs."""

    source: str = "en"
    """The language to translate from: en, de or ko; with --pairs any name."""
    target: str = "de"
    """The language to translate into: de or ko from en, en from these two."""
    pairs: tuple[Path, ...] | None = None
    """Read your own: one file with a sentence, a tab and its translation in each line,
    or two files, line by line each other's translation."""
    split_seed: lab.AtLeast0 = 0
    """Which of --pairs are for the test and for validation."""
    tidy_blanks: bool = False
    """Write no-break spaces, tabs and several spaces in a sentence as one space."""
    sentences: lab.AtLeast1 | None = None
    """Use only the first n sentences of each part of the data; None: all."""

    def load(self) -> Corpus:
        """Reads the pairs, or the data set of the two languages."""
        check(self.source, self.target, self.pairs)
        if self.pairs is None:
            corpus = load_corpus(self.source, self.target, self.run.data_dir)
        else:
            corpus = load_pairs(self.pairs, self.split_seed)
        corpus = corpus.tidied() if self.tidy_blanks else corpus
        return corpus.first(self.sentences)


class Rows(NamedTuple):
    """Sentences line by line beside their translations."""

    sources: list[str]
    targets: list[str]
    left_out: int  # lines with nothing in one of the two


def read_pairs(paths: Sequence[Path]) -> Rows:
    """Reads one file with a tab between the two, or a file for each language.

    What follows a second tab in a line is left out, as is a line that has nothing in
    one of the two languages.

    Raises:
      DataError: if there are not one or two files, if one cannot be read, if a line has
        no tab, or if the two have not equally many lines.
    """
    if len(paths) == 1:
        (path,) = paths

        def parse(line: str) -> tuple[str, str]:
            if not line.strip():
                return "", ""
            fields = line.split("\t")
            if len(fields) < 2:
                raise ValueError(
                    "expected a sentence, a tab and its translation, found "
                    f"{line[:40]!r}"
                )
            return fields[0].strip(), fields[1].strip()

        rows = files.each_line(path.expanduser(), parse)
    elif len(paths) == 2:
        first, second = (files.read_lines(path.expanduser()) for path in paths)
        if len(first) != len(second):
            raise DataError(
                f"{paths[0]} has {len(first):,} lines but {paths[1]} has "
                f"{len(second):,}: expected as many, each line a translation"
            )
        rows = [(a.strip(), b.strip()) for a, b in zip(first, second, strict=True)]
    else:
        raise DataError(f"expected one file of pairs or two files, got {len(paths)}")
    kept = [row for row in rows if all(row)]
    if not kept:
        raise DataError(f"{' and '.join(map(str, paths))}: no line has a translation")
    return Rows([a for a, _ in kept], [b for _, b in kept], len(rows) - len(kept))


def split_pairs(name: str, rows: Rows, seed: int) -> Corpus:
    """A tenth of the pairs for the test, a tenth for validation, drawn by the seed.

    Sentences that are `alike` in either language are in one part; groups of them with
    more than a tenth of all pairs are trained on.

    Raises:
      DataError: if there are too few pairs.

    Example:
      >>> texts = [f"{n} men" for n in range(20)]
      >>> corpus = split_pairs("own", Rows(texts, texts, 0), 0)
      >>> [len(part.sources) for part in corpus[1:]], corpus.test.sources
      ([16, 2, 2], ['4 men', '19 men'])
    """
    group = alike(rows.sources, rows.targets)
    sizes = np.bincount(group)
    room = {2: len(group) // 10, 1: len(group) // 10}  # the test, and validation
    part = np.zeros(len(sizes), int)
    for chosen in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        for place, left in room.items():
            if sizes[chosen] <= left:
                part[chosen] = place
                room[place] -= int(sizes[chosen])
                break
    found = [np.flatnonzero(part[group] == place) for place in range(3)]
    if not all(map(len, found)):
        raise DataError(
            f"{name}: has too few pairs to split, {len(group)} of which "
            f"{len(sizes)} are not alike"
        )
    return Corpus(name, *(gathered(rows.sources, rows.targets, at) for at in found))


def load_pairs(paths: Sequence[Path], seed: int) -> Corpus:
    """Reads and splits pairs; see `read_pairs` and `split_pairs`."""
    rows = read_pairs(paths)
    if rows.left_out:
        lab.say(f"note: {rows.left_out:,} lines lack one of the languages: left out")
    return split_pairs(paths[0].stem, rows, seed)


def read_questions(path: Path) -> dict[str, list[str]]:
    """The sentences of a file, and their translations if each line has a second column.

    Blank lines stay: an answer stands in the line of its question.

    Returns:
      The columns "source" and, if every sentence has one, "reference".

    Raises:
      DataError: if it cannot be read, or has no sentence.
    """
    lines = [line.split("\t") for line in files.read_lines(path.expanduser())]
    fields = [(*(field.strip() for field in line[:2]), "")[:2] for line in lines]
    sources, references = (list(column) for column in zip(*fields, strict=True))
    if not any(sources):
        raise DataError(f"{path}: has no sentence")
    if any(not b for a, b in fields if a):
        return {"source": sources}
    return {"source": sources, "reference": references}


def check(source: str, target: str, paths: Sequence[Path] | None) -> None:
    """Raises a UsageError unless there can be pairs of two languages.

    Args:
      source: the language to translate from.
      target: the language to translate into.
      paths: of the pairs of a user; None: of a data set.
    """
    known = {"en": ("de", "ko"), "de": ("en",), "ko": ("en",)}
    if paths is not None:
        count = len(paths)
        lab.require(count in (1, 2), "pairs", "one file or two", count)
        for name, value in (("source", source), ("target", target)):
            fits = bool(re.fullmatch(r"[\w-]+", value))
            lab.require(fits, name, "a name of letters, digits and -", value)
        lab.require(source != target, "target", "another one than --source", target)
        return
    expected = f"{', '.join(known)}, or --pairs with a file of your own"
    lab.require(source in known, "source", expected, source)
    expected = f"{' or '.join(known[source])}, since --source is {source}"
    lab.require(target in known[source], "target", expected, target)


def words_of(language: str, texts: Sequence[str]) -> str:
    """What a word is where translations into a language are compared; see `WORDS`.

    Letters count where a language has no rule and most letters of the texts are of
    scripts that put no blanks between words.

    Example:
      >>> words_of("ko", []), words_of("vi", ["Chó chạy"]), words_of("xx", ["犬が走る"])
      ('char', '13a', 'char')
    """
    if language in WORDS:
        return WORDS[language]
    letters = [c for text in texts[:1000] for c in text if c.isalpha()]
    names = (unicodedata.name(c, "") for c in letters)
    dense = sum(name.startswith(_BY_LETTER) for name in names)
    return "char" if 2 * dense > len(letters) else "13a"
