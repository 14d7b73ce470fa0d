"""The pages of the reference: one for each module that defines public names.

What is public is what `import jaxrnn` gives, and the public names of its rooms. The
pages are written anew at each build, beside `docs/reference/index.md`.
"""

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jaxrnn
import jaxrnn.interop
import jaxrnn.interop.doctor
import jaxrnn.testing

ROOMS = (
    *(jaxrnn, jaxrnn.cells, jaxrnn.kernels, jaxrnn.serialization, jaxrnn.testing),
    *(jaxrnn.interop, jaxrnn.interop.doctor),
)
GROUPS = {  # the title of a group, and the beginnings of the names of its modules
    "The cell": ("core", "build", "checks", "lift", "made"),
    "Cells": ("cells",),
    "Layers": ("layers",),
    "Combinators": ("combinators",),
    "Attention": ("attention", "pooling"),
    "Packing and ends": ("packing", "ends"),
    "Decoding": ("decode",),
    "Losses": ("losses", "means", "penalties"),
    "Training": ("train",),
    "Laws": ("testing",),
    "Kernels": ("kernels",),
    "Weights, files, other runtimes": ("interop", "serialization"),
}


class Public(NamedTuple):
    """A public name: where users find it, and where it is defined."""

    name: str  # jaxrnn.gru
    obj: object
    home: str  # jaxrnn.cells.gru


def public() -> list[Public]:
    """All public functions and classes, each once, under its shortest name."""
    found: dict[int, Public] = {}
    for room in ROOMS:
        for name in names(room):
            obj = getattr(room, name)
            module = getattr(
                inspect.unwrap(obj) if callable(obj) else obj, "__module__", ""
            )
            if module.split(".")[0] != "jaxrnn" or inspect.ismodule(obj):
                continue
            home = module if module.startswith(room.__name__) else room.__name__
            found.setdefault(id(obj), Public(f"{room.__name__}.{name}", obj, home))
    return list(found.values())


def names(room: ModuleType) -> list[str]:
    """`__all__`, or what a module defines and what it imports under the same name."""
    if listed := getattr(room, "__all__", None):
        return list(listed)
    found: list[str] = []
    for node in ast.parse(inspect.getsource(room)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names if alias.asname == alias.name]
    return [name for name in found if not name.startswith("_")]


def pages() -> dict[str, list[Public]]:
    """The public names by the module that defines them."""
    made: dict[str, list[Public]] = {}
    for one in public():
        made.setdefault(one.home.removeprefix("jaxrnn."), []).append(one)
    return made


def group_of(page: str) -> str:
    """The title of the group of a module."""
    for title, beginnings in GROUPS.items():
        if page.split(".")[0] in beginnings:
            return title
    raise ValueError(f"docs/site/reference.py: GROUPS: expected one for {page}")


def page_of(page: str, members: list[Public]) -> str:
    """A page of the reference, in Markdown."""
    # Functions first: they say what their params and carries are for.
    ordered = sorted(members, key=lambda one: (inspect.isclass(one.obj), one.name))
    shown = [one.name.removeprefix("jaxrnn.") for one in ordered]
    title = ", ".join(name for name in shown if not name.endswith(("Params", "Carry")))
    lines = [f"# {title}", "", "```{eval-rst}", ".. py:currentmodule:: jaxrnn", ""]
    # A page of a source leads back to all of its names under the first one's room.
    room = ordered[0].name.rpartition(".")[0]
    for one in ordered:
        kind = "class" if inspect.isclass(one.obj) else "function"
        its_room, _, name = one.name.rpartition(".")
        if its_room != room:
            lines += [".. raw:: html", "", f'   <span id="{room}.{name}"></span>', ""]
        lines += [f".. auto{kind}:: {one.name}", ""]
    return "\n".join([*lines, "```", ""])


def index() -> str:
    """The first page: all names by group."""
    made = pages()
    lines = ["# Reference", "", "Every public name, `import jaxrnn as rnn`.", ""]
    for title in GROUPS:
        mine = sorted(page for page in made if group_of(page) == title)
        lines += ["```{toctree}", f":caption: {title}", ":maxdepth: 1", ""]
        lines += [*mine, "```", ""]
    return "\n".join(lines)


def write(folder: Path) -> None:
    """Writes the pages that changed, and removes those that are none any more."""
    folder.mkdir(exist_ok=True)
    wanted = {f"{page}.md": page_of(page, members) for page, members in pages().items()}
    wanted["index.md"] = index()
    for path in set(folder.glob("*.md")) - {folder / name for name in wanted}:
        path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
