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

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxrnn as rnn
from benchmarks.linear import (
    by_cell,
    heading,
    in_markdown,
    in_rounds,
    spread,
    told,
    write,
)
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
    min_seconds: float = 0.05
    """A call that is shorter is repeated within a round."""
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


def measure_case(config: Config, name: str, case: str, training: bool) -> Any:
    """The seconds of each round and the temporaries, by way."""
    batch, length, heads, size = map(int, case.split("x"))
    choices: dict[str, dict[str, Any]] = {"in turn": {"method": "in turn"}}
    for chunk in config.sizes:
        choices[str(chunk)] = {"method": "chunks", "chunk_size": chunk}
    make = getattr(rnn, name)
    ways = {
        way: ((), partial(by_cell, make(heads, size, size, **options)))
        for way, options in (choices | {"best": {}}).items()
    }
    xs = inputs(name, batch, length, heads, size)
    found = in_rounds(ways, xs, training, config.rounds, config.min_seconds)
    what = "gradient" if training else "forward"
    return {"cell": name, "what": what, "B x T x heads x K": case, "ways": found}


def line(case: Mapping[str, Any]) -> str:
    """A case as a line of the table: milliseconds and MiB."""
    cells = [str(value) for name, value in case.items() if name != "ways"]
    for found in case["ways"].values():
        cells.append(f"{spread(found)} ({found['temporaries'] / 2**20:.0f})")
    return "| " + " | ".join(cells) + " |"


def measure(config: Config) -> dict[str, Any]:
    """Measures all cases."""
    cases = []
    for name in config.cells:
        for case in config.cases:
            for training in (False, True):
                cases.append(measure_case(config, name, case, training))
                print(line(cases[-1]), flush=True)
    return told(config) | {"cases": cases}


def table(results: Mapping[str, Any]) -> str:
    """The results in Markdown."""
    first = results["cases"][0]
    names = [*(name for name in first if name != "ways"), *first["ways"]]
    head = heading(
        "Recurrences with a matrix for a state", "benchmarks.matrix", results
    )
    return head + in_markdown(names, map(line, results["cases"]))


def main() -> None:
    """Measures, prints the table and writes it where --out says."""
    config = at_home(tyro.cli(Config, description=__doc__))
    results = measure(config)
    if config.out is not None:
        write(config.out, results, table(results))


if __name__ == "__main__":
    with until_closed():
        main()
