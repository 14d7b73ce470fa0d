"""Captions and photographs: every form of the files, and damaged ones."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from made import HEADER, IMAGES, LINES, archive, caption_files, jpeg

from experiments.data import DataError
from experiments.data.captions import load_captions
from experiments.data.formats.pictures import nearest


@pytest.fixture
def folder(tmp_path) -> Path:
    return caption_files(tmp_path)


def test_captions_and_images_come_together(folder):
    data = load_captions(20, folder)
    assert data.train.names == ["a.jpg"]
    assert data.train.captions == [["a dog running", "two dogs"]]
    assert data.validation.captions == [["a man"]]
    assert data.test.captions == [["a sign says stop now"]]
    assert data.train.images.shape == (1, 20, 20, 3)
    assert abs(data.test.images[0, 3, 3].astype(int) - (2, 9, 99)).max() < 9


def test_every_form_of_the_captions_reads_alike(tmp_path):
    pairs = [(f"{i:02}.png", f'dog number {i}, "{"a" * i}"') for i in range(1, 31)]
    for name, header, line in (
        ("tsv", "image\tcaption", "{}\t{}"),
        ("csv", "image,caption", '{},"{}"'),
        ("token", None, "{}#0\t{}"),
    ):
        quoted = [(n, c.replace('"', '""') if name == "csv" else c) for n, c in pairs]
        lines = [header] if header else []
        lines += [line.format(*p) for p in quoted]
        (tmp_path / name).write_text("\r\n".join(lines))
    (tmp_path / "photos").mkdir()
    for name, _ in pairs:
        (tmp_path / "photos" / name).write_bytes(jpeg((8, 9), kind="PNG"))
    found = [
        load_captions(8, tmp_path, captions=name, images="photos")
        for name in ("tsv", "csv", "token")
    ]
    assert [len(part.names) for part in found[0]] == [24, 3, 3]
    everything = [n for part in found[0] for n in part.names]
    assert sorted(everything) == [n for n, _ in pairs]
    for other in found[1:]:
        for part, same in zip(found[0], other, strict=True):
            assert part.names == same.names
            assert part.captions == same.captions
    captions = [texts for part in found[0] for texts in part.captions]
    assert captions[everything.index("03.png")] == ["dog number 3 aaa"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("picture\tcaption\n", "line 1: expected a column 'image'"),
        ("image\tflickr8k_split\n", "line 1: expected a column 'caption'"),
        (HEADER, "has no data"),
        (HEADER + "a.jpg\ttrain\n", "line 2: expected 3 columns"),
        (HEADER + LINES[0] + "\n\n" + LINES[1], "line 3: expected 3 columns"),
        (HEADER + "a.jpg\ttrain\t . \n", "line 2: expected a caption, found ' . '"),
        (HEADER + "a.jpg\tlater\tA dog\n", "line 2: expected a split, one of train"),
        (HEADER + "../a.jpg\ttrain\tA dog\n", "line 2: expected the name of an image"),
        (HEADER + "\ttrain\tA dog\n", "line 2: expected the name of an image"),
        (HEADER + LINES[0] + "\na.jpg\tdev\tA\n", "line 3: a.jpg is in 'dev' here"),
        (HEADER + LINES[0] + "\n", "has no images for validation"),
        (HEADER + "\n".join([*LINES, "e.jpg\tdev\tA cat"]), "line 7: "),
        (HEADER + "a.jpg\ttrain\tA d\u00f6g\n", "line 2: is not UTF-8"),
    ],
)
def test_a_bad_captions_file_is_named_with_its_line(folder, text, message):
    path = folder / "captions.tsv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as error:
        load_captions(8, folder)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def odd_archive(path: Path, name: str, kind: bytes, size: int = 0) -> None:
    archive(path, {n: d for n, d in IMAGES.items() if n != "a.jpg"})
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/hostname"
        tar.addfile(member)
        if size:  # said to be there, and not there
            member.name, member.size = "huge.jpg", size
            assert tar.fileobj is not None
            tar.fileobj.write(member.tobuf())


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: p.unlink(), "does not exist"),
        (lambda p: p.write_bytes(b"this is no archive" * 100), "cannot be read"),
        (lambda p: p.write_bytes(p.read_bytes()[:1500]), "cannot be read"),
        (
            lambda p: archive(p, {"a.jpg": jpeg(), "b.jpg": jpeg()}),
            "has no image 'c.jpg'",
        ),
        (lambda p: archive(p, IMAGES | {"a.jpg": b"GIF89a"}), "'a.jpg': is no JPEG"),
        (
            lambda p: archive(p, IMAGES | {"a.jpg": jpeg()[:500]}),
            "'a.jpg': cannot be read",
        ),
        (lambda p: archive(p, {"../a.jpg": jpeg()}), "leads out of the archive"),
        (lambda p: archive(p, {"/a.jpg": jpeg()}), "leads out of the archive"),
        (lambda p: odd_archive(p, "a.jpg", tarfile.SYMTYPE), "is no plain file"),
        (lambda p: odd_archive(p, "a.jpg", tarfile.LNKTYPE), "is no plain file"),
        (lambda p: odd_archive(p, "a.jpg", tarfile.CHRTYPE), "is no plain file"),
        (
            lambda p: odd_archive(p, "x.jpg", tarfile.REGTYPE, 5 << 30),
            "'huge.jpg': is no plain file of at most",
        ),
        (
            lambda p: archive(p, IMAGES | {"a.jpg": jpeg((9000, 8000), kind="PNG")}),
            "9000x8000 are too many pixels",
        ),
    ],
)
def test_a_bad_archive_is_refused_in_one_line(folder, break_it, message):
    before = {path.name for path in folder.iterdir()}
    break_it(folder / "images128.tar")
    with pytest.raises(DataError, match=r"images128\.tar") as error:
        load_captions(8, folder)
    assert message in str(error.value)
    assert {path.name for path in folder.iterdir()} <= before


def test_the_nearest_photograph_has_the_most_similar_colors():
    rng = np.random.default_rng(0)
    train = rng.integers(256, size=(7, 17, 17, 3)).astype(np.uint8)
    order = rng.permutation(7)
    noisy = np.clip(train[order].astype(int) + 3, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(nearest(train, noisy), order)
