"""The native loops: each equals the loop of JAX; without them everything works."""

import os
import shutil
import subprocess
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
from kernel_law import hold, installed

import jaxrnn as rnn
from jaxrnn.kernels import build, cpu

COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
CELLS = {
    "elman": rnn.elman,
    "relu": lambda *sizes, **o: rnn.elman(*sizes, activation=jax.nn.relu, **o),
    "gru": rnn.gru,
    "gru reset before": lambda *sizes, **o: rnn.gru(*sizes, reset_after=False, **o),
    "lstm": rnn.lstm,
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A folder of its own for what is built."""
    cpu.native.cache_clear()
    folder = str(tmp_path_factory.mktemp("built"))
    with mock.patch.dict(os.environ, {build.CACHE: folder}):
        yield folder
    cpu.native.cache_clear()


def kernels():
    return {(loop, "cpu"): kernel for loop, kernel in cpu.kernels().items()}


@needs_compiler
@pytest.mark.slow
def test_the_loop_of_an_lstm_is_that_of_jax():
    hold(kernels(), rnn.lstm(3, 5), tolerance=1e-4)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", CELLS)
# Some with as many units as a vector of some processor has lanes.
@pytest.mark.parametrize("sizes", [(3, 5), (3, 8), (3, 16), (20, 70), (5, 130)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loops_are_those_of_jax(name, dtype, sizes):
    tolerance = {"float32": 1e-4, "float64": 1e-12}[dtype]
    with jax.enable_x64(dtype == "float64"):
        cell = CELLS[name](*sizes, dtype=dtype)
        hold(kernels(), cell, dtype=jnp.dtype(dtype), tolerance=tolerance)


@needs_compiler
def test_a_library_is_built_once_and_found_again(cache):
    first = cpu.native()
    assert first.why_not == ""
    assert os.listdir(cache) == [f"native-{first.key}.so"]

    def check(new):
        raise AssertionError("it is there already")

    assert build.library(check) == first


@pytest.mark.slow
@needs_compiler
def test_what_differs_from_the_loop_is_not_used(tmp_path):
    words = "differs from the loop: by much"
    with mock.patch.dict(os.environ, {build.CACHE: str(tmp_path)}):
        with pytest.warns(UserWarning, match=words):
            found = build.library(lambda new: "by much")
        assert words in found.why_not
        assert os.listdir(tmp_path) == []


@needs_compiler
def test_a_library_that_is_no_library(tmp_path):
    path = tmp_path / "native-0.so"
    path.write_bytes(b"not a library")
    with pytest.warns(UserWarning, match=f"delete {path}, which cannot be loaded"):
        found = build.loaded(build.Library("0", str(path)))
    assert "cannot be loaded" in found.why_not


def test_a_compiler_that_fails(tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'no such flag' >&2\nexit 1\n")
    compiler.chmod(0o755)
    places = {"CXX": str(compiler), build.CACHE: str(tmp_path / "built")}
    with (
        mock.patch.dict(os.environ, places),
        pytest.warns(UserWarning, match="no such flag"),
    ):
        found = build.library(lambda new: "")
    assert "no such flag" in found.why_not
    assert os.listdir(tmp_path / "built") == []


PROGRAM = """
import jax, jax.numpy as jnp, jaxrnn as rnn
cell = rnn.lstm(3, 5)
params = cell.init(jax.random.key(0))
print(cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))[1].shape)
for path in rnn.kernels.explain(cell, batch=4, time=7, platform="cpu"):
    print(path)
"""


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({build.SWITCH: "off"}, "the environment says JAXRNN_KERNELS=off"),
        ({"CXX": "/nowhere/c++"}, "no C++ compiler among /nowhere"),
    ],
    ids=["off", "no compiler"],
)
def test_without_them_all_works(environment, words, tmp_path):
    given = {k: v for k, v in os.environ.items() if k not in (build.SWITCH, "CXX")}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**given, build.CACHE: str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    shape, *paths = run.stdout.splitlines()
    assert shape == "(7, 5)"
    assert len(paths) == 3
    assert all(words in path for path in paths)


def test_a_switch_that_is_neither():
    with (
        mock.patch.dict(os.environ, {build.SWITCH: "maybe"}),
        pytest.raises(ValueError, match="JAXRNN_KERNELS: expected on, off, all"),
    ):
        build.switched_off()


@needs_compiler
def test_explain_tells_which_path_runs():
    def told(cell, **options):
        return {(p.loop, p.kernel) for p in rnn.kernels.explain(cell, 32, 7, **options)}

    loops = {"forward_loop", "backward_loop", "rows_gradient"}
    with installed(kernels()):
        assert told(rnn.lstm(3, 5)) == {(loop, True) for loop in loops}
        assert told(rnn.lstm(3, 5), platform="cuda") == {
            (loop, False) for loop in loops
        }
        low = rnn.kernels.explain(rnn.gru(3, 5, compute_dtype=jnp.bfloat16), 32, 7)
        assert not any(path.kernel for path in low)
        assert "not in bfloat16, float32" in low[0].why_not
        assert told(rnn.gru(3, 5, reset_after=False)) == {(p, True) for p in loops}
    assert rnn.kernels.explain(rnn.embedding(5, 3), 2, 3) == []


def test_explain_refuses():
    with pytest.raises(ValueError, match="explain: batch"):
        rnn.kernels.explain(rnn.lstm(3, 5), 0, 7)
    with pytest.raises(ValueError, match="explain: cell: expected one that says what"):
        rnn.kernels.explain(rnn.dropout(0.5), 2, 3)
