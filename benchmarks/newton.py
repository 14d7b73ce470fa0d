"""When Newton's method over a whole sequence converges, and when it beats the loop.

    python -m benchmarks.newton --data-dir FOLDER --out benchmarks/results/newton

`jaxrnn.parallel` evaluates all steps of a recurrence side by side, a few times over.
How often depends on the net, so the nets here are trained: language models and a reader
of images by the experiments, in a process of their own, and nets that tell parity.

- Convergence: how many evaluations until the residual is within the tolerance, of each
  net, trained and as it was drawn, for each kind of Jacobian.
- Speed: the time of `jaxrnn.parallel` over that of the cell's own unroll, in rounds
  that take turns, for the forward pass and for the gradient.
- The operations of both. k evaluations of all T steps take k times the operations of
  the loop, but none waits for the step before. So Newton is faster from the machine on
  that does k W operations, side by side, in the time T t of the loop: W those of T
  steps, t the time of one step, which waits for the one before it.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxrnn as rnn
from benchmarks.figures.newton import JACOBIANS, table
from benchmarks.paths import at_home
from benchmarks.pipe import until_closed
from benchmarks.trained import Net, parity_net, rows_net, text_net

LARGEST = 2**26  # numbers in the Jacobians of all steps
LARGEST_PASS = 5e9  # operations of an evaluation of all steps of a sequence
LONGEST = 1e11  # operations of all evaluations in a pass that is timed


@dataclass(frozen=True)
class Config:
    """What is measured."""

    data_dir: Path
    """The folder that holds shakespeare/input.txt and the four files of MNIST."""
    out: Path
    """A folder for measured.json and table.md."""
    runs: Path = Path("runs/newton")
    """A folder for the runs of the experiments; those that it holds are read."""
    epochs: int = 2
    """Of the experiments."""
    sizes: tuple[int, ...] = (32, 128, 512)
    """H of the language models."""
    lengths: tuple[int, ...] = (256, 1024, 4096)
    """T."""
    batches: tuple[int, ...] = (1, 8)
    """B of the comparison with the loop."""
    sequences: int = 2
    """In which the iterations are counted."""
    max_iterations: int = 200
    """After which the loop takes over."""
    rounds: int = 3


def trained_nets(config: Config) -> list[Callable[[], Net]]:
    """All nets, from those of the experiments to those of parity, yet to be made."""
    made = config.data_dir, config.runs, config.epochs
    pairs = itertools.product(("lstm", "gru"), config.sizes)
    nets = [partial(text_net, *pair, *made) for pair in pairs]
    nets += [partial(rows_net, "lstm", 128, *made)]
    return nets + [partial(parity_net, cell) for cell in ("elman", "lstm")]


def operations(net: Net) -> int:
    """Of the products of one step."""
    return 2 * sum(np.size(w) for w in (net.params.w_x, net.params.w_h))


def convergence(net: Net, length: int, config: Config) -> list[dict[str, Any]]:
    """The iterations of each kind of Jacobian, trained and untrained."""
    xs, starts = net.read(config.sequences, length), net.starts(length)
    found = []
    for jacobian, trained in itertools.product(JACOBIANS, (True, False)):
        params = net.params if trained else net.fresh
        carry = net.cell.initial_carry(params)
        numbers = sum(leaf.size for leaf in jax.tree.leaves(carry))
        if jacobian == "full" and length * numbers**2 > LARGEST:
            continue

        def newton(xs, params=params, carry=carry, jacobian=jacobian):
            most = config.max_iterations
            options: Any = {"jacobian": jacobian, "max_iterations": most}
            run = params, carry, xs
            return rnn.newton_unroll(net.cell, *run, starts=starts, **options)

        def loop(xs, params=params, carry=carry):
            return net.cell.unroll(params, carry, xs, starts=starts)

        # One after the other, so that each stops when it is done.
        _, ys, report = jax.jit(lambda xs, run=newton: jax.lax.map(run, xs))(xs)
        _, expected = jax.jit(jax.vmap(loop))(xs)
        found.append(
            {
                "net": net.name,
                "trained": trained,
                "T": length,
                "jacobian": jacobian,
                "iterations": np.asarray(report.iterations).tolist(),
                "fell_back": np.asarray(report.fell_back).tolist(),
                "residual": float(jnp.max(report.residual)),
                "difference": float(jnp.abs(ys - expected).max()),
            }
        )
    return found


def speed(net: Net, length: int, batch: int, config: Config) -> dict[str, Any]:
    """Seconds of both ways in every round, and the operations of one evaluation.

    Newton's method is not timed where the loop has to compute the states in the end,
    or where it would take minutes.
    """
    options: Any = {"jacobian": "block", "max_iterations": config.max_iterations}
    carry, xs = net.cell.initial_carry(net.params), net.read(batch, length)
    starts = net.starts(length)

    def report(xs):
        run = net.params, carry, xs
        return rnn.newton_unroll(net.cell, *run, starts=starts, **options)[2]

    reports = jax.jit(jax.vmap(report))(xs)
    found = {
        "net": net.name,
        "T": length,
        "B": batch,
        "iterations": int(reports.iterations.max()),
        "fell_back": bool(reports.fell_back.any()),
        "operations": operations(net) * batch * length,  # one evaluation of all
    }
    cells = {"loop": net.cell}
    long = found["iterations"] * found["operations"] > LONGEST
    if not (found["fell_back"] or long):
        cells["newton"] = rnn.parallel(net.cell, **options)
    programs = {}
    for name, cell in cells.items():

        def forward(params, xs, cell=cell):
            def run(xs):
                return cell.unroll(params, carry, xs, starts=starts)[1]

            return jax.vmap(run)(xs)

        def total(params, xs, forward=forward):
            return (forward(params, xs) ** 2).sum()

        programs[name, "forward"] = jax.jit(forward)
        programs[name, "gradient"] = jax.jit(jax.grad(total))
    first = {key: program(net.params, xs) for key, program in programs.items()}
    gradients = [first[name, "gradient"] for name in cells]
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in programs}
    for turn in range(config.rounds):
        for key in list(programs)[:: 1 if turn % 2 else -1]:
            seconds[key].append(timed(lambda key=key: programs[key](net.params, xs)))
    return found | {
        "gradient_difference": compared(gradients[0], gradients[-1]),
        "seconds": {f"{way} {what}": s for (way, what), s in seconds.items()},
    }


def compared(expected: Any, got: Any) -> float:
    """The largest difference, relative to the largest entry of each array."""

    def gap(a, b):
        return float(jnp.abs(a - b).max() / jnp.abs(a).max())

    return max(jax.tree.leaves(jax.tree.map(gap, expected, got)))


def product_rate() -> float:
    """Operations a second of one large product of matrices, the best of five."""
    a = jnp.ones((2048, 2048))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    return 2 * 2048**3 / min(timed(lambda: product(a, a)) for _ in range(5))


def timed(fun: Callable[[], Any]) -> float:
    """The seconds that a call takes."""
    began = time.perf_counter()
    jax.block_until_ready(fun())
    return time.perf_counter() - began


def measure(config: Config, nets: list[Callable[[], Net]]) -> dict[str, Any]:
    """Everything about these nets; goes on with what the results hold already."""
    path = config.out / "measured.json"
    results: dict[str, Any] = {
        "settings": {k: v for k, v in vars(config).items() if not isinstance(v, Path)},
        "machine": {"cores": os.cpu_count(), "device": jax.devices()[0].device_kind},
        "versions": {"jax": jax.__version__, "jaxrnn": rnn.__version__},
        "scores": {},
        "product_rate": product_rate(),
        "convergence": [],
        "speed": [],
    }
    results = json.loads(json.dumps(results))
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["settings"] != results["settings"]:
            raise ValueError(f"--out: expected no results of other settings in {path}")
        results = stored
    config.out.mkdir(parents=True, exist_ok=True)
    for make in nets:
        net = make()
        results["scores"][net.name] = net.score
        done = {r["T"] for r in results["speed"] if r["net"] == net.name}
        fits = [t for t in config.lengths if operations(net) * t <= LARGEST_PASS]
        for length in (t for t in fits if t not in done):
            found = [speed(net, length, batch, config) for batch in config.batches]
            results["convergence"] += convergence(net, length, config)
            results["speed"] += found
            path.write_text(json.dumps(results, indent=1) + "\n")
            (config.out / "table.md").write_text(table(results) + "\n")
    return results


def main() -> None:
    """Trains what is not trained, measures, and writes results and table."""
    config = at_home(tyro.cli(Config, description=__doc__))
    try:
        results = measure(config, trained_nets(config))
    except OSError as error:
        print(f"--data-dir: expected shakespeare and mnist: {error}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(table(results))


if __name__ == "__main__":
    with until_closed():
        main()
