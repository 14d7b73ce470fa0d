"""Pages of runs in a browser without a window, used as a person would."""

import json
from contextlib import contextmanager

import pytest
from browser import DESKTOP, overflow, started, unnamed
from test_report import EVIL, leave, run_report

pytestmark = pytest.mark.slow
PHONE = {"width": 360, "height": 740}
EPOCHS = 40


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of one long run with texts that do harm, and that of four runs."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [leave(folder / name, epochs=EPOCHS, dataset=EVIL) for name in "abcd"]
    lines = [
        {"epoch": e, "train_loss": [1 / e, 2 / e], "test_loss": [3 / e, None]}
        for e in range(1, EPOCHS + 1)
    ]
    long = {"a_metric_with_a_name_that_has_no_end_" * 4: [0.5, 0.25]}
    for run in runs:
        text = "".join(f"{json.dumps(line | long)}\n" for line in lines)
        (run / "metrics.jsonl").write_text(text)
        (run / "samples.txt").write_text("word " * 3000 + "x" * 3000)
    run_report(runs[0], "--out", folder / "one.html")
    run_report(*runs, "--out", folder / "four.html")
    return {name: folder / f"{name}.html" for name in ("one", "four")}


@contextmanager
def opened(browser, path, *, size=DESKTOP, scheme="light"):
    """A page from a disk; at its end nothing was asked for, and no error was made."""
    phone = size["width"] < 500
    context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=phone)
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text))
    page.on("dialog", lambda d: (errors.append(d.message), d.dismiss()))
    page.goto(path.as_uri())
    page.wait_for_selector("figure.chart path.mean", state="attached")
    yield page
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def view(page, number: int = 0) -> tuple[float, float]:
    """The epochs that a chart shows."""
    found = page.evaluate(
        "(n) => ({...document.querySelectorAll('.chart > svg')[n].dataset})", number
    )
    return float(found["from"]), float(found["to"])


def said(page) -> str:
    return page.locator(".chart output").first.text_content()


def drag(page, start: float, end: float) -> None:
    """Over the first chart, in shares of its width."""
    box = page.locator(".chart > svg").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=4)
    page.mouse.up()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["one", "four"])
def test_a_page_fits_and_asks_for_nothing(browser, pages, name, size, scheme):
    with opened(browser, pages[name], size=size, scheme=scheme) as page:
        for details in page.locator("details").all():
            details.evaluate("(e) => { e.open = true; }")
        assert overflow(page) <= 0
        assert unnamed(page) == []
        loaded = "[...document.images].every((i) => i.complete && i.naturalWidth > 0)"
        assert page.evaluate(loaded)
        wide = page.evaluate(
            "[...document.querySelectorAll('.chart > svg')]"
            ".every((s) => s.getBoundingClientRect().width > 250)"
        )
        assert wide


def test_a_drag_zooms_and_a_double_click_shows_all(browser, pages):
    with opened(browser, pages["one"]) as page:
        page.locator(".chart > svg").first.scroll_into_view_if_needed()
        whole = view(page)
        assert whole == (1, EPOCHS)
        before = page.locator(".chart path.mean").first.get_attribute("d")
        drag(page, 0.5, 0.75)
        first, last = view(page)
        assert 1 < first < last < EPOCHS
        assert last - first == pytest.approx(0.25 * EPOCHS, rel=0.35)
        assert page.locator(".chart path.mean").first.get_attribute("d") != before
        assert view(page, 1) == whole
        drag(page, 0.4, 0.6)  # once more, and to the left
        second = view(page)
        assert first <= second[0] < second[1] <= last
        page.locator(".chart > svg").first.dblclick()
        assert view(page) == whole
        drag(page, 0.9, 0.3)
        assert view(page)[1] - view(page)[0] < EPOCHS - 1
        page.get_by_role("button", name="Show all: loss").click()
        assert view(page) == whole


def test_the_keyboard_does_all_that_a_mouse_does(browser, pages):
    with opened(browser, pages["one"]) as page:
        page.locator(".chart > svg").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        # The mean over the seeds, the range, and those that are finite.
        assert said(page) == "epoch 2: train 0.75 (0.5 to 1), test 1.5 (1.5 to 1.5)"
        page.keyboard.press("+")
        zoomed = view(page)
        assert zoomed[1] - zoomed[0] < EPOCHS - 1
        assert zoomed[0] <= 2 <= zoomed[1]
        page.keyboard.press("Shift+ArrowRight")
        assert view(page)[0] > zoomed[0]
        page.keyboard.press("-")
        page.keyboard.press("Escape")
        assert view(page) == (1, EPOCHS)
        for _ in range(3):
            page.keyboard.press("+")
        for _ in range(EPOCHS):  # the view follows
            page.keyboard.press("ArrowRight")
        assert said(page).startswith(f"epoch {EPOCHS}: ")
        assert view(page)[1] == EPOCHS
        page.keyboard.press("Home")
        assert view(page) == (1, EPOCHS)


def test_what_is_shown_is_chosen(browser, pages):
    with opened(browser, pages["one"]) as page:
        chart = page.locator("figure.chart").first
        assert chart.locator("path.mean").count() == 2
        chart.get_by_role("button", name="test").click()
        assert chart.locator("path.mean").count() == 1
        page.locator(".chart > svg").first.focus()
        page.keyboard.press("ArrowRight")
        assert "test" not in said(page)
        chart.get_by_role("button", name="test").click()
        lines = chart.locator("path").count()
        chart.get_by_role("button", name="Each seed").click()  # ranges in their place
        assert chart.locator("path").count() < lines
        before = chart.locator("path.mean").first.get_attribute("d")
        chart.get_by_role("button", name="Logarithmic").click()
        after = chart.locator("path.mean").first.get_attribute("d")
        assert before != after
        assert "NaN" not in after
        for name in ("train", "test"):
            chart.get_by_role("button", name=name).click()
        assert "nothing to show" in chart.locator("svg").last.text_content()


def test_a_finger_zooms_and_scrolls(browser, pages):
    with opened(browser, pages["one"], size=PHONE) as page:
        page.locator(".chart > svg").first.scroll_into_view_if_needed()
        box = page.locator(".chart > svg").first.bounding_box()
        touch = page.context.new_cdp_session(page)
        y = box["y"] + box["height"] / 2

        def send(kind, points):
            event = {"type": kind, "touchPoints": points}
            touch.send("Input.dispatchTouchEvent", event)

        send("touchStart", [{"x": box["x"] + 0.3 * box["width"], "y": y}])
        for share in (0.4, 0.5, 0.6, 0.7):
            send("touchMove", [{"x": box["x"] + share * box["width"], "y": y}])
        send("touchEnd", [])
        page.wait_for_timeout(100)
        first, last = view(page)
        assert 1 < first < last < EPOCHS
