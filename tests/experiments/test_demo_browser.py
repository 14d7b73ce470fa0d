"""Pages of trained networks in Chromium, driven as a person would.

With JAXRNN_PICTURES=FOLDER the screenshots of the gallery are written there.
"""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browser import (
    DESKTOP,
    PHONE,
    first_answer,
    overflow,
    page_of,
    started,
    unnamed,
    wait_for,
    wait_to_say,
)
from conftest import needs_data

from experiments import lab, language_model, music, rows, sentiment
from experiments.data.documents import Documents, load_documents, tokenize
from experiments.data.subwords import Subwords
from experiments.lab.run import find_finished
from experiments.models import classifier

pytestmark = pytest.mark.slow
LOOKS = {"light-wide": ("light", DESKTOP), "dark-phone": ("dark", PHONE)}
TEXT = "배우들의 연기가 훌륭하고 감동적이지만 결말이 너무 지루하다!"
ODD = [
    "",
    "  ",
    "İΣΑΣ ΌΣ",
    "a\u2581b <unk>",
    "e\u0301 ﬁ",
    "\u1112\u1161\u11ab",
    "a\u00a0c",
]

LIKELIEST = language_model.Config(temperature=(0.0,), length=40)


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module", params=LOOKS)
def look(request):
    return request.param


def made(tmp_path_factory, study, *options):
    """A finished run, and its page: (config, run, folder)."""
    out = tmp_path_factory.mktemp(study.name) / "run"
    lab.main(study, ["--out", str(out), *options])
    lab.main(study, ["--out", str(out), "--demo"])
    asked = lab.parse(study, ["--out", str(out), "--demo"])
    return *find_finished(study, asked, "demo"), out / "demo"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return made(tmp_path_factory, rows.STUDY, "--seeds", "1")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    options = "--characters", "200000", "--hidden-size", "128", "--epochs", "2"
    return made(tmp_path_factory, language_model.STUDY, *options, "--batch-size", "32")


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    sizes = "--embedding-size", "64", "--hidden-size", "64", "--vocab-size", "8000"
    options = "--documents", "12000", "--epochs", "3"
    return made(tmp_path_factory, sentiment.STUDY, *sizes, *options)


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    return made(tmp_path_factory, music.STUDY, "--seeds", "1", "--epochs", "12")


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


def check_page(page):
    """It fits its window, its controls have names, and it answers within a second."""
    assert overflow(page) == 0
    assert not unnamed(page)
    print(f"first answer after {first_answer(page):.0f} ms")


def photograph(page, name, look):
    folder = os.environ.get("JAXRNN_PICTURES")
    if folder:
        page.evaluate("scrollTo(0, 0)")
        path = Path(folder) / f"demo_{name}.png"
        if look == "dark-phone":
            path = path.with_stem(f"demo_{name}_phone")
        page.screenshot(path=path, full_page=True)


def opened(browser, folder, look):
    scheme, size = LOOKS[look]
    return page_of(browser, folder, scheme=scheme, size=size)


def drag(page, selector, points):
    """The mouse is pressed at the first of the places, in shares of it, and moved."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    places = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def shares(page, selector="#bars .share"):
    values = page.evaluate(
        f"[...document.querySelectorAll('{selector}')].map((e) => +e.dataset.value)"
    )
    return np.array(values)


def test_rows_reads_what_is_drawn(browser, digits, look):
    config, run, folder = digits
    facts = json.loads((folder / "demo.json").read_text())
    with opened(browser, folder, look) as page:
        drag(page, "#pad", [(0.3, 0.2), (0.7, 0.2), (0.55, 0.5), (0.45, 0.85)])
        wait_for(page, "done")
        assert "It reads 7" in page.inner_text("#status")
        check_page(page)
        photograph(page, "rows", look)
        net = rows.network(config, 8, 10)
        params = lab.of_seed(run.load(net.init), 0)
        xs = logits = np.zeros(0)
        for sample in facts["samples"][:4]:
            page.get_by_label(f"Sample of the class {sample['label']}").click()
            wait_for(page, "done")
            xs = np.float32(sample["pixels"]).reshape(8, 8) / 16
            logits = net.logits(params, jnp.asarray(xs))
            np.testing.assert_allclose(shares(page), jax.nn.softmax(logits), atol=1e-4)
        np.testing.assert_allclose(stepped(page, xs)[-1], logits, atol=1e-4)


def test_rows_by_keys_alone(browser, digits):
    with page_of(browser, digits[2]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "pad"
        for key in ["ArrowUp"] * 3 + ["Space"] + ["ArrowDown"] * 18 + ["Space"]:
            page.keyboard.press(key)
        wait_for(page, "done")
        assert "It reads 1" in page.inner_text("#status")
        page.keyboard.press("Backspace")
        page.wait_for_function("document.body.dataset.state === 'ready'")
        for _ in range(3 + 4):  # three buttons, then the samples 0 to 3
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        wait_for(page, "done")
        assert "of the class 3" in page.inner_text("#status")


def test_rows_moves_while_it_reads(browser, digits):
    with page_of(browser, digits[2], motion="no-preference") as page:
        page.get_by_label("Sample of the class 0").click()
        page.wait_for_function(
            "document.querySelector('#bars .share').dataset.value > 0"
        )
        assert page.evaluate("document.body.dataset.state") == "reading"
        wait_for(page, "done")


@needs_data("shakespeare")
def test_the_language_model_writes_on(browser, writer, look):
    config, run, folder = writer
    vocabulary, model, params = language_model.opened(config, run)
    prompt = "ROMEO:\nWhat say you"
    with opened(browser, folder, look) as page:
        page.focus("#text")
        page.keyboard.type("ROMEX")
        page.keyboard.press("Backspace")
        page.keyboard.type(prompt[4:])
        page.wait_for_function(
            f"document.querySelectorAll('#coloured span').length === {len(prompt)}"
        )
        wait_for(page, "done")
        tokens = jnp.asarray(vocabulary.encode(prompt))
        logits = model.unroll(params, model.initial_carry(params), tokens)[1]
        p = np.sort(jax.nn.softmax(logits[-1]))[::-1]
        np.testing.assert_allclose(shares(page), p[:8], atol=1e-4)
        found = stepped(page, np.asarray(tokens)[:, None])
        np.testing.assert_allclose(found, logits, atol=1e-4)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "write"
        page.focus("#temperature")
        page.keyboard.press("Home")
        assert page.inner_text("#temperature-value") == "0.00"
        page.focus("#write")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('#text').value.length > 60")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "document.querySelector('#write').ariaPressed === 'false'"
        )
        written = page.input_value("#text")[len(prompt) :][:40]
        best = next(
            language_model.written(model, params, vocabulary, prompt, 0, LIKELIEST)
        )
        assert "".join(best).split("---\n")[1][len(prompt) :].startswith(written)
        page.focus("#text")
        page.keyboard.type("한")
        wait_to_say(page, "한")
        check_page(page)
        photograph(page, "language_model", look)


@needs_data("nsmc")
def test_the_reader_of_reviews_colours_words(browser, judge, look):
    config, run, folder = judge
    subwords, _, net = sentiment.reader(config, run)
    document = tokenize(subwords, Documents([TEXT], np.zeros(1)))
    sizes = document.lengths.tolist()
    (known,) = classifier.explain(net, run.load(net.init), document, sizes)
    with opened(browser, folder, look) as page:
        page.focus("#text")
        page.keyboard.type(TEXT)
        count = len(known.words)
        page.wait_for_function(
            f"document.querySelectorAll('#words li').length === {count}"
        )
        wait_for(page, "done")
        items = page.locator("#words li")
        found = items.evaluate_all(
            "all => all.map((e) => [+e.dataset.adds, +e.dataset.looks])"
        )
        adds, looks = np.array(found).T
        np.testing.assert_allclose(adds, known.contributions, atol=1e-4)
        np.testing.assert_allclose(looks, known.attention, atol=1e-4)
        p = 1 / (1 + np.exp(-known.logit))
        np.testing.assert_allclose(shares(page), [1 - p, p], atol=1e-4)
        check_page(page)
        photograph(page, "sentiment", look)


@needs_data("nsmc")
def test_the_tokenizer_of_the_page_is_pythons(browser, judge):
    _, run, folder = judge
    subwords, rng = Subwords.load(run.path / "subwords.json"), np.random.default_rng(0)
    texts = [*load_documents("nsmc").test.texts[:1000], *ODD]
    texts += ["".join(map(chr, rng.integers(32, 0x3400, 20))) for _ in range(100)]
    known = tokenize(subwords, Documents(texts, np.zeros(len(texts)))).tokens
    with page_of(browser, folder) as page:
        found = page.evaluate(
            """async (texts) => {
                const { Subwords } = await import("./subwords.js");
                const parts = await (await fetch("subwords.json")).json();
                const subwords = new Subwords(parts, 3);
                return texts.map((t) => subwords.words(t).flatMap((w) => w.tokens));
            }""",
            texts,
        )
        page.focus("#text")
        page.keyboard.type("x")
        wait_for(page, "done")
    assert found == [tokens.tolist() for tokens in known]


@needs_data("music")
def test_music_goes_on_with_what_is_played(browser, player, look):
    config, run, folder = player
    facts = json.loads((folder / "demo.json").read_text())
    net = music.network(config)
    params = lab.of_seed(run.load(net.init), 0)
    roll = np.zeros((8, 88), np.float32)
    for step, keys in enumerate(facts["samples"][0]):
        roll[step, keys] = 1
    logits = net.unroll(params, net.initial_carry(params), jnp.asarray(roll))[1]
    with opened(browser, folder, look) as page:
        np.testing.assert_allclose(stepped(page, roll), logits, atol=1e-4)
        page.get_by_text("Beginning 1").click()
        wait_for(page, "done")
        page.click("#go")
        wait_to_say(page, "has made 16 steps after your 8")
        check_page(page)
        photograph(page, "music", look)
        page.click("#play")
        page.wait_for_timeout(1500)  # it sounds
        assert page.inner_text("#play") == "Stop"
        page.click("#play")
        page.wait_for_function("document.querySelector('#play').textContent === 'Play'")
        page.click("#clear")
        wait_for(page, "ready")
        page.locator("#roll").click(position={"x": 40, "y": 60})
        wait_for(page, "done")
        assert "set in step 3" in page.inner_text("#status")


@needs_data("music")
def test_music_by_keys_alone(browser, player):
    with page_of(browser, player[2]) as page:
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.focus("#roll")
        for key in ["a", "d", "ArrowRight", "Space", "ArrowRight", "ArrowUp", "Space"]:
            page.keyboard.press(key)
        wait_to_say(page, "3 steps are there")
        page.keyboard.press("Enter")
        wait_to_say(page, "after your 3")
