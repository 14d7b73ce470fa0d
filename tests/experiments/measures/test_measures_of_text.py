"""Measures of text and music: what they claim, against definitions and made data."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from made import random_roll

from experiments.data import scenes
from experiments.data.music import KEYS
from experiments.measures.bleu import bleu, bleu_1_to_4, by_length, people
from experiments.measures.captions import mistakes, right, wilson_interval
from experiments.measures.decisions import binary_scores, majority, together
from experiments.measures.ngrams import ngram_losses
from experiments.measures.rolls import averaged, each_note_alone, last_step_again
from experiments.measures.tfidf import n_gram_accuracy
from experiments.measures.words import Explanation, agreement, explain, telling_words


def test_mistakes_are_counted_against_the_closest_caption():
    true = ["a three left of a seven", "a seven right of a three"]
    said = [
        true[1],
        "a small seven right of a three",
        "a nine right of a one",
        "a three left of",
    ]
    parts = scenes.parts_of_captions()
    found = mistakes(said, [true] * 4, parts, scenes.KINDS)
    assert found.counts == {"digit": 1, "relation": 0, "size": 1, "not a sentence": 1}
    assert found.tables["relation"].sum() == 3
    assert found.tables["digit"].sum() == 6
    digits = found.tables["digit"]
    assert digits[7, 7] == 2
    assert digits[7, 9] + digits[3, 9] == 1


def test_bleu_takes_as_many_references_as_there_are():
    references = [["a dog runs on grass", "the dog runs"], ["two men sit"]]
    said = ["a dog runs on sand", "two men sit"]
    found, signature = bleu(said, references, 2)
    assert found.precisions == [100 * 7 / 8, 100 * 5 / 6]
    assert found.score == pytest.approx(100 * (7 / 8 * 5 / 6) ** 0.5)
    assert "nrefs:var" in signature
    with_interval, _ = bleu(said, references, 2, bootstrap=10)
    assert with_interval.score == found.score
    assert "±" in str(with_interval)


def test_an_ensemble_has_the_mean_probability():
    logits = np.random.default_rng(0).normal(size=(5, 7)) * 9
    found = together(logits)
    mean = (1 / (1 + np.exp(-logits))).mean(axis=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), mean[None])
    assert np.isfinite(together(np.full((2, 1), 1e4))).all()


def test_ngrams_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    train, valid = rng.integers(0, 4, 301), rng.integers(0, 5, 41)  # 4 is new
    # The histories at the start of the validation part lie in the training part.
    text = [*train.tolist(), *valid.tolist()]

    def probabilities(history):
        p = np.full(5, 1 / 5)
        for n in range(1, 1 + 4):
            h = tuple(history[len(history) - n + 1 :])
            after = Counter(
                text[i + n - 1]
                for i in range(len(train) - n + 1)
                if tuple(text[i : i + n - 1]) == h
            )
            if after:
                counts = np.array([after[x] for x in range(5)])
                p = (counts + len(after) * p) / (counts.sum() + len(after))
        return p

    found = defaultdict(list)
    for place in range(len(train) + 1, len(text)):
        p = probabilities(text[:place])
        assert math.isclose(p.sum(), 1)
        found[4].append(-np.log(p[text[place]]))
    losses = ngram_losses(train, valid, 5, 6)
    assert len(losses) == 6
    assert math.isclose(losses[3], np.mean(found[4]))


def test_baselines_are_what_one_counts():
    rolls = [random_roll(seed, steps) for seed, steps in enumerate((5, 31, 17, 2))]
    found = each_note_alone(rolls, rolls), last_step_again(rolls, rolls)
    starts = np.concatenate([roll[:-1] for roll in rolls])
    ends = np.concatenate([roll[1:] for roll in rolls])
    expected = np.zeros(2)
    for before, after in zip(starts, ends, strict=True):
        for key in range(KEYS):
            every, like = ends[:, key], ends[starts[:, key] == before[key], key]
            for i, seen in enumerate((every, like)):
                p = (seen.sum(dtype=int) + 1) / (len(seen) + 2)
                expected[i] -= math.log(p if after[key] else 1 - p)
    by_step = [scores.by_step for scores in found]
    np.testing.assert_allclose(by_step, expected / len(starts))


def test_averages_weigh_steps_or_pieces():
    rng = np.random.default_rng(0)
    steps = [rng.random((2, n)) for n in (4, 11, 1)]
    nll = np.stack([own.mean(axis=1) for own in steps], axis=1)  # [S, N]
    rolls = [np.zeros((own.shape[1] + 1, 3)) for own in steps]
    found = averaged(nll, rolls)
    np.testing.assert_allclose(found.by_step, np.concatenate(steps, 1).mean(axis=1))
    np.testing.assert_allclose(found.by_piece, nll.mean(axis=1))


def test_scores_of_decisions_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 17)), rng.integers(0, 2, 17)
    p = 1 / (1 + np.exp(-logits))
    found = binary_scores(logits, labels)
    np.testing.assert_allclose(
        found["loss"], -np.log(np.where(labels, p, 1 - p)).mean(axis=1)
    )
    np.testing.assert_allclose(found["accuracy"], ((p > 0.5) == labels).mean(axis=1))
    assert np.isfinite(binary_scores(np.array([[1e4, -1e4]]), np.zeros(2))["loss"])
    assert majority(np.array([0, 0, 1]), labels) == 1 - labels.mean()


def test_explanations_read_each_document_without_each_word():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=11)
    calls = []

    def read(sequences):
        calls.append(len(sequences))
        weights = [np.full(len(s), 1 / len(s)) for s in sequences]
        return np.array([weight[s].sum() for s in sequences]), weights

    tokens = [np.array([3, 7, 7, 2], np.int32), np.array([5], np.int32)]
    owners = [np.array([0, 1, 1, 2]), np.array([0])]
    words = [["a", "long", "film"], ["film"]]
    first, second = explain(read, words, tokens, owners, [1, 0], unknown=4)
    assert calls == [6]
    assert (first.words, first.label, second.label) == (words[0], 1, 0)
    np.testing.assert_allclose(first.logit, weight[[3, 7, 7, 2]].sum())
    changes = [weight[3], 2 * weight[7], weight[2]] - weight[4] * np.array([1, 2, 1])
    np.testing.assert_allclose(first.contributions, changes)
    np.testing.assert_allclose(first.attention, [0.25, 0.5, 0.25])
    (unlabelled,) = explain(read, words[1:], tokens[1:], owners[1:], unknown=4)
    assert unlabelled.label is None
    np.testing.assert_allclose(unlabelled.contributions, second.contributions)

    telling = telling_words([first, second, second], often=3)
    assert [(t.word, t.occurrences) for t in telling] == [("film", 3)]
    mean = (changes[2] + 2 * second.contributions[0]) / 3
    np.testing.assert_allclose(telling[0].contribution, mean)
    values = [t.contribution for t in telling_words([first, second], often=1)]
    assert values == sorted(values)


def test_agreement_leaves_out_documents_of_one_word():
    def said(contributions, attention):
        words = ["w"] * len(attention)
        return Explanation(words, 1, 0.0, np.array(contributions), np.array(attention))

    agrees, not_so = said([0.1, -2.0], [0.3, 0.7]), said([1.0, 0, 0], [0.2, 0.5, 0.3])
    alone = said([1.0], [1.0])
    assert agreement([agrees, alone]) == (1.0, 0.5)
    assert agreement([agrees, not_so]) == (0.5, pytest.approx((1 / 2 + 1 / 3) / 2))
    assert all(map(math.isnan, agreement([alone])))


def test_n_grams_tell_what_single_words_do_not():
    rng = np.random.default_rng(0)
    texts = [
        " ".join(rng.permutation(["not", "bad", "but", "dull"])) for _ in range(90)
    ]
    labels = np.array(["not bad" in text for text in texts], int)
    parts = [(texts[i::3], labels[i::3]) for i in range(3)]
    for of in ("words", "letters"):
        assert n_gram_accuracy(*parts, of=of) > 0.9 > majority(parts[0][1], parts[2][1])
    # The validation part chooses the penalty; the test part chooses nothing.
    swapped = n_gram_accuracy(parts[0], parts[1], (parts[2][0], 1 - parts[2][1]))
    np.testing.assert_allclose(swapped, 1 - n_gram_accuracy(*parts))


def test_bleu_by_length_is_that_of_each_part_alone():
    rng = np.random.default_rng(0)
    names = list("abcdefgh")
    references = [
        [" ".join(rng.choice(names, size)) for _ in range(2)]
        for size in (4, 5, 5, 5, 6, 7, 7, 9)
    ]
    said = [f"{first} {second[:3]}" for first, second in references]
    lengths = np.array([3, 5, 5, 5, 6, 7, 7, 9])
    found = by_length(lengths, {"it": said}, references, parts=4)["it"]
    edges = [("1 to 5", 0, 4), ("6", 4, 5), ("7", 5, 7), ("8 to 9", 7, 8)]
    assert list(found) == [name for name, _, _ in edges]
    for name, first, stop in edges:
        expected = bleu(said[first:stop], references[first:stop])[0].score
        assert found[name] == expected


def test_people_are_measured_where_there_are_several():
    references = [["a dog runs here", "a dog runs there"], ["one cat"]]
    expected = bleu_1_to_4(["a dog runs here"], [["a dog runs there"]])
    assert people(references) == expected
    assert people([["one cat"]]) is None
    assert expected == sorted(expected, reverse=True)


def test_intervals_of_wilson_are_those_of_the_formula():
    z, hits, count = 1.959964, 93, 97
    p = hits / count
    middle = p + z**2 / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    expected = [
        (middle - half) / (1 + z**2 / count),
        (middle + half) / (1 + z**2 / count),
    ]
    np.testing.assert_allclose(wilson_interval(hits, count), expected, rtol=1e-6)
    assert right(["a", "b"], [["a"], ["c", "b b"]]).tolist() == [True, False]
