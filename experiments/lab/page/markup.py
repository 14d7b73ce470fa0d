"""HTML as a tree of elements, so that every text in it is escaped."""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from experiments.lab import tables
from experiments.lab.storage import retried
from experiments.lab.study import Table

GENERATOR = "jaxrnn experiments"  # by which a page of ours is known
LONGEST_TEXT = 20_000  # characters of a text file that a page shows


def element(tag: str, *children: Any, **attributes: Any) -> Element:
    """An element of HTML.

    Args:
      tag: its name.
      *children: elements, texts, lists of them, or None for nothing.
      **attributes: `class_` for class, `aria_label` for aria-label; None for none.

    Example:
      >>> from xml.etree import ElementTree
      >>> made = element("p", "1 < 2 ", element("b", "&"), class_="note")
      >>> ElementTree.tostring(made, "unicode", method="html")
      '<p class="note">1 &lt; 2 <b>&amp;</b></p>'
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            made.set(name.rstrip("_").replace("_", "-"), str(value))
    _add(made, children)
    return made


def _add(parent: Element, children: Iterable[Any]) -> None:
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif isinstance(child, list | tuple):
            _add(parent, child)
        elif child is not None and len(parent):
            parent[-1].tail = (parent[-1].tail or "") + str(child)
        elif child is not None:
            parent.text = (parent.text or "") + str(child)


def section(title: str, *children: Any) -> Element | None:
    """A part of the page with a heading; None where it would be empty."""
    kept = [child for child in children if child is not None and child != []]
    return element("section", element("h2", title), kept) if kept else None


def folded(title: str, *children: Any) -> Element:
    """What is shown when one asks for it."""
    return element("details", element("summary", title), children)


def side_by_side(parts: Sequence[Element | None]) -> Element | None:
    """Elements beside each other where there is room."""
    kept = [part for part in parts if part is not None]
    return element("div", kept, class_="side") if kept else None


def command(about: str, words: str) -> Element:
    """A command line, and what it does."""
    line = element("pre", element("code", words), tabindex="0")
    return element("div", element("p", about), line)


def measured(made: Table, *, mark: bool = False) -> Element:
    """A table of results; its first line, that of the run itself, may be marked."""
    rows = [(row.name, *tables.cells(made, row)) for row in made.rows]
    return table(tables.caption(made), ("", *made.columns), rows, mark=mark)


def table(
    title: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    mark: bool = False,
) -> Element:
    """Texts in rows and columns; one that is too wide can be scrolled by itself."""
    lines = [
        element(
            "tr",
            element("th", name, scope="row"),
            [element("td", value) for value in values],
            class_="this" if mark and number == 0 else None,
        )
        for number, (name, *values) in enumerate(rows)
    ]
    shown = element(
        "table",
        element("caption", title),
        element("thead", element("tr", [element("th", n, scope="col") for n in head])),
        element("tbody", lines),
    )
    region = {"class_": "scroll", "tabindex": 0, "role": "region"}
    return element("div", shown, **region, aria_label=title)


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder; the name of half a file begins with a dot."""
    return sorted(p for p in folder.glob("*.png") if not p.name.startswith("."))


def picture(path: Path, about: str) -> Element:
    """A picture, whole in the page."""
    content = base64.b64encode(retried(f"reading {path}", path.read_bytes)).decode()
    image = element("img", alt=about, src=f"data:image/png;base64,{content}")
    return element("figure", image, element("figcaption", about))


def text(path: Path) -> Element:
    """A text file, or how it begins if it is long."""
    said = retried(f"reading {path}", lambda: path.read_text("utf-8", "replace"))
    if len(said) > LONGEST_TEXT:
        more = f"{len(said) - LONGEST_TEXT:,} characters more"
        said = f"{said[:LONGEST_TEXT]}\n... {more}"
    return folded(path.name, element("pre", said, class_="long", tabindex=0))


def shown(value: Any) -> str:
    """The value of an option as text.

    Example:
      >>> shown(None), shown([1, 2]), shown("a")
      ('none', '1 2', 'a')
    """
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "none" if value is None else str(value)
