"""Recurrences with a matrix for a state: sizes of chunks against the loop.

    python -m benchmarks.matrix --out benchmarks/results/matrix

Each way computes all y of B sequences of T steps, `heads` states of K x V each, or the
gradient of their squares' sum with respect to queries, keys, values and gates:

- in turn: `lax.scan` of the step, whose derivative JAX finds;
- 16, 32, ..: chunks of so many steps;
- best: what a user gets without a choice.

The ways take turns, in a new order in each round; a time is the median of the rounds,
compile time apart. The memory is that of the temporaries that the compiler plans.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxrnn as rnn
from benchmarks.linear import median, seconds_of
from benchmarks.paths import at_home
from benchmarks.pipe import until_closed

CELLS = {
    "gla_recurrence": rnn.GLAInputs,
    "delta_rule": rnn.DeltaInputs,
    "gated_delta_rule": rnn.GatedDeltaInputs,
    "mlstm_recurrence": rnn.MLSTMInputs,
}


@dataclass(frozen=True)
class Config:
    """What is measured."""

    rounds: int = 5
    cells: tuple[str, ...] = tuple(CELLS)
    cases: tuple[str, ...] = (
        *("1x32x4x32", "1x1024x4x64", "8x1024x4x16"),
        *("1x4096x4x32", "1x16384x2x16"),
    )
    """B, T, heads and K = V of each."""
    sizes: tuple[int, ...] = (16, 32, 64, 128)
    """Of the chunks."""
    out: Path | None = None
    """A folder for the results, in JSON and as a table."""


def inputs(name: str, batch: int, length: int, heads: int, size: int) -> Any:
    """Keys of length one, decays near one."""
    noise = np.random.default_rng(0)
    q, k, v = noise.normal(size=(3, batch, length, heads, size))
    k /= np.sqrt((k * k).sum(-1, keepdims=True))
    one = noise.uniform(0.5, 1, (2, batch, length, heads))
    gates = {
        "gla_recurrence": {"g": -0.1 * noise.uniform(size=q.shape)},
        "delta_rule": {"beta": one[0]},
        "gated_delta_rule": {"beta": one[0], "g": -0.1 * one[1]},
        "mlstm_recurrence": {"i": one[0], "f": 4 * one[1]},
    }
    xs = CELLS[name](q, k, v, **gates[name])
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), xs)


def program(cell: rnn.Cell, training: bool, xs: Any) -> Any:
    """All y of a batch, or the gradient, compiled."""

    def ys(xs):
        return jax.vmap(lambda xs: cell.unroll((), cell.initial_carry(()), xs)[1])(xs)

    def loss(xs):
        return jnp.square(ys(xs)).sum()

    return jax.jit(jax.grad(loss) if training else ys).lower(xs).compile()


def measure_case(config: Config, name: str, case: str, training: bool) -> Any:
    """The seconds of each round and the temporaries, by way."""
    batch, length, heads, size = map(int, case.split("x"))
    xs = inputs(name, batch, length, heads, size)
    choices: dict[str, dict[str, Any]] = {"in turn": {"method": "in turn"}}
    for chunk in config.sizes:
        choices[str(chunk)] = {"method": "chunks", "chunk_size": chunk}
    found, programs = {}, {}
    for way, options in (choices | {"best": {}}).items():
        cell = getattr(rnn, name)(heads, size, size, **options)
        programs[way] = program(cell, training, xs)
        jax.block_until_ready(programs[way](xs))
        temporaries = programs[way].memory_analysis().temp_size_in_bytes
        found[way] = {"temporaries": temporaries, "seconds": []}
    for turn in range(config.rounds):
        for way in map(str, np.random.default_rng(turn).permutation(list(programs))):
            found[way]["seconds"].append(
                seconds_of(lambda _, xs: programs[way](xs), (), xs)
            )
    what = "gradient" if training else "forward"
    return {"cell": name, "what": what, "B x T x heads x K": case, "ways": found}


def line(case: Mapping[str, Any]) -> str:
    """A case as a line of the table: milliseconds and MiB."""
    told = [str(value) for name, value in case.items() if name != "ways"]
    for found in case["ways"].values():
        told.append(f"{1e3 * median(found):.3g} ({found['temporaries'] / 2**20:.0f})")
    return "| " + " | ".join(told) + " |"


def measure(config: Config) -> dict[str, Any]:
    """Measures all cases."""
    cases = []
    for name in config.cells:
        for case in config.cases:
            for training in (False, True):
                cases.append(measure_case(config, name, case, training))
                print(line(cases[-1]), flush=True)
    return {
        "settings": {k: v for k, v in vars(config).items() if k != "out"},
        "machine": {
            "platform": jax.default_backend(),
            "device": jax.devices()[0].device_kind,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": {"jax": jax.__version__, "jaxrnn": rnn.__version__},
        "cases": cases,
    }


def table(results: Mapping[str, Any]) -> str:
    """The results in Markdown."""
    first = results["cases"][0]
    names = [*(name for name in first if name != "ways"), *first["ways"]]
    told = results["machine"] | results["versions"]
    return (
        "\n".join(
            [
                "# Recurrences with a matrix for a state",
                "",
                "`python -m benchmarks.matrix --out FOLDER`",
                "",
                ", ".join(f"{k} {v}" for k, v in told.items())
                + ". Median milliseconds, and in brackets the MiB of temporaries.",
                "",
                "| " + " | ".join(names) + " |",
                "|---" * len(names) + "|",
                *map(line, results["cases"]),
            ]
        )
        + "\n"
    )


def main() -> None:
    """Measures, prints the table and writes it where --out says."""
    config = at_home(tyro.cli(Config, description=__doc__))
    results = measure(config)
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(results, indent=1) + "\n"
        (config.out / "measured.json").write_text(text, encoding="utf-8")
        (config.out / "table.md").write_text(table(results), encoding="utf-8")
        print(f"results and table are in {config.out}")


if __name__ == "__main__":
    with until_closed():
        main()
