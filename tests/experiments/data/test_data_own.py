"""Your own images, texts and captions, in the forms that people have."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import lab
from experiments.data import DataError
from experiments.data.documents import Documents, both_labels
from experiments.data.image_folder import How, OwnImages, image_paths, load_folder
from experiments.data.own_captions import load_own, read_captions
from experiments.data.own_texts import OwnTexts, read_texts


def image(path: Path, value: int = 0, size=(9, 7)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path)
    return path


def test_a_folder_for_each_class_is_divided_always_alike(tmp_path):
    for number in range(10):
        image(tmp_path / "b" / f"{number}.png", number)
        image(tmp_path / "a" / "deep" / f"{number}.JPG", 100 + number)
    for clutter in (".DS_Store", "a/Thumbs.db", "a/._0.jpg", "notes.txt"):
        (tmp_path / clutter).write_bytes(b"no image")
    (tmp_path / "__MACOSX").mkdir()
    data = load_folder(tmp_path, How(4, 5))
    assert data.classes == ("a", "b")
    assert data.train.images.shape == (16, 4, 5)
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    for split in (data.train, data.test):  # labels go with their images, mixed
        np.testing.assert_array_equal(split.images[:, 0, 0] < 50, split.labels == 1)
        assert np.abs(np.diff(split.labels)).sum() > 0
    seen = np.concatenate([data.train.images[:, 0, 0], data.test.images[:, 0, 0]])
    assert len(np.unique(seen)) == 20
    again = load_folder(tmp_path, How(4, 5))
    np.testing.assert_array_equal(data.train.images, again.train.images)


def test_folders_train_and_test_are_what_they_say(tmp_path):
    for part, first in (("train", 0), ("test", 100)):
        for name in ("x", "y"):
            image(tmp_path / part / name / "1.png", first + (name == "y"))
    data = load_folder(tmp_path, How(2, 2, color=True))
    assert data.train.images.shape == (2, 2, 2, 3)
    assert sorted(data.test.images[:, 0, 0, 0]) == [100, 101]
    image(tmp_path / "test" / "z" / "1.png")
    with pytest.raises(DataError, match="has the classes z, of which there are none"):
        load_folder(tmp_path, How())


def test_a_folder_that_is_none_of_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_folder(tmp_path / "nowhere", How())
    path = image(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match="found 1 folders and 0 images"):
        load_folder(tmp_path, How())
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="b: has no images"):
        load_folder(tmp_path, How())
    image(tmp_path / "b" / "1.png")
    with pytest.raises(DataError, match="a: has one image"):
        load_folder(tmp_path, How())
    image(tmp_path / "a" / "2.png")
    (tmp_path / "b" / "2.heic").write_bytes(b"0000ftypheic" * 9)
    with pytest.raises(DataError, match=r"2\.heic: "):
        load_folder(tmp_path, How())
    with pytest.raises(lab.UsageError, match="--dataset: expected own together with"):
        OwnImages(dataset="digits", images=tmp_path).load()
    assert image_paths([path, tmp_path / "a"]) == [path, path, tmp_path / "a/2.png"]


def test_dark_on_light_and_light_on_dark_are_alike(tmp_path):
    for name, ink, paper in (("a", 255, 0), ("b", 0, 255)):
        pixels = np.full((8, 8), paper, np.uint8)
        pixels[3:5, 3:5] = ink
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    how = How(8, 8, light_on_dark=True)
    first, second = (how.read(tmp_path / f"{name}.png") for name in "ab")
    np.testing.assert_array_equal(first, second)
    assert (first[0, 0], first[3, 3]) == (0, 255)


ROWS = [('Fine, "so" fine', "good"), ("dull", "bad"), ("so so", "fair")] * 10


def table(path: Path, form: str) -> Path:
    quoted = [(t.replace('"', '""'), label) for t, label in ROWS]
    text = {
        "csv": "Review,Label\n" + "".join(f'"{t}",{n}\r\n' for t, n in quoted),
        "tsv": "label\ttext\n" + "".join(f"{n}\t{t}\n" for t, n in ROWS),
        "jsonl": "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in ROWS),
        "json": json.dumps([{"sentence": t, "class": n} for t, n in ROWS]),
        "txt": "".join(f"{n}\t{t}\n" for t, n in ROWS),
    }[form]
    file = path / f"a.{form}"
    file.write_text(text, newline="")
    return file


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json", "txt"])
def test_texts_of_any_classes_are_read_from_every_form(form, tmp_path):
    data, classes = OwnTexts(dataset="own", texts=table(tmp_path, form)).load()
    assert classes == ("bad", "fair", "good")
    for part, each in zip(data, (8, 1, 1), strict=True):
        assert np.bincount(part.labels).tolist() == [each] * 3
        assert dict(zip(part.texts, part.labels.tolist(), strict=True)) == {
            'Fine, "so" fine': 2,
            "dull": 0,
            "so so": 1,
        }
    if form == "csv":
        places = read_texts([tmp_path / "a.csv"], OwnTexts())
        assert places[1] == ("dull", f"{tmp_path / 'a.csv'}, line 3")


def test_a_column_of_splits_and_a_file_of_the_test_decide(tmp_path):
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    rows = [f"{n % 2},text {n},{p}" for n, p in enumerate(["train"] * 4 + ["dev"] * 2)]
    path.write_text("\n".join(["label,text,split", *rows]))
    other.write_text("label,text\n1,other\n0,last\n")
    options = {"dataset": "own", "texts": path}
    data, _ = OwnTexts(**options, test_texts=other).load()
    assert [len(part.texts) for part in data] == [4, 2, 2]
    assert data.test.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match="has no texts for the test"):
        OwnTexts(**options).load()
    other.write_text("label,text\n2,other\n")
    with pytest.raises(DataError, match="have none of the class '2'"):
        OwnTexts(**options, test_texts=other).load()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "text,label\nfine\n", "line 2: expected 2 columns"),
        ("a.csv", 'text,label\n"fine,1\n', "line 2: unexpected end of data"),
        ("a.csv", "text,label\nfine,\n", "line 2: expected a label in 'label'"),
        ("a.csv", "text,stars\nfine,1\n", "expected a column label or class"),
        ("a.csv", "text,label\nfine,1\nfiner,1\n" * 1, "expected more than 2 texts"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "line 2: "),
        ("a.jsonl", '{"text": 3, "label": 1}\n', "line 1: expected a text in 'text'"),
        ("a.xlsx", "x", "expected a name that ends in .csv"),
        ("a.tsv", "1\tgood\n" * 9, "expected two classes or more"),
    ],
)
def test_bad_tables_are_named_with_their_line(name, text, message, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError) as error:
        OwnTexts(dataset="own", texts=path).load()
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_odd_texts_are_left_out_where_asked_for(tmp_path):
    train = [("a", 0), ("a", 1), ("b", 1), ("b", 1), ("c", 0), ("d", 1)]
    parts = {"train": train, "validation": [("b", 1), ("e", 0)], "test": [("z", 1)]}
    for name, rows in parts.items():
        text = "".join(f"{label}\t{text}\n" for text, label in rows)
        (tmp_path / f"{name}.tsv").write_text(text)
    run = lab.Config().run.__class__(data_dir=tmp_path)
    options = {"dataset": "tsv", "run": run}
    data, classes = OwnTexts(**options, drop_both_labels=True).load()
    assert (data.train.texts, classes) == (
        ["b", "b", "c", "d"],
        ("negative", "positive"),
    )
    assert data.validation.texts == ["b", "e"]
    data, _ = OwnTexts(**options, drop_repeated=True).load()
    assert (len(data.train.texts), data.validation.texts) == (6, ["e"])
    texts = Documents(["a", "a", "b"], np.array([1, 1, 0]))
    assert both_labels(texts).tolist() == [False] * 3


NAMES = [f"{n}.png" for n in range(5)]
SAID = {"0.png": ["A dog, running", "two dogs"]} | {n: ["A cat"] for n in NAMES[1:]}


def every_form(folder: Path) -> dict[str, str]:
    pairs = [(n, c, i) for n, said in SAID.items() for i, c in enumerate(said)]
    coco = {
        "images": [{"id": i, "file_name": n} for i, n in enumerate(NAMES)],
        "annotations": [
            {"image_id": NAMES.index(n), "caption": c} for n, c, _ in pairs
        ],
    }
    karpathy = [
        {"filename": n, "sentences": [{"raw": c} for c in said]}
        for n, said in SAID.items()
    ]
    lines = [{"file_name": n, "text": c} for n, c, _ in pairs]
    return {
        "a.csv": "image,caption\n" + "".join(f'{n},"{c}"\n' for n, c, _ in pairs),
        "a.tsv": "file\tcaption\n" + "".join(f"in/{n}\t{c}\n" for n, c, _ in pairs),
        "token.txt": "".join(f"{n}#{i}\t{c}\n" for n, c, i in pairs),
        "bars.txt": "image_name| comment_number| comment\n"
        + "".join(f"{n}| {i}| {c} .\n" for n, c, i in pairs),
        "commas.txt": "image,caption\n" + "".join(f"{n},{c}\n" for n, c, _ in pairs),
        "stems.txt": "".join(f"{Path(n).stem}\t{c}\n" for n, c, _ in pairs),
        "a.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
        "map.json": json.dumps(SAID),
        "coco.json": json.dumps(coco),
        "karpathy.json": json.dumps({"images": karpathy}),
        "list.json": json.dumps(lines),
    }


def test_captions_are_read_from_every_form(tmp_path):
    images = tmp_path / "photos"
    for number, name in enumerate(NAMES):
        image(images / "in" / name, 40 * number)
    for name, text in every_form(tmp_path).items():
        (tmp_path / name).write_text(text)
        data = load_own(4, images, tmp_path / name)
        found = {
            Path(image).name: captions
            for part in data
            for image, captions in zip(part.names, part.captions, strict=True)
        }
        right = {"0.png": ["a dog running", "two dogs"]}
        right |= {n: ["a cat"] for n in NAMES[1:]}
        assert found == right, name
        assert [len(part.names) for part in data] == [3, 1, 1]
    for name, said in SAID.items():
        (images / "in" / name).with_suffix(".txt").write_text("\n".join(said))
    beside = read_captions(images, None)
    assert [line.caption for line in beside[:2]] == SAID["0.png"]
    (images / "captions.json").write_text(json.dumps({"1.png": "a tree"}))
    assert [line.image for line in read_captions(images, None)] == ["1.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,caption\n9.png,a dog\n", "line 2: .* has no image '9.png'"),
        ("image,caption\n1.png,...\n", "line 2: expected a caption, found '...'"),
        ("image,words\n1.png,a dog\n", "expected the columns image and caption"),
        ("image,caption,split\n1.png,a dog,later\n", "expected a split, found 'later'"),
        ("image,caption\n1.png,a dog\n", "expected 3 images with captions or more"),
    ],
)
def test_bad_captions_are_named_with_their_line(text, message, tmp_path):
    for name in NAMES:
        image(tmp_path / "photos" / name)
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_own(4, tmp_path / "photos", path)
