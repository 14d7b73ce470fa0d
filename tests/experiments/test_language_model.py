"""`python -m experiments.language_model`, and what its result rests on."""

import json
import math
import os
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import needs_data

import jaxrnn as rnn
from experiments import lab
from experiments import language_model as lm
from experiments.data import corpus
from experiments.lab.pieces import Feed
from experiments.lab.run import find_finished
from experiments.models.text import mean_nats, reading

SMOKE = ["--preset", "smoke", "--length", "41"]
TINY = [*SMOKE, "--epochs", "1", "--hidden-size", "13"]


def run(*options: str) -> None:
    lab.main(lm.STUDY, options)


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        run(*options)
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def summary_of(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    run(*SMOKE, "--out", str(out))
    return out


def finished(out: Path) -> tuple[rnn.Cell, lab.Finished]:
    config = lab.parse(lm.STUDY, ["--out", str(out)])
    config, found = find_finished(lm.STUDY, config, "generate")
    text = lm.load(config)
    return lm.network(config, text.vocabulary.size), found


@needs_data("shakespeare")
def test_a_run_leaves_a_model_that_has_learned(smoke):
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
    model, found = finished(smoke)
    params = lab.of_seed(found.load(model.init), 0)
    text = lm.load(lab.parse(lm.STUDY, ["--preset", "smoke"]))
    assert isinstance(text, corpus.Corpus)
    tokens = jnp.asarray(text.valid)
    assert corpus.Vocabulary.load(smoke / "vocabulary.json") == text.vocabulary
    loss = jax.jit(partial(mean_nats, model))(params, tokens)
    np.testing.assert_allclose(loss, found.per_seed("valid_loss")[0], rtol=1e-5)
    # In one unroll, not piece by piece.
    _, logits = model.unroll(params, model.initial_carry(params), tokens[:-1])
    np.testing.assert_allclose(loss, rnn.cross_entropy(logits, tokens[1:]), rtol=1e-5)


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
    model, found = finished(smoke)
    params = lab.of_seed(found.load(model.init), 0)
    vocabulary = corpus.Vocabulary.load(smoke / "vocabulary.json")
    choose, prompt = rnn.sample(0.8), vocabulary.encode("ROMEO:\n")
    key = jax.random.split(jax.random.key(0), 3)[1]  # of the second temperature
    carry, first = rnn.prefill(model, params, model.initial_carry(params), prompt)
    start = carry, first, 17, choose, key
    one = rnn.generate(model, params, *start)
    two = rnn.generate(model, params, one.carry, one.tokens[-1], 20, choose, one.key)
    both = vocabulary.decode(one.tokens) + vocabulary.decode(two.tokens)
    assert texts[1] == f"ROMEO:\n{both}\n"


@needs_data("shakespeare")
def test_a_finished_run_reads_new_files(smoke, tmp_path, capsys):
    """How well it predicts one, in one pass; and what it writes after another one."""
    model, found = finished(smoke)
    params = lab.of_seed(found.load(model.init), 0)
    vocabulary = corpus.Vocabulary.load(smoke / "vocabulary.json")
    text = corpus.load_text("shakespeare", None, 9_000)[-2_777:]
    path = tmp_path / "new.txt"
    path.write_text(text.replace("\n", "\r\n"), newline="")
    config, asked = find_finished(
        lm.STUDY,
        lab.parse(lm.STUDY, ["--out", str(smoke), "--predict", str(path)]),
        "predict",
    )
    report = lm.predict(config, asked)
    (table,) = report.body
    assert isinstance(table, lab.Table)
    want = jax.jit(partial(mean_nats, model))(params, vocabulary.encode(text))
    np.testing.assert_allclose(table.rows[0].values[0], want, rtol=1e-5)
    assert "2,776 predicted characters" in table.title
    path.write_text("ROMEO:\r\n", newline="")
    run("--prompt-file", str(path), "--out", str(smoke), "--length", "17")
    said = capsys.readouterr().out
    run("--generate", "ROMEO:\n", "--out", str(smoke), "--length", "17")
    assert capsys.readouterr().out == said
    path.write_text("ROMEO, ça va")
    for option in ("--predict", "--prompt-file"):
        said = failing(capsys, option, str(path), "--out", str(smoke))
        assert f"{option}: " in said
        assert "do not include 'ç' (U+00E7)" in said
        gone = failing(capsys, option, str(tmp_path / "gone"), "--out", str(smoke))
        assert "gone: cannot be read" in gone


@pytest.mark.slow
def test_a_text_that_is_not_in_memory_gives_the_same_numbers(tmp_path, monkeypatch):
    """Bit for bit those of the text in memory; its tokens stay with the run."""
    path = tmp_path / "text.txt"
    words = np.random.default_rng(0).choice(["to be", " or", " not\n", "가나"], 4000)
    path.write_text("".join(words))
    options = [*TINY, "--text", str(path), "--batch-size", "8", "--length", "5"]
    options += ["--characters", "9000"]
    run(*options, "--out", str(tmp_path / "short"))
    monkeypatch.setattr(corpus, "SHORT", 1000)
    run(*options, "--out", str(tmp_path / "long"))
    assert (tmp_path / "long" / "tokens.bin").stat().st_size == 9000
    assert not (tmp_path / "short" / "tokens.bin").exists()
    for name in ("metrics.jsonl", "params.safetensors", "vocabulary.json"):
        short, long = ((tmp_path / o / name).read_bytes() for o in ("short", "long"))
        assert short == long
    monkeypatch.setattr(corpus, "COUNTED", 500)
    counted = corpus.counted_in(corpus.Tokens(tmp_path / "long/tokens.bin", "u1", 900))
    assert len(counted) == 500


@needs_data("shakespeare")
def test_generate_says_what_it_cannot_do(smoke, tmp_path, capsys):
    def message(prompt, out, *options):
        return failing(capsys, "--generate", prompt, "--out", str(out), *options)

    said = message("ROMEO, ça va", smoke)
    assert "--generate: the " in said
    assert "do not include 'ç' (U+00E7)" in said
    assert "--generate: expected some text" in message("", smoke)
    said = message("A", smoke, "--temperature=-1")
    assert "--temperature: expected at least 0, got -1.0" in said
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
    summary["config"]["hidden_size"] = 61
    for damaged in (None, [], [1.0, 2.0], "much"):
        summary["valid_loss_per_seed"] = damaged
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        assert "summary.json is damaged" in message("A", tmp_path)


def small_problem(folder: Path, *options: str) -> tuple[lm.Config, lm.Problem]:
    text = "".join(np.random.default_rng(0).choice(list("abcd \n"), 257))
    (folder / "text").write_text(text)
    sizes = "--hidden-size 7 --embedding-size 5 --chunk 11 --batch-size 3 --seeds 2"
    given = [*sizes.split(), "--seed", "5", "--text", str(folder / "text"), *options]
    config = lab.parse(lm.STUDY, given)
    return config, lm.prepare(config, lm.load(config), lambda name, write: folder)


@pytest.mark.parametrize(("cell", "tied"), [("lstm", False), ("gru", True)])
def test_chunks_with_their_carry_equal_one_long_run(cell, tied, tmp_path):
    options = ["--cell", cell, "--layers", "2", "--dropout", "0"]
    config, problem = small_problem(tmp_path, *options, *(["--tied"] if tied else []))
    model, task = problem.model, lm.task(config, problem)
    params, key = model.init(jax.random.key(0)), jax.random.key(1)
    chunks, anew = task.batches.read(task.batches.plan(2, 5))
    whole = np.concatenate([chunks[0], *chunks[1:, :, 1:]], axis=1)
    assert whole.shape == (3, 6 * 11 + 1)

    def one(tokens):
        carry, logits = model.unroll(params, model.initial_carry(params), tokens[:-1])
        return carry, rnn.cross_entropy(logits, tokens[1:])

    def cut(chunks, anew):
        def step(carry, chunk):
            loss, (carry, _) = task.loss(params, carry, *chunk, key)
            return carry, loss

        # What stands in a carry where the text starts anew does not matter.
        before = jax.tree.map(lambda a: a + 0.7, model.initial_carry(params))
        carry, losses = jax.lax.scan(step, before, (chunks, anew))
        return carry, losses.mean()

    want = jax.jit(jax.vmap(one))(whole)
    got = jax.jit(jax.vmap(cut, 1))(chunks, anew)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), got, want)


def test_the_update_carries_on_and_starts_anew_with_each_epoch(tmp_path):
    config, problem = small_problem(tmp_path, "--dropout", "0.3")
    task = lm.task(config, problem)
    feed = Feed(task.batches, config.train.every_seed, None)
    count, (tokens, anew) = feed.piece(0)
    assert count == task.batches.steps == 6
    assert tokens.shape == (2, 6, 3, 12)
    np.testing.assert_array_equal(anew[:, 0], True)
    np.testing.assert_array_equal(anew[:, 1:], False)
    starts = {tuple(feed.piece(6 * epoch)[1][0][0, 0, 0]) for epoch in range(9)}
    assert len(starts) > 3  # every epoch has its own cut

    # The carry that an update passes on is that of the model without its masks.
    optimizer = optax.sgd(0.1)
    update = partial(rnn.make_update, task.loss, optimizer)
    update, split = (
        jax.jit(update(has_aux=True, has_carry=True, mesh=mesh))
        for mesh in (None, jax.make_mesh((3,), ("batch",)))
    )
    params = problem.model.init(jax.random.key(0))
    carry = jax.tree.map(
        lambda a: jnp.stack([a] * 3), problem.model.initial_carry(params)
    )
    state = rnn.train_state(params, optimizer, jax.random.key(1), carry)
    after, _ = update(state, tokens[0, 0], anew[0, 0])
    shapes = jax.tree.map(jnp.shape, after.carry)
    assert shapes == jax.tree.map(jnp.shape, state.carry)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    divided, _ = split(state, tokens[0, 0], anew[0, 0])
    jax.tree.map(close, (divided.carry, divided.params), (after.carry, after.params))
    again, _ = update(after, tokens[0, 1], anew[0, 1])
    fresh, _ = update(after, tokens[0, 1], anew[0, 0])
    for a, b in zip(*map(jax.tree.leaves, (again.carry, fresh.carry)), strict=True):
        assert not np.allclose(a, b)


@pytest.mark.parametrize("tied", [False, True])
def test_a_passage_is_read_as_it_is_step_by_step(tied, tmp_path):
    options = ["--layers", "2", *(["--tied"] if tied else [])]
    _, problem = small_problem(tmp_path, *options)
    model, tokens = problem.model, problem.text.valid
    params = model.init(jax.random.key(0))
    states_TH, log_p_T = reading(model, params, tokens)
    assert states_TH.shape == (len(tokens) - 1, 7)
    carry = model.initial_carry(params)
    assert model.step is not None
    for t, token in enumerate(tokens[:-1]):
        carry, logits = model.step(params, carry, token)
        h = [part.h for part in carry if isinstance(part, rnn.LSTMCarry)][-1]
        np.testing.assert_allclose(states_TH[t], h, rtol=1e-4, atol=1e-6)
        log_p = jax.nn.log_softmax(logits)[tokens[t + 1]]
        np.testing.assert_allclose(log_p_T[t], log_p, rtol=1e-4)


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


@pytest.mark.slow
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
@pytest.mark.slow
def test_korean_on_two_devices_and_in_any_form(tmp_path, capsys):
    out = tmp_path / "run"
    options = [
        "--text",
        f"{os.environ['JAXRNN_DATA']}/korean_poems",
        "--characters",
        "20000",
    ]
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
