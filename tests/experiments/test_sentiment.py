"""`python -m experiments.sentiment`, its readers, and what it says of words."""

import contextlib
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data

from experiments import lab, sentiment
from experiments.data.documents import Documents, tokenize
from experiments.data.subwords import UNKNOWN, Subwords
from experiments.lab import loop
from experiments.lab.run import find_finished
from experiments.models.classifier import Classifier, Params, explain, pooling, read_all

needs = {name: needs_data(name) for name in ("nsmc", "sst2")}
SEEDS = {"nsmc": 1, "sst2": 2}
real = [
    pytest.param("nsmc", marks=[needs["nsmc"], pytest.mark.slow]),
    pytest.param("sst2", marks=needs["sst2"]),
]


class Run(NamedTuple):
    out: Path
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    said: str
    compilations: int  # of the update


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A smoke run of a data set, made once."""
    made: dict[str, Run] = {}

    def run(name: str) -> Run:
        if name not in made:
            compiled = []

            class Counting(loop.Compiled):
                def __init__(self, *args, **options):
                    super().__init__(*args, **options)
                    compiled.append(self)

            out = tmp_path_factory.mktemp("sentiment") / name
            options = ["--dataset", name, "--preset", "smoke", "--out", str(out)]
            options += ["--seeds", str(SEEDS[name])]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loop, "Compiled", Counting)
                with contextlib.redirect_stdout(io.StringIO()) as said:
                    lab.main(sentiment.STUDY, options)
            lines = (out / "metrics.jsonl").read_text().splitlines()
            made[name] = Run(
                out,
                json.loads((out / "summary.json").read_text()),
                [json.loads(line) for line in lines],
                said.getvalue(),
                compiled[0].programs,
            )
        return made[name]

    return run


def learned(out: Path) -> tuple[Classifier, Subwords, Params]:
    """What a finished run has learned."""
    asked = lab.parse(sentiment.STUDY, ["--out", str(out), "--classify", "x"])
    config, finished = find_finished(sentiment.STUDY, asked, "classify")
    subwords = Subwords.load(out / "subwords.json")
    net = sentiment.network(config, subwords.size)
    return net, subwords, finished.load(net.init)


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(sentiment.STUDY, list(options))
    assert error.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", real)
@pytest.mark.slow
def test_from_end_to_end(name, smoke):
    _, summary, metrics, said, compilations = smoke(name)
    assert compilations == len(summary["padded_lengths"]) == 2
    assert [m["epoch"] for m in metrics] == [1, 2, 3]
    assert max(metrics[-1]["train_loss"]) < 0.7 * min(metrics[0]["train_loss"])
    # The params kept are those of each seed's best epoch.
    best = np.max([m["validation_accuracy"] for m in metrics], axis=0)
    np.testing.assert_allclose(summary["validation_accuracy_per_seed"], best)
    per_seed = summary["test_accuracy_per_seed"]
    assert len(set(per_seed)) == SEEDS[name]
    assert math.isclose(summary["test_accuracy"], np.mean(per_seed))
    assert summary["test_accuracy"] > summary["majority_test_accuracy"] + 0.05
    assert summary["n_grams_test_accuracy"] > summary["majority_test_accuracy"] + 0.05
    assert summary["test_documents"] == 1200
    assert f"{summary['test_accuracy']:.2%}" in said
    ensemble = summary["test_accuracy_together"]
    rows = {row["name"]: row["values"] for row in summary["tables"][0]["rows"]}
    pooled = rows.get("the mean probability of the seeds")
    several = None if SEEDS[name] == 1 else [ensemble, None]
    assert (pooled and pooled[:2]) == several
    assert rows["gru, attention"][0] == per_seed
    assert f"{summary['n_grams_test_accuracy']:.2%}" in said
    assert summary["words_for"][0]["contribution"] > 0
    assert summary["words_against"][0]["contribution"] < 0
    assert summary["words_for"][0]["word"] in said
    assert said.count("moved by: ") == 8


@pytest.mark.slow
@needs["sst2"]
def test_batches_of_padded_documents_equal_each_alone(smoke):
    net, subwords, params = learned(smoke("sst2").out)
    texts = ["dull", "", "a film that one will not forget , ever", "good " * 17]
    documents = tokenize(subwords, Documents(texts, np.zeros(4, np.int32)))
    logits, weights = read_all(net, params, documents.tokens, (5, 31))
    for seed in range(2):
        one = lab.of_seed(params, seed)
        for i, tokens in enumerate(documents.tokens):
            alone = net.read(one, jnp.asarray(tokens))
            np.testing.assert_allclose(logits[seed, i], alone[0], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(weights[i][seed], alone[1], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@needs["sst2"]
def test_a_contribution_is_what_changes_without_the_word(smoke):
    net, subwords, params = learned(smoke("sst2").out)
    texts = ["a wonderful film", "unwatchable"]
    documents = tokenize(subwords, Documents(texts, np.array([1, 0])))
    first, second = explain(net, params, documents, [13])
    one = lab.of_seed(params, 0)
    tokens, owner = documents.tokens[0], documents.owners[0]
    for word in range(3):
        without = jnp.where(owner == word, UNKNOWN, tokens)
        change = net.read(one, jnp.asarray(tokens))[0] - net.read(one, without)[0]
        np.testing.assert_allclose(first.contributions[word], change, atol=1e-5)
    assert (first.words, first.label) == (["a", "wonderful", "film"], 1)
    assert len(documents.tokens[1]) > 1  # one word of several subwords
    assert second.contributions.shape == second.attention.shape == (1,)
    np.testing.assert_allclose([first.attention.sum(), second.attention.sum()], 1, 1e-5)


@needs["sst2"]
def test_a_finished_run_classifies(smoke, capsys):
    out = str(smoke("sst2").out)
    options = ["--classify", "a wonderful film", "--out", out]
    lab.main(sentiment.STUDY, options)
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[0] in ("positive", "negative")
    assert [line.split()[-1] for line in said[2:]] == ["a", "wonderful", "film"]
    assert sum(int(line.split()[1].rstrip("%")) for line in said[2:]) in (99, 100, 101)


def test_classifying_needs_a_finished_run(tmp_path, capsys):
    assert "--classify: expected an --out too" in failing(capsys, "--classify", "x")
    nothing = failing(capsys, "--classify", " ", "--out", str(tmp_path))
    assert "--classify: expected some text" in nothing
    both = failing(capsys, "--classify", "x", "--overwrite", "--out", str(tmp_path))
    assert "--overwrite: expected no --classify" in both
    wanted = "holds no finished run of sentiment"
    assert wanted in failing(capsys, "--classify", "x", "--out", str(tmp_path))
    (tmp_path / "summary.json").write_text('{"experiment": "rows"}')
    said = failing(capsys, "--classify", "x", "--out", str(tmp_path))
    assert f"{wanted}: it is one of rows" in said


def reference(pool: str, query: np.ndarray, states: np.ndarray) -> Any:
    half = states.shape[1] // 2
    if pool == "max":
        weights = np.bincount(states.argmax(0), minlength=len(states))
        return states.max(0), weights / states.shape[1]
    if pool == "last":
        ends = np.zeros(len(states))
        ends[0] += 0.5
        ends[-1] += 0.5
        return np.concatenate([states[-1, :half], states[0, half:]]), ends
    scores = states @ query if pool == "attention" else np.zeros(len(states))
    weights = np.exp(scores) / np.exp(scores).sum()
    return weights @ states, weights


@pytest.mark.parametrize("pool", ["attention", "mean", "max", "last"])
@pytest.mark.parametrize("length", [1, 5])
def test_pooling_against_numpy(pool, length):
    rng = np.random.default_rng(0)
    states, query = rng.normal(size=(7, 6)), rng.normal(size=6)
    padded = np.where(np.arange(7)[:, None] < length, states, 0)
    mask = jnp.arange(7) < length
    found = pooling(
        pool, jnp.asarray(query, "float32"), jnp.asarray(padded, "float32"), mask
    )
    output, weights = reference(pool, query, states[:length])
    np.testing.assert_allclose(found.output, output, rtol=1e-5)
    np.testing.assert_allclose(found.weights[:length], weights, rtol=1e-5)
    np.testing.assert_array_equal(found.weights[length:], 0)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (folder / name).write_bytes(packed)
    return folder


TSV = b"1\tfine\r\n0\t\r\n"


def test_a_missing_file_is_named(tmp_path, capsys):
    write(tmp_path, {"train.tsv": TSV})
    options = ["--dataset", "tsv", "--data-dir", str(tmp_path)]
    assert "lacks validation.tsv, test.tsv" in failing(capsys, *options)
    write(tmp_path, {f"{s}.tsv": b"1\tfine\n" * 7 for s in ("validation", "test")})
    write(tmp_path, {"train.tsv": b"1\tfine\n" * 7 + b"0\tdull\n"})
    said = failing(capsys, *options, "--documents", "7")
    assert "--documents: expected enough of the first training documents" in said
    assert "only label {1}" in said
    write(tmp_path, {"train.tsv": b"1\tfine\n" * 7})
    said = failing(capsys, *options)
    assert "train.tsv: all documents have the label 1, expected 0 and 1" in said
