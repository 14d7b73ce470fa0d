"""Documents that are for or against something: NSMC, SST-2, and files of your own.

`nsmc`: Korean film reviews (Park, 2015), `ratings_train.txt.gz` and
`ratings_test.txt.gz`, each line `id<TAB>document<TAB>label` below a header. A few
documents are empty. The split is the published one; 5,000 of the training documents,
the same in every run, are held out as validation documents.

`sst2`: English sentences from film reviews (Socher et al., 2013), `stsa.binary.train`,
`.dev` and `.test`, each line `label sentence`.

`tsv`: `train.tsv`, `validation.tsv` and `test.tsv`, each line `label<TAB>document`.

The label is 1 for a positive document, 0 for a negative one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files

HELD_OUT = 5000  # of NSMC's training documents


class Documents(NamedTuple):
    """One split of a data set."""

    texts: list[str]
    labels: np.ndarray  # [N] int32, 1 for positive

    def first(self, count: int | None) -> "Documents":
        """So many of them, the first ones; None: all."""
        return Documents(self.texts[:count], self.labels[:count])


class DocumentData(NamedTuple):
    """A data set."""

    train: Documents
    validation: Documents
    test: Documents


def load_documents(name: str, data_dir: Path | None = None) -> DocumentData:
    """Loads `nsmc`, `sst2` or `tsv`.

    Args:
      name: of the data set.
      data_dir: a folder with its files, or with a folder called `name` that has them;
        None: the environment variable `JAXRNN_DATA` names it.

    Raises:
      DataError: if a file is missing or is not as it should be; it names the line.
    """
    if name == "nsmc":
        paths = files.find(
            name, data_dir, "ratings_train.txt.gz", "ratings_test.txt.gz"
        )
        train, test = map(_read_nsmc, paths)
        return DocumentData(*_hold_out(train, HELD_OUT), test)
    if name == "sst2":
        names = [f"stsa.binary.{split}" for split in ("train", "dev", "test")]
        parse = files.columns("label", "sentence", separator=" ", most=1)
    else:
        names = [f"{split}.tsv" for split in ("train", "validation", "test")]
        parse = files.columns("label", "document")
    paths = files.find(name, data_dir, *names)
    found = DocumentData(
        *(_documents(files.each_line(p, _labelled(parse))) for p in paths)
    )
    if len(labels := np.unique(found.train.labels)) < 2:
        raise DataError(
            f"{paths[0]}: all documents have the label {labels[0]}, expected 0 and 1"
        )
    return found


def _read_nsmc(path: Path) -> Documents:
    names = ("id", "document", "label")
    files.check_header(path, names)
    columns = files.columns(*names)  # quotes are part of the text

    def parse(line: str) -> list[str]:
        _, text, label = columns(line)
        return [label, text]

    return _documents(files.each_line(path, _labelled(parse), skip=1))


def _labelled(parse: Callable[[str], list[str]]) -> Callable[[str], tuple[int, str]]:
    def parse_label(line: str) -> tuple[int, str]:
        label, text = parse(line)
        if label not in ("0", "1"):
            raise ValueError(f"expected the label 0 or 1, found {label[:20]!r}")
        return int(label), text

    return parse_label


def _documents(rows: list[tuple[int, str]]) -> Documents:
    labels, texts = zip(*rows, strict=True)
    return Documents(list(texts), np.array(labels, np.int32))


def _hold_out(documents: Documents, count: int) -> tuple[Documents, Documents]:
    """All but so many documents, and these, drawn once and for all."""
    order = np.random.default_rng(0).permutation(len(documents.texts))
    count = min(count, len(order) // 2)
    parts = np.sort(order[count:]), np.sort(order[:count])
    first, second = (
        Documents([documents.texts[i] for i in part], documents.labels[part])
        for part in parts
    )
    return first, second
