"""The option that asks for a folder, and the options that are in one."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import lab
from experiments.lab.options import places, replaced, restored


@dataclass(frozen=True)
class Sharing(lab.Config):
    """How a finished run is given to others."""

    export: lab.Asked[Path | None] = None
    """Train nothing; write the network of the finished run in --out into this new
    folder, with a card, as model hubs expect it."""


def without_places(config: lab.Config, saved: dict[str, Any]) -> dict[str, Any]:
    """Options for others: of paths only the names, which say nothing of a machine.

    Args:
      config: that has these options.
      saved: by name, in JSON's types.
    """

    def name(value):
        if isinstance(value, list):
            return [name(part) for part in value]
        return Path(value).name if isinstance(value, str) else value

    paths = places(type(config))
    return {k: name(v) if k in paths else v for k, v in saved.items()}


def config(study: lab.Study, path: str | os.PathLike[str]) -> Any:
    """The config of a study that made a network, from the config.json beside it.

    Raises:
      UsageError: if the file cannot be read, or is of another study.
    """
    try:
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
        if saved["study"] != study.name:
            raise ValueError(f"it is of {saved['study']}")
        base = study.recipes.base
        found = study.recipes.completed(saved["options"])
        return replaced(base, restored(base, found))
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise lab.UsageError(f"{path} holds no options of {study.name}: {error}") from (
            error
        )
