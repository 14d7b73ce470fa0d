"""Sentences and their translations: Multi30k, and Tatoeba's English and Korean."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from experiments.data import DataError, files
from experiments.data.files import Files

# What a word is where translations are compared, by its name in sacrebleu: Korean,
# whose words have endings, is compared letter by letter.
WORDS = {"en": "13a", "de": "13a", "ko": "char"}


class CorpusSet(NamedTuple):
    """A data set of English sentences and their translations."""

    name: str
    title: str
    files: Files
    read: Callable[[str, str, Path | None], "Corpus"]  # (source, target, data_dir)


class Part(NamedTuple):
    """Sentences of one language, each with one or more translations."""

    sources: list[str]
    references: list[list[str]]

    def at(self, index: Sequence[int] | np.ndarray) -> "Part":
        """The sentences with these numbers."""
        return Part(
            [self.sources[i] for i in index], [self.references[i] for i in index]
        )

    def pairs(self) -> tuple[list[str], list[str]]:
        """Each sentence beside each of its translations."""
        pairs = [
            (source, target)
            for source, references in zip(*self, strict=True)
            for target in references
        ]
        return [source for source, _ in pairs], [target for _, target in pairs]


class Corpus(NamedTuple):
    """A data set of sentences and translations."""

    name: str
    train: Part
    val: Part
    test: Part

    def first(self, count: int | None) -> "Corpus":
        """The first `count` sentences of each part; None: all."""
        parts = (part.at(range(len(part.sources))[:count]) for part in self[1:])
        return Corpus(self.name, *parts)

    def tidied(self) -> "Corpus":
        """The sentences with one space in the place of all other blanks."""
        parts = (
            Part(
                [BLANKS.sub(" ", text) for text in part.sources],
                [[BLANKS.sub(" ", t) for t in texts] for texts in part.references],
            )
            for part in self[1:]
        )
        return Corpus(self.name, *parts)


BLANKS = re.compile(r"\s+")  # no-break spaces too
_PARTS = ("train", "val", "test_2016_flickr")


def _multi30k(source: str, target: str, data_dir: Path | None) -> Corpus:
    """A file for each language and part; line by line each other's translation."""
    parts = []
    for name in _PARTS:
        names = [f"{name}.{language}.gz" for language in (source, target)]
        paths = files.find("multi30k", data_dir, *names)
        sources, targets = (files.each_line(path, _sentence) for path in paths)
        if len(sources) != len(targets):
            raise DataError(
                f"{paths[0]} has {len(sources)} lines but {paths[1]} has "
                f"{len(targets)}: expected as many, each line a translation"
            )
        parts.append(Part(sources, [[target] for target in targets]))
    return Corpus("multi30k", *parts)


def _tatoeba(source: str, target: str, data_dir: Path | None) -> Corpus:
    """One file of English sentences and Korean translations, often several of one.

    A tenth of the sentences is for tests, a tenth for validation. Sentences that are
    alike but for case and punctuation, in either language, are in one part: otherwise
    much of the test set would stand in the training set too. The split is the same in
    all runs.
    """
    split_line = files.columns("english", "korean", "attribution")

    def parse(line):
        english, korean, _ = split_line(line)
        return {"en": _sentence(english), "ko": _sentence(korean)}

    (path,) = files.find("koreng", data_dir, "kor.txt.gz")
    lines = files.each_line(path, parse)
    sources, targets = ([line[name] for line in lines] for name in (source, target))
    group = alike(sources, targets)
    order = np.random.default_rng(0).permutation(group.max() + 1)
    place = order[group] / len(order)  # in 0..1
    chosen = [
        np.flatnonzero((low <= place) & (place < high))
        for low, high in ((0.2, 1.0), (0.1, 0.2), (0.0, 0.1))
    ]
    if not all(map(len, chosen)):
        raise DataError(f"{path}: has too few lines to split, {len(lines)}")
    return Corpus("tatoeba", *(gathered(sources, targets, rows) for rows in chosen))


def gathered(
    sources: Sequence[str], targets: Sequence[str], rows: Iterable[int]
) -> Part:
    """The pairs with these numbers, all translations of a sentence beside it.

    Example:
      >>> gathered(["Hi.", "Go.", "Hi."], ["안녕.", "가.", "안녕하세요."], [0, 2])
      Part(sources=['Hi.'], references=[['안녕.', '안녕하세요.']])
    """
    translations: dict[str, list[str]] = {}
    for i in rows:
        translations.setdefault(sources[i], []).append(targets[i])
    return Part(list(translations), list(translations.values()))


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError("expected a sentence, found nothing")
    return text


def alike(*columns: Sequence[str]) -> np.ndarray:
    """A number for each row, [N]: rows with like sentences have the same one.

    Like are sentences that differ only in case and punctuation. Rows are joined by like
    sentences in any one of their columns, and through other rows.

    Example:
      >>> english = ["Run!", "run", "Hi.", "Go."]
      >>> alike(english, ["뛰어!", "달려", "안녕", "뛰어."]).tolist()
      [0, 0, 1, 0]
    """
    rows = np.arange(len(columns[0]))
    starts, ends, nodes = [], [], len(rows)  # a node for each row and each sentence
    for column in columns:
        keys = [re.sub(r"\W+", " ", text.casefold()).strip() for text in column]
        found, sentence = np.unique(keys, return_inverse=True)
        starts.append(rows)
        ends.append(nodes + sentence)
        nodes += len(found)
    edges = np.concatenate(starts), np.concatenate(ends)
    graph = coo_array((np.ones(len(edges[0])), edges), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][: len(rows)]


DATASETS = {  # by the language that is not English
    "de": CorpusSet(
        "multi30k",
        "descriptions of photographs, English and German",
        Files(
            "multi30k",
            {
                "train.en.gz": "460a15fbd157e34a",
                "train.de.gz": "2c2b73fd2b548fbc",
                "val.en.gz": "1f2a23d992769b5b",
                "val.de.gz": "660e09eb7e1da2f8",
                "test_2016_flickr.en.gz": "399a4382932c1aad",
                "test_2016_flickr.de.gz": "4be6b5b3236b79c2",
            },
            "Elliott et al., 2016: github.com/multi30k/dataset, task 1",
            "curl -L --create-dirs -o 'multi30k/#1.#2.gz' 'https://raw."
            "githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
            "{train,val,test_2016_flickr}.{en,de}.gz'",
        ),
        _multi30k,
    ),
    "ko": CorpusSet(
        "tatoeba",
        "sentences of learners, English and Korean",
        Files(
            "koreng",
            {"kor.txt.gz": "5c5943f3cfb2c35e"},
            "Tatoeba's contributors, as manythings.org packs them; the list grows",
            "mkdir -p koreng; curl -LO https://www.manythings.org/anki/kor-eng.zip; "
            "unzip -p kor-eng.zip kor.txt | gzip > koreng/kor.txt.gz",
        ),
        _tatoeba,
    ),
}


def oddities(name: str, data_dir: Path | None = None) -> list[tuple[str, int]]:
    """What one would not expect of one of `DATASETS`, and how often it is there.

    Args:
      name: the language that is not English.
      data_dir: see `files.find`.
    """
    corpus, languages, found = load_corpus("en", name, data_dir), ("en", name), []
    parts = {
        part: dict(zip(languages, pairs.pairs(), strict=True))
        for part, pairs in corpus._asdict().items()
        if part != "name"
    }
    if name == "de":
        for path in DATASETS[name].files.find(data_dir):
            ends = sum(line != line.strip() for line in files.read_lines(path))
            what = f"{path.name.removesuffix('.gz')}: lines with blanks at an end"
            found.append((f"{what} (never read)", ends))
    for part, columns in parts.items():
        for language, texts in columns.items():
            where = f"{part}, {language}: sentences"
            odd = sum(BLANKS.sub(" ", text) != text for text in texts)
            found.append((f"{where} with odd blanks within (--tidy-blanks)", odd))
            again = len(texts) - len(set(texts))
            found.append((f"{where} that stood there before", again))
            if part != "train":
                both = sum(map(set(parts["train"][language]).__contains__, texts))
                found.append((f"{where} that stand in train too", both))
    return found


def load_corpus(source: str, target: str, data_dir: Path | None = None) -> Corpus:
    """Loads what there is for two languages.

    Args:
      source: the language to translate from.
      target: the language to translate into; one of the two is "en", the other one is
        in `DATASETS`.
      data_dir: see `files.find`.

    Raises:
      DataError: if there is no corpus of these two, or a file is missing or damaged.

    References:
      Elliott et al., "Multi30K: multilingual English-German image descriptions", 2016.
      Sentences from tatoeba.org, as manythings.org packs them.
    """
    others = {source, target} - {"en"}
    if source == target or len(others) != 1:
        raise DataError(f"expected en and one other language, got {source}, {target}")
    return files.record(DATASETS, others.pop()).read(source, target, data_dir)
