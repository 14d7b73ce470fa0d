"""The page of `rows` in Chromium, driven as a person would."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browser import (
    check_page,
    drag,
    each_look,
    made,
    page_of,
    photograph,
    shares,
    started,
    stepped,
    touch,
    wait_for,
    wait_to_say,
)
from demos import finished, folder_of

import jaxrnn as rnn
from experiments import lab, rows

pytestmark = pytest.mark.slow
SEVEN = [(0.3, 0.2), (0.7, 0.2), (0.55, 0.5), (0.45, 0.85)]


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return made(tmp_path_factory, rows.STUDY, "--seeds", "1")


@each_look
def test_a_drawing_is_read(browser, digits, look):
    config, run, folder = digits
    facts = json.loads((folder / "demo.json").read_text())
    with page_of(browser, folder, look=look) as page:
        draw = touch if look == "dark-phone" else drag
        draw(page, "#pad", SEVEN)
        wait_to_say(page, "It reads 7")
        check_page(page)
        photograph(page, "rows", look)
        net = rows.network(config, 8, 10)
        params = lab.of_seed(run.load(net.init), 0)
        xs = logits = np.zeros(0)
        for sample in facts["samples"][:4]:
            page.get_by_label(f"Sample of the class {sample['label']}").click()
            wait_to_say(page, f"of the class {sample['label']}")
            xs = np.float32(sample["pixels"]).reshape(8, 8) / 16
            logits = net.logits(params, jnp.asarray(xs))
            np.testing.assert_allclose(shares(page), jax.nn.softmax(logits), atol=1e-4)
        np.testing.assert_allclose(stepped(page, xs)[-1], logits, atol=1e-4)


def test_by_keys_alone(browser, digits):
    with page_of(browser, digits[2]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "pad"
        for key in ["ArrowUp"] * 3 + ["Space"] + ["ArrowDown"] * 18 + ["Space"]:
            page.keyboard.press(key)
        wait_to_say(page, "It reads 1")
        page.keyboard.press("Backspace")
        wait_for(page, "ready")
        for _ in range(3 + 4):  # three buttons, then the samples 0 to 3
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        wait_to_say(page, "of the class 3")


def test_it_moves_while_it_reads_unless_nothing_is_to_move(browser, digits):
    seen = """() => new Promise((done) => {
        const found = new Set(), bar = document.querySelector('#bars .share');
        const watch = new MutationObserver(() => found.add(bar.dataset.value));
        watch.observe(bar, { attributes: true });
        document.querySelector('#samples button').click();
        const end = () => document.body.dataset.state === 'done' ? done(found.size)
            : setTimeout(end, 20);
        end();
    })"""
    for motion, moves in (("no-preference", True), ("reduce", False)):
        with page_of(browser, digits[2], motion=motion) as page:
            assert (page.evaluate(seen) > 2) == moves


def test_a_line_that_is_drawn_meanwhile_is_read_as_a_whole(browser, digits):
    with page_of(browser, digits[2], motion="no-preference") as page:
        drag(page, "#pad", SEVEN)
        wait_to_say(page, "It reads 7")
        alone = shares(page)
        page.click("#clear")
        page.get_by_label("Sample of the class 0").click()
        page.wait_for_timeout(200)  # it reads
        drag(page, "#pad", SEVEN)
        wait_to_say(page, "It reads 7")
        np.testing.assert_allclose(shares(page), alone, atol=0.02)


def test_the_page_forbids_itself_requests_to_others(browser, digits):
    blocked = {"expected": "Content Security Policy"}
    with page_of(browser, digits[2], **blocked) as page:
        asked = """() => new Promise((done) => {
            addEventListener('securitypolicyviolation', (e) => done(e.blockedURI));
            fetch('https://example.com/').catch(() => {});
        })"""
        assert "example.com" in page.evaluate(asked)


COMPLEX = "lru", "s5"  # states, which ONNX cannot say
OPTIONS = [(name, ()) for name in rnn.cells.NAMES if name not in COMPLEX]
OPTIONS += [
    ("lstm", ("--layers", "2", "--order", "permuted")),
    ("elman", ("--recipe", "classic")),
    ("gru", ("--compute-dtype", "bfloat16")),
]


@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=str)
def test_every_cell_reads_in_the_page_as_in_jax(browser, tmp_path, cell, options):
    options = *options, "--cell", cell, "--hidden-size", "8"
    config, run = finished(tmp_path, rows.STUDY, *options)
    folder = folder_of(tmp_path, rows.STUDY, *options)
    facts = json.loads((folder / "demo.json").read_text())
    pixels = np.float32(facts["samples"][5]["pixels"]) / facts["max_value"]
    xs = pixels[np.array(facts["steps"])]
    net = rows.network(config, xs.shape[1], 10)
    params = lab.of_seed(run.load(net.init), 0)
    logits = net.tell(params, net.read(params, jnp.asarray(xs)))
    with page_of(browser, folder) as page:
        atol = 1e-2 if "bfloat16" in options else 1e-4
        np.testing.assert_allclose(stepped(page, xs), logits, atol=atol)
        page.get_by_label("Sample of the class 5").click()
        wait_to_say(page, "of the class 5")
        np.testing.assert_allclose(shares(page), jax.nn.softmax(logits[-1]), atol=atol)


@pytest.mark.parametrize("cell", COMPLEX)
def test_a_cell_with_a_complex_state_is_refused(tmp_path, cell):
    said = f"a network that ONNX can say, got --cell {cell}.* primitive complex"
    with pytest.raises(lab.UsageError, match=said):
        folder_of(tmp_path, rows.STUDY, "--cell", cell, "--hidden-size", "8")
    assert not list(tmp_path.iterdir())
