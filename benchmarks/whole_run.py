"""The run that a user sees: MNIST row by row, 20 epochs, from start to test accuracy.

    python -m benchmarks.whole_run --data-dir FOLDER --out benchmarks/results/whole_run

jaxrnn is `python -m experiments.rows --dataset mnist --seeds 1`, the others the same
training as their users would write it: an LSTM of 128 units, dropout 0.2, AdamW with
rate 3e-3 in a short rise and a cosine, weight decay 1e-2, gradients clipped to a norm
of 1, batches of 100 in a new order each epoch, all 10,000 test images after each epoch.
Each runs in a process of its own, one after the other, several times in turn; the time
is that of the whole process: imports, compilation, reading the data and measuring too.
"""

import dataclasses
import gzip
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import records

HIDDEN, BATCH, DROPOUT, RATE, DECAY, CLIP = 128, 100, 0.2, 3e-3, 1e-2, 1.0


def images(folder: Path) -> tuple[np.ndarray, ...]:
    """Train and test images [N, 28, 28] in 0..1, each with labels [N]."""
    found = []
    for name in ("train", "t10k"):
        pixels, labels = (
            gzip.decompress((folder / f"{name}-{kind}-ubyte.gz").read_bytes())
            for kind in ("images-idx3", "labels-idx1")
        )
        xs = np.frombuffer(pixels[16:], np.uint8).reshape(-1, 28, 28)
        found += [
            xs.astype(np.float32) / 255,
            np.frombuffer(labels[8:], np.uint8).astype(np.int32),
        ]
    return tuple(found)


def schedule(steps: int) -> Callable[[int], float]:
    """The share of the peak rate at each step."""
    rise = max(1, steps // 20)

    def share(step: int) -> float:
        if step < rise:
            return step / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps + 1 - rise)))

    return share


def run_torch(folder: Path, epochs: int, devices: int) -> float:
    """Returns the accuracy."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(devices)
    xs, labels, test_xs, test_labels = (
        torch.from_numpy(a.copy()) for a in images(folder)
    )
    labels, test_labels = labels.long(), test_labels.long()
    lstm = nn.LSTM(28, HIDDEN, batch_first=True)
    head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 10))
    params = [*lstm.parameters(), *head.parameters()]
    steps = len(xs) // BATCH
    optimizer = torch.optim.AdamW(params, RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule(epochs * steps))
    accuracy = 0.0
    for _ in range(epochs):
        head.train()
        for batch in torch.randperm(len(xs))[: steps * BATCH].split(BATCH):
            optimizer.zero_grad()
            hs, _ = lstm(xs[batch])
            nn.functional.cross_entropy(head(hs[:, -1]), labels[batch]).backward()
            nn.utils.clip_grad_norm_(params, CLIP)
            optimizer.step()
            rate.step()
        head.eval()
        with torch.no_grad():
            logits = torch.cat([head(lstm(x)[0][:, -1]) for x in test_xs.split(500)])
        accuracy = (logits.argmax(1) == test_labels).float().mean().item()
    return accuracy


def run_flax(folder: Path, epochs: int, devices: int) -> float:
    """Returns the accuracy."""
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    import jax.numpy as jnp
    import optax
    from flax import linen as nn
    from jax.sharding import NamedSharding, PartitionSpec

    class Net(nn.Module):
        @nn.compact
        def __call__(self, xs, train):
            hs = nn.RNN(nn.OptimizedLSTMCell(HIDDEN))(xs)
            h = nn.Dropout(DROPOUT, deterministic=not train)(hs[:, -1])
            return nn.Dense(10)(h)

    xs, labels, test_xs, test_labels = map(jnp.asarray, images(folder))
    net, key = Net(), jax.random.key(0)
    steps = len(xs) // BATCH
    rate = optax.warmup_cosine_decay_schedule(
        0.0, RATE, max(1, epochs * steps // 20), epochs * steps + 1
    )
    optimizer = optax.chain(
        optax.clip_by_global_norm(CLIP), optax.adamw(rate, weight_decay=DECAY)
    )
    params = net.init(key, xs[:1], False)
    state = params, optimizer.init(params), key
    auto = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(auto,))
    place = NamedSharding(mesh, PartitionSpec("batch"))

    def update(state, index):
        params, opt_state, key = state
        key, dropout_key = jax.random.split(key)
        batch = jax.lax.with_sharding_constraint((xs[index], labels[index]), place)

        def loss_fn(params):
            logits = net.apply(params, batch[0], True, rngs={"dropout": dropout_key})
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
            return losses.mean()

        grads = jax.grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, key), None

    @jax.jit
    def epoch(state, order):
        return jax.lax.scan(update, state, order)[0]

    @jax.jit
    def measure(params):
        def hits(part):
            return net.apply(params, part[0], False).argmax(-1) == part[1]

        parts = test_xs.reshape(-1, 500, 28, 28), test_labels.reshape(-1, 500)
        return jax.lax.map(hits, parts).mean()

    accuracy, orders = 0.0, np.random.default_rng(0)
    for _ in range(epochs):
        order = orders.permutation(len(xs))[: steps * BATCH].reshape(steps, BATCH)
        state = jax.block_until_ready(epoch(state, jnp.asarray(order)))
        accuracy = float(measure(state[0]))
    return accuracy


def run_jaxrnn(folder: Path, epochs: int, devices: int) -> float:
    """Returns the accuracy."""
    with tempfile.TemporaryDirectory() as out:
        rows = [sys.executable, "-m", "experiments.rows", "--dataset", "mnist"]
        options = ["--data-dir", folder, "--epochs", epochs, "--seeds", 1]
        more = ["--devices", devices, "--out", f"{out}/run"]
        subprocess.run(
            [*rows, *map(str, options + more)], check=True, stdout=sys.stderr
        )
        return json.loads(Path(out, "run", "summary.json").read_text())["test_accuracy"]


SYSTEMS = {"jaxrnn": run_jaxrnn, "torch": run_torch, "flax": run_flax}


@dataclasses.dataclass(frozen=True)
class Config:
    """The run that a user sees: MNIST row by row, from start to test accuracy."""

    data_dir: Path
    """Folder with the four original files of MNIST."""
    epochs: int = 20
    """Passes over the training images."""
    rounds: int = 2
    """How often each system runs, in turn."""
    devices: tuple[int, ...] = (1, 2)
    """Host devices (JAX) or threads (torch)."""
    out: Path | None = None
    """Folder for the results. None: benchmarks/results/whole_run-<time>."""
    only: str | None = None
    """Run this system once, in this process; the first of --devices counts."""


def main() -> None:
    """Runs all in turn and writes `whole_run.json` and `whole_run.md`."""
    config = tyro.cli(Config, prog="python -m benchmarks.whole_run")
    if config.only is not None:
        run = SYSTEMS[config.only]
        print(run(config.data_dir, config.epochs, config.devices[0]))
        return
    folder = records.make_folder(config.out, "whole_run")
    runs: dict[str, Any] = {}
    for _ in range(config.rounds):
        for name in SYSTEMS:
            for n in config.devices:
                command = [sys.executable, "-m", "benchmarks.whole_run"]
                command += ["--data-dir", str(config.data_dir), "--only", name]
                command += ["--epochs", str(config.epochs), "--devices", str(n)]
                start = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True)
                seconds = time.perf_counter() - start
                if done.returncode:
                    raise SystemExit(f"{name} failed:\n{done.stderr}")
                run = runs.setdefault(f"{name}@{n}", {"seconds": [], "accuracy": []})
                run["seconds"].append(seconds)
                run["accuracy"].append(float(done.stdout.split()[-1]))
                print(f"{name}@{n}: {seconds:.1f} s", file=sys.stderr)
    lines = [
        "| system @ devices or threads | seconds | test accuracy |",
        "|---|---|---|",
    ]
    for name, run in runs.items():
        seconds = ", ".join(f"{s:.0f}" for s in run["seconds"])
        accuracy = ", ".join(f"{a:.2%}" for a in run["accuracy"])
        lines.append(f"| {name} | {seconds} | {accuracy} |")
    text = "\n".join(lines) + "\n"
    command = " ".join(["python", "-m", "benchmarks.whole_run", *sys.argv[1:]])
    found = {"command": command, "machine": records.machine(), "runs": runs}
    found["versions"] = records.versions()
    records.write_json(folder / "whole_run.json", found)
    with records.replacing(folder / "whole_run.md") as path:
        path.write_text(f"`{command}`\n\n{text}")
    print(f"{text}results in {folder}")


if __name__ == "__main__":
    main()
