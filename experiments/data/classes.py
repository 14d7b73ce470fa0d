"""The names of classes, kept in the folder of a run for questions to it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import lab
from experiments.data import DataError
from experiments.measures.decisions import by_class

CLASSES = "classes.json"


def keep_classes(keep: Callable[..., Any], classes: tuple[str, ...]) -> None:
    """Writes the names into the folder of a run."""
    text = json.dumps(classes, ensure_ascii=False)
    keep(CLASSES, lambda path: path.write_text(text, encoding="utf-8"))


def kept_classes(folder: Path) -> tuple[str, ...]:
    """Reads the names from the folder of a run."""
    path = folder / CLASSES
    try:
        return tuple(map(str, json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: holds no names of classes: {error}") from error


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes that there are: numbers as numbers, others by the alphabet.

    Example:
      >>> in_order(["10", "9", "10"]), in_order(["spam", "ham", "10"])
      (('9', '10'), ('10', 'ham', 'spam'))
    """
    names = sorted(set(labels))
    if all(name.removeprefix("-").isdecimal() for name in names):
        names.sort(key=int)
    return tuple(names)


def of_each(
    examples: str, answers: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> lab.Table:
    """How often each class is told right; `examples` says of what, see `by_class`."""
    each = by_class(answers, labels, classes)
    columns = {examples: ",d", "right": ".2%", "most often taken for": ""}
    return lab.Table("of each class", columns, [lab.Row(*row) for row in each.items()])


def told(
    folder: Path,
    asked: tuple[str, Sequence[Any]],
    classes: Sequence[str],
    probabilities: np.ndarray,
    more: Mapping[str, Sequence[Any]],
) -> lab.Report:
    """Which classes N things have that a finished run was asked about.

    Args:
      folder: of the run.
      asked: what they are, and the N of them.
      classes: the names of K.
      probabilities: [N, K].
      more: by name, N values that are told of them too.
    """
    what, things = asked
    rows = [
        (thing, classes[p_K.argmax()], float(p_K.max()), *others, *map(float, p_K))
        for thing, p_K, *others in zip(
            things, probabilities, *more.values(), strict=True
        )
    ]
    columns = what, "class", "probability", *more, *classes
    return lab.predictions(folder, columns, rows)
