"""`python -m experiments.captioning`, from the files to the captions."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from PIL import Image
from safetensors.numpy import load_file

from experiments import captioning, runs
from experiments.data import scenes
from experiments.data.subwords import PAD, UNKNOWN, padded, words
from experiments.training import Share

FILES = {"summary.json", "captions.tsv", "vocabulary.json", "params.safetensors"}
PICTURES = {"curves.png", "sheet.png", "attention.png"}


def run(out: Path, *options: str) -> dict:
    runs.main(captioning.parse, captioning.run, ["--out", str(out), *options])
    return json.loads((out / "summary.json").read_text())


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        runs.main(captioning.parse, captioning.run, list(options))
    assert error.value.code == 2
    return capsys.readouterr().err


SMOKE = ("--preset", "smoke", "--checkpoint-steps", "20")


@pytest.fixture(scope="module")
def scenes_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "run"
    return out, run(out, *SMOKE)


@pytest.fixture(scope="module")
def photographs_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("photographs") / "run"
    return out, run(out, *SMOKE, "--dataset", "flickr8k")


def test_mistakes_end_in_one_message(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("JAXRNN_DATA", raising=False)
    folder = tmp_path / "flickr8k"
    (folder / "photos").mkdir(parents=True)
    lines = ["image\tflickr8k_split\tcaption"]
    for split in ("train", "dev", "test"):
        Image.new("RGB", (9, 8)).save(folder / "photos" / f"{split}.png")
        lines.append(f"{split}.png\t{split}\tA dog")
    (folder / "captions.tsv").write_text("\n".join(lines))
    photographs = ("--dataset", "flickr8k", "--data-dir", str(folder))
    for options, message in (
        ((), "mnist needs train-images-idx3-ubyte.gz"),
        (("--data-dir", "/nowhere"), "/nowhere does not exist"),
        (("--data-dir", str(folder)), "lacks train-images-idx3-ubyte.gz"),
        ((*photographs, "--captions-file", "b.tsv"), "lacks b.tsv"),
        (photographs, "images128.tar does not exist"),
        (
            (*photographs, "--images-file", "photos"),
            "--batch-size: expected at most the 1 training examples",
        ),
        (("--length-penalty", "inf"), "--length-penalty: expected in [0, 10], got inf"),
        (("--beam-size", "0"), "--beam-size: expected at least 1, got 0"),
        (("--describe", "a.jpg"), "--describe: expected an --out too"),
        (("--describe", "a.jpg", "--out", str(folder)), "holds no finished run"),
    ):
        said = failing(capsys, *options)
        assert message in said
        assert "Traceback" not in said


@pytest.fixture(scope="module")
def small():
    """A network, params and an image with two captions, one of them padded."""
    config = captioning.parse(["--preset", "smoke"])
    vocabulary = words(scenes.all_captions())
    net = captioning.network(config, 1, vocabulary.size)
    params = jax.jit(net.init)(jax.random.key(0))
    image = jax.random.uniform(jax.random.key(1), (64, 64, 1))
    texts = [["a three left of a seven", "a small seven below a three"]]
    return net, params, image, vocabulary, padded(vocabulary, texts, 8)[0]


def test_padding_changes_nothing(small):
    net, params, image, _, tokens = small
    logits_of = jax.jit(net.logits)
    together = logits_of(params, image, jnp.array(tokens[:, :-1]))
    for caption, logits in zip(tokens, together, strict=True):
        length = (caption != PAD).sum() - 1
        alone = logits_of(params, image, jnp.array(caption[None, :length]))
        np.testing.assert_allclose(logits[:length], alone[0], rtol=1e-4, atol=1e-5)
    longer = np.pad(tokens, ((0, 1), (0, 5)))
    loss = jax.jit(captioning.loss, static_argnums=0)
    same = (loss(net, params, image, jnp.array(t)) for t in (tokens, longer))
    np.testing.assert_allclose(*same, rtol=1e-5)


def test_unknown_words_are_read_but_never_learned(small):
    net, params, image, _, tokens = small
    tokens = np.where(np.arange(tokens.shape[1]) == 2, UNKNOWN, tokens)
    loss = jax.jit(jax.grad(captioning.loss, 1), static_argnums=0)
    grad = loss(net, params, image, jnp.array(tokens))
    table, readout = grad.decoder[0][0].w, grad.decoder[1][-1]
    assert np.abs(table[UNKNOWN]).max() > 0
    assert readout.b[UNKNOWN] > 0  # it becomes only less probable
    assert readout.b[tokens[0, 1]] < 0


@needs_data("mnist")
def test_scenes_depend_on_seed_epoch_and_update_alone():
    config = captioning.parse(["--preset", "smoke", "--seeds", "2", "--seed", "5"])
    alone = captioning.parse(["--preset", "smoke", "--seeds", "1", "--seed", "6"])
    problem, of_one = map(captioning.scenes_problem, (config, alone))
    whole = problem.batches(1, 0, 3, Share(0, 1))
    assert whole[0].shape == (2, 3, 16, 64, 64, 1)
    assert whole[1].shape == (2, 3, 16, 2, 10)
    for first, stop in ((0, 1), (1, 3)):
        part = problem.batches(1, first, stop, Share(0, 1))
        for a, b in zip(whole, part, strict=True):
            np.testing.assert_array_equal(a[:, first:stop], b)
    for number in range(2):
        part = problem.batches(1, 0, 3, Share(number, 2))
        for a, b in zip(whole, part, strict=True):
            np.testing.assert_array_equal(a[:, :, 8 * number : 8 * number + 8], b)
    np.testing.assert_array_equal(
        of_one.batches(1, 0, 3, Share(0, 1))[0][0], whole[0][1]
    )
    others = {problem.batches(e, 0, 1, Share(0, 1))[0].tobytes() for e in range(3)}
    assert len(others) == 3


@needs_data("mnist")
def test_scenes_from_end_to_end(scenes_run):
    out, summary = scenes_run
    names = {path.name for path in out.iterdir()}
    assert names >= FILES | PICTURES | {"confusions.png"}
    for name in PICTURES | {"confusions.png"}:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train_loss"][0] for line in lines]
    assert losses[1] < 0.9 * losses[0]
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
def test_a_resumed_run_ends_as_the_unbroken_one(scenes_run, tmp_path):
    out, _ = scenes_run
    again = tmp_path / "run"
    shutil.copytree(out, again)
    steps = sorted(int(p.name) for p in (again / "checkpoints").iterdir())
    assert steps[-1] == 80
    for step in steps[1:]:
        shutil.rmtree(again / "checkpoints" / str(step))
    for name in ("summary.json", "params.safetensors", "captions.tsv"):
        (again / name).unlink()
    run(again, *SMOKE, "--resume")
    for name in ("metrics.jsonl", "summary.json", "params.safetensors", "captions.tsv"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


@needs_data("mnist")
def test_a_finished_run_describes_an_image(scenes_run, tmp_path, capsys):
    out, _ = scenes_run
    Image.new("L", (70, 64), 250).save(tmp_path / "paper.png")
    runs.main(
        captioning.parse,
        captioning.run,
        ["--describe", str(tmp_path / "paper.png"), "--out", str(out)],
    )
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
