"""How many launches a training step makes, and how long they take.

    python -m benchmarks.gpu.launches [--small]

Traces one step of an LSTM with `jax.profiler`. On a GPU a launch is a kernel or a copy
on one of its streams; on a CPU, where a dry run is made, it is an operation of XLA.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxrnn as rnn


def traced(cell: rnn.Cell, batch: int, length: int, dtype: Any) -> dict[str, Any]:
    """Traces the gradient of a batch, and times it without a trace."""
    params = cell.init(jax.random.key(0))
    size = params.w_x.shape[0]
    xs = jax.random.normal(jax.random.key(1), (batch, length, size), dtype)

    def loss(params, xs):
        def one(xs):
            ys = cell.unroll(params, cell.initial_carry(params), xs)[1]
            return (ys.astype(jnp.float32) ** 2).mean()

        return jax.vmap(one)(xs).sum()

    gradient = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    jax.block_until_ready(gradient(params, xs))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(gradient(params, xs))
        seconds.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(gradient(params, xs))
        (path,) = Path(folder).rglob("*.xplane.pb")
        events = launches(jax.profiler.ProfileData.from_file(str(path)))
    spent: dict[str, float] = {}
    for name, microseconds in events:
        spent[name] = spent.get(name, 0.0) + microseconds
    return {
        "launches": len(events),
        "launches_per_step": len(events) / length,
        "microseconds_per_launch": sum(spent.values()) / max(1, len(events)),
        "busy_milliseconds": sum(spent.values()) / 1e3,
        "milliseconds": 1e3 * min(seconds),
        "longest": sorted(spent.items(), key=lambda pair: -pair[1])[:5],
    }


def launches(data: Any) -> list[tuple[str, float]]:
    """Name and microseconds of every launch in a trace."""
    lines = [(plane.name, line) for plane in data.planes for line in plane.lines]
    on_gpu = [line for name, line in lines if name.startswith("/device:GPU")]
    if on_gpu:
        chosen = [line for line in on_gpu if line.name.startswith("Stream")]
    else:
        chosen = [line for _, line in lines if line.name.startswith("tf_XLA")]
    events = [(e.name, e.duration_ns / 1e3) for line in chosen for e in line.events]
    # What only holds other events.
    skipped = ("end: ", "Thread", "Thunk", "while", "call")
    return [event for event in events if not event[0].startswith(skipped)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    batch, length, size = (2, 3, 5) if small else (64, 100, 256)
    found = {}
    for dtype in ("float32", "bfloat16"):
        cell = rnn.lstm(size, size, dtype=jnp.dtype(dtype))
        name = f"lstm train {batch}x{length}x{size}x{size} {dtype}"
        found[name] = traced(cell, batch, length, dtype)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
