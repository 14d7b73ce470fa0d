"""How training grows with the number of devices: measured on few, worked out for many.

    python -m benchmarks.devices --out benchmarks/results/devices

Measured, on the host devices made of a CPU's cores: updates per second of
`rnn.make_update` on one device and on all, with the batch kept (strong scaling) and
with the batch of each device kept (weak scaling), in alternating rounds. Counted from
the compiled program: the bytes that one update sends between devices. Worked out from
those, for accelerators with the stated rates: the time of an update, where it goes, and
the batch that keeps the accelerators busy.

The model. Let an update of a batch of b examples on one accelerator take

    t_compute(b) = max(b F / (u P), 2 T l)

with F the FLOPs of one example, P the peak rate, u the share of it that products of
these sizes reach, T the time steps of all layers and l the least time of one step of a
loop. The gradients, S bytes, are averaged by a ring within each group of g accelerators
and one across groups (n the number of accelerators, m = n / g that of groups):

    t_sum = 2 (g - 1) / g S / w_in + 2 (m - 1) / m (S / g) / w_out + 2 log2(n) d

with w_in and w_out the bandwidth of one accelerator within and across groups and d the
delay of one message. Nothing overlaps, so the efficiency is
t_compute / (t_compute + t_sum).
"""

import dataclasses
import itertools
import json
import math
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxrnn as rnn
from benchmarks import cases, records
from benchmarks.cases import CLASSES, Case

MEASURED = (
    Case("lstm", 32, 100, 64, 256),
    Case("lstm", 64, 50, 128, 512),
    Case("gru", 32, 100, 64, 256),
    Case("elman", 256, 20, 64, 128),
)
LARGE = Case("lstm", 64, 200, 512, 1024, dtype="bfloat16", layers=4)  # worked out only
NUMBERS = (8, 64, 512, 4096)


class Accelerator(NamedTuple):
    """The stated rates, of the order of one H100 in a cluster of groups of eight."""

    peak: float = 989e12  # FLOP/s in bfloat16
    share: float = 0.3  # of the peak, reached by products of these sizes: assumed
    step: float = 5e-6  # seconds, the least time of one step of a loop: assumed
    group: int = 8
    within: float = 450e9  # bytes/s each way within a group
    across: float = 50e9  # bytes/s each way and accelerator between groups: 400 Gbit/s
    delay: float = 10e-6  # seconds for one message: assumed

    def compute_seconds(self, case: Case, batch: float) -> float:
        """One update of so many examples on one accelerator."""
        work = batch * cases.flops(case) / case.batch / (self.share * self.peak)
        return max(work, 2 * case.layers * case.time * self.step)

    def sum_seconds(self, size: float, number: int) -> float:
        """The average of the gradients, so many bytes, over so many accelerators."""
        inside = min(self.group, number)
        groups = max(1, number // self.group)
        ring = 2 * (inside - 1) / inside * size / self.within
        rings = 2 * (groups - 1) / groups * size / inside / self.across
        return ring + rings + 2 * math.log2(number) * self.delay

    def batch_for(self, case: Case, size: float, number: int, wanted: float) -> int:
        """The least batch of one accelerator with the wanted efficiency."""
        needed = wanted / (1 - wanted) * self.sum_seconds(size, number)
        one = cases.flops(case) / case.batch / (self.share * self.peak)
        least = 2 * case.layers * case.time * self.step
        return 1 if least >= needed else math.ceil(needed / one)


def projection(case: Case, size: float) -> list[dict[str, Any]]:
    """A line for each number of accelerators, at the batch of the case for each."""
    machine = Accelerator()
    lines = []
    for number in NUMBERS:
        compute = machine.compute_seconds(case, case.batch)
        total = machine.sum_seconds(size, number)
        lines.append(
            {
                "accelerators": number,
                "batch": case.batch * number,
                "compute_ms": 1e3 * compute,
                "sum_ms": 1e3 * total,
                "efficiency": compute / (compute + total),
                "batch_each_for_90_percent": machine.batch_for(case, size, number, 0.9),
            }
        )
    return lines


BYTES = {
    "f64": 8,
    "f32": 4,
    "bf16": 2,
    "f16": 2,
    "s32": 4,
    "u32": 4,
    "s8": 1,
    "pred": 1,
}


def sent_bytes(compiled_text: str) -> int:
    """Bytes of all arrays that one call of a compiled program sums over devices."""
    total = 0
    pattern = r"= (\([^)]*\)|\S+) all-reduce(?:-start)?\("
    for shapes in re.findall(pattern, compiled_text):
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            total += BYTES[dtype] * math.prod(map(int, filter(None, dims.split(","))))
    return total


class Training:
    """A training update of a case, with its batch over so many devices."""

    def __init__(self, case: Case, devices: int):
        sizes = [case.input_size] + [case.hidden_size] * case.layers
        cell = {"lstm": rnn.lstm, "gru": rnn.gru, "elman": rnn.elman}[case.cell]
        layers = [cell(*pair) for pair in itertools.pairwise(sizes)]
        model = rnn.chain(*layers, rnn.linear(case.hidden_size, CLASSES))

        def loss_fn(params, xs, label, key):
            carry = model.initial_carry(params, key)
            _, logits = model.unroll(params, carry, xs)
            return rnn.cross_entropy(rnn.last(logits), label)

        optimizer = optax.sgd(cases.LEARNING_RATE)
        key = jax.random.key(0)
        mesh = jax.make_mesh((devices,), ("batch",)) if devices > 1 else None
        update = rnn.make_update(loss_fn, optimizer, mesh=mesh)
        xs = jax.random.normal(key, (case.batch, case.time, case.input_size))
        self.batch = xs, jnp.zeros(case.batch, jnp.int32)
        self.state = rnn.train_state(model.init(key), optimizer, key)
        self.compiled = jax.jit(update).lower(self.state, *self.batch).compile()
        # The state is then where an update leaves it.
        self.state, _ = jax.block_until_ready(self.compiled(self.state, *self.batch))

    def seconds(self, least: float = 0.3) -> float:
        """Of one update, over as many as fill the least time."""
        state, count, start = self.state, 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < least:
            state, _ = jax.block_until_ready(self.compiled(state, *self.batch))
            count += 1
        return passed / count


def measure(case: Case, devices: int, rounds: int) -> dict[str, Any]:
    """Updates per second on one device and on all."""
    whole = dataclasses.replace(case, batch=case.batch * devices)
    runs = {
        "one": Training(case, 1),
        "strong": Training(case, devices),
        "weak": Training(whole, devices),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, training in runs.items():
            seconds[name].append(training.seconds())
    ratios = {
        "strong": np.array(seconds["one"]) / seconds["strong"],
        "weak": devices * np.array(seconds["one"]) / seconds["weak"],
    }
    return {
        "case": case.name,
        "devices": devices,
        "updates_per_second": {n: 1 / float(np.median(s)) for n, s in seconds.items()},
        "speedup": {n: [float(q) for q in _quartiles(r)] for n, r in ratios.items()},
        "gradient_bytes": 4 * cases.num_params(case),
        "sent_bytes": sent_bytes(runs["strong"].compiled.as_text()),
        "seconds": seconds,
    }


def _quartiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, [0.25, 0.5, 0.75])


def markdown(found: dict[str, Any]) -> str:
    """Both tables."""
    n = found["devices"]
    lines = [
        f"Measured: `{found['command']}`, {found['machine']['cpu']}, "
        f"{found['rounds']} rounds",
        "",
        f"| case | updates/s on 1 | on {n}, same batch | speedup "
        f"| on {n}, {n} times the batch | speedup | bytes sent | gradient |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["measured"]:
        rate, speedup = row["updates_per_second"], row["speedup"]
        cells = [row["case"], f"{rate['one']:.1f}"]
        for name in ("strong", "weak"):
            low, middle, high = speedup[name]
            cells += [f"{rate[name]:.1f}", f"{middle:.2f} [{low:.2f}, {high:.2f}]"]
        cells += [f"{row['sent_bytes']:,}", f"{row['gradient_bytes']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    for name, rows in found["worked_out"].items():
        lines += [
            "",
            f"Worked out, not measured: {name}, batch the same on each accelerator",
            "",
            "| accelerators | batch | compute ms | sum ms | efficiency | batch of each "
            "for 90 % |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['accelerators']:,} | {r['batch']:,} | {r['compute_ms']:.2f} "
            f"| {r['sum_ms']:.3f} | {r['efficiency']:.0%} "
            f"| {r['batch_each_for_90_percent']:,} |"
            for r in rows
        ]
    return "\n".join(lines) + "\n"


@dataclasses.dataclass(frozen=True)
class Config:
    """How training grows with the number of devices."""

    devices: int = 2
    """Host devices to measure on."""
    rounds: int = 9
    """Rounds of each setting."""
    out: Path | None = None
    """Folder for the results. None: benchmarks/results/devices-<time>."""


def main() -> None:
    """Measures, counts, works out, and writes `devices.json` and `devices.md`."""
    config = tyro.cli(Config, prog="python -m benchmarks.devices")
    jax.config.update("jax_num_cpu_devices", config.devices)
    folder = records.make_folder(config.out, "devices")
    measured = [measure(case, config.devices, config.rounds) for case in MEASURED]
    case = MEASURED[1]
    found = {
        "command": " ".join(["python", "-m", "benchmarks.devices", *sys.argv[1:]]),
        "machine": records.machine(),
        "versions": records.versions(),
        "devices": config.devices,
        "rounds": config.rounds,
        "measured": measured,
        "accelerator": Accelerator()._asdict(),
        "worked_out": {
            c.name: projection(c, 4 * cases.num_params(c)) for c in (case, LARGE)
        },
    }
    with records.replacing(folder / "devices.json") as path:
        path.write_text(json.dumps(found, indent=2) + "\n")
    with records.replacing(folder / "devices.md") as path:
        path.write_text(markdown(found))
    print(markdown(found))
    print(f"results in {folder}")


if __name__ == "__main__":
    main()
