"""A browser without a window, which sees one folder and nothing else of the world."""

import os
import re
import shutil
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest

from experiments import lab
from experiments.lab.run import find_finished

DESKTOP, PHONE = {"width": 1100, "height": 900}, {"width": 390, "height": 844}
LOOKS = {"light-wide": ("light", DESKTOP), "dark-phone": ("dark", PHONE)}
each_look = pytest.mark.parametrize("look", LOOKS)
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
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="pip install -e '.[browser]'"
    )
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt install chromium")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def page_of(
    browser, folder: Path, *, look="light-wide", motion="reduce", expected="no error"
):
    """A page of a folder, ready; at the end no request and no error went astray."""
    scheme, size = LOOKS[look]
    phone = size is PHONE
    with served(folder) as address:
        context = browser.new_context(
            viewport=size,
            color_scheme=scheme,
            reduced_motion=motion,
            has_touch=phone,
            is_mobile=phone,
            device_scale_factor=1,
        )
        page = context.new_page()
        hosts, errors = set(), []
        page.on("request", lambda r: hosts.add(urlparse(r.url).hostname))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("response", lambda r: r.status >= 400 and errors.append(r.url))
        page.goto(address)
        wait_for(page, "ready", "done", "failed")
        assert page.locator("body").get_attribute("data-state") != "failed", errors
        yield page
        context.close()
    assert not [error for error in errors if expected not in error]
    assert hosts - {None} == {"127.0.0.1"}  # None: data: and blob: have no host


def made(tmp_path_factory, study, *options):
    """A finished run, and its page: (config, run, folder)."""
    out = tmp_path_factory.mktemp(study.name) / "run"
    lab.main(study, ["--out", str(out), *options])
    lab.main(study, ["--out", str(out), "--demo"])
    asked = lab.parse(study, ["--out", str(out), "--demo"])
    return *find_finished(study, asked, "demo"), out / "demo"


def wait_for(page, *states: str) -> None:
    """Until the page has read what it was given."""
    page.locator(",".join(f"body[data-state={name}]" for name in states)).wait_for()


def wait_to_have_read(page, count: int) -> None:
    """Until the language model has read so many characters."""
    said = re.compile(rf"^{count} characters read")
    page.locator("#status", has_text=said).wait_for()


def wait_to_say(page, text: str) -> None:
    """Until the line that tells how things stand has this text."""
    page.locator("#status", has_text=text).wait_for()


def wait_until(page, expression: str) -> None:
    """Until this is true in the page, which lets no test wait for it there."""
    last = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < last, expression
        page.wait_for_timeout(20)


def stepped(page, xs):
    """The outputs of each step in the page, the carry going from one to the next."""
    return page.evaluate(
        """async (xs) => {
            const { open } = await import("./session.js");
            const network = await open(), found = [];
            let carry = network.start(), y;
            for (const x of xs) {
                ({ carry, y } = await network.step(carry, x));
                found.push(Array.from(y.logits ?? y));
            }
            return found;
        }""",
        np.asarray(xs).tolist(),
    )


def shares(page, selector="#bars .share"):
    """The probabilities that the page shows."""
    all_of_them = "all => all.map((e) => +e.dataset.value)"
    return np.array(page.locator(selector).evaluate_all(all_of_them))


def places(page, selector, points):
    """Places in the window, from shares of the sides of an element."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    return [
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points
    ]


def drag(page, selector, points):
    """The mouse is pressed at the first of the places and moved."""
    first, *rest = places(page, selector, points)
    page.mouse.move(*first)
    page.mouse.down()
    for place in rest:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def touch(page, selector, points):
    """A finger is put on the first of the places and moved."""
    client = page.context.new_cdp_session(page)

    def send(kind, *at):
        at = [{"x": x, "y": y} for x, y in at]
        event = {"type": kind, "touchPoints": at}
        client.send("Input.dispatchTouchEvent", event)

    path = places(page, selector, points)
    send("touchStart", path[0])
    for begin, end in pairwise(path):
        for share in np.linspace(0.125, 1, 8):
            send("touchMove", (np.array(begin) + share * np.subtract(end, begin)))
    send("touchEnd")


def compose(page, *parts):
    """A syllable grows letter by letter, as Korean is typed; the last part stays."""
    client = page.context.new_cdp_session(page)
    for part in parts:
        ends = {"selectionStart": len(part), "selectionEnd": len(part)}
        client.send("Input.imeSetComposition", {"text": part, **ends})
        yield part
    client.send("Input.insertText", {"text": parts[-1]})


def type_composed(page, *syllables):
    """Syllables, each given by its parts, one after the other."""
    for parts in syllables:
        for _ in compose(page, *parts):
            pass


def overflow(page) -> int:
    """Pixels by which the page is wider than its window."""
    # A phone would make a page smaller that is too wide.
    wide = page.evaluate("Math.max(document.documentElement.scrollWidth, innerWidth)")
    return wide - page.viewport_size["width"]


def unnamed(page) -> list[str]:
    """Controls that a screen reader could not name."""
    controls = page.locator("button, input, textarea, select, [tabindex]")
    return controls.evaluate_all(
        """all => all.filter((e) => !(e.labels?.length || e.getAttribute('aria-label')
            || e.getAttribute('aria-labelledby') || e.textContent.trim()))
        .map((e) => e.outerHTML)"""
    )


def check_page(page):
    """It fits its window, its controls have names, and it answers within a second."""
    assert overflow(page) <= 0
    assert not unnamed(page)
    asked = "performance.getEntriesByName('first answer')[0].duration"
    print(f"first answer after {page.evaluate(asked):.0f} ms")


def photograph(page, name, look):
    """With JAXRNN_PICTURES=FOLDER the screenshots of the gallery are written there."""
    folder = os.environ.get("JAXRNN_PICTURES")
    if folder:
        page.evaluate("scrollTo(0, 0)")
        path = Path(folder) / f"demo_{name}.png"
        if look == "dark-phone":
            path = path.with_stem(f"demo_{name}_phone")
        page.screenshot(path=path, full_page=True)
