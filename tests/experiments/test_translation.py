"""`python -m experiments.translation`, from the command line to the files it leaves."""

import gzip
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data

import jaxrnn as rnn
from experiments import lab, translation
from experiments.data.pairs import Pairs, make_pairs, source_tokens
from experiments.data.parallel import load_corpus
from experiments.data.subwords import START, STOP, Subwords, kept_subwords
from experiments.lab import loop
from experiments.lab.folder import Folder
from experiments.lab.run import find_finished
from experiments.models.interpreter import Interpreter, padded
from experiments.models.translator import Params, translator

DATA = os.environ.get("JAXRNN_DATA")
needs_multi30k, needs_koreng = needs_data("multi30k"), needs_data("koreng")


def run(*options: str) -> None:
    lab.main(translation.STUDY, list(options))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A run of the smoke preset, and how many programs its training compiled."""
    out, made = tmp_path_factory.mktemp("smoke") / "run", []

    class Noted(loop.Compiled):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Compiled", Noted)
        run("--preset", "smoke", "--out", str(out))
    return out, [compiled.programs for compiled in made]


@pytest.fixture(scope="module")
def learned(smoke) -> tuple[Interpreter, Params, list[str]]:
    """What the run has learned, and sentences to translate."""
    asked = lab.parse(translation.STUDY, ["--out", str(smoke[0]), "--translate", "x"])
    config, finished = find_finished(translation.STUDY, asked, "translate")
    subwords = (smoke[0] / f"subwords.{language}.json" for language in ("en", "de"))
    inter = translation.make_interpreter(config, *map(Subwords.load, subwords))
    params = finished.load(inter.net.init)
    return inter, params, load_corpus("en", "de").test.sources[:23]


@needs_multi30k
def test_smoke_leaves_what_it_should(smoke):
    out, compiled = smoke
    summary = json.loads((out / "summary.json").read_text())
    metrics = [json.loads(s) for s in (out / "metrics.jsonl").read_text().splitlines()]
    assert metrics[1]["val_nats"][0] < metrics[0]["val_nats"][0] < np.log(1000)
    assert summary["data"] == "multi30k"
    assert summary["val_sentences"] == summary["test_sentences"] == 307
    assert summary["train_pairs"] + summary["train_pairs_left_out"] == 307
    assert summary["bleu_signature"].startswith("nrefs:1|case:lc|eff:no|tok:13a")
    assert 0 < summary["test_bleu_copy"] < 10
    assert set(summary["test_bleu_by_length"]) == {"copy", "greedy", "beam"}
    lines = (out / "translations.tsv").read_text().splitlines()
    assert lines[0] == "source\treference\tgreedy\tbeam"
    assert len(lines) == 308
    assert compiled == [2]  # programs, for so many padded lengths


@needs_multi30k
def test_subwords_stay_those_of_the_run(smoke, tmp_path):
    with gzip.open(Path(DATA or "") / "multi30k" / "train.de.gz", "rt") as file:
        texts = [next(file).strip() for _ in range(307)]
    learned = Subwords.load(smoke[0] / "subwords.de.json")
    assert learned.size == 1000
    same = Subwords.of(texts, 1000, lowercase=True)
    assert [a.tolist() for a in learned.encode(texts)] == [
        a.tolist() for a in same.encode(texts)
    ]
    assert learned.decode(learned.encode(["Zwei Männer."])[0]) == "zwei männer."

    config = lab.parse(translation.STUDY, ["--out", str(tmp_path / "run")])
    with Folder("translation", config) as folder:
        same.save(folder.path / "subwords.en.json")
        texts = ["nothing of this is learned"]
        found = kept_subwords(folder.keep, "subwords.en.json", texts, 31)
    assert found.encode(texts)[0].tolist() == same.encode(texts)[0].tolist()


@needs_multi30k
def test_a_finished_run_translates(smoke, capsys):
    run("--out", str(smoke[0]), "--translate", "A man.", "Two dogs in the snow")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "en: A man."
    assert said[2] == "en: Two dogs in the snow"
    assert said[1].startswith("de: ")
    assert len(said) == 4
    run("--out", str(smoke[0]), "--translate", "개가 뛴다.")
    assert "has letters that the run has not learned" in capsys.readouterr().err


@needs_multi30k
def test_batches_of_padded_sentences_equal_one_by_one(learned):
    inter, params, texts = learned
    one = lab.of_seed(params, 0)
    part = load_corpus("en", "de").test.at(range(23))
    pairs = make_pairs(part, inter.source, inter.target)
    found = {}
    groups = lab.make_buckets(pairs.lengths, 7, most=2)
    for size, index, count in groups.every():
        nats = inter.nats(params, *padded(pairs, index, size))
        found |= dict(zip(index[:count].tolist(), nats[0, :count], strict=True))
    assert sorted(found) == list(range(23))
    i = int(pairs.lengths.argmin())  # which is padded most
    source, target = jnp.asarray(pairs.sources[i]), jnp.asarray(pairs.targets[i])
    masks = jnp.ones(len(source), bool), jnp.ones(len(target) - 1, bool)
    logits = jax.jit(inter.net.logits)(one, source, masks[0], target[:-1], masks[1])
    nats = (len(target) - 1) * rnn.cross_entropy(logits, target[1:])
    np.testing.assert_allclose(found[i], nats, rtol=1e-4)
    tokens = sum(len(target) - 1 for target in pairs.targets)
    mean = sum(found.values()) / tokens
    np.testing.assert_allclose(inter.nats_per_token(params, pairs), [mean], rtol=1e-4)
    together = inter.translate(params, texts)[0]
    assert inter.translate(params, texts[i : i + 1]) == [together[i : i + 1]]


@needs_multi30k
def test_padding_of_the_source_and_words_to_come_change_nothing(learned):
    inter, params, texts = learned
    one = lab.of_seed(params, 0)
    (source,) = source_tokens(inter.source, texts[:1])
    mask = np.arange(len(source) + 5) < len(source)
    inputs, ones = jnp.arange(START, START + 11), jnp.ones(11, bool)
    logits = jax.jit(inter.net.logits)
    padded = [np.r_[source, np.full(5, value, np.int32)] for value in (STOP, 97)]
    first, second = (logits(one, tokens, mask, inputs, ones) for tokens in padded)
    np.testing.assert_array_equal(first, second)
    alone = logits(one, source, np.ones(len(source), bool), inputs, ones)
    np.testing.assert_allclose(alone, first, rtol=1e-4, atol=1e-5)
    changed = logits(one, padded[0], mask, inputs.at[7:].set(5), ones)
    np.testing.assert_array_equal(changed[:7], first[:7])
    assert (changed[7:] != first[7:]).any()

    (shown,) = inter.look(one, texts[:1], ["ein mann"])
    assert shown.weights.shape == (len(shown.target), len(shown.source))
    np.testing.assert_allclose(shown.weights.sum(axis=1), 1, rtol=1e-5)


@needs_multi30k
def test_a_beam_of_one_follows_the_greedy_path(learned):
    """And gives the most probable of the sentences that can end along it."""
    inter, params, texts = learned
    one, length = lab.of_seed(params, 0), 19
    source, mask = lab.pad(source_tokens(inter.source, texts), np.arange(23), 40)

    @jax.jit
    @jax.vmap
    def search(source, mask):
        decoder = inter.net.writer(one, source, mask)
        carry, start = decoder.initial_carry(one.decoder), jnp.int32(START)
        given = decoder, one.decoder, carry, start, length
        greedy = rnn.generate(*given, rnn.greedy, stop_token=STOP).tokens
        inputs = jnp.concatenate([start[None], greedy[:-1]])
        logits = decoder.unroll(one.decoder, carry, inputs)[1]
        one_beam, five = (
            rnn.beam_search(*given, beam_size=size, stop_token=STOP) for size in (1, 5)
        )
        return greedy, jax.nn.log_softmax(logits), one_beam, five

    greedy, log_p, one_beam, five = jax.tree.map(np.asarray, search(source, mask))
    for tokens, of_one, found, score in zip(
        greedy, log_p, one_beam.tokens[:, 0], one_beam.scores[:, 0], strict=True
    ):
        count = int((tokens != STOP).argmin()) if STOP in tokens else length
        path = np.r_[0, of_one[np.arange(length), tokens].cumsum()]
        ends = path[: min(count + 1, length)] + of_one[: count + 1, STOP]
        if count == length:
            ends = np.append(ends, path[-1])
        best = int(ends.argmax())
        np.testing.assert_allclose(score, ends[best], rtol=1e-4)
        assert found.tolist() == [*tokens[:best], *[STOP] * (length - best)]
    assert (five.scores[:, 0] >= one_beam.scores[:, 0] - 1e-4).mean() > 0.9


@needs_koreng
def test_korean(tmp_path, capsys):
    options = ["--target", "ko", "--lengths", "1", "--sentences", "97"]
    run("--preset", "smoke", *options, "--out", str(tmp_path / "run"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"] == "tatoeba"
    assert "tok:char" in summary["bleu_signature"]
    assert "en to ko" in capsys.readouterr().out
    assert (tmp_path / "run" / "attention.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "attention": "none"},
        {"attention": "bahdanau", "cell": "lstm", "scheduled_sampling": 0.3},
    ],
)
def test_other_networks_learn(options):
    net = translator(
        source_size=11, target_size=13, embedding_size=5, hidden_size=14, **options
    )
    shapes, rng = jax.eval_shape(net.init, jax.random.key(0)), np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: rng.normal(size=a.shape, scale=0.3).astype(a.dtype), shapes
    )
    pairs = Pairs(
        [np.array([5, 7, STOP], np.int32)], [np.array([START, 9, STOP], np.int32)]
    )
    source, source_mask, target, mask = (a[0] for a in padded(pairs, np.arange(1), 3))

    def loss_fn(params, key):
        labels, valid = jnp.asarray(target[1:]), jnp.asarray(mask[1:])
        logits = net.logits(params, source, source_mask, target[:-1], valid, key)
        return rnn.cross_entropy(logits, labels, valid)

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(params, jax.random.key(1))
    assert 0 < loss < 10
    assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(grads.bridge))
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
