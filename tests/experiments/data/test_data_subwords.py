"""Subwords, words and characters: a text comes back letter for letter."""

import random
import unicodedata

import numpy as np
import pytest
from conftest import needs_data

from experiments.data import captions, check, documents
from experiments.data.corpus import tidy
from experiments.data.subwords import (
    PAD,
    SPECIALS,
    START,
    STOP,
    UNKNOWN,
    Subwords,
    losses,
    words,
)
from experiments.data.vocabulary import Vocabulary

NAMES = (*SPECIALS, "[MASK]", "[UNK]", "[CLS]", "<|endoftext|>")
PARTS = (
    *NAMES,
    " ",
    "  ",
    "\n",
    "\t",
    "\u00a0",
    "\u2581",
    "low",
    "ㅋㅋ",
    "é",
    "(",
    ".",
)


def texts_of(parts, count: int = 300) -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices(parts, k=rng.randrange(7))) for _ in range(count)]


@pytest.fixture(scope="module")
def learned() -> Subwords:
    return Subwords.of(["".join(PARTS), "low lower lowest"], 200)


def test_any_text_of_known_letters_comes_back(learned, tmp_path):
    learned.save(tmp_path / "subwords.json")
    for subwords in (learned, Subwords.load(tmp_path / "subwords.json")):
        texts = texts_of(PARTS)
        for text, tokens in zip(texts, subwords.encode(texts), strict=True):
            assert subwords.decode(tokens) == text
            assert not set(tokens.tolist()) & {PAD, START, STOP, UNKNOWN}
        # Those that a network writes are still no text.
        (low,) = subwords.encode(["low"])
        assert subwords.decode([START, *low, PAD, UNKNOWN, *low, STOP, *low]) == (
            "low low"
        )


def test_a_word_called_as_a_special_token_is_a_word():
    texts = [" ".join((*NAMES, "a\u2581b", "ㅋㅋ")), "a dog"]
    vocabulary = words(texts)
    for text, tokens in zip(texts, vocabulary.encode(texts), strict=True):
        assert vocabulary.decode(tokens) == text
        assert min(tokens) > UNKNOWN
    assert vocabulary.encode(["cat"])[0].tolist() == [UNKNOWN]
    assert vocabulary.decode([START, *vocabulary.encode(["a dog"])[0], STOP]) == "a dog"
    plain = words(["a dog", "a"])  # which of them are known changes nothing else
    assert plain.encode(["<unk> a <pad>"])[0].tolist() == [UNKNOWN, 4, UNKNOWN]
    assert captions.normalized("A <unk> dog </s>") == "a unk dog s"


def test_characters_have_no_special_tokens():
    text = "".join(NAMES) + "\u2581 \ufeff\U0001f642"
    vocabulary = Vocabulary.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_review_may_contain_the_names_of_special_tokens(learned):
    reviews = documents.Documents(["<unk> low</s>", "", "<pad>"], np.ones(3))
    found = documents.tokenize(learned, reviews)
    assert found.tokens[1].tolist() == [UNKNOWN]
    for i in (0, 2):
        assert min(found.tokens[i]) > UNKNOWN
    assert found.words[0] == ["<unk>", "low</s>"]


def test_korean_letters_are_composed_and_not_replaced():
    laughter, letters = "ㅋㅋㅋ", "\u1102\u1175\u11b7"
    for text in (laughter, "½ ﬁ \uff12", letters, "e\u0301"):
        subwords = Subwords.of([text, unicodedata.normalize("NFC", text)], 50)
        (tokens,) = subwords.encode([text])
        assert subwords.decode(tokens) == unicodedata.normalize("NFC", text)
        assert tidy(text) == unicodedata.normalize("NFC", text)
    # NFKC would not keep them.
    assert unicodedata.normalize("NFKC", laughter) != laughter
    for syllable in "웃긴다ㅋ":  # a token by itself is no half of a syllable
        subwords = Subwords.of(["웃긴다ㅋㅋ"], 50)
        (tokens,) = subwords.encode([syllable])
        assert "".join(subwords.pieces(tokens)).strip("▁") == syllable


def test_losses_are_counted():
    subwords = Subwords.of(["low new é"], 50, lowercase=True)
    texts = ["low", "Low", "LOW e\u0301", "slow", "<unk>"]
    assert losses(subwords, texts) == {
        "texts": 5,
        "in lower case": 2,
        "in another form of Unicode": 1,
        "with unknown letters": 2,
        "otherwise": 0,
    }


def comes_back(name: str, most: int | None) -> None:
    for parts in check.texts_of(name, None).values():
        seen = parts["train"][:most]
        subwords = Subwords.of(seen, check.VOCABULARY[name], lowercase=True)
        for texts in parts.values():
            found = losses(subwords, texts[:most])
            assert found["otherwise"] == 0
            assert most or found["with unknown letters"] < 0.05 * len(texts)
        assert losses(subwords, seen)["with unknown letters"] == 0


@needs_data("nsmc", "multi30k", "koreng")
@pytest.mark.parametrize("name", ["de", "ko"])
def test_some_real_texts_come_back(name):
    comes_back(name, 700)


@pytest.mark.slow
@needs_data("nsmc", "multi30k", "koreng", "sst2")
@pytest.mark.parametrize("name", check.VOCABULARY)
def test_all_real_texts_come_back(name):
    comes_back(name, None)
