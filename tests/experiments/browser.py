"""A browser without a window, which sees one folder and nothing else of the world."""

import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import pytest

DESKTOP, PHONE = {"width": 1100, "height": 900}, {"width": 390, "height": 844}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Quiet(SimpleHTTPRequestHandler):
    """Any static server; it prints nothing."""

    def log_message(self, format, *args):
        pass


@contextmanager
def served(folder: Path):
    """The address of a server of a folder."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@contextmanager
def started():
    """Chromium, or a skip that says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt install chromium")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def page_of(browser, folder: Path, *, scheme="light", size=DESKTOP, motion="reduce"):
    """A page of a folder, ready; at the end no request and no error went astray."""
    phone = size["width"] < 500
    with served(folder) as address:
        context = browser.new_context(
            viewport=size,
            color_scheme=scheme,
            reduced_motion=motion,
            has_touch=phone,
            device_scale_factor=1,
        )
        page = context.new_page()
        hosts, errors = set(), []
        page.on("request", lambda r: hosts.add(urlparse(r.url).hostname))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("response", lambda r: r.status >= 400 and errors.append(r.url))
        page.goto(address)
        page.wait_for_function(
            "['ready', 'done', 'failed'].includes(document.body.dataset.state)"
        )
        assert page.evaluate("document.body.dataset.state") != "failed", errors
        yield page
        context.close()
    assert not errors
    assert hosts - {None} == {"127.0.0.1"}  # None: data: and blob: have no host


def wait_for(page, state: str) -> None:
    """Until the page has read what it was given."""
    page.wait_for_function(f"document.body.dataset.state === '{state}'")


def wait_to_say(page, text: str) -> None:
    """Until the line that tells how things stand has this text."""
    place = "document.getElementById('status').textContent"
    page.wait_for_function(f"(text) => {place}.includes(text)", arg=text)


def first_answer(page) -> float:
    """Milliseconds that the network, once loaded, took for its first answer."""
    return page.evaluate("performance.getEntriesByName('first answer')[0].duration")


def overflow(page) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def unnamed(page) -> list[str]:
    """Controls that a screen reader could not name."""
    return page.evaluate(
        """[...document.querySelectorAll('button, input, textarea, select, [tabindex]')]
        .filter((e) => !(e.labels?.length || e.getAttribute('aria-label')
            || e.getAttribute('aria-labelledby') || e.textContent.trim()))
        .map((e) => e.outerHTML)"""
    )
