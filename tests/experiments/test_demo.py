"""`--demo`: the folder that is written, whose network computes what JAX's does."""

import gzip
import hashlib
import json
import re
import urllib.error

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import jaxrnn as rnn
from experiments import demo, lab, language_model, music, rows, sentiment
from experiments.data import DataError
from experiments.data.documents import Documents, tokenize
from experiments.data.midi_folder import OwnMusic
from experiments.data.music import OWN, Music, MusicSet
from experiments.data.subwords import Subwords
from experiments.data.vocabulary import Vocabulary
from experiments.demo import drawn, runtime, writing

TEXTS = [
    "정말 재미있는 영화",
    "지루하고 시간이 아깝다",
    "a fine film, truly",
    "dull",
] * 9
NAMES = {*runtime.SCRIPTS, f"{runtime.PROGRAM}.gz"}


@pytest.fixture(autouse=True)
def _small_runtime(monkeypatch):
    """Nothing is downloaded here."""
    monkeypatch.setattr(writing, "runtime", lambda given: dict.fromkeys(NAMES, b"{}"))


def finished(path, study, *options, summary=()):
    """A run of random params, as far as a question can tell."""
    config = lab.parse(study, [*options, "--out", str(path), "--demo"])

    def load(init):
        return jax.vmap(init)(jax.random.split(jax.random.key(0), config.train.seeds))

    known = {"config": {"seeds": config.train.seeds}, **dict(summary)}
    return config, lab.Finished(path, known, load, config)


def folder_of(path, study, *options, summary=()):
    report = study.answers["demo"](*finished(path, study, *options, summary=summary))
    assert str(path / "demo") in report.body[0]
    return path / "demo"


def session_of(folder):
    return onnxruntime.InferenceSession(folder / "model.onnx")


def steps(folder, xs, dtype: type = np.float32):
    """The outputs of each step, with the carry of the one before, as in the page."""
    facts = json.loads((folder / "demo.json").read_text())
    session = session_of(folder)
    carry = {k: np.array([v], np.float32) for k, v in facts["graph"]["carry"].items()}
    names, found = [o.name for o in session.get_outputs()], []
    for x in xs:
        outputs = session.run(None, {**carry, "x": np.asarray([x], dtype)})
        given = dict(zip(names, outputs, strict=True))
        carry = {f"carry{k[10:]}": v for k, v in given.items() if k[:4] == "next"}
        found.append({k: np.asarray(v)[0] for k, v in given.items() if k[0] == "y"})
    return {k: np.stack([step[k] for step in found]) for k in found[0]}


def check_files(folder, *more):
    """The page, what it names, and nothing from elsewhere."""
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    served = {f"runtime/{name}" for name in {*NAMES, "LICENSE"}}
    shared = {"index.html", "demo.json", "model.onnx", *writing.SHARED}
    assert names == shared | served | set(more)
    for name in names:
        if name.endswith((".html", ".css", ".js")):
            text = (folder / name).read_text(encoding="utf-8")
            assert not re.search(r"https?://|//[a-z]+\.", text), name
            linked = re.findall(r'(?:src|href|from) ?=? ?"(?!data:)([^"]+)"', text)
            assert {link.removeprefix("./") for link in linked} <= names, name
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert size < writing.LARGEST


PERMUTED = pytest.param(
    ("--order", "permuted", "--cell", "gru"), marks=pytest.mark.slow
)


@pytest.mark.parametrize("options", [(), PERMUTED])
def test_rows_reads_an_image_as_jax_does(tmp_path, options):
    options = *options, "--hidden-size", "13", "--layers", "2", "--seeds", "1"
    folder = folder_of(tmp_path, rows.STUDY, *options)
    check_files(folder, "rows.js", "pen.js")
    facts = json.loads((folder / "demo.json").read_text())
    sample = facts["samples"][3]
    xs = (
        np.array(sample["pixels"], np.float32)[np.array(facts["steps"])]
        / facts["max_value"]
    )
    config, run = finished(tmp_path, rows.STUDY, *options)
    image = np.reshape(sample["pixels"], (1, 8, 8))
    (read,) = rows.sequences(image, 16, config.order)
    np.testing.assert_array_equal(xs, read)
    net = rows.network(config, xs.shape[1], 10)
    params = lab.of_seed(run.load(net.init), 0)
    states = net.read(params, jnp.asarray(xs))
    found = steps(folder, xs)
    np.testing.assert_allclose(found["y.state"], states, atol=1e-4)
    logits = net.tell(params, states)
    np.testing.assert_allclose(found["y.logits"], logits, atol=1e-4)
    assert [s["label"] for s in facts["samples"]] == list(range(10))


@pytest.mark.parametrize("tied", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_language_model_reads_a_text_as_jax_does(tmp_path, tied):
    vocabulary = Vocabulary.of("\n abc한글")
    vocabulary.save(tmp_path / "vocabulary.json")
    options = "--hidden-size", "13", "--embedding-size", "7", *["--tied"][: int(tied)]
    known = {"valid_loss_per_seed": [2.0]}
    folder = folder_of(tmp_path, language_model.STUDY, *options, summary=known)
    check_files(folder, "language_model.js")
    facts = json.loads((folder / "demo.json").read_text())
    assert facts["vocabulary"] == vocabulary.characters
    config, run = finished(tmp_path, language_model.STUDY, *options, summary=known)
    _, model, params = language_model.opened(config, run)
    tokens = vocabulary.encode("abc 한글\ncab" * 3)
    start = model.initial_carry(params)
    logits = model.unroll(params, start, jnp.asarray(tokens))[1]
    found = steps(folder, tokens, np.int32)
    np.testing.assert_allclose(found["y.logits"], logits, atol=1e-4)
    assert found["y.state"].shape == (len(tokens), 13)


SLOWER = [pytest.param(pool, marks=pytest.mark.slow) for pool in ("max", "mean")]


@pytest.mark.parametrize("pool", ["attention", *SLOWER])
def test_the_reader_of_reviews_judges_versions_of_a_text_as_jax_does(tmp_path, pool):
    Subwords.of(TEXTS, 90, lowercase=True).save(tmp_path / "subwords.json")
    options = "--hidden-size", "5", "--embedding-size", "7", "--pool", pool
    folder = folder_of(tmp_path, sentiment.STUDY, *options)
    check_files(folder, "sentiment.js", "subwords.js", "subwords.json")
    config, run = finished(tmp_path, sentiment.STUDY, *options)
    subwords, _, net = sentiment.reader(config, run)
    params = lab.of_seed(run.load(net.init), 0)
    document = tokenize(subwords, Documents(["정말 dull film"], np.zeros(1)))
    tokens = np.stack([document.tokens[0], np.full_like(document.tokens[0], 3)])
    logits, weights = jax.vmap(net.read, (None, 0))(params, jnp.asarray(tokens))
    names = [o.name for o in session_of(folder).get_outputs()]
    outputs = session_of(folder).run(None, {"xs": tokens})
    found = dict(zip(names, map(np.asarray, outputs), strict=True))
    np.testing.assert_allclose(found["ys.logits"], logits, atol=1e-4)
    np.testing.assert_allclose(found["ys.weights"], weights, atol=1e-4)


def test_a_reader_of_last_states_is_not_shown(tmp_path):
    asked = finished(tmp_path, sentiment.STUDY, "--pool", "last")
    with pytest.raises(lab.UsageError, match="--demo: expected a run with another"):
        sentiment.STUDY.answers["demo"](*asked)


def test_music_expects_the_next_notes_as_jax_does(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pieces = [(rng.random((40, 88)) < 0.05).astype(np.uint8) for _ in range(8)]
    known = Music(*[pieces] * 3), MusicSet("made", OWN, 2, 90, {})
    monkeypatch.setattr(OwnMusic, "load", lambda config: known)
    options = "--hidden-size", "13", "--seeds", "1"
    folder = folder_of(tmp_path, music.STUDY, *options)
    check_files(folder, "music.js", "sound.js")
    facts = json.loads((folder / "demo.json").read_text())
    assert (facts["steps"], facts["tempo"]) == (2, 90)
    begun = [np.flatnonzero(x).tolist() for x in pieces[0][:16]]
    assert facts["samples"][0] == begun
    config, run = finished(tmp_path, music.STUDY, *options)
    net = music.network(config)
    params = lab.of_seed(run.load(net.init), 0)
    xs = jnp.asarray(pieces[0], jnp.float32)
    logits = net.unroll(params, net.initial_carry(params), xs)[1]
    np.testing.assert_allclose(steps(folder, pieces[0])["y"], logits, atol=1e-4)


def test_a_new_page_replaces_the_old_one_and_none_is_left_by_halves(
    tmp_path, monkeypatch
):
    config, run = finished(tmp_path, rows.STUDY, "--seeds", "1")
    page = demo.Page("rows", rnn.linear(1, 1), (), {})
    old, new = {"a": b"1", "runtime/b": b"2"}, {"a": b"3", "runtime/c": b"4"}
    for parts in (old, new):
        monkeypatch.setattr(writing, "contents", lambda page, config, p=parts: p)
        demo.write(page, config, run)

    def none(page, config):
        raise DataError("no network")

    monkeypatch.setattr(writing, "contents", none)
    with pytest.raises(DataError, match="no network"):
        demo.write(page, config, run)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    files = [path for path in (tmp_path / "demo").rglob("*") if path.is_file()]
    assert {str(f.relative_to(tmp_path / "demo")): f.read_bytes() for f in files} == new


def test_params_that_are_not_finite_are_not_shown(tmp_path):
    config, _ = finished(tmp_path, rows.STUDY)
    cell = rnn.linear(3, 5)
    params = jax.tree.map(lambda a: a * jnp.nan, cell.init(jax.random.key(0)))
    with pytest.raises(lab.UsageError, match="--demo: expected a run whose params"):
        writing.contents(demo.Page("rows", cell, params, {}), config)


@pytest.mark.slow
def test_a_watched_cell_keeps_the_law():
    rnn.testing.check(demo.watched(rnn.gru(3, 5), rnn.linear(5, 2)))


def test_the_runtime_of_a_folder_is_that_version_and_packed(tmp_path):
    with pytest.raises(DataError, match=r"--demo-runtime: .* lacks ort\.wasm\.min"):
        runtime.runtime(tmp_path)
    place = tmp_path / "node_modules" / "onnxruntime-web" / "dist"
    place.mkdir(parents=True)
    for name in (*runtime.SCRIPTS, runtime.PROGRAM):
        (place / name).write_bytes(b"/* ONNX Runtime Web v0.1.0 */")
    with pytest.raises(DataError, match=f"expected onnxruntime-web {runtime.VERSION}"):
        runtime.runtime(tmp_path)
    text = f"/* ONNX Runtime Web v{runtime.VERSION} */".encode()
    (place / runtime.SCRIPTS[0]).write_bytes(text)
    found = runtime.runtime(tmp_path)
    assert set(found) == NAMES
    assert gzip.decompress(found[f"{runtime.PROGRAM}.gz"])[:7] == b"/* ONNX"


def test_another_archive_is_refused_by_its_checksum(tmp_path):
    path = tmp_path / "onnxruntime-web.tgz"
    path.write_bytes(b"altered")
    got = hashlib.sha512(b"altered").hexdigest()[:16]
    with pytest.raises(DataError, match=f"SHA-512 {runtime.SHA512[:16]}.* got {got}"):
        runtime.runtime(path)


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch, capsys):
    def urlopen(url, timeout):
        assert url.startswith("https://npm.example/onnxruntime-web/-/")
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(runtime.urllib.request, "urlopen", urlopen)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://npm.example/")
    expected = "no route to host; .*npm pack .* --demo-runtime FILE"
    with pytest.raises(DataError, match=expected):
        runtime.runtime()
    assert not list(tmp_path.iterdir())


def test_a_runtime_without_a_demo_is_an_error():
    with pytest.raises(lab.UsageError, match="--demo-runtime: expected --demo"):
        lab.parse(rows.STUDY, ["--demo-runtime", "x.tgz"])


def test_ink_on_light_paper_is_found():
    image = np.full((2, 12, 12), 255, np.uint8)
    image[:, 3:9, 5:7] = 0
    found = drawn.handwriting(image, 255)
    assert found["light"]
    assert (found["middle"], found["extent"]) == ([0.5, 0.5], [0.5, 0.1667])
    assert 1 < found["pen"] < 3
    blank = drawn.handwriting(np.zeros((2, 12, 12), np.uint8), 255)
    assert (blank["light"], blank["extent"]) == (False, [1.0, 1.0])


def luminance(colour):
    """Of the WCAG, of a colour #rrggbb."""
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(
        values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92
    )
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_controls_have_contrast_in_both_schemes(scheme):
    css = (writing.PAGES / "page.css").read_text()
    block = re.findall(r":root \{([^}]*)\}", css)[scheme]
    known = {k: luminance(v) for k, v in re.findall(r"--([\w-]+): (#\w{6})", block)}
    texts = [(a, b) for a in ("ink", "soft", "accent") for b in ("paper", "panel")]
    edges = [(a, b) for a in ("line", "low", "high") for b in ("paper", "panel")]
    for pairs, least in (([*texts, ("on-accent", "accent")], 4.5), (edges, 3)):
        for pair in pairs:
            dark, light = sorted(known[name] for name in pair)
            assert (light + 0.05) / (dark + 0.05) >= least, pair
