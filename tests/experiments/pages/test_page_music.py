"""The page of `music` in Chromium, driven as a person would."""

import json
import shutil

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
    started,
    stepped,
    touch,
    wait_for,
    wait_to_say,
)
from conftest import needs_data

from experiments import lab, music

pytestmark = [pytest.mark.slow, needs_data("music")]


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    return made(tmp_path_factory, music.STUDY, "--seeds", "1", "--epochs", "12")


def rolled(steps):
    roll = np.zeros((len(steps), 88), np.float32)
    for step, keys in enumerate(steps):
        roll[step, keys] = 1
    return roll


def check_steps(page, player, roll):
    """The logits after each step are those of JAX."""
    config, run, _ = player
    net = music.network(config)
    params = lab.of_seed(run.load(net.init), 0)
    logits = net.unroll(params, net.initial_carry(params), jnp.asarray(roll))[1]
    np.testing.assert_allclose(stepped(page, roll), logits, atol=1e-4)


@each_look
def test_it_goes_on_with_what_is_played(browser, player, look):
    folder = player[2]
    facts = json.loads((folder / "demo.json").read_text())
    with page_of(browser, folder, look=look) as page:
        check_steps(page, player, rolled(facts["samples"][0]))
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
        assert page.inner_text("#play") == "Play"
        page.click("#clear")
        wait_for(page, "ready")


def test_notes_are_drawn_with_the_mouse_and_taken_back(browser, player):
    with page_of(browser, player[2]) as page:
        line = [(0.1, 0.5), (0.3, 0.5)]
        drag(page, "#roll", line)
        wait_for(page, "done")
        steps = int(page.inner_text("#status").split("; ")[1].split()[0])
        assert steps > 10
        drag(page, "#roll", line)
        wait_for(page, "ready")
        assert "; 0 steps are there" in page.inner_text("#status")


def test_a_finger_taps_notes_and_moves_the_roll(browser, player):
    with page_of(browser, player[2], look="dark-phone") as page:
        box = page.locator("#roll").bounding_box()
        page.touchscreen.tap(box["x"] + 40, box["y"] + 60)
        wait_to_say(page, "set in step 3; 3 steps are there")
        page.get_by_text("Beginning 1").click()
        wait_to_say(page, "8 steps of a piece")
        page.click("#go")
        wait_to_say(page, "has made 16 steps")
        touch(page, "#roll", [(0.2, 0.5), (0.9, 0.5)])
        page.wait_for_timeout(300)
        assert page.evaluate("document.querySelector('#frame').scrollLeft") < 100
        assert "has made 16 steps" in page.inner_text("#status")


def test_by_keys_alone(browser, player):
    with page_of(browser, player[2]) as page:
        page.keyboard.press("Tab")
        while page.evaluate("document.activeElement.id") != "roll":
            page.keyboard.press("Tab")
        for key in ["a", "d", "ArrowRight", "Space", "ArrowRight", "ArrowUp", "Space"]:
            page.keyboard.press(key)
        wait_to_say(page, "3 steps are there")
        page.keyboard.press("Enter")
        wait_to_say(page, "after your 3")


def test_a_piece_may_be_of_any_length(browser, player, tmp_path):
    folder = shutil.copytree(player[2], tmp_path / "demo")
    facts = json.loads((folder / "demo.json").read_text())
    long = [facts["samples"][i // 8 % 4][i % 8] for i in range(1500)]
    changed = {**facts, "samples": [long]}
    (folder / "demo.json").write_text(json.dumps(changed))
    with page_of(browser, folder) as page:
        check_steps(page, player, rolled(long))
        page.get_by_text("Beginning 1").click()
        wait_for(page, "done")
        for count in (16, 32):
            page.click("#go")
            wait_to_say(page, f"has made {count} steps after your 1500")
        wide = page.evaluate("document.querySelector('#roll').width")
        assert wide < 1200  # only what is in sight is drawn
