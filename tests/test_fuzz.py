"""Bad input: a few hundred of each kind, the same ones every time. More: fuzz.py."""

import ast
import re
from pathlib import Path

import fuzz
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn as rnn
from jaxrnn import interop

ROOT = Path(__file__).parents[1]
# Known and left: what jax.jit itself says of arguments that are no arrays.
# After a damaged checkpoint orbax answers on a thread of its own, sometimes too late.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

# What the loss that a user wrote raises for what it is given.
OF_A_LOSS = r"^(update|epoch): \w+ from below (no frame|update\.example_loss)"
KNOWN = {"arguments": [OF_A_LOSS]}


@pytest.fixture(autouse=True)
def restored():
    before = jax.config.jax_traceback_filtering  # pyright: ignore
    yield
    jax.config.update("jax_traceback_filtering", before)


def check(name: str, folder: Path, seed: int, inputs: int) -> None:
    tally = fuzz.try_plain(fuzz.TARGETS[name](folder), seed=seed, inputs=inputs)
    assert tally.tried == inputs
    known = KNOWN.get(name, [])
    unknown = [o for o in tally.bad if not any(re.search(k, o) for k in known)]
    assert not unknown, "\n".join(tally.details[outcome] for outcome in unknown)
    assert len(tally.outcomes) > 1  # not all of them are refused, and not all are good


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_a_few_hundred(name, tmp_path):
    inputs = {"checkpoint": 15, "config": 60}.get(name, 300)  # slower than the others
    check(name, tmp_path, seed=0, inputs=inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_ten_thousand(name, tmp_path):
    check(name, tmp_path, seed=1, inputs=1_000 if name == "checkpoint" else 10_000)


# What makes cells of functions of the user: `rnn.testing.check` is for these.
BUILDERS = {"leaf", "lifted", "around", "linear_recurrence"}
SENDERS = {"test_travel.py", "test_options_travel.py"}  # to other processes
ARCHIVES = {
    *("pictures.py", "fuzz.py", "test_data_captions.py", "made.py"),
    *("runtime.py", "test_demo_runtime.py"),  # of a package of npm
}


def test_every_public_function_is_tried(tmp_path):
    tried = {name.split(":")[0] for name in fuzz.calls(tmp_path)}
    for module in (rnn, interop):
        for name, thing in vars(module).items():
            public = callable(thing) and not name.startswith("_")
            if public and not isinstance(thing, type) and name not in BUILDERS:
                assert name in tried, name


class TestTheFuzzer:
    """It finds what it looks for."""

    def tally(self, run, megabytes=64, seconds=10.0):
        return fuzz.try_plain(fuzz.Target([b"seed"], run, megabytes, seconds), inputs=3)

    def test_a_wrong_exception(self):
        tally = self.tally(lambda data: data["key"])
        assert list(tally.bad) == ["TypeError at test_fuzz.py"]

    def test_too_much_memory(self):
        tally = self.tally(lambda data: str(np.zeros(2**28, np.uint8)[0]))
        assert ["MemoryError" in outcome for outcome in tally.bad] == [True]

    def test_too_much_time(self):
        def hang(data):
            while True:
                pass

        assert list(self.tally(hang, seconds=0.05).bad) == [
            "took more than 0.05 seconds"
        ]

    def test_an_error_from_below(self):
        def add(data):
            try:
                return str(jnp.zeros(3) + jnp.zeros(5))
            except Exception as error:
                fuzz.on_purpose(error)

        assert list(self.tally(add).bad) == ["TypeError from below no frame"]


PACKAGES = ("jaxrnn", "experiments", "benchmarks", "tests")


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_that_is_read_can_run_or_write_where_it_likes(package):
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                # Archives are read in memory and never unpacked.
                assert not called.endswith((".extract", ".extractall"))
                assert called != "eval", f"{path}:{node.lineno}"
                assert called != "exec" or path.name in (
                    "test_readme.py",
                    "test_card_code.py",
                )
                if called in ("np.load", "numpy.load", "jnp.load"):
                    options = {k.arg: ast.unparse(k.value) for k in node.keywords}
                    # numpy's own default is False as well; a reader may not know that
                    assert options.get("allow_pickle") == "False", (
                        f"{path}:{node.lineno}"
                    )
            banned = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal"}
            banned |= {"shelve", "zipfile"}
            if path.name not in ARCHIVES:
                banned.add("tarfile")
            if path.name in SENDERS:
                banned -= {"cloudpickle", "pickle"}
            if path.name == "test_wheel.py":
                banned.remove("zipfile")
            assert not banned & {name.split(".")[0] for name in names}, path
