"""What `--demo` refuses, how it replaces a page, and what a page knows of drawings."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from demos import finished

import jaxrnn as rnn
from experiments import lab, language_model, rows, sentiment
from experiments.data import DataError
from experiments.data.classes import CLASSES
from experiments.data.image_folder import OwnImages
from experiments.data.vocabulary import Vocabulary
from experiments.demo import drawn, writing
from experiments.demo.writing import Page


def files_of(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


def refused(path, study, *options, summary=()):
    """What is said to a run that cannot be shown; nothing is written."""
    before = files_of(path)
    with pytest.raises((lab.UsageError, DataError)) as caught:
        study.answers["demo"](*finished(path, study, *options, summary=summary))
    assert files_of(path) == before
    assert not (path / "demo").exists()
    return str(caught.value)


def test_a_reader_of_last_states_is_not_shown(tmp_path):
    said = refused(tmp_path, sentiment.STUDY, "--pool", "last")
    assert said.startswith("--demo: expected a run with another --pool")


def test_a_cell_that_onnx_cannot_say_is_named(tmp_path, monkeypatch):
    def sorting(input_size, hidden_size, **options):
        def step(params, carry, x):
            return carry, jnp.linalg.qr(jnp.outer(x, x))[0][0]

        reads = rnn.Input((input_size,))
        return rnn.leaf("sorting", reads, lambda key: (), lambda p, key=None: (), step)

    monkeypatch.setattr(rnn.cells, "by_name", lambda name: sorting)
    said = refused(tmp_path, rows.STUDY, "--hidden-size", "8")
    assert "--demo: expected a run of a network that ONNX can say" in said
    assert "got --cell lstm (to_onnx: " in said
    assert "primitive qr: ONNX has no operator for it" in said


def test_without_onnx_one_message_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = refused(tmp_path, rows.STUDY, "--hidden-size", "3")
    assert said.startswith("--demo: ")
    assert "pip install 'jaxrnn[onnx]'" in said


def test_a_run_whose_seeds_have_all_diverged_is_not_shown(tmp_path):
    Vocabulary.of("abc").save(tmp_path / "vocabulary.json")
    lost = {"valid_loss_per_seed": [None]}
    said = refused(tmp_path, language_model.STUDY, summary=lost)
    assert said.startswith("--out: expected a run with a seed whose loss is finite")


def test_images_that_have_other_classes_now_are_refused(tmp_path, monkeypatch):
    (tmp_path / CLASSES).write_text('["cat", "dog"]')
    data = rows.Config(dataset="digits").load()
    monkeypatch.setattr(OwnImages, "load", lambda config: data)
    said = refused(tmp_path, rows.STUDY, "--images", str(tmp_path))
    assert "--demo: expected images of the classes ('cat', 'dog')" in said


def test_a_folder_of_another_kind_is_not_replaced(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("kept")
    asked = finished(tmp_path, rows.STUDY, "--hidden-size", "3")
    with pytest.raises(lab.UsageError, match="--demo: expected no other folder"):
        rows.STUDY.answers["demo"](*asked)
    assert files_of(tmp_path) == {"demo/mine.txt": b"kept"}


def test_a_new_page_replaces_the_old_one_and_none_is_left_by_halves(
    tmp_path, monkeypatch
):
    config, run = finished(tmp_path, rows.STUDY, "--seeds", "1")
    page = Page("rows", rnn.linear(1, 1), (), {})
    old = {"demo.json": b"1", "runtime/b": b"2"}
    new = {"demo.json": b"3", "runtime/c": b"4"}
    for parts in (old, new):
        monkeypatch.setattr(writing, "contents", lambda page, config, p=parts: p)
        writing.write(page, config, run)

    def none(page, config):
        raise DataError("no network")

    monkeypatch.setattr(writing, "contents", none)
    with pytest.raises(DataError, match="no network"):
        writing.write(page, config, run)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert files_of(tmp_path / "demo") == new
    full = {**new, "runtime": b"a file in the place of a folder"}
    monkeypatch.setattr(writing, "contents", lambda page, config: full)
    with pytest.raises(lab.RunError, match="cannot write"):
        writing.write(page, config, run)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert files_of(tmp_path / "demo") == new


def test_params_that_are_not_finite_are_not_shown(tmp_path):
    config, _ = finished(tmp_path, rows.STUDY)
    cell = rnn.linear(3, 5)
    params = jax.tree.map(lambda a: a * jnp.nan, cell.init(jax.random.key(0)))
    with pytest.raises(lab.UsageError, match="--demo: expected a run whose params"):
        writing.contents(Page("rows", cell, params, {}), config)


def test_an_infinite_carry_reaches_the_page():
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    known = {"jaxrnn.initial_carry": '{"carry.m": [-Infinity, 0.5]}'}
    onnx.helper.set_model_props(model, known)
    # JavaScript makes the number of this text.
    assert writing.described(model)["carry"] == {"carry.m": ["-Infinity", 0.5]}


def test_a_runtime_without_a_demo_is_an_error():
    with pytest.raises(lab.UsageError, match="--demo-runtime: expected --demo"):
        lab.parse(rows.STUDY, ["--demo-runtime", "x.tgz"])


def test_ink_on_light_paper_is_found():
    image = np.full((2, 12, 12), 255, np.uint8)
    image[:, 3:9, 5:7] = 0
    found = drawn.handwriting(image, 255)
    assert found["light"]
    assert (found["middle"], found["extent"]) == ([0.5, 0.5], [0.5, 0.1667])
    assert 1 < found["pen"] < 3
    blank = drawn.handwriting(np.zeros((2, 12, 12), np.uint8), 255)
    assert (blank["light"], blank["extent"]) == (False, [1.0, 1.0])


def luminance(colour):
    """Of the WCAG, of a colour #rrggbb."""
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(
        values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92
    )
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_controls_have_contrast_in_both_schemes(scheme):
    css = (writing.PAGES / "page.css").read_text()
    block = re.findall(r":root \{([^}]*)\}", css)[scheme]
    known = {k: luminance(v) for k, v in re.findall(r"--([\w-]+): (#\w{6})", block)}
    texts = [(a, b) for a in ("ink", "soft", "accent") for b in ("paper", "panel")]
    edges = [(a, b) for a in ("line", "low", "high") for b in ("paper", "panel")]
    for pairs, least in (([*texts, ("on-accent", "accent")], 4.5), (edges, 3)):
        for pair in pairs:
            dark, light = sorted(known[name] for name in pair)
            assert (light + 0.05) / (dark + 0.05) >= least, pair
