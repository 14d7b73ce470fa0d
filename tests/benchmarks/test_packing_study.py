"""The study of packing: three ways to read the same sentences, with one result."""

import gzip
import json
from typing import Any

import numpy as np
import pytest

from benchmarks.packing import (
    WAYS,
    Config,
    main,
    make_batches,
    measure,
    read_sentences,
    table,
)

WORDS = ["a", "dog", "runs", "over", "the", "green", "grass", "near", "two", "men"]


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0)
    lines = [" ".join(noise.choice(WORDS, noise.integers(1, 14))) for _ in range(50)]
    (tmp_path / "multi30k").mkdir()
    with gzip.open(tmp_path / "multi30k" / "train.en.gz", "wt") as file:
        file.write("\n".join([*lines, ""]))
    return tmp_path


def test_words_become_tokens(tmp_path):
    path = tmp_path / "some.gz"
    with gzip.open(path, "wt") as file:
        file.write("A dog\n\na cat A\nnever read\n")
    sentences = read_sentences(path, 3, 3)
    assert [s.tolist() for s in sentences] == [[0, 2, 1, 0], [0, 2, 1, 2, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_every_word_stands_in_one_batch(folder, way):
    sentences = read_sentences(folder / "multi30k" / "train.en.gz", 50, 20)
    batches = make_batches(sentences, WAYS[way], 4, 16)
    assert {batch.tokens.shape[0] for batch in batches} == {4}
    for side in ("tokens", "labels"):
        found = np.concatenate([getattr(b, side)[b.mask] for b in batches])
        kept = np.s_[:-1] if side == "tokens" else np.s_[1:]
        expected = np.concatenate([s[kept] for s in sentences])
        np.testing.assert_array_equal(np.sort(found), np.sort(expected))
    if way == "packed":
        assert sum(int(batch.starts.sum()) for batch in batches) == len(sentences)


def test_all_ways_compute_the_same(folder):
    small: dict[str, Any] = {
        "batch_size": 4,
        "row_length": 16,
        "hidden_size": 5,
        "vocab_size": 20,
    }
    results = measure(Config(folder, rounds=2, **small))
    ways = results["ways"]
    assert list(ways) == list(WAYS)
    assert ways["padded"]["valid"] < ways["bucketed"]["valid"] < 1
    assert ways["padded"]["valid"] < ways["packed"]["valid"] <= 1
    for row in ways.values():
        assert row["loss"] == pytest.approx(ways["padded"]["loss"], rel=1e-5)
        assert row["gradient_difference"] < 1e-5
        assert len(row["seconds"]) == 2
    assert json.loads(json.dumps(results)) == results
    assert table(ways).count("\n") == 1 + len(WAYS)


def test_a_command_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["packing", "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--data-dir" in said
    assert "train.en.gz" in said
