"""The fused loops for GPUs, interpreted on a CPU: each equals the loop of JAX."""

import inspect
import os
import subprocess
import sys
import warnings
from functools import partial
from importlib.util import find_spec
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_law import assert_near, batched, examples, flags, hold, installed

import jaxrnn as rnn
from jaxrnn.kernels import build, gpu
from jaxrnn.kernels.check import difference
from jaxrnn.loops.rows import rows_gradient, rows_times, rows_turned
from jaxrnn.loops.substitute import Kernel

CELLS = {
    "elman": rnn.elman,
    "relu": lambda *sizes, **o: rnn.elman(*sizes, activation=jax.nn.relu, **o),
    "gru": rnn.gru,
    "reset before": partial(rnn.gru, reset_after=False),
    "lstm": rnn.lstm,
}
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


def kernels(platform="cpu"):
    made = gpu.kernels(interpret=platform == "cpu")
    return {(loop, platform): kernel for loop, kernel in made.items()}


@pytest.fixture
def streamed():
    """With no matrix on the chip, as where H is large."""
    with mock.patch.object(gpu, "RESIDENT_BYTES", 0):
        yield


def both(cell, sizes, options):
    """Values and gradients of a batch, with the fused loops and without."""
    length, batch = sizes
    masks, starts = flags(length, batch, 1), flags(length, batch, 2)
    args = *examples(cell, length, batch, jnp.float32), masks, starts
    expected = jax.jit(batched(cell.unroll, *options))(*args)
    with installed(kernels()):
        got = jax.jit(batched(cell.unroll, *options))(*args)
    return got, expected


def test_on_the_chip():
    assert_near(*both(rnn.gru(3, 5), (4, 3), (True, True, False)), 1e-4)


def test_streamed(streamed):
    """Two tiles of units, and more rows than one program has."""
    assert_near(*both(rnn.elman(3, 37), (3, 17), (True, False, True)), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("most", [0, gpu.RESIDENT_BYTES])
def test_each_cell(most):
    with mock.patch.object(gpu, "RESIDENT_BYTES", most):
        products = rows_times, rows_turned, rows_gradient
        loops = {loop.__name__: Kernel(inspect.unwrap(loop)) for loop in products}
        assert difference(loops | gpu.kernels(interpret=True)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [("float32", (3, 5)), ("float32", (20, 70)), ("bfloat16", (3, 5))],
)
def test_the_loops_are_those_of_jax(name, dtype, sizes):
    cell = CELLS[name](*sizes, dtype=jnp.dtype(dtype))
    hold(kernels(), cell, dtype=jnp.dtype(dtype), tolerance=TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_products_in_bfloat16(name):
    hold(kernels(), CELLS[name](3, 5, compute_dtype=jnp.bfloat16), tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("size", [40, 130])
def test_bfloat16_is_no_farther_from_float32_than_the_loop(name, size):
    """In a large network rounding grows, so that single numbers say nothing."""
    cell, exact = (CELLS[name](3, size, dtype=d) for d in (jnp.bfloat16, jnp.float32))
    args = *examples(cell, 12, 17, jnp.bfloat16), flags(12, 17, 1), flags(12, 17, 2)
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), args[:3])

    def run(cell, args):
        return jax.tree.leaves(jax.jit(batched(cell.unroll, True, True, True))(*args))

    def error(got):
        parts = [np.abs(np.asarray(a, np.float64) - b).mean() for a, b in got]
        return np.array(parts) / [max(1, np.abs(b).max()) for _, b in got]

    with installed({}):
        numbers = run(exact, (*wide, *args[3:]))
        loop = error(list(zip(run(cell, args), numbers, strict=True)))
    with installed(kernels()):
        fused = error(list(zip(run(cell, args), numbers, strict=True)))
    assert fused.max() > 0
    assert (fused < 1.2 * loop + 1e-3).all(), (fused, loop)


@pytest.mark.parametrize("size", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_they_lower_for_a_gpu(size):
    """One launch forward and one back, whatever T is, and no loop outside of them."""
    from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

    device = AbstractDevice("NVIDIA H100 80GB HBM3", num_cores=132, platform="cuda")
    cell = rnn.lstm(3, size)
    params = jax.eval_shape(cell.init, jax.random.key(0))

    def loss(params, xs):
        def one(xs):
            return cell.unroll(params, cell.initial_carry(params), xs)[1].sum()

        return jax.vmap(one)(xs).sum()

    with (
        installed(kernels("cuda")),
        use_abstract_mesh(AbstractMesh((), (), abstract_device=device)),
        warnings.catch_warnings(),
    ):
        # jax 0.11 and later say at each lowering that the back end will go.
        warnings.filterwarnings("ignore", "The Pallas Triton", DeprecationWarning)
        program = jax.jit(jax.grad(loss)).trace(params, jnp.ones((2, 7, 3)))
        text = program.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__gpu$xla.gpu.triton") == 2
    assert "stablehlo.while" not in text


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (rnn.lstm(3, 5), ""),
        (rnn.lstm(3, 513), "6 MiB of weights are too many for a program to"),
        (rnn.gru(3, 5, compute_dtype=jnp.float16), "read float32 or bfloat16, not"),
        (rnn.projected_lstm(3, 5, 4), "fused loops of elman tanh, elman relu, gru, gr"),
    ],
)
def test_what_they_do_not_take(cell, words):
    with installed(kernels("cuda")):
        forward, *_ = rnn.kernels.explain(cell, 4, 7, platform="cuda")
    assert forward.kernel == (not words)
    assert words in forward.why_not


def test_they_wait_until_they_are_measured():
    with installed({}):
        paths = rnn.kernels.explain(rnn.gru(3, 5), 4, 7, platform="cuda")
        assert [path.loop for path in paths if gpu.UNMEASURED in path.why_not] == [
            "forward_loop",
            "backward_loop",
        ]
        assert "JAXRNN_KERNELS=all" in gpu.UNMEASURED
        large = rnn.kernels.explain(rnn.gru(3, 900), 4, 7, platform="cuda")
        assert "MiB of weights" in large[0].why_not
        other = rnn.kernels.explain(rnn.gru(3, 5), 4, 7, platform="tpu")
        assert gpu.UNMEASURED not in other[0].why_not


@pytest.mark.parametrize("value", ["off", "on", "all", "interpret"])
def test_the_switch(value):
    with mock.patch.dict("os.environ", {build.SWITCH: value}):
        table = rnn.kernels.chosen()
    assert (("rows_gradient", "cpu") in table) == (value in ("on", "all"))
    assert (("forward_loop", "cuda") in table) == (value == "all")
    assert (("forward_loop", "cpu") in table) == (value != "off")


# Compiles for a GPU that is not there, as `jax.experimental.topologies` can.
HOPPER = """
import jax, jax.numpy as jnp, jaxrnn as rnn, sys
from jax.experimental import topologies
from jax.sharding import AbstractDevice, AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec, use_abstract_mesh

target = '''
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 8 } device_description_str: "NVIDIA H100 80GB HBM3"
'''
topology = topologies.get_topology_desc(
    "h100", platform="cuda", target_config=target, topology="1x1x1"
)
there = NamedSharding(Mesh(topology.devices, ("one",)), PartitionSpec())
device = AbstractDevice("NVIDIA H100 80GB HBM3", num_cores=132, platform="cuda")
for name, size, dtype in [
    ("elman", 5, "float32"), ("gru", 100, "bfloat16"), ("lstm", 128, "bfloat16"),
    ("lstm", 200, "float32"), ("gru", 512, "float32"), ("lstm", 512, "bfloat16"),
    ("gru", 300, "bfloat16"),
]:
    before = {"reset_after": False} if name == "gru" and size == 300 else {}
    cell = getattr(rnn, name)(size, size, dtype=jnp.dtype(dtype), **before)

    def loss(params, xs, mask, starts):
        def one(xs, mask, starts):
            carry = cell.initial_carry(params)
            ys = cell.unroll(params, carry, xs, mask=mask, starts=starts)[1]
            return ys.sum()

        return jax.vmap(one)(xs, mask, starts).sum()

    shapes = (
        jax.eval_shape(cell.init, jax.random.key(0)),
        jax.ShapeDtypeStruct((20, 9, size), dtype),
        *[jax.ShapeDtypeStruct((20, 9), bool)] * 2,
    )
    args = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=there), shapes
    )
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
        program = jax.jit(jax.grad(loss)).lower(*args)
    text = program.compile().as_text()
    assert text.count('custom_call_target="__gpu$xla.gpu.triton"') == 2, name
    assert " while(" not in text
print("compiled")
"""


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("jax_cuda12_plugin") is None, reason="jax_cuda12_plugin is not installed"
)
def test_they_compile_for_hopper():
    env = os.environ | {build.SWITCH: "all", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", HOPPER], env=env, capture_output=True, text=True
    )
    assert run.stdout.strip().endswith("compiled"), run.stderr
