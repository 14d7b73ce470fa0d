"""`python -m experiments.captioning`, from the files to the captions."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from made import caption_files
from PIL import Image
from safetensors.numpy import load_file

from experiments import captioning, lab
from experiments.data import scenes
from experiments.data.subwords import UNKNOWN, padded, words

FILES = {"summary.json", "captions.tsv", "vocabulary.json", "params.safetensors"}


def run(out: Path, *options: str) -> dict:
    lab.main(captioning.STUDY, ["--out", str(out), *options])
    return json.loads((out / "summary.json").read_text())


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(captioning.STUDY, list(options))
    assert error.value.code == 2
    return capsys.readouterr().err


SMOKE = ("--preset", "smoke")


@pytest.fixture(scope="module")
def scenes_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "run"
    return out, run(out, *SMOKE)


@pytest.fixture(scope="module")
def photographs_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("photographs") / "run"
    return out, run(out, *SMOKE, "--dataset", "flickr8k")


@pytest.fixture
def folder(tmp_path) -> Path:
    return caption_files(tmp_path)


def test_mistakes_end_in_one_message(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("JAXRNN_DATA", raising=False)
    photographs = ("--dataset", "flickr8k", "--data-dir", str(folder))
    for options, message in (
        ((), "mnist needs train-images-idx3-ubyte.gz"),
        (("--data-dir", "/nowhere"), "/nowhere does not exist"),
        (("--data-dir", str(folder)), "lacks train-images-idx3-ubyte.gz"),
        ((*photographs, "--captions-file", "b.tsv"), "lacks b.tsv"),
        ((*photographs, "--images-file", "photos"), "photos does not exist"),
        (photographs, "--batch-size: expected at most the 1 training examples"),
        (("--describe", "a.jpg"), "--describe: expected an --out too"),
        (("--describe", "a.jpg", "--out", str(folder)), "holds no finished run"),
    ):
        said = failing(capsys, *options)
        assert message in said
        assert "Traceback" not in said


# The network


@pytest.fixture(scope="module")
def small():
    """A network, params and an image with two captions, one of them padded."""
    config = lab.parse(captioning.STUDY, ["--preset", "smoke"])
    vocabulary = words(scenes.all_captions())
    net = captioning.network(config, 1, vocabulary.size)
    params = jax.jit(net.init)(jax.random.key(0))
    image = jax.random.bits(jax.random.key(1), (64, 64, 1), jnp.uint8)
    texts = [["a three left of a seven", "a small seven below a three"]]
    return net, params, image, vocabulary, padded(vocabulary, texts, 8)[0]


def test_unknown_words_are_read_but_never_learned(small):
    net, params, image, _, tokens = small
    tokens = np.where(np.arange(tokens.shape[1]) == 2, UNKNOWN, tokens)
    loss = jax.jit(jax.grad(captioning.cross_entropy, 1), static_argnums=0)
    grad = loss(net, params, image, jnp.array(tokens))
    table, readout = grad.decoder[0][0].w, grad.decoder[1][-1]
    assert np.abs(table[UNKNOWN]).max() > 0
    assert readout.b[UNKNOWN] > 0  # it becomes only less probable
    assert readout.b[tokens[0, 1]] < 0


# Scores


# Whole runs


@needs_data("mnist")
def test_scenes_depend_on_seed_epoch_and_update_alone():
    config = lab.parse(captioning.STUDY, ["--preset", "smoke"])
    data = captioning.load(config)
    problem = captioning.prepare(config, data, lambda name, write: Path(name))
    batches = captioning.task(config, problem).batches
    plan = batches.plan(1, 6)
    images, tokens = batches.read(plan[:3])
    assert images.shape == (3, 16, 64, 64, 1)
    assert tokens.shape == (3, 16, 2, 10)
    for first, stop in ((0, 1), (1, 3)):
        part = batches.read(plan[first:stop])
        np.testing.assert_array_equal(images[first:stop], part[0])
        np.testing.assert_array_equal(tokens[first:stop], part[1])
    np.testing.assert_array_equal(batches.read(plan[:3, 8:])[0], images[:, 8:])
    others = [batches.plan(epoch, seed)[:1] for epoch, seed in ((0, 6), (1, 5), (1, 6))]
    assert len({batches.read(numbers)[0].tobytes() for numbers in others}) == 3


@pytest.mark.slow
@needs_data("mnist")
def test_scenes_from_end_to_end(scenes_run):
    out, summary = scenes_run
    # Grammar, with 22 of its words chosen at random, is about 1 nat a word.
    assert summary["test_loss"] < 1.3
    assert summary["test_images"] == 24
    rows = [x.split("\t") for x in (out / "captions.tsv").read_text().splitlines()[1:]]
    hits = np.mean([row[1] in row[2:] for row in rows])
    assert summary["test_accuracy_beam"] == pytest.approx(hits)
    grammar = set(scenes.all_captions())
    assert all(set(row[2:]) < grammar for row in rows)
    ((low, high),) = summary["test_accuracy_beam_95_percent_intervals"]
    assert low <= hits <= high
    assert sum(summary["mistakes_of_the_first_seed"].values()) >= 24 * (1 - hits)


@pytest.mark.slow
@needs_data("mnist")
def test_a_finished_run_describes_an_image(scenes_run, tmp_path, capsys):
    out, _ = scenes_run
    Image.new("L", (70, 64), 250).save(tmp_path / "paper.png")
    options = "--describe", str(tmp_path / "paper.png"), "--out", str(out)
    lab.main(captioning.STUDY, options)
    said = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in said] == ["1. ", "2. "]
    assert set(" ".join(said).split()) - {"1.", "2."} <= set(
        " ".join(scenes.all_captions()).split()
    )
    for name, message in (("none.png", "does not exist"), ("bad.png", "is no JPEG")):
        (tmp_path / "bad.png").write_bytes(b"bad")
        options = "--describe", str(tmp_path / name), "--out", str(out)
        assert message in failing(capsys, *options)


@needs_data("flickr8k")
@pytest.mark.slow
def test_photographs_from_end_to_end(photographs_run):
    out, summary = photographs_run
    names = {path.name for path in out.iterdir()}
    assert names >= FILES | {"curves.png", "sheet.png"}
    assert summary["test_images"] == 48
    for name in ("beam", "greedy", "one caption for all", "people"):
        values = summary[f"test_bleu_{name}"]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert 0 <= min(values) <= max(values) <= 100
    assert summary["test_bleu_people"][3] > summary["test_bleu_greedy"][3]
    assert "nrefs:5" in summary["bleu_signature"]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    first, last = (json.loads(line)["train_loss"][0] for line in (lines[0], lines[-1]))
    assert last < first
    arrays = load_file(out / "params.safetensors")
    assert arrays[".places"].shape == (1, 64, 28)
