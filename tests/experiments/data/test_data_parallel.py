"""Sentences and translations: parts that share nothing, and damaged files."""

import gzip
from pathlib import Path

import pytest
from conftest import needs_data

from experiments.data import DataError
from experiments.data.parallel import load_corpus


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data))


PARTS = ("train", "val", "test_2016_flickr")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("train.de", b"eins\n", "train.en.gz has 2 lines but .*train.de.gz has 1"),
        ("val.en", b"", "val.en.gz: is empty"),
        ("val.de", b"eins\n\xff\n", "val.de.gz, line 2: is not UTF-8"),
        ("test_2016_flickr.en", b"one\n \n", "flickr.en.gz, line 2: .*found nothing"),
        ("test_2016_flickr.de", None, "lacks test_2016_flickr.de.gz"),
    ],
)
def test_bad_files_are_named(name, data, message, tmp_path):
    for part in PARTS:
        for language in ("en", "de"):
            write(tmp_path / f"{part}.{language}.gz", b"one\ntwo\n")
    path = tmp_path / f"{name}.gz"
    path.unlink() if data is None else write(path, data)
    with pytest.raises(DataError, match=message):
        load_corpus("en", "de", tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("Go.\t가.\n", "line 1: expected 3 columns"),
        ("Go.\t가.\tCC\nHi.\t \tCC\n", "line 2: expected a sentence, found nothing"),
        ("Go.\t가.\tCC\n", "too few lines"),
    ],
)
def test_bad_korean_files_are_named(data, message, tmp_path):
    write(tmp_path / "koreng" / "kor.txt.gz", data.encode())
    with pytest.raises(DataError, match=rf"kor.txt.gz.*{message}"):
        load_corpus("en", "ko", tmp_path)


@needs_data("koreng")
@pytest.mark.parametrize("source", ["en", "ko"])
def test_the_korean_parts_share_no_sentence(source):
    target = {"en": "ko", "ko": "en"}[source]
    corpus = load_corpus(source, target)
    pairs = [part.pairs() for part in corpus[1:]]
    assert sum(len(sources) for sources, _ in pairs) == 3723
    for column in (0, 1):
        train, val, test = ({t.casefold() for t in part[column]} for part in pairs)
        assert not train & val
        assert not train & test
        assert not val & test
    assert 250 < len(corpus.test.sources) < 450
    assert len(set(corpus.test.sources)) == len(corpus.test.sources)
    assert max(map(len, corpus.test.references)) > 1
