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
@pytest.mark.slow
def test_korean(tmp_path, capsys):
    options = ["--target", "ko", "--lengths", "1", "--sentences", "97"]
    run("--preset", "smoke", *options, "--out", str(tmp_path / "run"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"] == "tatoeba"
    assert "tok:char" in summary["bleu_signature"]
    assert "en to ko" in capsys.readouterr().out
    assert (tmp_path / "run" / "attention.png").stat().st_size > 1000


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        run(*options)
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


TINY = "--preset smoke --epochs 1 --lengths 1 --beam-size 2 --hidden-size 6 "
TINY += "--embedding-size 5 --vocab-size 60 --batch-size 8 --attention none"


@pytest.mark.slow
def test_pairs_of_your_own_and_a_finished_run_on_a_file(tmp_path, capsys):
    numbers = ["một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám"]
    lines = [f"n {i} <pad>\t{numbers[i % 8]} {i}" for i in range(60)]
    (tmp_path / "both.tsv").write_text("\n".join([*lines, "", "alone\t", ""]))
    columns = zip(*(line.split("\t") for line in lines), strict=True)
    for name, column in zip(("one", "other"), columns, strict=True):
        (tmp_path / name).write_text("\n".join(column))
    both, two = (
        [str(tmp_path / n) for n in ns] for ns in (["both.tsv"], ["one", "other"])
    )
    names = ["--source", "en", "--target", "vi"]
    out = tmp_path / "run"
    run(*TINY.split(), "--pairs", *both, *names, "--out", str(out))
    assert "note: 2 lines lack one of the languages" in capsys.readouterr().err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["data"] == "both"
    assert summary["train_pairs"] == 48
    assert summary["val_sentences"] == summary["test_sentences"] == 6
    same = [
        translation.load(lab.parse(translation.STUDY, [*TINY.split(), *options]))
        for options in (["--pairs", *both, *names], ["--pairs", *two])
    ]
    assert same[0][1:] == same[1][1:]
    other = ["--pairs", *two, "--split-seed", "1"]
    other = translation.load(lab.parse(translation.STUDY, [*TINY.split(), *other]))
    assert other.test.sources != same[0].test.sources

    questions = tmp_path / "questions.tsv"
    questions.write_text("n 3 <pad>\tba 3\n\nn 5\tnăm 5\n")
    run("--out", str(out), "--predict", str(questions))
    said = capsys.readouterr().out
    assert "BLEU of 2 sentences" in said
    assert f"3 lines in {out / 'predictions.tsv'}" in said
    table = [s.split("\t") for s in (out / "predictions.tsv").read_text().splitlines()]
    assert table[0] == ["source", "reference", "beam"]
    assert [row[0] for row in table[1:]] == ["n 3 <pad>", "", "n 5"]
    assert table[2] == ["", "", ""]
    questions.write_text("n 3\n")
    run("--out", str(out), "--predict", str(questions))  # nothing is written over
    assert (out / "predictions-2.tsv").read_text().count("\n") == 2
    assert (out / "predictions.tsv").read_text().count("\n") == 4
    assert "gone: cannot be read" in failing(
        capsys, "--out", str(out), "--predict", str(tmp_path / "gone")
    )


def test_pairs_that_are_none_end_in_one_message(tmp_path, capsys):
    for name, text in {
        "none": "a line\n",
        "few": "a\tb\n" * 5,
        "alike": "a\tb\n" * 50,
        "lone": "\ta\n\tb\n",
        "one": "a\n",
        "two": "a\nb\n",
    }.items():
        (tmp_path / name).write_text(text)

    def message(*names, options=()):
        paths = [str(tmp_path / name) for name in names]
        return failing(capsys, "--preset", "smoke", *options, "--pairs", *paths)

    assert "none, line 1: expected a sentence, a tab and its translation" in message(
        "none"
    )
    assert "few: has too few pairs to split, 5" in message("few")
    assert "too few pairs to split, 50 of which 1 are not alike" in message("alike")
    assert "no line has a translation" in message("lone")
    assert "two has 2: expected as many" in message("one", "two")
    assert "--pairs: expected one file or two, got 3" in message("one", "two", "few")
    assert "--target: expected another one than --source, got en" in message(
        "few", options=["--source", "en", "--target", "en"]
    )
    assert "--source: expected a name of letters" in message(
        "few", options=["--source", "../x"]
    )
    said = failing(capsys, "--source", "fr")
    assert "--source: expected en, de, ko, or --pairs with a file of your own" in said
    assert "--target: expected de or ko, since" in failing(capsys, "--target", "en")


@needs_multi30k
def test_odd_blanks_are_tidied_when_asked():
    plain, tidied = (
        translation.load(lab.parse(translation.STUDY, ["--source", "de", *options]))
        for options in ([], ["--tidy-blanks"])
    )
    pairs = list(zip(plain.train.sources, tidied.train.sources, strict=True))
    assert sum(a != b for a, b in pairs) == 89
    assert all(" ".join(a.split()) == b for a, b in pairs)
    assert "\u00a0" in "".join(plain.train.sources)


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
