"""Follows every link of the built site, without asking any other machine.

python docs/site/links.py site
"""

import re
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

TAG = re.compile(r"<(\w+)\s[^>]*>")
ATTRIBUTE = re.compile(r'\s(href|src|id|name)="([^"]*)"')
LOADED = ("script", "img", "link", "iframe", "source")  # with the page, not on a click


def parts_of(text: str) -> tuple[set[tuple[str, str]], set[str]]:
    """The links of a page, each with its tag, and the anchors."""
    links, anchors = set(), set()
    for tag in TAG.finditer(text):
        for name, value in ATTRIBUTE.findall(tag[0]):
            if name in ("id", "name"):
                anchors.add(unescape(value))
            else:
                links.add((tag[1], unescape(value)))
    return links, anchors


def dead(folder: Path) -> list[str]:
    """A line for each link that leads nowhere, or loads from another machine."""
    folder = folder.resolve()
    paths = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    pages = {path: parts_of(path.read_text("utf-8")) for path in paths}
    found: list[str] = []
    for path, (links, _) in pages.items():
        for tag, link in links:
            url = urlsplit(link)
            there = (path.parent / unquote(url.path)).resolve() if url.path else path
            _, anchors = pages.get(there, ((), None))
            if url.scheme or url.netloc:
                wrong = tag in LOADED and url.scheme != "data"
            elif anchors is not None and url.fragment:
                wrong = unquote(url.fragment) not in anchors
            else:
                wrong = not there.exists()
            if wrong:
                found.append(f"{path.relative_to(folder)}: <{tag}> {link}")
    return sorted(found)


if __name__ == "__main__":
    if lines := dead(Path(sys.argv[1])):
        sys.exit("\n".join(["links that lead nowhere:", *lines]))
