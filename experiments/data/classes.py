"""The names of classes, kept in the folder of a run for questions to it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.data import DataError

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
