"""Files beside their `.gz`: packed or plain, a data set is the same."""

import gzip
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import needs_data

from experiments.data import (
    captions,
    corpus,
    documents,
    files,
    images,
    music,
    parallel,
    scenes,
    series,
)
from experiments.data.formats.idx import read_idx

LOADS = {
    "shakespeare": lambda folder: corpus.load_text("shakespeare", folder),
    "sst2": lambda folder: documents.load_documents("sst2", folder),
    "multi30k": lambda folder: parallel.load_corpus("en", "de", folder),
    "koreng": lambda folder: parallel.load_corpus("ko", "en", folder),
    "music": lambda folder: music.load_music("jsb", folder),
    "ett": lambda folder: series.load_series("etth1", folder)[:3],
    "series": lambda folder: series.load_series("sunspots", folder)[:3],
}
LARGE = {
    "nsmc": lambda folder: documents.load_documents("nsmc", folder),
    "mnist": lambda folder: scenes.load_digits(folder),
    "flickr8k": lambda folder: captions.load_captions(16, folder),
}


def other_form(folder: Path, out: Path) -> Path:
    """The same data set with each packed file plain, and each plain one packed."""
    out.mkdir()
    for path in folder.iterdir():
        if path.suffix == ".gz":
            (out / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            packed = gzip.compress(path.read_bytes(), 1)
            (out / f"{path.name}.gz").write_bytes(packed)
    return out


def check_same(name, load, tmp_path):
    known = Path(os.environ["JAXRNN_DATA"]) / name
    want = load(known.parent)
    found = load(other_form(known, tmp_path / name))
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for a, b in zip(*map(jax.tree.leaves, (found, want)), strict=True):
        np.testing.assert_array_equal(a, b)


@needs_data(*LOADS)
@pytest.mark.parametrize("name", LOADS)
def test_packed_or_plain_it_is_the_same(name, tmp_path):
    check_same(name, LOADS[name], tmp_path)


@pytest.mark.slow
@needs_data(*LARGE)
@pytest.mark.parametrize("name", LARGE)
def test_large_ones_too(name, tmp_path):
    check_same(name, LARGE[name], tmp_path)


@pytest.mark.slow
@needs_data("mnist")
def test_images_from_plain_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "cache"))
    known = Path(os.environ["JAXRNN_DATA"]) / "mnist"
    folder = other_form(known, tmp_path / "mnist")
    data = images.load_images("mnist", folder)
    labels = read_idx(known / "t10k-labels-idx1-ubyte.gz")
    np.testing.assert_array_equal(data.test.labels, labels)
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(files.DataError, match="not the original file of mnist, unp"):
        images.load_images("mnist", folder)


def test_the_file_that_is_named_comes_first(tmp_path):
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(b"packed"))
    assert files.read_text(plain) == "packed"
    assert files.find("none", tmp_path, "a.txt") == [packed]
    plain.write_text("plain")
    assert files.read_text(plain) == "plain"
    assert files.read_text(packed) == "packed"
    packed.unlink()
    assert files.read_text(packed) == "plain"
    shutil.copy(plain, tmp_path / "b.gz")  # the name says what it is
    with pytest.raises(files.DataError, match="cannot be read: Not a gzipped file"):
        files.read_text(tmp_path / "b.gz")
