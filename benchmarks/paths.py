"""Paths of the command line."""

import dataclasses
from pathlib import Path
from typing import Any


def at_home(value: Any) -> Any:
    """A path, several or a config of them, with the home folder in place of `~`.

    A shell leaves it as it is in `--out=~/results`.
    """
    if isinstance(value, Path):
        return value.expanduser()
    if isinstance(value, tuple):
        return tuple(map(at_home, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{k: at_home(v) for k, v in vars(value).items()}
        )
    return value
