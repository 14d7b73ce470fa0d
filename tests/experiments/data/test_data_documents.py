"""Documents: NSMC, SST-2 and files of one's own, whole and damaged."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_data

from experiments.data import DataError
from experiments.data.documents import Documents, load_documents, tokenize
from experiments.data.subwords import UNKNOWN, Subwords


def test_each_word_knows_its_subwords():
    subwords = Subwords.of(["low lower lowest", "new newer newest"] * 3, 30)
    texts = ["low  newest", "", " ", "\N{SNOWMAN} low"]
    documents = tokenize(subwords, Documents(texts, np.zeros(4, np.int32)))
    assert documents.words == [["low", "newest"], [""], [""], ["\N{SNOWMAN}", "low"]]
    for i in (1, 2):
        np.testing.assert_array_equal(documents.tokens[i], [UNKNOWN])
        np.testing.assert_array_equal(documents.owners[i], [0])
    for words, tokens, owner in zip(*documents[:3], strict=True):
        for number, word in enumerate(words):
            if word:
                own = subwords.encode([word])[0]
                np.testing.assert_array_equal(tokens[owner == number], own)
    (whole,) = subwords.encode(["low newest"])
    np.testing.assert_array_equal(documents.tokens[0], whole)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (folder / name).write_bytes(packed)
    return folder


NSMC = b'id\tdocument\tlabel\n1\t"\xec\x99\x80\t1\n2\t\t0\n3\tno\x0bway\t0\n'


SST2 = b"1 a fine\xc2\xa0one .\n0 dull\xe2\x80\xa8and long\n"


TSV = b"1\tfine\r\n0\t\r\n"


def test_readers_take_documents_as_they_are(tmp_path):
    write(tmp_path, {f"ratings_{s}.txt.gz": NSMC for s in ("train", "test")})
    write(tmp_path, {f"stsa.binary.{s}": SST2 for s in ("train", "dev", "test")})
    write(tmp_path, {f"{s}.tsv": TSV for s in ("train", "validation", "test")})
    nsmc, sst2, tsv = (load_documents(n, tmp_path) for n in ("nsmc", "sst2", "tsv"))
    assert nsmc.test.texts == ['"와', "", "no\x0bway"]
    assert nsmc.test.labels.tolist() == [1, 0, 0]
    parts = nsmc.train.texts + nsmc.validation.texts
    assert sorted(parts) == sorted(nsmc.test.texts)
    assert len(nsmc.validation.texts) == 1
    assert sst2.train.texts == ["a fine\xa0one .", "dull\u2028and long"]
    assert sst2.validation.labels.tolist() == [1, 0]
    assert tsv.test.texts == ["fine", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nsmc", b"", "ratings_test.txt.gz: is empty"),
        ("nsmc", b"id\tdocument\tlabel\n", "ratings_test.txt.gz: has no data"),
        ("nsmc", b"1\tfine\t1\n", "test.txt.gz, line 1: expected the columns id, doc"),
        ("nsmc", NSMC + b"4\tone\n", "line 5: expected 3 columns (id, document, label"),
        ("nsmc", NSMC + b"\n", "test.txt.gz, line 5: expected 3 columns"),
        ("nsmc", NSMC + b"4\tx\t2\n", "line 5: expected the label 0 or 1, found '2'"),
        ("nsmc", NSMC + b"4\t\xc0\xce\t1\n", "test.txt.gz, line 5: is not UTF-8"),
        ("sst2", b"", "stsa.binary.test: is empty"),
        ("sst2", SST2 + b"\n0 x\n", "stsa.binary.test, line 3: expected 2 columns"),
        ("sst2", SST2 + b"fine film\n", "line 3: expected the label 0 or 1, found 'fi"),
        ("sst2", SST2 + b"1 \xff\n", "stsa.binary.test, line 3: is not UTF-8"),
        ("tsv", TSV + b"1 fine\n", "test.tsv, line 3: expected 2 columns (label, doc"),
    ],
)
def test_bad_files_are_named_with_their_line(name, content, message, tmp_path):
    write(tmp_path, {f"ratings_{s}.txt.gz": NSMC for s in ("train", "test")})
    write(tmp_path, {f"stsa.binary.{s}": SST2 for s in ("train", "dev", "test")})
    write(tmp_path, {f"{s}.tsv": TSV for s in ("train", "validation", "test")})
    last = {"nsmc": "ratings_test.txt.gz", "sst2": "stsa.binary.test"}
    write(tmp_path, {last.get(name, "test.tsv"): content})
    with pytest.raises(DataError) as error:
        load_documents(name, tmp_path)
    assert message in str(error.value)


@needs_data("nsmc", "sst2")
def test_the_published_splits():
    nsmc, sst2 = (load_documents(name) for name in ("nsmc", "sst2"))
    counts = [len(split.texts) for split in (*nsmc, *sst2)]
    assert counts == [145_000, 5000, 50_000, 6920, 872, 1821]
    assert [split.texts.count("") for split in nsmc] == [5, 0, 3]
