"""Texts of your own with labels, of two classes or more."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from experiments import lab
from experiments.data import DataError
from experiments.data.classes import in_order
from experiments.data.documents import (
    SIDES,
    DocumentData,
    Documents,
    both_labels,
    load_documents,
)
from experiments.data.formats import tables
from experiments.data.own import is_own

TEXT = ("text", "document", "sentence", "review", "content", "comment", "message")
TEXT += ("tweet", "title", "body", "utterance")
LABEL = ("label", "class", "category", "target", "sentiment", "labels", "label_text")
SPLIT = ("split", "set", "fold")
PARTS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1}
PARTS |= {"test": 2}


@dataclass(frozen=True)
class OwnTexts(lab.Config):
    """Options of a study that can read such texts."""

    dataset: str = ""
    """The data set; own: that of --texts."""
    texts: Path | None = None
    """Texts and labels of your own, two or more classes: a file .csv, .tsv, .jsonl or
    .json. A column split (train, validation, test) divides it; otherwise a tenth of
    each class is for validation and, without --test-texts, for the test."""
    test_texts: Path | None = None
    """--texts: the file of the test."""
    text_column: str | None = None
    """The column with the texts; None: one called text, document, review and so on."""
    label_column: str | None = None
    """The column with the labels; None: one called label, class ..."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: an example weighs N / (K n) for N examples of K classes, n of them of
    its own, so that all classes weigh alike."""
    drop_both_labels: bool = False
    """Leave out training texts that stand there with different labels."""
    drop_repeated: bool = False
    """Leave out of validation and test the texts that stand in the training set."""
    predict: lab.Asked[tuple[Path, ...] | None] = None
    """Train nothing; what does the finished run in --out say of the texts in these
    files, .txt with one a line or tables as those of --texts?"""

    def load(self) -> tuple[DocumentData, tuple[str, ...]]:
        """Reads the texts, and names their classes by label."""
        if is_own(self, "texts") and self.texts:
            data, classes = load_texts(self.texts, self)
        else:
            data, classes = load_documents(self.dataset, self.run.data_dir), SIDES
        if self.drop_both_labels:
            twice = both_labels(data.train)
            data = data._replace(train=data.train.where(~twice))
        if self.drop_repeated:
            known = set(data.train.texts)
            parts = []
            for name, part in data._asdict().items():
                if name != "train":
                    part = part.where(np.array([t not in known for t in part.texts]))
                if not part.texts:
                    raise DataError(f"every {name} text stands in the training set")
                parts.append(part)
            data = DocumentData(*parts)
        return data, classes


def load_texts(path: Path, how: OwnTexts) -> tuple[DocumentData, tuple[str, ...]]:
    """Reads files of texts and labels.

    Returns:
      The texts, and the names of the classes, by label.

    Raises:
      DataError: with the line, if a file is not as it should be; if there are fewer
        than two classes, or a class has too few texts.
    """
    rows = _labeled(path, how)
    other = None if how.test_texts is None else _labeled(Path(how.test_texts), how)
    if any(part is not None for _, _, part in rows):
        parts = [[row for row in rows if row[2] == number] for number in range(3)]
        if other is None and not parts[2]:
            raise DataError(
                f"{path}: has no texts for the test in its column of splits"
            )
        if not parts[1]:
            parts[0], parts[1] = _divided(path, parts[0], 1)
    elif other is None:
        parts = _divided(path, rows, 2)
    else:
        parts = [*_divided(path, rows, 1), []]
    if other is not None:
        parts[2] = [*parts[2], *other]
    classes = in_order(label for _, label, _ in parts[0])
    if len(classes) < 2:
        raise DataError(f"{path}: expected two classes or more, found only {classes}")
    number = {name: i for i, name in enumerate(classes)}
    for part in parts:
        for _, label, _ in part:
            if label not in number:
                raise DataError(
                    f"{path}: the training texts have none of the class {label[:40]!r}"
                )
    found = (
        Documents(
            [t for t, *_ in part], np.array([number[n] for _, n, _ in part], "i4")
        )
        for part in parts
    )
    return DocumentData(*found), classes


def read_texts(paths: Iterable[Path], how: OwnTexts) -> list[tuple[str, str]]:
    """Texts to be asked about, with the place of each.

    Raises:
      DataError: if a file is missing, empty or not as it should be.
    """
    found = []
    for path in paths:
        name = Path(path.name.removesuffix(".gz"))
        if name.suffix.lower() not in tables.FORMS[:3] + tables.FORMS[4:]:
            lines = enumerate(tables.files.read_lines(path), 1)
            new = [(line, f"{path}, line {n}") for n, line in lines if line.strip()]
        else:
            records = tables.records(path, (*TEXT, how.text_column or ""))
            text = _column(records, TEXT, how.text_column, "text")
            new = [(_text(r, text), r.where) for r in records]
        if not new:
            raise DataError(f"{path}: has no texts")
        found += new
    return found


def _labeled(path: Path, how: OwnTexts) -> list[tuple[str, str, int | None]]:
    """(text, label, number of the part) of each row."""
    given = [name for name in (how.text_column, how.label_column) if name]
    records = tables.records(path, (*TEXT, *LABEL, *given))
    fields = list(records[0].fields)
    if fields == ["1", "2"] and not given:  # no header: labels are fewer
        counts = [len({r.fields[name] for r in records}) for name in fields]
        label, text = ("1", "2") if counts[0] <= counts[1] else ("2", "1")
        lab.say(f"{path}: has no header; column {label} is read as the label")
    else:
        text = _column(records, TEXT, how.text_column, "text")
        label = _column(records, LABEL, how.label_column, "label")
    split = tables.column(fields, SPLIT, None)
    found = []
    for record in records:
        value = record.fields.get(label)
        if value is None or isinstance(value, dict | list) or str(value).strip() == "":
            raise DataError(f"{record.where}: expected a label in {label!r}")
        part = None
        if split is not None:
            part = PARTS.get(str(record.fields.get(split)).lower())
            if part is None:
                raise DataError(
                    f"{record.where}: expected one of {', '.join(PARTS)} in {split!r}, "
                    f"found {str(record.fields.get(split))[:20]!r}"
                )
        found.append((_text(record, text), str(value).strip(), part))
    return found


def _column(
    records: Sequence[tables.Record], names: Sequence[str], given: str | None, what: str
) -> str:
    fields = list(records[0].fields)
    found = tables.column(fields, names, given)
    if found is None:
        raise DataError(
            f"{records[0].where}: expected a column {given or ' or '.join(names[:3])} "
            f"(--{what}-column), found {', '.join(fields)[:80]}"
        )
    return found


def _text(record: tables.Record, name: str) -> str:
    value = record.fields.get(name)
    if not isinstance(value, str):
        raise DataError(f"{record.where}: expected a text in {name!r}")
    return value


def _divided(path: Path, rows: list, parts: int) -> list[list]:
    """All but a tenth of each class for each of the parts, and these tenths."""
    counts = Counter(label for _, label, _ in rows)
    seen: Counter[str] = Counter()
    places = np.zeros(len(rows), int)
    for i in np.random.default_rng(0).permutation(len(rows)):
        label = rows[i][1]
        if counts[label] <= parts:
            raise DataError(
                f"{path}: expected more than {parts} texts of each class, found "
                f"{counts[label]} of {label[:40]!r}"
            )
        places[i] = seen[label] // max(1, counts[label] // 10) + 1
        seen[label] += 1
    places[places > parts] = 0
    return [[rows[i] for i in np.flatnonzero(places == n)] for n in range(parts + 1)]
