"""Equations as MathML, which browsers draw by themselves, without a script."""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def drawn(node: nodes.Node, *, block: bool) -> str:
    """The MathML of a node with TeX."""
    try:
        made = latex2mathml.tex2mathml(node.astext(), as_block=block)
    except Exception as error:  # docutils has its own, and runs into others
        raise ExtensionError(f"no MathML of {node.astext()!r}: {error}") from error
    # A name of one letter is in italics, see site.css; one of several stands upright.
    return re.sub(r"<mi>(\w)</mi>", r'<mi class="letter">\1</mi>', made)


def inline(writer: Any, node: nodes.Node) -> None:
    """Writes an equation in a line."""
    writer.body.append(drawn(node, block=False))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.Node) -> None:
    """Writes an equation by itself."""
    # It scrolls by itself where it is wider than the page; a key can reach it then.
    writer.body.append('<div class="math" tabindex="0">')
    writer.body.append(drawn(node, block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the writer of equations."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
