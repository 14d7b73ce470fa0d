"""`python -m experiments.translation`, from the command line to the files it leaves."""

import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data

import jaxrnn as rnn
from experiments import runs, training, translation
from experiments.data import buckets, files
from experiments.data.parallel import load_corpus
from experiments.data.subwords import START, STOP, Subwords
from experiments.translation import Config, Network, Pairs, Translator

FILES = {
    ".lock",
    "data.sha256",
    "attention.png",
    "checkpoints",
    "config.json",
    "curves.png",
    "lengths.png",
    "metrics.jsonl",
    "params.safetensors",
    "summary.json",
    "subwords.de.json",
    "subwords.en.json",
    "timing.json",
    "translations.tsv",
}


needs_multi30k, needs_koreng = needs_data("multi30k"), needs_data("koreng")


def run(*options: str) -> None:
    runs.main(translation.parse, translation.run, list(options))


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        run(*options)
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return " ".join(said.replace("│", "").split())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A run of the smoke preset, and how many programs its training compiled."""
    out, made = tmp_path_factory.mktemp("smoke") / "run", []

    class Noted(training.Compiled):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Compiled", Noted)
        run("--preset", "smoke", "--out", str(out))
    return out, [len(compiled._compiled) for compiled in made]


@pytest.fixture(scope="module")
def learned(smoke) -> tuple[Translator, translation.Params, list[str]]:
    """What the run has learned, and sentences to translate."""
    config = translation.parse(["--out", str(smoke[0]), "--translate", "x"])
    corpus = load_corpus("en", "de")
    return *translation.load(config), corpus.test.sources[:23]


@needs_multi30k
def test_smoke_leaves_what_it_should(smoke):
    out, compiled = smoke
    assert {path.name for path in out.iterdir()} == FILES
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
def test_subwords_stay_those_of_the_run(smoke, tmp_path, capsys):
    with gzip.open(files.find("multi30k", None, "train.de.gz")[0], "rt") as file:
        texts = [next(file).strip() for _ in range(307)]
    learned = Subwords.load(smoke[0] / "subwords.de.json")
    assert learned.size == 1000
    same = Subwords.of(texts, 1000, lowercase=True)
    assert [a.tolist() for a in learned.encode(texts)] == [
        a.tolist() for a in same.encode(texts)
    ]
    assert learned.decode(learned.encode(["Zwei Männer."])[0]) == "zwei männer."

    same.save(tmp_path / "subwords.en.json")
    (tmp_path / "config.json").write_text(json.dumps(runs.options_of(Config())))
    config = translation.parse(["--out", str(tmp_path), "--resume"])
    with runs.Output("translation", config) as output:
        found = translation.learn(output, "en", ["nothing of this is learned"], 31)
    assert found.encode(texts)[0].tolist() == same.encode(texts)[0].tolist()
    run("--preset", "smoke", "--out", str(smoke[0]), "--resume")
    assert "finished before" in capsys.readouterr().out


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
    translate, params, texts = learned
    one = jax.tree.map(lambda a: a[0], params)
    pairs = translation.pairs_of(
        load_corpus("en", "de").test.at(range(23)), translate.source, translate.target
    )
    found = {}
    groups = buckets.make_buckets(pairs.lengths, 7, most=2)
    for size, index, count in groups.every():
        nats = translation.measurer(translate.net)(params, *pairs.padded(index, size))
        found |= dict(zip(index[:count].tolist(), nats[0, :count], strict=True))
    assert sorted(found) == list(range(23))
    i = int(pairs.lengths.argmin())  # which is padded most
    source, target = jnp.asarray(pairs.sources[i]), jnp.asarray(pairs.targets[i])
    masks = jnp.ones(len(source), bool), jnp.ones(len(target) - 1, bool)
    logits = jax.jit(translate.net.logits)(one, source, masks[0], target[:-1], masks[1])
    nats = (len(target) - 1) * rnn.cross_entropy(logits, target[1:])
    np.testing.assert_allclose(found[i], nats, rtol=1e-4)
    together = translate(params, texts, None)[0]
    assert translate(params, texts[i : i + 1], None) == [together[i : i + 1]]


@needs_multi30k
def test_padding_of_the_source_and_words_to_come_change_nothing(learned):
    translate, params, texts = learned
    one = jax.tree.map(lambda a: a[0], params)
    (source,) = translation.sources_of(translate.source, texts[:1])
    mask = np.arange(len(source) + 5) < len(source)
    inputs, ones = jnp.arange(START, START + 11), jnp.ones(11, bool)
    logits = jax.jit(translate.net.logits)
    padded = [np.r_[source, np.full(5, value, np.int32)] for value in (STOP, 97)]
    first, second = (logits(one, tokens, mask, inputs, ones) for tokens in padded)
    np.testing.assert_array_equal(first, second)
    alone = logits(one, source, np.ones(len(source), bool), inputs, ones)
    np.testing.assert_allclose(alone, first, rtol=1e-4, atol=1e-5)
    changed = logits(one, padded[0], mask, inputs.at[7:].set(5), ones)
    np.testing.assert_array_equal(changed[:7], first[:7])
    assert (changed[7:] != first[7:]).any()

    (shown,) = translation.look(translate, one, texts[:1], ["ein mann"])
    assert shown.weights.shape == (len(shown.target), len(shown.source))
    np.testing.assert_allclose(shown.weights.sum(axis=1), 1, rtol=1e-5)


@needs_multi30k
def test_a_beam_of_one_follows_the_greedy_path(learned):
    """And gives the most probable of the sentences that can end along it."""
    translate, params, texts = learned
    one, length = jax.tree.map(lambda a: a[0], params), 19
    source, mask = buckets.pad(
        translation.sources_of(translate.source, texts), np.arange(23), 40
    )

    @jax.jit
    @jax.vmap
    def search(source, mask):
        decoder = translate.net.writer(one, source, mask)
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
        {"attention": "none"},
        {"attention": "bahdanau", "cell": "lstm", "scheduled_sampling": 0.3},
    ],
)
def test_other_networks_learn(options):
    config = Config(embedding_size=5, hidden_size=14, **options)
    net = Network(config, 11, 13)
    shapes, rng = jax.eval_shape(net.init, jax.random.key(0)), np.random.default_rng(0)
    params = jax.tree.map(
        lambda a: rng.normal(size=a.shape, scale=0.3).astype(a.dtype), shapes
    )
    pairs = Pairs(
        [np.array([5, 7, STOP], np.int32)], [np.array([START, 9, STOP], np.int32)]
    )
    source, source_mask, target, mask = (a[0] for a in pairs.padded(np.arange(1), 3))

    def loss_fn(params, key):
        labels, valid = jnp.asarray(target[1:]), jnp.asarray(mask[1:])
        logits = net.logits(params, source, source_mask, target[:-1], valid, key)
        return rnn.cross_entropy(logits, labels, valid)

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(params, jax.random.key(1))
    assert 0 < loss < 10
    assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(grads.bridge))
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "en"], "--target: expected de or ko, since --source is en"),
        (["--source", "de", "--target", "ko"], "--target: expected en, since --source"),
        (["--target", "fr"], "invalid choice 'fr'"),
        (["--hidden-size", "61"], "--hidden-size: expected an even number, got 61"),
        (["--dropout", "1"], "--dropout: expected in [0, 1), got 1.0"),
        (
            ["--translate", "x"],
            "--translate: expected an --out too, the folder of a finished run",
        ),
        (["--data-dir", "/nowhere"], "the data folder /nowhere does not exist"),
    ],
)
def test_mistakes_end_in_one_message(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in failing(capsys, *options)
    assert list(tmp_path.iterdir()) == []
