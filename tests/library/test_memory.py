"""What must not be stored: gates of every step, weight gradients of every example."""

import re
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from battery import CASES, RECURRENT, D, H, assert_close, gradient, quick_jit, scalar

import jaxrnn as rnn

NARROW, WIDE = 2, 67

LONG = {
    "gru reset before": rnn.gru(NARROW, WIDE, reset_after=False),
    "chain": rnn.chain(rnn.linear(NARROW, WIDE), rnn.lstm(WIDE, WIDE)),
}


def temporaries(cell, length):
    """Bytes that the gradient of one sequence needs besides arguments and result."""

    def loss(params, xs):
        carry, _ = cell.unroll(params, cell.initial_carry(params), xs)
        return jax.tree.leaves(carry)[-1].sum()

    params = jax.eval_shape(cell.init, jax.random.key(0))
    xs = jax.ShapeDtypeStruct((length, NARROW), jnp.float32)
    analysis = jax.jit(jax.grad(loss)).lower(params, xs).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


@pytest.mark.parametrize("name", LONG)
def test_remat_needs_memory_of_the_square_root_of_time(name):
    remat = rnn.remat(LONG[name])
    short, long = temporaries(remat, 1024), temporaries(remat, 4096)
    assert long < 2.2 * short
    assert long < temporaries(LONG[name], 4096) / 20


def test_remat_in_one_segment_saves_nothing():
    cell = LONG["chain"]
    whole = temporaries(rnn.remat(cell, segment=1024), 1024)
    assert whole > 5 * temporaries(rnn.remat(cell, segment=32), 1024)


@pytest.mark.parametrize("segment", [1, 3, 100])
def test_remat_by_any_segment(segment):
    """Values and gradients stay; more of remat is in the tests of the law."""
    args = CASES["lstm"].arguments()
    cell = CASES["lstm"].cell
    cut = rnn.remat(cell, segment=segment)
    assert_close(cut.unroll(*args), cell.unroll(*args), 1e-6)
    got, expected = (quick_jit(gradient(scalar(c.unroll)))(*args) for c in (cut, cell))
    assert_close(got, expected, 1e-5)


BATCH = 13
LONGER = 63  # remat cuts it into eights and a seven: no other size is among them
ARRAY = re.compile(r"(?:tensor<|f32\[)(\d+(?:[x,]\d+)*)(?:xf32>|\])")


def batched_weights(gradient, case):
    """Arrays in the program that have the axes of a weight and that of the batch."""
    params, carry, xs = case.arguments(length=LONGER)
    batch = jax.tree.map(lambda a: jnp.stack([a] * BATCH), (carry, xs))
    lowered = jax.jit(gradient).lower(params, *batch)
    shapes = {
        tuple(int(size) for size in re.split("[x,]", match))
        for text in (lowered.as_text(), lowered.compile().as_text())
        for match in ARRAY.findall(text or "")
    }
    assert any(BATCH in shape for shape in shapes)
    weights = [a.shape for a in jax.tree.leaves(params) if a.ndim == 2]
    return {
        shape
        for shape in shapes
        for weight in weights
        if Counter([BATCH, *weight]) <= Counter(shape)
    }


def batch_gradient(case):
    """The gradient of the mean of the losses of a batch."""
    loss = scalar(case.cell.unroll)

    def batch_loss(params, carries, xs):
        return jax.vmap(loss, (None, 0, 0))(params, carries, xs).mean()

    return jax.grad(batch_loss)


def mean_of_gradients(case):
    """The same by way of the gradients of all examples."""

    def gradients(*args):
        each = jax.vmap(jax.grad(scalar(case.cell.unroll)), (None, 0, 0))(*args)
        return jax.tree.map(lambda g: g.mean(0), each)

    return gradients


def hidden_by_custom_vjp(case):
    """`batch_gradient` with the unroll behind a `custom_vjp`."""

    @jax.custom_vjp
    def unroll(*args):
        return case.cell.unroll(*args)

    unroll.defvjp(
        lambda *args: jax.vjp(case.cell.unroll, *args),
        lambda transpose, cts: transpose(cts),
    )
    return batch_gradient(case._replace(cell=case.cell._replace(unroll=unroll)))


# The projection is in the pointwise part, whose gradient adds up inside the loop.
SINGLE = [name for name in RECURRENT if name != "projected lstm"]


@pytest.mark.parametrize("name", [*SINGLE, "lstm learned carry", "nested", "summed"])
def test_no_weight_gradient_of_each_example(name):
    assert batched_weights(batch_gradient(CASES[name]), CASES[name]) == set()


@pytest.mark.parametrize("naive", [mean_of_gradients, hidden_by_custom_vjp])
@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_the_search_finds_weight_gradients_of_each_example(naive, name):
    case = CASES[name]
    found = batched_weights(naive(case), case)
    gates = {"elman": 1, "lstm": 4}[name]
    assert {tuple(sorted([BATCH, rows, gates * H])) for rows in (D, H)} <= {
        tuple(sorted(shape)) for shape in found
    }


A_LONG_RUN = """
import resource, sys, time
import jax, jax.numpy as jnp, optax
import jaxrnn as rnn

T, B, D, H = 100_000, 8, 32, 256
model = rnn.chain(rnn.lstm(D, H), rnn.linear(H, 1))
truncated = sys.argv[1] == "truncated"
if not truncated:
    model = rnn.remat(model)
optimizer = optax.adam(1e-3)
key = jax.random.key(0)
params = model.init(key)
carry = model.initial_carry(params)
xs = jax.random.normal(key, (B, T, D))
ys = jnp.roll(xs[..., :1], 7, axis=1)

def loss_fn(params, carry, xs, ys, key):
    carry, found = model.unroll(params, carry, xs)
    return rnn.squared_error(found, ys), carry

carries = jax.tree.map(lambda a: jnp.zeros((B, *a.shape)), carry)
update = rnn.make_update(loss_fn, optimizer, has_carry=True)
state = rnn.train_state(params, optimizer, key, carries)
start = time.perf_counter()
size = 1_000 if truncated else T
for first in range(0, T, size):
    piece = slice(first, first + size)
    state, metrics = jax.block_until_ready(update(state, xs[:, piece], ys[:, piece]))
assert jnp.isfinite(metrics.loss)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{sys.argv[1]}: {seconds:.0f} s, {peak:.2f} GiB at the most in the process")
assert peak < 8
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["remat", "truncated"])
def test_a_hundred_thousand_steps_fit_into_8_gib(how):
    """Without either the residuals alone, 13 H numbers a step, would take 9.9 GiB."""
    done = subprocess.run(
        [sys.executable, "-c", A_LONG_RUN, how], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
