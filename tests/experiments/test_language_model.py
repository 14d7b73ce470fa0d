"""`python -m experiments.language_model`, and what its result rests on."""

import json
import math
import os
import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import kills
import numpy as np
import pytest
from conftest import needs_data

import jaxrnn as rnn
from experiments import language_model as lm
from experiments import runs, training
from experiments.data import corpus
from experiments.data.streams import make_streams
from experiments.data.vocabulary import Vocabulary

FILES = {
    "config.json",
    "curves.png",
    "metrics.jsonl",
    "params.safetensors",
    "passage.png",
    "samples.txt",
    "summary.json",
    "timing.json",
    "vocabulary.json",
}
SMOKE = ["--preset", "smoke", "--length", "41"]
TINY = [*SMOKE, "--epochs", "1", "--hidden-size", "13"]


def run(*options: str) -> None:
    runs.main(lm.parse, lm.run, options)


def failing(capsys, *options: str, status: int = 2) -> str:
    with pytest.raises(SystemExit) as error:
        run(*options)
    assert error.value.code == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def summary_of(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A finished run, or a skip where there is no file to read."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    run(*SMOKE, "--out", str(out))
    return out


@needs_data("shakespeare")
def test_a_run_leaves_a_model_that_has_learned(smoke):
    assert {p.name for p in smoke.iterdir()} == FILES | {
        "checkpoints",
        ".lock",
        "data.sha256",
    }
    assert all((smoke / name).stat().st_size > 30 for name in FILES)
    summary = summary_of(smoke)
    lines = (smoke / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["valid_loss"][0] for line in lines]
    assert summary["valid_loss"] == min(losses)
    assert summary["best_epoch_per_seed"] == [1 + losses.index(min(losses))]
    assert math.isclose(summary["valid_bits"], min(losses) / math.log(2))
    assert summary["ngram_loss"] < summary["valid_loss"] < summary["unigram_loss"] - 0.5
    assert (summary["train_characters"], summary["valid_characters"]) == (36_000, 4_000)
    samples = (smoke / "samples.txt").read_text()
    assert [f"temperature {t}" in samples for t in (0.5, 0.8, 1.0)] == [True] * 3


@needs_data("shakespeare")
def test_the_saved_model_is_the_one_that_was_measured(smoke):
    model, params, vocabulary = lm.load(lm.parse(["--out", str(smoke)]))
    text = lm.read_text(lm.parse(["--preset", "smoke"]))
    tokens = jnp.asarray(corpus.make_corpus(text).valid)
    assert vocabulary == Vocabulary.of(text)
    alone = jax.tree.map(lambda a: a[None], params)
    loss = lm.evaluator(model)(alone, np.asarray(tokens))[0]
    np.testing.assert_allclose(loss, summary_of(smoke)["valid_loss"], rtol=1e-5)
    # In one unroll, not piece by piece.
    _, logits = model.unroll(params, model.initial_carry(params), tokens[:-1])
    np.testing.assert_allclose(loss, rnn.cross_entropy(logits, tokens[1:]), rtol=1e-5)


@needs_data("shakespeare")
def test_a_stopped_run_resumed_equals_one_left_alone(
    smoke, tmp_path, capsys, monkeypatch
):
    advance = training._Loop._advance

    def advance_and_stop(loop, bar):
        advance(loop, bar)
        if loop.step == 96:  # within the second epoch: the carry has to survive
            assert jax.tree.leaves(loop.state[0].carry)[0].shape == (1, 16, 61)
            os.kill(os.getpid(), signal.SIGTERM)

    options = [*SMOKE, "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_advance", advance_and_stop)
        message = failing(capsys, *options, status=143)
    assert "SIGTERM after update 96 of 144" in message
    run(*options, "--resume")
    for name in (*kills.SAME, "samples.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (smoke / name).read_bytes()


@needs_data("shakespeare")
def test_generate_goes_on_with_a_prompt_and_changes_nothing(smoke, capsys):
    def files():
        found = (p for p in smoke.rglob("*") if p.is_file())
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in found}

    def written(*options):
        run("--generate", "ROMEO:\r\n", "--out", str(smoke), *options)
        return capsys.readouterr().out

    def parts(text):
        _, *parts = re.split(r"--- temperature .* ---\n", text)
        return parts

    before = files()
    text = written("--length", "37")
    texts = parts(text)
    assert len(texts) == len(set(texts)) == 3
    assert all(part.startswith("ROMEO:\n") for part in texts)
    assert [len(part) for part in texts] == 3 * [len("ROMEO:\n") + 37 + 1]
    assert written("--length", "37") == text
    short = [part[: len("ROMEO:\n") + 11] + "\n" for part in texts]
    assert parts(written("--length", "11")) == short
    assert written("--length", "37", "--seed", "1") != text
    warm = written("--length", "37", "--temperature", "2", "3", "4")
    assert parts(warm)[0] != texts[0]
    cold = written("--length", "37", "--top-p", "1e-9")
    assert parts(cold) == 3 * parts(written("--length", "37", "--temperature", "1e-9"))
    assert files() == before

    # In two parts it is the same text.
    model, params, vocabulary = lm.load(lm.parse(["--out", str(smoke)]))
    choose, prompt = rnn.sample(0.8), vocabulary.encode("ROMEO:\n")
    key = jax.random.split(jax.random.key(0), 3)[1]  # of the second temperature
    begun = rnn.prefill(model, params, model.initial_carry(params), prompt)
    one = rnn.generate(model, params, *begun, 17, choose, key)
    two = rnn.generate(model, params, one.carry, one.tokens[-1], 20, choose, one.key)
    both = vocabulary.decode(one.tokens) + vocabulary.decode(two.tokens)
    assert texts[1] == f"ROMEO:\n{both}\n"


@needs_data("shakespeare")
def test_generate_says_what_it_cannot_do(smoke, tmp_path, capsys):
    def message(prompt, out, *options):
        return failing(capsys, "--generate", prompt, "--out", str(out), *options)

    said = message("ROMEO, ça va", smoke)
    assert "--generate: the " in said
    assert "do not include 'ç' (U+00E7)" in said
    assert "--generate: expected some text" in message("", smoke)
    assert "--temperature: expected above 0" in message("A", smoke, "--temperature=0")
    assert "--top-p: expected at most 1" in message("A", smoke, "--top-p", "2")
    assert "--overwrite: expected no --generate" in message("A", smoke, "--overwrite")
    assert "--temperature: expected one" in message("A", smoke, "--temperature")
    assert "--generate: expected an --out too" in failing(capsys, "--generate", "A")
    assert "holds no finished run" in message("A", tmp_path / "none")
    (tmp_path / "summary.json").write_text("[]")
    assert "holds no finished run" in message("A", tmp_path)
    summary = summary_of(smoke)
    summary["config"]["hidden_size"] = 67
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    for name in ("vocabulary.json", "params.safetensors"):
        (tmp_path / name).write_bytes((smoke / name).read_bytes())
    assert "expected shape" in message("A", tmp_path)


def small_problem(chunk: int, **options) -> lm.Problem:
    text = "".join(np.random.default_rng(0).choice(list("abcd \n"), 257))
    config = lm.Config(hidden_size=7, embedding_size=5, chunk=chunk, **options)
    train = replace(config.train, batch_size=3, seeds=2, seed=5)
    config = replace(config, train=train)
    made = corpus.make_corpus(text)
    streams = make_streams(made.train, 3, chunk)
    model = lm.network(config, made.vocabulary.size)
    return lm.Problem(config, model, made, streams)


@pytest.mark.parametrize(("cell", "tied"), [("lstm", False), ("gru", True)])
def test_chunks_with_their_carry_equal_one_long_run(cell, tied):
    model, _, streams = small_problem(11, cell=cell, layers=2, dropout=0.0, tied=tied)[
        1:
    ]
    params, key = model.init(jax.random.key(0)), jax.random.key(1)
    chunks = streams.chunks(2, 0, streams.steps)
    anew = np.arange(streams.steps) == 0
    whole = np.concatenate([chunks[0], *chunks[1:, :, 1:]], axis=1)
    assert whole.shape == (3, 6 * 11 + 1)

    def one(tokens):
        carry, logits = model.unroll(params, model.initial_carry(params), tokens[:-1])
        return carry, rnn.cross_entropy(logits, tokens[1:])

    def cut(chunks):
        def step(carry, chunk):
            loss, carry = lm.chunk_loss(model)(params, carry, *chunk, key)
            return carry, loss

        # What stands in a carry where the text starts anew does not matter.
        before = jax.tree.map(lambda a: a + 0.7, model.initial_carry(params))
        carry, losses = jax.lax.scan(step, before, (chunks, anew))
        return carry, losses.mean()

    want = jax.jit(jax.vmap(one))(whole)
    got = jax.jit(jax.vmap(cut, 1))(chunks)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), got, want)


def test_the_update_carries_on_and_starts_anew_with_each_epoch():
    problem = small_problem(11)
    job = lm.make_job(problem, None)
    whole = training.Share(0, 1)
    tokens, anew = job.batches(0, 0, job.steps, whole)
    assert tokens.shape == (2, 6, 3, 12)
    assert anew.shape == (2, 6, 3)
    np.testing.assert_array_equal(anew[:, 0], True)
    np.testing.assert_array_equal(anew[:, 1:], False)
    # Any part of an epoch, whatever is beside it; every epoch and seed its own cut.
    np.testing.assert_array_equal(job.batches(0, 2, 5, whole)[0], tokens[:, 2:5])
    starts = {tuple(job.batches(epoch, 0, 1, whole)[0][0, 0, 0]) for epoch in range(9)}
    assert len(starts) > 3
    shares = [job.batches(0, 0, 6, training.Share(n, 3))[0] for n in range(3)]
    np.testing.assert_array_equal(np.concatenate(shares, axis=2), tokens)

    # The carry that an update passes on is that of the model with dropout.
    state = jax.tree.map(lambda a: a[0], job.start())
    after, _ = job.update(state, tokens[0, 0], anew[0, 0])
    assert jax.tree.structure(after.carry) == jax.tree.structure(state.carry)
    assert after.carry[1].c.shape == (3, 7)
    # Split over devices it is the same.
    mesh = jax.make_mesh((3,), ("batch",))
    split, _ = lm.make_job(problem, mesh).update(state, tokens[0, 0], anew[0, 0])
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        (split.carry, split.params),
        (after.carry, after.params),
    )
    again, _ = job.update(after, tokens[0, 1], anew[0, 1])
    fresh, _ = job.update(after, tokens[0, 1], anew[0, 0])
    assert not np.allclose(again.carry[1].c, fresh.carry[1].c)


def test_bad_files_end_in_one_message(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = {
        "empty": b"",
        "latin": "one\ntwo\nElsa Schr\xf6der\n".encode("latin-1"),
        "tiny": b"to be or not to be",
        "short": b"to be or not to be, that is the question\n" * 10,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    before = set(tmp_path.iterdir())
    for name, message in {
        "empty": "empty: is empty",
        "latin": "latin, line 3: is not UTF-8",
        "tiny": "tiny has 18 characters, expected at least 30",
        "short": "short has 369 characters to train on; 16 streams",
        "nowhere": "nowhere: cannot be read",
        "folder": "folder has no files *.txt",
    }.items():
        said = failing(capsys, "--preset", "smoke", "--text", str(tmp_path / name))
        assert message in said
    said = failing(capsys, "--data-dir", str(tmp_path))
    assert "lacks input.txt" in said
    assert set(tmp_path.iterdir()) == before


def test_the_standard_library_as_a_text(tmp_path):
    text = corpus.python_source(50_000)
    assert text == corpus.python_source(50_000)
    assert corpus.python_source(100_000).startswith(text)
    assert text.isascii()
    assert len(text) >= 50_000
    out = tmp_path / "run"
    options = ["--dataset", "python", "--characters", "20000", "--cell", "elman"]
    run(*TINY, *options, "--out", str(out))
    assert summary_of(out)["train_characters"] == 18_000
    assert summary_of(out)["valid_loss"] < summary_of(out)["unigram_loss"] + 0.3


@needs_data("korean_poems")
def test_korean_on_two_devices_and_in_any_form(tmp_path, capsys):
    out = tmp_path / "run"
    poems = Path(os.environ["JAXRNN_DATA"]) / "korean_poems"
    options = ["--text", str(poems), "--characters", "20000"]
    options += ["--cell", "gru", "--tied", "--seeds", "2"]
    run(*TINY, *options, "--devices", "2", "--out", str(out))
    assert summary_of(out)["vocabulary"] > 500
    assert len(set(summary_of(out)["valid_loss_per_seed"])) == 2
    capsys.readouterr()
    letters = "\u1102\u1175\u11b7"  # the syllable in three characters, as macOS has it
    run("--generate", letters, "--out", str(out), "--length", "3")
    written = capsys.readouterr().out.split(" ---\n")[1]
    assert written.startswith("님")
    assert len(written.split("\n---")[0]) == 4
