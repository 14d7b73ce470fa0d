"""The whole page: its style, its script and its curves, and what is in it."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from experiments.lab.page.markup import GENERATOR, element
from experiments.lab.records import Record

_HERE = Path(__file__).parent


class Curves:
    """The charts of a page: where they stand, and what page.js draws in them."""

    def __init__(self):
        # {"title", "series": [{"name", "epochs", "values"}]}, values[epoch][seed],
        # with null for a number that is not finite
        self.data: list[dict[str, Any]] = []

    def chart(self, title: str, lines: Mapping[str, tuple[Record, str]]) -> Any:
        """A chart of metrics, by the name of the line; None where there are none."""
        drawn = []
        for name, (record, metric) in lines.items():
            kept = [line for line in record.history if metric in line]
            if kept:
                values = [[_short(v) for v in line[metric]] for line in kept]
                epochs = [line["epoch"] for line in kept]
                drawn.append({"name": name, "epochs": epochs, "values": values})
        if not drawn:
            return None
        number = len(self.data)
        self.data.append({"title": title, "series": drawn})
        last = max(line["epochs"][-1] for line in drawn)
        names = ", ".join(line["name"] for line in drawn)
        return element(
            "figure",
            element("figcaption", title),
            class_="chart",
            data_chart=number,
            aria_label=f"{title} by epoch, to epoch {last}: {names}.",
        )


def document(title: str, body: Sequence[Element | None], curves: Curves) -> str:
    """The page as text.

    A browser runs no script in it but page.js, and asks nobody for anything.
    """
    style, script = ((_HERE / n).read_text("utf-8") for n in ("page.css", "page.js"))
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    data = json.dumps(curves.data, allow_nan=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")  # a name such as </script> does not end it
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="generator", content=GENERATOR),
            element("meta", name="viewport", content="width=device-width"),
            element("title", title),
            element("link", rel="icon", href="data:,"),
            element("style", style),
        ),
        element(
            "body",
            element("main", body),
            element("script", data, type="application/json", id="charts"),
            element("script", script),
        ),
        lang="en",
    )
    html = ElementTree.tostring(page, "unicode", method="html")
    # The name of a file may hold bytes that are no text.
    html = html.encode("utf-8", "backslashreplace").decode()
    return f"<!DOCTYPE html>\n{html}\n"


def _digest(text: str) -> str:
    """What allows this script or style, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _short(value: float | None) -> float | None:
    """With as many digits as a curve shows."""
    return None if value is None else float(f"{value:.6g}")
