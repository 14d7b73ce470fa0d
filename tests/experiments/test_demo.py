"""`--demo`: the folder that is written, whose network computes what JAX's does."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from demos import finished, folder_of

import jaxrnn as rnn
from experiments import lab, language_model, music, rows, sentiment
from experiments.data.documents import Documents, tokenize
from experiments.data.midi_folder import OwnMusic
from experiments.data.music import OWN, Music, MusicSet
from experiments.data.subwords import Subwords
from experiments.data.vocabulary import Vocabulary
from experiments.demo import runtime, writing
from experiments.demo.watched import watched

TEXTS = [
    "정말 재미있는 영화",
    "지루하고 시간이 아깝다",
    "a fine film, truly",
    "dull",
] * 9


@pytest.fixture(autouse=True)
def _small_runtime(monkeypatch):
    """Nothing is downloaded here."""
    small = dict.fromkeys(runtime.SERVED, b"{}")
    monkeypatch.setattr(writing, "runtime", lambda given: small)


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
    served = {f"runtime/{name}" for name in (*runtime.SERVED, "LICENSE")}
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
    ("--order", "permuted", "--cell", "gru", "--layers", "2"), marks=pytest.mark.slow
)


@pytest.mark.parametrize("options", [(), PERMUTED])
def test_rows_reads_an_image_as_jax_does(tmp_path, options):
    options = *options, "--hidden-size", "13", "--seeds", "1"
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


SLOWER = [pytest.param(pool, "gru", marks=pytest.mark.slow) for pool in ("max", "mean")]
SLOWER += [
    pytest.param("attention", cell, marks=pytest.mark.slow)
    for cell in rnn.cells.NAMES
    if cell not in ("lru", "s5")  # their states are complex, which ONNX cannot say
]


@pytest.mark.parametrize(("pool", "cell"), SLOWER)
def test_the_reader_of_reviews_judges_versions_of_a_text_as_jax_does(
    tmp_path, pool, cell
):
    Subwords.of(TEXTS, 90, lowercase=True).save(tmp_path / "subwords.json")
    sizes = "--hidden-size", "8", "--embedding-size", "8"
    options = *sizes, "--pool", pool, "--cell", cell
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_watched_cell_keeps_the_law():
    rnn.testing.check(watched(rnn.gru(3, 5), rnn.linear(5, 2)))
