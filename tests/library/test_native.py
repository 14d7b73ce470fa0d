"""The native loops: each equals the loop of JAX; without them everything works."""

import os
import shutil
import subprocess
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import quick_jit
from kernel_law import assert_near, batched, examples, flags, hold, installed

import jaxrnn as rnn
from jaxrnn.kernels import build, cpu
from jaxrnn.kernels.check import difference

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


def until(lengths, time):
    return jnp.asarray(np.arange(time) < np.asarray(lengths)[:, None])


def hold_masked(cell, masks, starts=None, *, reverse=False, tolerance=1e-4):
    """Fails unless a masked batch on three threads is that of the loops of JAX."""
    batch, time = masks.shape
    dtype = cell.init(jax.random.key(0)).w_h.dtype
    arguments = (*examples(cell, time, batch, dtype), masks, starts)
    fun = batched(cell.unroll, True, starts is not None, reverse)
    if starts is None:
        arguments = (*arguments[:-1], jnp.zeros((batch, 0)))
    expected = quick_jit(fun)(*arguments)
    threads = mock.patch.object(cpu, "_threads", return_value=np.int64(3))
    with installed(kernels()), threads:
        got = quick_jit(lambda *args: fun(*args))(*arguments)
    assert_near(got, expected, tolerance)


@needs_compiler
def test_sequences_of_their_own_lengths():
    lengths = [3, 0, 9, 1, 9, 4, 2, 8, 9, 0, 5, 5, 7]  # also one that is never valid
    hold_masked(rnn.lstm(9, 70), until(lengths, 9))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_masks(name, started, reverse):
    cell = CELLS[name](5, 130)
    draw = np.random.default_rng(3)
    holes = draw.random((13, 11)) < 0.5
    holes[:, 4] = False  # a step at which no row is valid
    holes[6] = False  # a row that never is
    many = draw.integers(0, 12, 29)
    for masks in (
        until([2, 11, 0, 5, 5], 11),
        until(many, 11)[:, ::-1],
        jnp.asarray(holes),
        jnp.zeros((7, 3), bool),
        jnp.asarray([[True], [False], [True]]),
        jnp.asarray([[False]]),
    ):
        starts = flags(masks.shape[1], len(masks), 5) if started else None
        hold_masked(cell, masks, starts, reverse=reverse)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_skip_rows_of_zeros(dtype):
    draw = np.random.default_rng(4)
    size, inner, outer = 300, 70, 210
    with jax.enable_x64(dtype == "float64"):
        rows = jnp.asarray(draw.normal(size=(size, inner)), dtype)
        matrix = jnp.asarray(draw.normal(size=(inner, outer)), dtype)
        runs = {name: k.run for name, k in cpu.kernels().items()}
        half = np.ones((size, outer), bool)
        half[::3, :128] = False  # zeros for one thread alone
        masks = [draw.random((size, 1)) < p for p in (0, 0.02, 0.5, 1)]
        masks += [np.arange(size)[:, None] >= 150, half]
        for mask in masks:
            ct = jnp.asarray(np.where(mask, draw.normal(size=(size, outer)), 0), dtype)
            got = runs["rows_gradient"](ct.dtype, rows, ct)
            assert_near(got, np.asarray(rows).T @ np.asarray(ct), 1e-5)
            got = runs["rows_turned"](ct.dtype, ct, matrix)
            assert_near(got, np.asarray(ct) @ np.asarray(matrix).T, 1e-5)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, cpu.FEW, 16])
@pytest.mark.parametrize("outer", [1, 10, 300, 5000])
def test_products_of_few_rows(rows, outer, dtype):
    draw = np.random.default_rng(4)
    with jax.enable_x64(dtype == "float64"):
        a = jnp.asarray(draw.normal(size=(rows, 210)), dtype)
        matrix = jnp.asarray(draw.normal(size=(210, outer)), dtype)
        kernel = cpu.kernels()["rows_times"]
        assert kernel.why_not(a.dtype, a, matrix) == ""
        got = kernel.run(a.dtype, a, matrix)
        tolerance = {"float32": 1e-5, "float64": 1e-13}[dtype]
        assert_near(got, np.asarray(a) @ np.asarray(matrix), tolerance)


@needs_compiler
@pytest.mark.parametrize("units", [8, 16])
def test_as_many_units_as_a_vector_has_lanes(units):
    """Then the columns of the gates lie as those of one matrix do."""
    assert difference(cpu.kernels(), units=units) == ""


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
