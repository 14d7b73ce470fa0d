"""`python -m experiments.captioning`, from the files to the captions."""

import io
import json
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from jax import lax
from PIL import Image
from safetensors.numpy import load_file

from experiments import captioning, lab
from experiments.data import DataError, scenes
from experiments.data.captions import load_captions
from experiments.data.formats.pictures import nearest
from experiments.data.images import Images
from experiments.data.subwords import PAD, START, STOP, UNKNOWN, padded, words
from experiments.measures.bleu import bleu
from experiments.measures.captions import mistakes
from experiments.models.captioner import neighborhoods, prepare

FILES = {"summary.json", "captions.tsv", "vocabulary.json", "params.safetensors"}


def run(out: Path, *options: str) -> dict:
    lab.main(captioning.STUDY, ["--out", str(out), *options])
    return json.loads((out / "summary.json").read_text())


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(captioning.STUDY, list(options))
    assert error.value.code == 2
    return capsys.readouterr().err


SMOKE = ("--preset", "smoke")


@pytest.fixture(scope="module")
def scenes_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "run"
    return out, run(out, *SMOKE)


@pytest.fixture(scope="module")
def photographs_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("photographs") / "run"
    return out, run(out, *SMOKE, "--dataset", "flickr8k")


# Scenes


@pytest.fixture(scope="module")
def squares() -> Images:
    """Digits of one brightness each, to be found again in a scene."""
    levels = np.arange(10, 250, 10, dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None], (len(levels), 28, 28))
    return Images(images, np.arange(len(levels), dtype=np.int32) % 10)


def test_both_captions_are_true_of_the_picture(squares):
    made = scenes.each_once(squares, None, 0)
    rng = np.random.default_rng(0)
    index = np.stack([rng.permutation(len(squares.labels))[:2] for _ in range(997)])
    more = scenes.compose(squares, index, rng)
    texts = scenes.all_captions()
    assert len(set(texts)) == len(texts) == np.prod(scenes.PARTS)
    seen = set()
    for image, numbers in (
        *zip(made.images, made.captions, strict=True),
        *zip(more.images, more.captions, strict=True),
    ):
        said = {texts[n] for n in numbers}
        things = []  # name, row and column of the center
        for level in set(image.ravel().tolist()) - {0}:
            rows, columns = np.nonzero(image == level)
            size = np.ptp(rows) + 1
            assert size == np.ptp(columns) + 1
            assert size in (14, 28)
            assert len(rows) == size**2  # nothing hides any of it
            label = squares.labels[squares.images[:, 0, 0] == level][0]
            name = f"a {'small ' if size == 14 else ''}{scenes.DIGITS[label]}"
            name = name.replace("a eight", "an eight")
            things.append((name, rows.mean(), columns.mean()))
        (a, *at), (b, *other) = things
        down, right = np.subtract(other, at)
        assert abs(abs(down) - abs(right)) >= scenes.MARGIN
        if abs(down) > abs(right):
            order = ("above", "below") if down > 0 else ("below", "above")
        else:
            order = ("left of", "right of") if right > 0 else ("right of", "left of")
        assert said == {f"{a} {order[0]} {b}", f"{b} {order[1]} {a}"}
        seen |= said
    assert len(seen) > 500


def test_no_digit_is_measured_on_twice(squares):
    levels = [
        level
        for image in scenes.each_once(squares, None, 0).images
        for level in set(image.ravel().tolist()) - {0}
    ]
    assert sorted(levels) == squares.images[:, 0, 0].tolist()
    with pytest.raises(DataError, match="24 digits of a part make 12 scenes, not 13"):
        scenes.each_once(squares, 13, 0)


def test_mistakes_are_counted_against_the_closest_caption():
    true = ["a three left of a seven", "a seven right of a three"]
    said = [
        true[1],
        "a small seven right of a three",
        "a nine right of a one",
        "a three left of",
    ]
    found = mistakes(said, [true] * 4, scenes.parts_of_captions(), scenes.KINDS)
    assert found.counts == {"digit": 1, "relation": 0, "size": 1, "not a sentence": 1}
    digits = found.tables["digit"]
    assert found.tables["relation"].sum() == 3
    assert digits.sum() == 6
    assert digits[7, 7] == 2
    assert digits[7, 9] + digits[3, 9] == 1


# Files


def jpeg(size=(40, 30), color=(200, 100, 50), kind="JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


HEADER = "image\tflickr8k_split\tcaption\n"
LINES = [
    "a.jpg\ttrain\tA dog , running .",
    "a.jpg\ttrain\tTwo dogs",
    "b.jpg\tdev\tA man",
    'c.jpg\ttest\tA sign says " stop , now " .',
    "d.jpg\tnone\tNobody",
]
IMAGES = {f"{n}.jpg": jpeg(color=(i, 9, 99)) for i, n in enumerate("abcd")}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "captions.tsv").write_text(HEADER + "\n".join(LINES) + "\n")
    archive(tmp_path / "images128.tar", {f"photos/{n}": d for n, d in IMAGES.items()})
    return tmp_path


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


def test_mistakes_end_in_one_message(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("JAXRNN_DATA", raising=False)
    photographs = ("--dataset", "flickr8k", "--data-dir", str(folder))
    for options, message in (
        ((), "mnist needs train-images-idx3-ubyte.gz"),
        (("--data-dir", "/nowhere"), "/nowhere does not exist"),
        (("--data-dir", str(folder)), "lacks train-images-idx3-ubyte.gz"),
        ((*photographs, "--captions-file", "b.tsv"), "lacks b.tsv"),
        ((*photographs, "--images-file", "photos"), "photos does not exist"),
        (photographs, "--batch-size: expected at most the 1 training examples"),
        (("--describe", "a.jpg"), "--describe: expected an --out too"),
        (("--describe", "a.jpg", "--out", str(folder)), "holds no finished run"),
    ):
        said = failing(capsys, *options)
        assert message in said
        assert "Traceback" not in said


# The network


@pytest.fixture(scope="module")
def small():
    """A network, params and an image with two captions, one of them padded."""
    config = lab.parse(captioning.STUDY, ["--preset", "smoke"])
    vocabulary = words(scenes.all_captions())
    net = captioning.network(config, 1, vocabulary.size)
    params = jax.jit(net.init)(jax.random.key(0))
    image = jax.random.bits(jax.random.key(1), (64, 64, 1), jnp.uint8)
    texts = [["a three left of a seven", "a small seven below a three"]]
    return net, params, image, vocabulary, padded(vocabulary, texts, 8)[0]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_over_neighborhoods_is_a_convolution(stride):
    x = jax.random.normal(jax.random.key(0), (8, 6, 5))
    w = jax.random.normal(jax.random.key(1), (45, 7))
    expected = lax.conv_general_dilated(
        x[None],
        w.reshape(3, 3, 5, 7),
        (stride, stride),
        [(1, 1), (1, 1)] if stride == 1 else [(1, 0), (1, 0)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[0]
    found = neighborhoods(x, stride) @ w[None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing(small):
    net, params, image, _, tokens = small
    logits_of = jax.jit(net.logits)
    together = logits_of(params, image, jnp.array(tokens[:, :-1]))
    for caption, logits in zip(tokens, together, strict=True):
        length = (caption != PAD).sum() - 1
        alone = logits_of(params, image, jnp.array(caption[None, :length]))
        np.testing.assert_allclose(logits[:length], alone[0], rtol=1e-4, atol=1e-5)
    longer = np.pad(tokens, ((0, 1), (0, 5)))
    loss = jax.jit(captioning.cross_entropy, static_argnums=0)
    same = (loss(net, params, image, jnp.array(t)) for t in (tokens, longer))
    np.testing.assert_allclose(*same, rtol=1e-5)


def test_unknown_words_are_read_but_never_learned(small):
    net, params, image, _, tokens = small
    tokens = np.where(np.arange(tokens.shape[1]) == 2, UNKNOWN, tokens)
    loss = jax.jit(jax.grad(captioning.cross_entropy, 1), static_argnums=0)
    grad = loss(net, params, image, jnp.array(tokens))
    table, readout = grad.decoder[0][0].w, grad.decoder[1][-1]
    assert np.abs(table[UNKNOWN]).max() > 0
    assert readout.b[UNKNOWN] > 0  # it becomes only less probable
    assert readout.b[tokens[0, 1]] < 0


def test_what_is_said_word_by_word_agrees_with_what_is_read(small):
    net, params, image, _, _ = small
    said = jax.jit(net.greedy, static_argnums=2)(params, image, 9)
    given = jnp.concatenate([jnp.array([START]), said[:-1]])
    logits = jax.jit(net.logits)(params, image, given[None])[0]
    stop = np.flatnonzero(np.append(said == STOP, True))[0] + 1
    np.testing.assert_array_equal(logits.argmax(-1)[:stop], said[:stop])
    weights = jax.jit(net.attention)(params, image, said)
    assert weights.shape == (9, 64)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


def test_photographs_are_moved_only_in_training():
    image = (jnp.arange(72 * 72 * 3).reshape(72, 72, 3) % 251).astype(jnp.uint8)
    still = prepare(image, 64)
    np.testing.assert_allclose(still, image[4:68, 4:68].astype(jnp.float32) / 255)
    moved = [prepare(image, 64, jax.random.key(i)) for i in range(3)]
    assert len({float(m.sum()) for m in moved}) == 3
    assert all(m.shape == still.shape for m in moved)
    scene = image[:64, :64, :1]
    same = prepare(scene, 64, jax.random.key(0))
    np.testing.assert_array_equal(same, prepare(scene, 64))


# Scores


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


def test_the_nearest_photograph_has_the_most_similar_colors():
    rng = np.random.default_rng(0)
    train = rng.integers(256, size=(7, 17, 17, 3)).astype(np.uint8)
    order = rng.permutation(7)
    noisy = np.clip(train[order].astype(int) + 3, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(nearest(train, noisy), order)


# Whole runs


@needs_data("mnist")
def test_digits_of_test_scenes_are_never_trained_on():
    digits = scenes.load_digits()
    assert [len(part.labels) for part in digits] == [55_000, 5_000, 10_000]
    sets = [{image.tobytes() for image in part.images} for part in digits]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]


@needs_data("mnist")
def test_scenes_depend_on_seed_epoch_and_update_alone():
    config = lab.parse(captioning.STUDY, ["--preset", "smoke"])
    data = captioning.load(config)
    problem = captioning.prepare(config, data, lambda name, write: Path(name))
    batches = captioning.task(config, problem).batches
    plan = batches.plan(1, 6)
    images, tokens = batches.read(plan[:3])
    assert images.shape == (3, 16, 64, 64, 1)
    assert tokens.shape == (3, 16, 2, 10)
    for first, stop in ((0, 1), (1, 3)):
        part = batches.read(plan[first:stop])
        np.testing.assert_array_equal(images[first:stop], part[0])
        np.testing.assert_array_equal(tokens[first:stop], part[1])
    np.testing.assert_array_equal(batches.read(plan[:3, 8:])[0], images[:, 8:])
    others = [batches.plan(epoch, seed)[:1] for epoch, seed in ((0, 6), (1, 5), (1, 6))]
    assert len({batches.read(numbers)[0].tobytes() for numbers in others}) == 3


@needs_data("mnist")
def test_scenes_from_end_to_end(scenes_run):
    out, summary = scenes_run
    # Grammar, with 22 of its words chosen at random, is about 1 nat a word.
    assert summary["test_loss"] < 1.3
    assert summary["test_images"] == 24
    rows = [x.split("\t") for x in (out / "captions.tsv").read_text().splitlines()[1:]]
    hits = np.mean([row[1] in row[2:] for row in rows])
    assert summary["test_accuracy_beam"] == pytest.approx(hits)
    grammar = set(scenes.all_captions())
    assert all(set(row[2:]) < grammar for row in rows)
    ((low, high),) = summary["test_accuracy_beam_95_percent_intervals"]
    assert low <= hits <= high
    assert sum(summary["mistakes_of_the_first_seed"].values()) >= 24 * (1 - hits)


@needs_data("mnist")
def test_a_finished_run_describes_an_image(scenes_run, tmp_path, capsys):
    out, _ = scenes_run
    Image.new("L", (70, 64), 250).save(tmp_path / "paper.png")
    options = "--describe", str(tmp_path / "paper.png"), "--out", str(out)
    lab.main(captioning.STUDY, options)
    said = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in said] == ["1. ", "2. "]
    assert set(" ".join(said).split()) - {"1.", "2."} <= set(
        " ".join(scenes.all_captions()).split()
    )
    for name, message in (("none.png", "does not exist"), ("bad.png", "is no JPEG")):
        (tmp_path / "bad.png").write_bytes(b"bad")
        options = "--describe", str(tmp_path / name), "--out", str(out)
        assert message in failing(capsys, *options)


@needs_data("flickr8k")
def test_photographs_from_end_to_end(photographs_run):
    out, summary = photographs_run
    names = {path.name for path in out.iterdir()}
    assert names >= FILES | {"curves.png", "sheet.png"}
    assert summary["test_images"] == 48
    for name in ("beam", "greedy", "one caption for all", "people"):
        values = summary[f"test_bleu_{name}"]
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        assert 0 <= min(values) <= max(values) <= 100
    assert summary["test_bleu_people"][3] > summary["test_bleu_greedy"][3]
    assert "nrefs:5" in summary["bleu_signature"]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    first, last = (json.loads(line)["train_loss"][0] for line in (lines[0], lines[-1]))
    assert last < first
    arrays = load_file(out / "params.safetensors")
    assert arrays[".places"].shape == (1, 64, 28)
