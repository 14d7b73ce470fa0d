"""The ways to run a linear recurrence, side by side.

    python -m benchmarks.linear --out benchmarks/results/linear

The recurrence is h_t = a_t h_{t-1} + b_t with a_t = sigmoid(x_t u) and b_t = x_t, B
sequences of T steps and H units. Each way computes all h, or the gradient of their
squares' sum with respect to x, u and the first h:

- scan: a plain `lax.scan` of the step, whose derivative JAX finds;
- associative_scan: a plain `lax.associative_scan`, whose derivative JAX finds;
- in turn, associative, chunks: `jaxrnn.linear_recurrence` with that method;
- best: with the method "best" and the kernels of the platform, as users run it.

The ways take turns, in a new order in each round; a time is the median of the rounds,
compile time apart. The memory is that of the temporaries that the compiler plans. All
ways are compared with the scan before anything is measured.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax

import jaxrnn as rnn
from benchmarks.paths import at_home
from benchmarks.pipe import until_closed

FORMS = ("in turn", "associative", "chunks")
WAYS = ("scan", "associative_scan", *FORMS, "best")


@dataclass(frozen=True)
class Config:
    """What is measured."""

    rounds: int = 5
    lengths: tuple[int, ...] = (256, 1024, 4096, 16384, 65536)
    """T."""
    hidden_size: int = 256
    """H."""
    tokens: int = 32768
    """B T of each case: B is this divided by T, and at least one."""
    dtypes: tuple[str, ...] = ("float32", "complex64")
    """Of the carry."""
    min_seconds: float = 0.05
    """A call that is shorter is repeated within a round."""
    out: Path | None = None
    """A folder for the results, in JSON and as a table."""


def cell_of(size: int, dtype: Any, method: str) -> rnn.Cell:
    """The recurrence as a cell."""

    def init(key):
        return jnp.zeros(size, dtype)

    def initial_carry(params, key=None):
        return jnp.zeros(size, dtype)

    def output(params, h, x):
        return h

    reads = rnn.Input((size,))
    parts = init, initial_carry, terms, output
    return rnn.linear_recurrence("decays", reads, *parts, method=method)


def terms(params: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a_t and b_t; a complex a_t turns by what a real one decays."""
    keep = jax.nn.sigmoid(x * jnp.real(params))
    if jnp.iscomplexobj(params):
        return keep * jnp.exp(1j * keep), x.astype(params.dtype)
    return keep, x


def plain_scan(params, xs):
    """`lax.scan` of the step."""

    def step(h, x):
        a, b = terms(params, x)
        h = a * h + b
        return h, h

    return lax.scan(step, jnp.zeros_like(params), xs)[1]


def plain_associative_scan(params, xs):
    """`lax.associative_scan`."""

    def join(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    a, b = jax.vmap(partial(terms, params))(xs)
    return lax.associative_scan(join, (a, b))[1]


def by_cell(cell, params, xs):
    """`unroll` of the cell."""
    return cell.unroll(params, cell.initial_carry(params), xs)[1]


def ways(size: int, dtype: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """By name, `(params, xs) -> hs` of one sequence."""
    made = {way: partial(by_cell, cell_of(size, dtype, way)) for way in WAYS[2:]}
    return {"scan": plain_scan, "associative_scan": plain_associative_scan} | made


def compiled(way: Callable, training: bool, *args: Any) -> Any:
    """The program of a batch, and the seconds of its compilation."""

    def loss(params, xs):
        hs = jax.vmap(way, (None, 0))(params, xs)
        return (jnp.abs(hs) ** 2).sum()

    def run(params, xs):
        if training:
            return jax.grad(loss, (0, 1))(params, xs)
        return jax.vmap(way, (None, 0))(params, xs)

    began = time.perf_counter()
    program = jax.jit(run).lower(*args).compile()
    return program, time.perf_counter() - began


def measure_case(config: Config, length: int, dtype: str, training: bool) -> Any:
    """The seconds of each round and the temporaries, by way."""
    batch, size = max(1, config.tokens // length), config.hidden_size
    noise = np.random.default_rng(0)
    xs = jnp.asarray(noise.normal(size=(batch, length, size)), jnp.float32)
    params = jnp.asarray(noise.normal(size=size) + 2, jnp.float32).astype(dtype)
    pairs = {way: (params, run) for way, run in ways(size, jnp.dtype(dtype)).items()}
    found = in_rounds(pairs, xs, training, config.rounds, config.min_seconds)
    case = {"T": length, "B": batch, "H": size, "dtype": dtype}
    return case | {"what": "gradient" if training else "forward", "ways": found}


def in_rounds(
    ways: Mapping[str, tuple[Any, Callable]],
    xs: Any,
    training: bool,
    rounds: int,
    min_seconds: float,
) -> dict[str, Any]:
    """Measures each way, (params, (params, xs) -> hs), in turn; the first is the truth.

    Raises:
      ValueError: if a way does not give what the first one gives.
    """
    found, programs, repeats = {}, {}, {}
    expected: Any = None
    for way, (params, run) in ways.items():
        program, seconds = compiled(run, training, params, xs)
        outs = jax.block_until_ready(program(params, xs))
        outs = outs[1] if training else outs  # params differ in their layout
        expected = outs if expected is None else expected
        gap = max(map(difference, *map(jax.tree.leaves, (outs, expected))))
        if not gap < 1e-3:
            raise ValueError(f"{way}: expected what the first gives, got {gap:.2g} off")
        took = seconds_of(program, params, xs)
        repeats[way] = max(1, round(min_seconds / took))
        programs[way] = partial(program, params)
        found[way] = {
            "compile_seconds": seconds,
            "temporaries": program.memory_analysis().temp_size_in_bytes,
            "difference": gap,
            "seconds": [],
        }
    for turn in range(rounds):
        order = np.random.default_rng(turn).permutation(list(programs))
        for way in map(str, order):
            total = seconds_of(programs[way], xs, repeats=repeats[way])
            found[way]["seconds"].append(total / repeats[way])
    return found


def difference(a: jax.Array, b: jax.Array) -> float:
    """Relative to the largest number."""
    return float(jnp.abs(a - b).max() / jnp.abs(b).max())


def seconds_of(program: Callable, *args: Any, repeats: int = 1) -> float:
    """The seconds that calls take."""
    began = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(program(*args))
    return time.perf_counter() - began


def measure(config: Config) -> dict[str, Any]:
    """Measures all cases."""
    cases = []
    for dtype in config.dtypes:
        for length in config.lengths:
            for training in (False, True):
                cases.append(measure_case(config, length, dtype, training))
                print(line(cases[-1]), flush=True)
    return told(config) | {"cases": cases}


def told(config: Any) -> dict[str, Any]:
    """The settings, and on what they were measured."""
    settings = {k: v for k, v in vars(config).items() if not isinstance(v, Path)}
    return {
        "settings": {k: v for k, v in settings.items() if v is not None},
        "machine": {
            "platform": jax.default_backend(),
            "device": jax.devices()[0].device_kind,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": {"jax": jax.__version__, "jaxrnn": rnn.__version__},
    }


def spread(result: Mapping[str, Any]) -> str:
    """The median of the rounds, the least and the most, in milliseconds."""
    times = 1e3 * np.array(result["seconds"])
    return f"{np.median(times):.3g} [{times.min():.3g}, {times.max():.3g}]"


def median(result: Mapping[str, Any]) -> float:
    """Of the rounds."""
    return float(np.median(result["seconds"]))


def line(case: Mapping[str, Any]) -> str:
    """A case as a line of the table."""
    found = case["ways"]
    cells = [case["what"], case["dtype"], case["T"], case["B"], case["H"]]
    for way in WAYS:
        cells.append(spread(found[way]))
    best, scan = found["best"], found["scan"]
    cells.append(f"{median(best) / median(scan):.2f}")
    cells.append(f"{median(best) / median(found['associative_scan']):.2f}")
    cells += [f"{found[w]['temporaries'] / 2**20:.0f}" for w in ("scan", "best")]
    return "| " + " | ".join(map(str, cells)) + " |"


def table(results: Mapping[str, Any]) -> str:
    """The results in Markdown."""
    names = ["what", "carry", "T", "B", "H", *(f"{way}, ms" for way in WAYS)]
    names += ["best / scan", "best / associative_scan", "scan, MiB", "best, MiB"]
    head = heading("Linear recurrences", "benchmarks.linear", results)
    return head + in_markdown(names, map(line, results["cases"]))


def heading(title: str, program: str, results: Mapping[str, Any]) -> str:
    """What was measured, by which command and on what."""
    machine, versions = results["machine"], results["versions"]
    words = ", ".join(f"{k} {v}" for k, v in (machine | versions).items())
    return (
        f"# {title}\n\n`python -m {program} --out FOLDER`\n\n{words}, rounds "
        f"{results['settings']['rounds']}. Medians with the least and the most of the "
        "rounds; MiB are the temporaries that the compiler plans.\n\n"
    )


def in_markdown(names: Iterable[str], lines: Iterable[str]) -> str:
    """A table."""
    names = list(names)
    head = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return "\n".join([*head, *lines]) + "\n"


def write(folder: Path, results: Mapping[str, Any], page: str) -> None:
    """Results and table."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (folder / "measured.json").write_text(text, encoding="utf-8")
    (folder / "table.md").write_text(page, encoding="utf-8")
    print(f"results and table are in {folder}")


def main() -> None:
    """Measures, prints the table and writes it where --out says."""
    config = at_home(tyro.cli(Config, description=__doc__))
    results = measure(config)
    if config.out is not None:
        write(config.out, results, table(results))


if __name__ == "__main__":
    with until_closed():
        main()
