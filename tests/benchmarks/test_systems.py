"""Systems: what their modules say, and that all of them do the same work."""

import importlib
import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from harness import TICK, TINY

from benchmarks import systems
from benchmarks.process.measure import measure
from benchmarks.process.pool import Worker
from benchmarks.systems import SYSTEMS, is_peer, is_roof, jax_run, resident, roof_fma
from benchmarks.work import epoch, gated, update

LIBRARIES = {
    "jaxrnn": "jax",
    "jaxrnn_loops": "jax",
    "jaxrnn_scan": "jax",
    "flax": "flax",
    "flax_nnx": "flax",
    "haiku": "haiku",
    "equinox": "equinox",
    "keras": "keras",
    "torch": "torch",
    "torch_compile": "torch",
}
UPDATE = update.Case("gru", batch=4, time=5, input_size=3, hidden_size=6)


@pytest.fixture
def start() -> Any:
    """Starts workers of real systems, and ends them."""
    workers: list[Worker] = []

    def start_one(name, devices=1, path=None):
        system = SYSTEMS[name.removesuffix("_baseline")]
        settings = system.module, devices, "cpu", 300.0, path, system.environment
        worker = Worker(f"{name}@{devices}", *settings)
        workers.append(worker)
        return worker

    yield start_one
    for worker in workers:
        worker.close()


class ReferencesOnly:
    """Stands in for jaxrnn, and asks it for each reference only once."""

    name = "jaxrnn@1"

    def __init__(self, folder):
        module = SYSTEMS["jaxrnn"].module
        self.worker, self.folder = Worker("jaxrnn@1", module, 1, "cpu", 300.0), folder

    def ask(self, what, /, **arguments):
        if what == "reference":
            case, variant = arguments["case"], arguments["variant"]
            # They are the same for all kinds of work.
            sizes = [str(v) for k, v in case.items() if k not in ("work", "mode")]
            kept = self.folder / f"{'-'.join(sizes)}-{variant}.npz"
            if not kept.exists():
                self.worker.ask("reference", **arguments | {"path": str(kept)})
            shutil.copy(kept, arguments["path"])
        return {"status": "ok", "variant": "", "seconds": 1.0, "errors": {"": 0.0}}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """What the systems have to arrive at."""
    subject = ReferencesOnly(tmp_path_factory.mktemp("references"))
    yield subject
    subject.worker.close()


def test_the_modules_say_what_they_do():
    assert next(iter(SYSTEMS)) == "jaxrnn"
    assert SYSTEMS["flax"].work == ("gated", "tick", "epoch", "whole_run")
    assert SYSTEMS["torch_compile"].packages == ("torch",)
    assert not SYSTEMS["torch_compile"].in_quick
    assert SYSTEMS["keras"].in_quick
    assert SYSTEMS["jax_cudnn"].platforms == ("gpu",)
    assert {name for name in SYSTEMS if is_peer(name)} == (
        set(LIBRARIES) - {"jaxrnn", "jaxrnn_loops", "jaxrnn_scan"} | {"jax_cudnn"}
    )
    assert {name for name in SYSTEMS if is_roof(name)} == set(systems.ROOFS)
    assert SYSTEMS["jaxrnn_loops"].environment == {"JAXRNN_KERNELS": "off"}


def test_constants_are_read_without_running_the_module(tmp_path, monkeypatch):
    (tmp_path / "odd.py").write_text('import nothing_there\n\nWORK = ("gated",)\n')
    (tmp_path / "shared.py").write_text("NAME = 'shared'\n")
    monkeypatch.setattr(systems, "__file__", str(tmp_path / "__init__.py"))
    found = systems._systems()
    assert found == {"odd": systems.System("odd", "benchmarks.systems.odd", ("gated",))}


@pytest.mark.parametrize("name", [n for n, lib in LIBRARIES.items() if lib == "jax"])
def test_the_constants_are_those_of_the_module(name):
    module: Any = importlib.import_module(SYSTEMS[name].module)
    assert SYSTEMS[name].work == module.WORK


# They run cells of jaxrnn; the slow test below has them.
SLOWER = ("jaxrnn_loops", "jaxrnn_scan")


@pytest.mark.parametrize("name", [name for name in LIBRARIES if name not in SLOWER])
def test_the_work_is_equal(name, start, references, tmp_path):
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    cases = [
        replace(TINY, layers=2, directions=2),
        replace(TINY, cell="gru", directions=2),
        replace(TINY, cell="elman"),
        replace(TICK, layers=2),
        replace(TINY, layers=2, directions=2, mode="forward"),
    ]
    cases += [MORE["masked"], MORE["epoch of a gru"]] if name == "jaxrnn" else []
    all_equal(cases, [references, start(name, devices=2)], tmp_path)


MORE = {
    "ragged": replace(TINY, cell="gru", layers=2, valid="ragged"),
    "ragged forward": replace(TINY, valid="ragged", mode="forward"),
    "masked": replace(TINY, valid="masked"),
    "four layers": replace(TINY, cell="elman", layers=4),
    "epoch of a gru": epoch.Case("gru", 4, 5, 3, 6, updates=3),
    "epoch of an lstm": epoch.Case("lstm", 4, 5, 3, 6, updates=3),
}
NO_MASKS = ("flax", "flax_nnx", "haiku", "torch", "torch_compile")


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_more_work_is_equal_or_left_out_by_name(name, start, references, tmp_path):
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    worker = start(name, devices=2)
    for what, case in MORE.items():
        if case.work not in SYSTEMS[name].work:
            continue
        if what == "masked" and name in NO_MASKS:
            record = measure(case, [references, worker], 1, 1e-4, tmp_path)
            run = record["runs"][worker.name]
            assert run["status"] == "unsupported"
            assert "mask" in run["reason"]
        else:
            all_equal([case], [references, worker], tmp_path)


def test_the_peak_of_multiply_adds():
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("there is no C++ compiler")
    one, two = (roof_fma.Peak(threads) for threads in (1, 2))
    lanes = one.flops / (2 * 12 * roof_fma.ROUNDS)
    assert lanes in (4, 8, 16)
    assert one.flops == two.flops
    assert one.seconds(1) > 0


def test_without_a_compiler_the_peak_is_left_out(monkeypatch):
    monkeypatch.setenv("CXX", "there-is-no-such-compiler")
    roof_fma.loop.cache_clear()
    with pytest.raises(
        systems.UnsupportedError, match="no C\\+\\+ compiler among there"
    ):
        roof_fma.Peak(1)


def test_the_growth_of_the_process_in_a_call():
    size = 64 << 20
    grown = resident.growth(lambda: np.ones(size, np.uint8).sum())
    if grown is None:
        pytest.skip("the system does not tell")
    assert 0.9 * size < grown < 1.5 * size


@pytest.mark.slow
def test_an_update_is_equal_on_all_devices(start, references, tmp_path):
    workers = [start(name, devices=2) for name in ("jaxrnn", "jaxrnn_weak")]
    (record,) = all_equal([UPDATE], [references, *workers], tmp_path)
    # The gradient, once, and the loss.
    expected = 4 * UPDATE.num_params + 4
    assert record["runs"]["jaxrnn@2"]["sent_bytes"] == expected


def all_equal(cases, workers, folder):
    records = [measure(case, workers, 1, 1e-4, folder) for case in cases]
    for record in records:
        for run in record["runs"].values():
            assert run["status"] == "ok", run
            assert len(run["seconds"]) == 1
            assert run["errors"]
    return records


def test_the_library_of_another_checkout(start, references, tmp_path):
    library = tmp_path / "other" / "jaxrnn"
    shutil.copytree(Path(__file__).parents[2] / "jaxrnn", library)
    worker = start("jaxrnn_baseline", path=library.parent)
    assert worker.ready()["library"] == str(library)
    all_equal([TINY], [references, worker], tmp_path)


def test_a_system_that_does_no_such_work(start, references, tmp_path):
    record = measure(UPDATE, [references, start("jaxrnn_scan")], 1, 1e-4, tmp_path)
    run = record["runs"]["jaxrnn_scan@1"]
    assert run["status"] == "unsupported"
    assert "update" in run["reason"]


def test_the_packed_weights_of_cudnn_are_those_of_the_reference():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        rnn = pytest.importorskip("jax.experimental.rnn")
        from benchmarks.systems import jax_cudnn, jaxrnn_fast
        from benchmarks.systems.jax_model import logits_of, params_of
        from benchmarks.work import equal

        def on_cpu(xs, h, c, weights, lengths, *sizes):
            D, H, layers, _, both = sizes
            unpacked = rnn.unpack_lstm_weights(weights, D, H, layers, both)
            return rnn.lstm_ref(xs, h, c, *unpacked, lengths, *sizes)

        case = replace(TINY, layers=2, directions=2)
        data = gated.make(case)
        model = jax_cudnn.model(case, on_cpu)
        params = params_of(model, data.weights)
        logits = logits_of(model, params, jax.numpy.asarray(data.xs))
        expected = jaxrnn_fast.reference(case, data, "")
    assert equal.logits_errors(logits, expected)["logits"] < 1e-5


def test_the_bytes_that_a_program_sends():
    text = """
      %a = f32[3,4]{1,0} all-reduce(%x), replica_groups={}
      %b = (bf16[5]{0}, pred[]) all-reduce-start(%y, %z)
      %c = f32[100]{0} add(%a, %b)
    """
    assert jax_run.sent_bytes(text) == 4 * 12 + 2 * 5 + 1
