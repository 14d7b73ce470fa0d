"""Docstrings of this library as reStructuredText.

Prose stays prose: stars and bars mean nothing, and code stands between backticks. What
is indented by four before the first section is an equation, or else code. The fields of
a NamedTuple are read with the comments behind them.
"""

import inspect
import re
import textwrap
from itertools import pairwise
from typing import Any

import equations
from sphinx.application import Sphinx

LISTS = ("Args", "Raises", "Attributes")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|References|Examples?):$")
FIELD = re.compile(r"^    (\w+): ([^=#]+?)(?: = [^#]*?)?(?:  # (.*))?$")
ENTRY = re.compile(r"^(?! )(.+?):(?= |$)", re.MULTILINE)
EQUATION = re.compile(r"(?:^|\s)[=~]\s")
CODE = re.compile(r"^\s*(def |class |import |python |jaxrnn\.|>>> )", re.MULTILINE)


def escaped(prose: str) -> str:
    """Prose with its code, and nothing else that reStructuredText would read."""
    parts = re.split(r"(``.+?``|`[^`\n]+(?:\n[^`\n]+)?`)", prose)
    for at, part in enumerate(parts):
        if at % 2:
            parts[at] = span(part.strip("`"))
        else:
            part = re.sub(r"([\\*|])", r"\\\1", part)
            parts[at] = re.sub(r"_(?=\W|$)", r"\\_", part)
    return "".join(parts)


def span(code: str) -> str:
    """Code: a link where it is the name of something public."""
    code = " ".join(code.split())
    name = re.fullmatch(r"[A-Za-z_][\w.]*", code)
    return f"\\ :py:obj:`{code}`\\ " if name else f"\\ ``{code}``\\ "


def paragraphs(text: str) -> list[str]:
    """What stands between empty lines."""
    return [part for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]


def body(text: str) -> list[str]:
    """The lines of paragraphs, equations, code and examples."""
    lines: list[str] = []
    for part in paragraphs(text):
        inner = textwrap.dedent(part)
        if inner.startswith(">>>"):
            lines += inner.splitlines()
        elif part.startswith("    "):
            lines += typeset(inner)
        else:
            lines += listed(inner)
        lines.append("")
    return lines


def listed(part: str) -> list[str]:
    """A paragraph, or a list whose entries begin with a dash."""
    text = escaped(part)
    return re.sub(r"(?<!^)\n(?=- )", "\n\n", text).splitlines()


def typeset(part: str) -> list[str]:
    """A block that is indented: an equation, or code."""
    if EQUATION.search(part) and not CODE.search(part):
        return [
            "",
            ".. math::",
            "",
            *textwrap.indent(equations.block(part), "   ").split("\n"),
        ]
    return ["", ".. code-block:: none", "", *textwrap.indent(part, "   ").split("\n")]


def entries(text: str) -> list[str]:
    """Args and Raises, as a list of names with what they mean."""
    lines: list[str] = []
    inner = textwrap.dedent(text)
    starts = [found.start() for found in ENTRY.finditer(inner)] + [len(inner)]
    for start, end in pairwise(starts):
        name, _, meaning = inner[start:end].partition(":")
        lines.append(", ".join(f"``{word.strip(' `')}``" for word in name.split(",")))
        text = textwrap.dedent("  " + meaning.strip())
        lines += textwrap.indent("\n".join(body(unindented(text))), "   ").split("\n")
    return lines


def unindented(text: str) -> str:
    """Every line from its first letter on."""
    return "\n".join(line.strip() if line.strip() else "" for line in text.split("\n"))


def rest(docstring: str) -> list[str]:
    """The whole docstring."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in docstring.split("\n"):
        if found := SECTION.match(line):
            sections.append((found[1], []))
        else:
            sections[-1][1].append(line)
    lines: list[str] = []
    for title, content in sections:
        text = "\n".join(content)
        if title:
            lines += [f".. rubric:: {title}", ""]
            text = textwrap.dedent(text)
        lines += entries(text) if title in LISTS else body(text)
        lines.append("")
    return lines


def fields(cls: type) -> list[str]:
    """The fields of a NamedTuple, with their types and comments."""
    lines = [".. rubric:: Fields", ""]
    found = [FIELD.match(line) for line in inspect.getsource(cls).split("\n")]
    for match in filter(None, found):
        name, kind, comment = match.groups()
        meaning = f": {escaped(comment)}" if comment else ""
        lines += [f"``{name}``", f"   ``{kind}``{meaning}", ""]
    return lines


def process(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """What autodoc calls with the lines of a docstring, which it changes."""
    del app, name, options
    made = rest("\n".join(lines))
    if what == "class" and hasattr(obj, "_fields"):
        if lines and lines[0].startswith(f"{obj.__name__}("):  # none of its own
            made = []
        made += [] if ".. rubric:: Attributes" in made else fields(obj)
    lines[:] = made


def setup(app: Sphinx) -> dict[str, bool]:
    """Reads docstrings before autodoc does."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
