"""Trained nets to look at: of the experiments, and of parity.

A net of the experiments is trained by its own command, in a process of its own, and
read from the folder of the run. The state of a parity net tells after each bit whether
the number of ones so far is odd; it learns from sequences of 4 bits, then of 8, and so
on to 64.
"""

import gzip
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn as rnn
from jaxrnn import interop

CELLS = {"elman": rnn.elman, "gru": rnn.gru, "lstm": rnn.lstm}
EMBEDDING = 64
PARITY_SIZE = 32


class Net(NamedTuple):
    """A recurrent cell, its trained params, and what it reads."""

    name: str
    cell: rnn.Cell
    params: Any
    fresh: Any  # params as they were drawn
    read: Callable[[int, int], jax.Array]  # (B, T) -> xs [B, T, D]
    score: str = ""
    every: int | None = None  # steps, after which the carry starts anew

    def starts(self, length: int) -> jax.Array | None:
        """Where the carry starts anew, [T], or None for nowhere."""
        return None if self.every is None else jnp.arange(length) % self.every == 0


class _Reader(NamedTuple):
    """The params of `experiments.rows`."""

    reader: Any
    readout: Any


def text_net(cell: str, size: int, data_dir: Path, runs: Path, epochs: int) -> Net:
    """A language model of tiny Shakespeare reads the last tenth of it."""
    options = f"--cell {cell} --hidden-size {size} --embedding-size {EMBEDDING}"
    folder = _run("language_model", options, data_dir, runs, epochs)
    text = (data_dir / "shakespeare" / "input.txt").read_text()
    characters = sorted(set(text))
    recurrent = CELLS[cell](EMBEDDING, size)
    model = rnn.chain(
        rnn.embedding(len(characters), EMBEDDING),
        recurrent,
        rnn.dropout(0.3),
        rnn.linear(size, len(characters)),
    )
    trained = _params(folder, model.init)
    number = {c: i for i, c in enumerate(characters)}
    valid = np.array([number[c] for c in text[len(text) * 9 // 10 :]], np.int32)

    def read(batch, length):
        begins = np.linspace(0, len(valid) - length, batch).astype(int)
        tokens = np.stack([valid[i : i + length] for i in begins])
        return trained[0].w[tokens]

    fresh = model.init(jax.random.key(0))[1]
    return Net(f"text {cell} {size}", recurrent, trained[1], fresh, read)


def rows_net(cell: str, size: int, data_dir: Path, runs: Path, epochs: int) -> Net:
    """A reader of MNIST row by row; it reads one image after the other."""
    options = f"--dataset mnist --cell {cell} --hidden-size {size} --seeds 1"
    folder = _run("rows", options, data_dir, runs, epochs)
    recurrent = CELLS[cell](28, size)
    chained = rnn.chain(recurrent, rnn.dropout(0.2))

    def init(key):
        return _Reader(chained.init(key), rnn.linear(size, 10).init(key))

    trained = _params(folder, init)
    path = data_dir / "mnist" / "t10k-images-idx3-ubyte.gz"
    pixels = np.frombuffer(gzip.decompress(path.read_bytes())[16:], np.uint8)
    rows = pixels.reshape(-1, 28).astype(np.float32) / 255

    def read(batch, length):
        begins = np.arange(batch) * 28 * (len(rows) // 28 // batch)
        return jnp.asarray(np.stack([rows[i : i + length] for i in begins]))

    fresh = recurrent.init(jax.random.key(0))
    name = f"rows {cell} {size}"
    return Net(name, recurrent, trained.reader[0], fresh, read, every=28)


def parity_net(cell: str, *, updates: int = 3000, seed: int = 0) -> Net:
    """A net that has learned parity, from 4 to 64 bits."""
    recurrent = CELLS[cell](1, PARITY_SIZE)
    model = rnn.chain(recurrent, rnn.linear(PARITY_SIZE, 1))
    fresh = model.init(jax.random.key(seed))
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))

    def right(params, bits):
        carry = model.initial_carry(params)
        _, logits = model.unroll(params, carry, 2 * bits[:, None] - 1)
        odd = jnp.cumsum(bits) % 2
        loss = optax.sigmoid_binary_cross_entropy(logits[:, 0], odd).mean()
        return loss, ((logits[:, 0] > 0) == (odd > 0)).mean()

    def of_batch(params, bits):
        losses, shares = jax.vmap(partial(right, params))(bits)
        return losses.mean(), shares.mean()

    @jax.jit
    def update(params, state, bits):
        (_, share), slope = jax.value_and_grad(of_batch, has_aux=True)(params, bits)
        steps, state = rule.update(slope, state, params)
        return optax.apply_updates(params, steps), state, share

    noise = np.random.default_rng(seed)

    def draw(batch, length):
        return jnp.asarray(noise.integers(0, 2, (batch, length)), jnp.float32)

    params, state = fresh, rule.init(fresh)
    for length in (4, 8, 16, 32, 64):
        for _ in range(updates):
            params, state, share = update(params, state, draw(64, length))
            if share > 0.999:
                break
    share = float(of_batch(params, draw(64, 256))[1])
    return Net(
        f"parity {cell} {PARITY_SIZE}",
        recurrent,
        params[0],
        fresh[0],
        lambda batch, length: 2 * draw(batch, length)[..., None] - 1,
        f"{share:.1%} of steps right at T = 256",
    )


def _run(study: str, options: str, data_dir: Path, runs: Path, epochs: int) -> Path:
    """The folder of a finished run, which is made if it is not there."""
    name = "-".join(options.replace("--", "").split())
    folder = runs / f"{study}-{name}-epochs-{epochs}"
    if not (folder / "summary.json").exists():
        command = [sys.executable, "-m", f"experiments.{study}", *options.split()]
        command += ["--data-dir", str(data_dir), "--epochs", str(epochs)]
        subprocess.run([*command, "--out", str(folder), "--resume"], check=True)
    return folder


def _params(folder: Path, init: Callable[..., Any]) -> Any:
    """The params of the first seed."""
    like = jax.eval_shape(init, jax.random.key(0))
    seeds = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape), a.dtype), like)
    params = interop.load_safetensors(folder / "params.safetensors", seeds)
    return jax.tree.map(lambda a: a[0], params)
