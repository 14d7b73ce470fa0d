"""The page of `language_model` in Chromium, driven as a person would."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browser import (
    check_page,
    compose,
    each_look,
    made,
    page_of,
    photograph,
    shares,
    started,
    stepped,
    type_composed,
    wait_for,
    wait_to_have_read,
    wait_to_say,
    wait_until,
)

from experiments import language_model

pytestmark = pytest.mark.slow
LIKELIEST = language_model.Config(temperature=(0.0,), length=40)
PROMPT = "ROMEO:\nWhat say you"
VERSES = "나는 간다, 한밤에 나는 온다.\n달이 간다, 한낮에 달이 온다.\n"


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """Of a text with Korean letters and others, which the page must know apart."""
    folder = tmp_path_factory.mktemp("text")
    english = "ROMEO:\nWhat say you, that the moon is not the sun?\n"
    (folder / "text.txt").write_text((english + VERSES) * 300, encoding="utf-8")
    options = "--hidden-size", "64", "--epochs", "16", "--batch-size", "16"
    text = "--text", str(folder / "text.txt")
    return made(tmp_path_factory, language_model.STUDY, *text, *options)


@pytest.fixture(scope="module")
def told(writer):
    """(text) -> the logits after each character, by JAX."""
    config, run, _ = writer
    vocabulary, model, params = language_model.opened(config, run)

    def logits(text):
        tokens = jnp.asarray(vocabulary.encode(text))
        return model.unroll(params, model.initial_carry(params), tokens)[1]

    return logits


def check_next(page, told, text):
    """What the page says comes next is what JAX says."""
    p = np.sort(jax.nn.softmax(told(text)[-1]))[::-1]
    np.testing.assert_allclose(shares(page), p[: len(shares(page))], atol=1e-4)


@each_look
def test_it_writes_on(browser, writer, told, look):
    config, run, folder = writer
    vocabulary, model, params = language_model.opened(config, run)
    with page_of(browser, folder, look=look) as page:
        page.focus("#text")
        page.keyboard.type("ROMEh")
        page.keyboard.press("Backspace")
        page.keyboard.type(PROMPT[4:])
        wait_to_have_read(page, len(PROMPT))
        assert page.inner_text("#coloured") == PROMPT
        check_next(page, told, PROMPT)
        tokens = np.asarray(vocabulary.encode(PROMPT))
        found = stepped(page, tokens[:, None])
        np.testing.assert_allclose(found, told(PROMPT), atol=1e-4)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "write"
        page.focus("#temperature")
        page.keyboard.press("Home")
        assert page.inner_text("#temperature-value") == "0.00"
        page.focus("#write")
        page.keyboard.press("Enter")
        wait_until(page, "document.querySelector('#text').value.length > 60")
        page.keyboard.press("Enter")
        assert page.locator("#write").get_attribute("aria-pressed") == "false"
        written = page.input_value("#text")[len(PROMPT) :][:40]
        best = next(
            language_model.written(model, params, vocabulary, PROMPT, 0, LIKELIEST)
        )
        assert "".join(best).split("---\n")[1][len(PROMPT) :].startswith(written)
        wait_for(page, "done")
        check_page(page)
        photograph(page, "language_model", look)
        page.focus("#text")
        page.keyboard.type("ж")
        wait_to_say(page, "never seen it: ж")


def test_syllables_are_composed_while_it_writes(browser, writer, told):
    with page_of(browser, writer[2]) as page:
        page.focus("#text")
        type_composed(page, ("ㄴ", "나"), ("ㄴ", "느", "는"))
        wait_to_have_read(page, 2)
        assert page.input_value("#text") == "나는"
        check_next(page, told, "나는")
        page.evaluate("document.querySelector('#write').click()")
        wait_until(page, "document.querySelector('#text').value.length > 5")
        for _ in compose(page, "ㅎ", "하", "한"):
            page.wait_for_timeout(150)  # no letter comes between the parts
        page.evaluate("document.querySelector('#write').click()")
        assert page.input_value("#text").count("한") > 0
        wait_for(page, "done")
        assert "ㅎ" not in page.input_value("#text")
        check_next(page, told, page.input_value("#text"))


def test_a_person_may_write_elsewhere_while_it_writes(browser, writer, told):
    with page_of(browser, writer[2]) as page:
        page.fill("#text", "달이 온다")
        wait_to_have_read(page, 5)
        page.click("#write")
        page.focus("#text")
        page.keyboard.press("Control+Home")
        page.keyboard.type("나는 ", delay=60)
        wait_until(page, "document.querySelector('#text').value.length > 20")
        page.click("#write")
        wait_for(page, "done")
        text = page.input_value("#text")
        assert text.startswith("나는 달이 온다")
        check_next(page, told, text)


def test_long_texts_are_read_and_changed_anywhere(browser, writer, told):
    with page_of(browser, writer[2]) as page:
        text = VERSES * 90
        for changed in (
            text,
            text[:-1200],
            text[:1500] + "ROMEO" + text[1500:],
            text[:40],
        ):
            page.fill("#text", changed)
            wait_to_have_read(page, len(changed))
            check_next(page, told, changed)
            shown = page.locator("#coloured span").count()
            assert shown == min(2000, len(changed))
            assert page.inner_text("#coloured").strip().endswith(changed[-30:].strip())


def test_it_remembers_what_has_gone_out_of_sight(browser, writer, told):
    with page_of(browser, writer[2]) as page:
        text = (VERSES * 700)[:20_000]
        page.fill("#text", text)
        wait_to_have_read(page, 20_000)
        page.fill("#temperature", "0")
        page.click("#write")
        wait_to_say(page, "are out of sight")
        said = re.search(r"The first (\d+)", page.inner_text("#status"))
        assert said
        gone = int(said[1])
        page.click("#write")
        wait_for(page, "done")
        seen = page.input_value("#text")
        assert 10_000 <= len(seen) < 12_000
        whole = text[:gone] + seen
        check_next(page, told, whole)
        page.fill("#text", seen[:-3])
        wait_to_have_read(page, len(whole) - 3)
        check_next(page, told, whole[:-3])
        page.click("#clear")
        wait_to_have_read(page, 0)
        page.fill("#text", PROMPT)
        wait_to_have_read(page, len(PROMPT))
        check_next(page, told, PROMPT)


def test_thousands_of_steps_take_no_more_memory(browser, writer):
    with page_of(browser, writer[2]) as page:
        client = page.context.new_cdp_session(page)
        run = """async (count) => {
            if (!window.network) {
                const { Trail, open } = await import("./session.js");
                window.network = await open();
                window.trail = new Trail({ carry: network.start(), y: null });
            }
            for (let i = 0; i < count; i += 1) {
                trail.add(await network.step(trail.latest.carry, [i % 9]));
            }
            return trail.kept.length;
        }"""

        def used(count):
            assert page.evaluate(run, count) <= 3 * 64
            client.send("HeapProfiler.collectGarbage")
            found = client.send("Runtime.getHeapUsage")
            return found["usedSize"] + found.get("backingStorageSize", 0)

        before = used(1000)
        assert used(6000) < before + 500_000
