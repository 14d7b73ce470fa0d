"""Texts in pieces: the same as in one, and never all in memory."""

import gzip
import random
import tracemalloc
import unicodedata

import numpy as np
import pytest

from experiments import lab
from experiments import language_model as lm
from experiments.data import DataError, corpus, streamed

PARTS = (
    *("to be", "\r\n", "\n", "\r", "e\u0301\u0323", "\u1100", "\u1161", "\u11a8"),
    *("가", "\u11a8", "漢字", "\u0301", "か\u3099", "🙂", "\u0928\u093c", " "),
)


def made(seed: int, count: int = 60) -> str:
    rng = random.Random(seed)
    return "".join(rng.choices(PARTS, k=count))


def whole(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n"))


@pytest.mark.parametrize("block", [1, 7, 64])
def test_pieces_are_the_text(tmp_path, monkeypatch, block):
    monkeypatch.setattr(streamed, "BLOCK", block)
    for seed in range(40):
        text = made(seed)
        path = tmp_path / "text"
        path.write_bytes(text.encode("utf-8-sig" if seed % 2 else "utf-8"))
        assert "".join(streamed.pieces(path)) == whole(text)
        for count in (1, 13):
            some = "".join(streamed.first(streamed.pieces(path), count))
            assert some == whole(text)[:count]


def test_a_folder_is_its_files_one_below_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(streamed, "BLOCK", 5)
    texts = ["\n\none\r\ntwo\n\n", "\nthree", "\n\n", "four\n"]
    for i, text in enumerate(texts[:3]):
        (tmp_path / f"{i}.txt").write_text(text, newline="")
    (tmp_path / "3.txt.gz").write_bytes(gzip.compress(texts[3].encode()))
    assert corpus.from_path(tmp_path) == "one\ntwo\nthree\n\nfour\n"


def test_bad_bytes_are_told_with_their_line(tmp_path, monkeypatch):
    path = tmp_path / "text"
    for block in (1, 3, 1000):
        monkeypatch.setattr(streamed, "BLOCK", block)
        path.write_bytes("가\n나\n".encode() + b"\xffx\n\n")
        with pytest.raises(DataError, match="line 3: is not UTF-8: invalid start byte"):
            corpus.from_path(path)
        path.write_bytes("가\n".encode() + "나".encode()[:2])
        with pytest.raises(DataError, match="line 2: is not UTF-8: unexpected end"):
            corpus.from_path(path)


@pytest.mark.parametrize(
    "letters", ["abc\n ", "".join(map(chr, range(44_032, 44_432)))]
)
def test_tokens_in_a_file_are_those_in_memory(tmp_path, monkeypatch, letters):
    text = "".join(random.Random(0).choices(letters, k=5000))
    path = tmp_path / "text.txt"
    path.write_text(text)
    want = corpus.load_corpus(path)
    assert isinstance(want, corpus.Corpus)
    monkeypatch.setattr(corpus, "SHORT", 100)
    monkeypatch.setattr(streamed, "BLOCK", 97)
    monkeypatch.setattr(streamed, "AT_ONCE", 3)
    found = corpus.load_corpus(path)
    assert isinstance(found, corpus.LongText)
    assert found.dtype == ("uint8" if len(letters) < 256 else "uint16")
    found.write(tmp_path / "tokens")
    mapped = corpus.long_corpus(found, tmp_path / "tokens")
    assert mapped.vocabulary == want.vocabulary
    assert mapped.size == want.size == 5000
    np.testing.assert_array_equal(mapped.train[:], want.train)
    np.testing.assert_array_equal(mapped.valid, want.valid)
    one, other = (lab.streams(own.train, 4, 11) for own in (want, mapped))
    numbers = one.plan(3, 1)
    np.testing.assert_array_equal(other.plan(3, 1), numbers)
    assert one.part is not None
    np.testing.assert_array_equal(one.part(3, 1, 5, 9), numbers[5:9])
    for a, b in zip(one.read(numbers), other.read(numbers), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)

    path.write_text(text[::-1])
    with pytest.raises(DataError, match="was changed while it was read"):
        found.write(tmp_path / "again")
    (tmp_path / "tokens").write_bytes(b"12")
    with pytest.raises(DataError, match=r"tokens: expected (5|10),000 bytes"):
        corpus.long_corpus(found, tmp_path / "tokens")


def test_the_validation_part_of_a_long_text_is_no_longer_than_its_limit():
    assert corpus.train_count(1000) == 900
    assert corpus.train_count(10 * corpus.VALID) == 9 * corpus.VALID
    assert corpus.train_count(100 * corpus.VALID) == 99 * corpus.VALID


def test_memory_grows_by_less_than_the_text(tmp_path, monkeypatch):
    """From the file to the batches, eight times the text needs hardly more memory."""
    monkeypatch.setattr(corpus, "SHORT", 1 << 16)
    monkeypatch.setattr(corpus, "VALID", 1 << 14)
    monkeypatch.setattr(streamed, "BLOCK", 1 << 16)
    line = "To be, or not to be, that is the question:\n"

    def peak(size: int) -> int:
        path = tmp_path / f"{size}.txt"
        with path.open("w") as file:
            for _ in range(size // len(line)):
                file.write(line)
        config = lab.parse(lm.STUDY, ["--text", str(path), "--hidden-size", "3"])

        def keep(name, write):
            write(tmp_path / name)
            return tmp_path / name

        tracemalloc.start()
        try:
            problem = lm.prepare(config, lm.load(config), keep)
            assert problem.batches.part is not None
            last = problem.batches.steps
            tokens, _ = problem.batches.read(problem.batches.part(0, 0, last - 5, last))
            assert tokens.shape == (5, 64, 65)
            corpus.digested(lm.load(config))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = peak(1 << 20), peak(1 << 23)
    assert large - small < 1 << 20
