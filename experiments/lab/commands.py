"""Command lines as text: that of a run, and those that ask it."""

import ast
import contextlib
import inspect
import itertools
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from experiments.lab.options import Config, identity, lasting
from experiments.lab.recipes import Recipes
from experiments.lab.study import Study

_PLACEHOLDERS = {Path: "FILE", str: "TEXT", int: "N", float: "X"}


class Question(NamedTuple):
    """A question that a finished run answers."""

    command: str  # with capital letters where something is to be filled in
    about: str  # what `--help` says of it


def arguments(saved: Mapping[str, Any], config: Config) -> list[str]:
    """The command line that gives a run like `config` the options that were saved."""
    known = identity(config) | lasting(config)
    found = []
    for name, value in saved.items():
        if name not in known:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            found += [f"--{flag}", *map(str, value)]
        else:
            found.append(f"--{flag}={value}")
    return found


def given(recipes: Recipes[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that are not the default ones; see `options.identity`."""
    chosen = {name: options[name] for name in recipes.choices if name in options}
    usual = identity(recipes(**chosen)) | recipes.choices
    return {name: v for name, v in options.items() if v != usual.get(name, v)}


def again(experiment: str, recipes: Recipes[Any], options: Mapping[str, Any]) -> str:
    """The command that makes a run with these options."""
    words = arguments(given(recipes, options), recipes.base)
    return shlex.join(["python", "-m", f"experiments.{experiment}", *words])


def resuming(experiment: str, folder: Path) -> str:
    """The command that goes on with a run."""
    out = shlex.quote(str(folder))
    return f"python -m experiments.{experiment} --resume --out {out}"


def questions(study: Study, folder: Path) -> list[Question]:
    """What a finished run in a folder can be asked, one command for each question."""
    kind = type(study.recipes.base)
    hints, told = get_type_hints(kind), explained(kind)
    out = shlex.quote(str(folder))
    return [
        Question(
            f"python -m experiments.{study.name} --out {out} "
            f"--{name.replace('_', '-')} {_placeholder(hints[name])}".rstrip(),
            told.get(name, ""),
        )
        for name in study.answers
    ]


def _placeholder(hint: Any) -> str:
    """What stands for a value of this type.

    Example:
      >>> _placeholder(tuple[Path, ...] | None), _placeholder(bool)
      ('FILE ...', '')
    """
    if ... in get_args(hint):
        return f"{_placeholder(get_args(hint)[0])} ..."
    found = [_PLACEHOLDERS.get(hint, ""), *map(_placeholder, get_args(hint))]
    return next(filter(None, found), "")


def explained(options: type) -> dict[str, str]:
    """What stands below each option in the source of its class, by its name."""
    found = {}
    for kind in reversed(options.__mro__):
        if not is_dataclass(kind):
            continue
        with contextlib.suppress(OSError, TypeError):  # there is no source
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            assert isinstance(body, ast.ClassDef)
            for pair in itertools.pairwise(body.body):
                match pair:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(said))),
                    ):
                        found[name] = " ".join(said.split())
    return found


def beside(folder: Path) -> str:
    """The command that sets a run beside another one."""
    return f"python -m experiments.report {shlex.quote(str(folder))} OTHER"


def watching(folder: Path) -> str:
    """The command that shows a run in TensorBoard."""
    return f"tensorboard --logdir {shlex.quote(str(folder / 'tensorboard'))}"
