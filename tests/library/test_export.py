"""Programs for batches and sequences of any size, in files that need no jaxrnn.

`jax.export` traces a cell with symbols for sizes. What is written here is read in a
process without jaxrnn, so arguments and results are arrays: the leaves of params and
carries.
"""

import importlib
import subprocess
import sys
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import D, H, V, assert_close, janet, quick_jit, step_of
from jax import export

import jaxrnn as rnn

pytest.importorskip("flatbuffers", reason="jax.export needs flatbuffers for files")

SIZES = ((3, 13), (2, 1))  # of batch and time, none of which export sees

CELLS = {
    "elman": rnn.elman(D, H),
    "gru": rnn.gru(D, H),
    "lstm": rnn.lstm(D, H),
    "bidirectional": rnn.bidirectional(rnn.lstm(D, H), rnn.gru(D, H)),
    "chain": rnn.chain(rnn.embedding(V, D), rnn.lstm(D, H), rnn.linear(H, V)),
}

# What is exported: how, which of the cells, and how many of the sizes it runs on.
PROGRAMS = {
    "bare": (CELLS, 2),
    "masked": (CELLS, 2),
    "stream": (sorted(CELLS.keys() - {"bidirectional"}), 1),
    "gradient": (sorted(CELLS.keys() - {"elman"}), 1),
    "last": (["lstm"], 1),
}
NAMES = [f"{what} {cell}" for what, (cells, _) in PROGRAMS.items() for cell in cells]

READER = """
import sys
from pathlib import Path

import jax
import numpy as np
from jax import export


def stream(call, args):
    *leaves, xs = args
    count = len(program.out_avals) - 1
    params, carry = leaves[:-count], leaves[-count:]
    ys = []
    for x in np.moveaxis(xs, 1, 0):
        *carry, y = call(*params, *carry, x)
        ys.append(y)
    return [*carry, np.stack(ys, 1)]


def gradient(call, args):
    *floats, xs, mask = args

    def total(floats):
        return sum(a.sum() for a in call(*floats, xs, mask))

    return jax.grad(total)(floats)


def once(call, args):
    return call(*args)


for path in Path().glob("*.program"):
    program = export.deserialize(bytearray(path.read_bytes()))
    run = {"stream": stream, "gradient": gradient}.get(path.stem.split()[0], once)
    for inputs in Path().glob(f"{path.stem} [0-9].npz"):
        with np.load(inputs, allow_pickle=False) as file:
            args = [file[f"arr_{i}"] for i in range(len(file.files))]
        np.savez(f"{inputs.stem} out.npz", *run(jax.jit(program.call), args))
assert "jaxrnn" not in sys.modules
"""


def arguments(what, cell, batch, time):
    """Params, random carries [B, ...], xs [B, T, ...] and a mask [B, T] or None."""
    noise = np.random.default_rng(time)
    params = cell.init(jax.random.key(0))
    carry = jax.tree.map(
        lambda a: noise.normal(size=(batch, *a.shape)).astype(a.dtype),
        cell.initial_carry(params),
    )
    xs = noise.normal(size=(batch, time, D)).astype(np.float32)
    if cell is CELLS["chain"]:
        xs = noise.integers(0, V, (batch, time), np.int32)
    mask = noise.random((batch, time)) < 0.7
    return params, carry, xs, None if what in ("bare", "stream") else mask


def unroll(cell, params, carry, xs, mask):
    """Of a batch."""

    def one(carry, xs, mask):
        return cell.unroll(params, carry, xs, mask=mask)

    return jax.vmap(one)(carry, xs, mask)


def last(cell, params, carry, xs, mask):
    """What a classifier reads."""
    return jax.vmap(rnn.last)(unroll(cell, params, carry, xs, mask)[1], mask)


def tick(cell, params, carry, x, mask):
    """One step of a batch."""
    del mask
    return jax.vmap(cell.step, (None, 0, 0))(params, carry, x)


def gradient(cell, params, carry, xs, mask):
    """Of the sum of all that comes out."""

    def total(params, carry):
        outputs = unroll(cell, params, carry, xs, mask)
        return sum(a.sum() for a in jax.tree.leaves(outputs))

    return jax.grad(total, (0, 1))(params, carry)


def write(what, cell, path):
    """Exports a function of arrays whose batch and time have any size."""
    params, carry, xs, mask = arguments(what, cell, *SIZES[0])
    if what == "stream":
        whole = B, *_ = export.symbolic_shape("B")
        xs = xs[:, 0]
    else:
        whole = B, _ = export.symbolic_shape("B, T", constraints=["T >= 1"])

    def symbolic(tree, *dims):
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((*dims, *a.shape[len(dims) :]), a.dtype),
            tree,
        )

    fun = {"stream": tick, "last": last}.get(what, unroll)
    specs = (symbolic(params), symbolic(carry, B), *symbolic((xs, mask), *whole))
    leaves, tree = jax.tree.flatten(specs)

    def of_leaves(*leaves):
        return jax.tree.leaves(fun(cell, *tree.unflatten(leaves)))

    exported = export.export(jax.jit(of_leaves))(*leaves)
    path.write_bytes(exported.serialize(vjp_order=1 if what == "gradient" else 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a process without jaxrnn has run every program."""
    folder = tmp_path_factory.mktemp("programs")
    for name in NAMES:
        what, cell = name.split()[0], CELLS[name.split()[1]]
        write(what, cell, folder / f"{name}.program")
        for i, sizes in enumerate(SIZES[: PROGRAMS[what][1]]):
            leaves = jax.tree.leaves(arguments(what, cell, *sizes))
            np.savez(folder / f"{name} {i}.npz", *leaves)
    reader = [sys.executable, "-W", "error", "-c", READER]
    run = subprocess.run(reader, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if "chain" in name else pytest.mark.slow)
        for name in NAMES
    ],
)
def test_a_file_computes_what_the_cell_does(name, folder):
    what, cell = name.split()[0], CELLS[name.split()[1]]
    fun = {"gradient": gradient, "last": last}.get(what, unroll)
    for i, sizes in enumerate(SIZES[: PROGRAMS[what][1]]):
        args = arguments(what, cell, *sizes)
        expected = jax.tree.leaves(quick_jit(partial(fun, cell))(*args))
        with np.load(folder / f"{name} {i} out.npz", allow_pickle=False) as file:
            got = [file[f"arr_{j}"] for j in range(len(file.files))]
        for a, b in zip(got, expected, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_params_may_be_part_of_the_program():
    """Closed over, and with no carry in or out: one array in, one array out."""
    (T,) = export.symbolic_shape("T", constraints=["T >= 1"])
    cell = CELLS["lstm"]
    params = cell.init(jax.random.key(0))

    def read(xs):
        return cell.unroll(params, cell.initial_carry(params), xs)[1]

    spec = jax.ShapeDtypeStruct((T, D), jnp.float32)
    file = export.export(jax.jit(read))(spec).serialize()
    xs = np.ones((7, D), np.float32)
    got = export.deserialize(file).call(xs)
    np.testing.assert_allclose(got, read(xs), rtol=1e-5, atol=1e-5)


# A decoder whose memory, start and mask are arguments of the program.


def decoder(start=None, memory=None, mask=None):
    attention = rnn.bahdanau(H, D, 19, memory=memory, mask=mask)
    core = rnn.chain(rnn.starting(rnn.gru(D + H, H), start), attention)
    return rnn.chain(rnn.embedding(V, D), rnn.input_feeding(core, H), rnn.linear(H, V))


def teacher(cell, params, tokens):
    return cell.unroll(params, cell.initial_carry(params), tokens)[1]


def weights(cell, params, tokens):
    _, (_, read), _ = rnn.trace(cell, params, cell.initial_carry(params), tokens)
    return read.weights


def greedy(cell, params, tokens):
    begun = rnn.prefill(cell, params, cell.initial_carry(params), tokens)
    return rnn.generate(cell, params, *begun, 7, rnn.greedy, stop_token=0).tokens


def beams(cell, params, tokens):
    begun = rnn.prefill(cell, params, cell.initial_carry(params), tokens)
    return rnn.beam_search(cell, params, *begun, 7, beam_size=3, stop_token=0).tokens


def rematerialized(cell, params, tokens):
    return teacher(rnn.remat(cell), params, tokens)


def sampled(cell, params, tokens):
    cell = rnn.scheduled_sampling(cell, 0.5)
    carry = cell.initial_carry(params, jax.random.key(5))
    return cell.unroll(params, carry, tokens)[1]


@pytest.mark.parametrize(
    "run",
    [
        *(teacher, greedy, beams),
        *(
            pytest.param(run, marks=pytest.mark.slow)
            for run in (weights, rematerialized, sampled)
        ),
    ],
)
def test_a_decoder_of_sources_of_any_length(run):
    """In a batch of any size, and with prompts of any length."""
    params = decoder().init(jax.random.key(0))

    def one(memory, mask, tokens):
        start = rnn.GRUCarry(jnp.concatenate([memory[0], memory[-1, :2]]))
        return run(decoder(start, memory, mask), params, tokens)

    batched = jax.jit(jax.vmap(one))
    b, s, t = export.symbolic_shape("B, S, T", constraints=["S >= 1", "T >= 1"])
    specs = [
        jax.ShapeDtypeStruct((b, s, D), jnp.float32),
        jax.ShapeDtypeStruct((b, s), jnp.bool_),
        jax.ShapeDtypeStruct((b, t), jnp.int32),
    ]
    program = export.deserialize(export.export(batched)(*specs).serialize())
    noise = np.random.default_rng(0)
    for batch, source, time in ((2, 11, 3), (1, 4, 37)):
        args = (
            noise.normal(size=(batch, source, D)).astype(np.float32),
            noise.random((batch, source)) < 0.7,
            noise.integers(0, V, (batch, time), np.int32),
        )
        got, expected = program.call(*args), batched(*args)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


# Arguments and results as they are, in a file that is read where jaxrnn is imported.
MADE_OF_OURS = {
    "lstm step": rnn.chain(rnn.embedding(V, D), rnn.lstm(D, H), rnn.linear(H, V)),
    "tied": rnn.tied_embedding(V, H, rnn.learned_carry(rnn.gru(H, H))),
    "fed": rnn.chain(
        rnn.embedding(V, D),
        rnn.attend(
            rnn.input_feeding(rnn.chain(rnn.elman(D + H, H), rnn.luong(H, D)), H),
            jnp.ones((3, D)),
        ),
        rnn.layer_norm(H),
        rnn.linear(H, V),
    ),
    "sampling": rnn.scheduled_sampling(
        rnn.chain(
            rnn.embedding(V, D), rnn.recurrent(D, H, janet, gates=2), rnn.linear(H, V)
        ),
        0.5,
    ),
}


@pytest.mark.parametrize("name", MADE_OF_OURS)
def test_params_and_carries_are_arguments_as_they_are(name):
    """In a tree of the user's: a dict with a list."""
    cell = MADE_OF_OURS[name]
    params = cell.init(jax.random.key(0))
    carry = cell.initial_carry(params, jax.random.key(1))

    def tick(both, token):
        carry, y = step_of(cell)(both["params"], both["carry"][0], token)
        return {"carry": [carry], "y": y}

    args = {"params": params, "carry": [carry]}, jnp.int32(3)
    program = export.export(jax.jit(tick))(*args)
    program = export.deserialize(program.serialize())
    assert_close(program.call(*args), jax.jit(tick)(*args), 1e-6)


def test_decoders_give_what_they_give():
    """`Generated` and `Hypotheses`, from prepared params."""
    cell = MADE_OF_OURS["fed"]
    params = cell.init(jax.random.key(0))
    carry = cell.initial_carry(params)

    def decode(prepared, carry, token):
        options = {"beam_size": 2, "stop_token": 0}
        made = rnn.generate(cell, prepared, carry, token, 5, rnn.greedy)
        return made, rnn.beam_search(cell, prepared, carry, token, 5, **options)

    args = cell.about.prepare(params), carry, jnp.int32(3)
    program = export.export(jax.jit(decode))(*args)
    program = export.deserialize(program.serialize())
    assert_close(program.call(*args), jax.jit(decode)(*args), 1e-5)


def test_packed_rows_of_any_number():
    (n,) = export.symbolic_shape("N", constraints=["N >= 1"])
    cell = CELLS["gru"]
    params = cell.init(jax.random.key(0))

    def read(xs, starts, mask):
        options = {"starts": starts, "mask": mask}
        return cell.unroll(params, cell.initial_carry(params), xs, **options)

    flags = jax.ShapeDtypeStruct((n,), jnp.bool_)
    specs = jax.ShapeDtypeStruct((n, D), jnp.float32), flags, flags
    program = export.export(jax.jit(read))(*specs)
    program = export.deserialize(program.serialize())
    for length in (1, 23):
        noise = np.random.default_rng(length)
        args = (
            noise.normal(size=(length, D)).astype(np.float32),
            noise.random(length) < 0.3,
            noise.random(length) < 0.7,
        )
        assert_close(program.call(*args), read(*args), 1e-5)


class Mine(NamedTuple):
    """A user's own."""

    xs: Any


def test_a_namedtuple_of_a_user_is_named():
    spec = Mine(jax.ShapeDtypeStruct((3,), jnp.float32))
    program = export.export(jax.jit(lambda mine: mine.xs))(spec)
    with pytest.raises(ValueError, match=r"Mine.*register_namedtuple_serialization"):
        program.serialize()


def test_classes_are_registered_once():
    before = dict(sys.modules)
    rnn.serialization.register()
    try:
        for name in [n for n in sys.modules if n.split(".")[0] == "jaxrnn"]:
            del sys.modules[name]
        importlib.import_module("jaxrnn")
    finally:
        sys.modules.update(before)


WRITER = """
import sys
import jax, jax.numpy as jnp
from jax import export
import jaxrnn as rnn

cell = rnn.bidirectional(rnn.lstm(3, 5), rnn.gru(3, 5))
params = cell.init(jax.random.key(0))
B, T = export.symbolic_shape("B, T", constraints=["T >= 1"])
carry = jax.eval_shape(cell.initial_carry, params)
carry = jax.tree.map(lambda a: jax.ShapeDtypeStruct((B, *a.shape), a.dtype), carry)
specs = params, carry, jax.ShapeDtypeStruct((B, T, 3), jnp.float32)
program = export.export(jax.jit(jax.vmap(cell.unroll, (None, 0, 0))))(*specs)
open(sys.argv[1], "wb").write(program.serialize())
"""


@pytest.mark.slow
def test_a_file_of_another_process(tmp_path):
    path = tmp_path / "reader.program"
    subprocess.run([sys.executable, "-c", WRITER, str(path)], check=True)
    program = export.deserialize(bytearray(path.read_bytes()))
    cell = rnn.bidirectional(rnn.lstm(3, 5), rnn.gru(3, 5))
    params = cell.init(jax.random.key(0))
    run = jax.vmap(cell.unroll, (None, 0, 0))
    for batch, time in ((1, 4), (3, 17)):
        carry = jax.vmap(lambda i: cell.initial_carry(params))(jnp.arange(batch))
        xs = jax.random.normal(jax.random.key(1), (batch, time, 3))
        args = params, carry, xs
        assert_close(program.call(*args), run(*args), 1e-5)
