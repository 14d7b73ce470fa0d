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
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxrnn as rnn
from benchmarks.paths import at_home
from benchmarks.pipe import until_closed
from benchmarks.trained import Net, parity_net, rows_net, text_net

JACOBIANS = "full", "block", "diagonal"
LARGEST = 2**28  # numbers in the Jacobians of all steps


@dataclass(frozen=True)
class Config:
    """What is measured."""

    data_dir: Path
    """The folder that holds shakespeare/input.txt and the four files of MNIST."""
    out: Path
    """A folder for results.json and table.md."""
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
    sequences: int = 4
    """In which the iterations are counted."""
    max_iterations: int = 200
    """After which the loop takes over."""
    rounds: int = 5


def trained_nets(config: Config) -> list[Net]:
    """All nets, from those of the experiments to those of parity."""
    made = config.data_dir, config.runs, config.epochs
    nets = [text_net("lstm", size, *made) for size in config.sizes]
    nets += [text_net("gru", size, *made) for size in config.sizes]
    nets += [rows_net("lstm", 128, *made)]
    return nets + [parity_net(cell) for cell in ("elman", "lstm")]


def convergence(net: Net, length: int, config: Config) -> list[dict[str, Any]]:
    """The iterations of each kind of Jacobian, trained and untrained."""
    xs = net.read(config.sequences, length)
    found = []
    for jacobian, trained in itertools.product(JACOBIANS, (True, False)):
        params = net.params if trained else net.fresh
        carry = net.cell.initial_carry(params)
        numbers = sum(leaf.size for leaf in jax.tree.leaves(carry))
        if jacobian == "full" and length * numbers**2 > LARGEST:
            continue

        def newton(xs, params=params, carry=carry, jacobian=jacobian):
            options = {"jacobian": jacobian, "max_iterations": config.max_iterations}
            return rnn.newton_unroll(net.cell, params, carry, xs, **options)

        def loop(xs, params=params, carry=carry):
            return net.cell.unroll(params, carry, xs)

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
    """Seconds of both ways in every round, and the operations of one evaluation."""
    options: Any = {"jacobian": "block", "max_iterations": config.max_iterations}
    cells = {"loop": net.cell, "newton": rnn.parallel(net.cell, **options)}
    carry, xs = net.cell.initial_carry(net.params), net.read(batch, length)
    programs = {}
    for name, cell in cells.items():

        def forward(params, xs, cell=cell):
            run = jax.vmap(lambda xs: cell.unroll(params, carry, xs)[1])
            return run(xs)

        def total(params, xs, forward=forward):
            return (forward(params, xs) ** 2).sum()

        programs[name, "forward"] = jax.jit(forward)
        programs[name, "gradient"] = jax.jit(jax.grad(total))

    def report(xs):
        found = rnn.newton_unroll(net.cell, net.params, carry, xs, **options)
        return found[2]

    reports = jax.jit(jax.vmap(report))(xs)
    gaps = compared(*(programs[name, "gradient"](net.params, xs) for name in cells))
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in programs}
    for program in programs.values():
        jax.block_until_ready(program(net.params, xs))
    for turn in range(config.rounds):
        for key in list(programs)[:: 1 if turn % 2 else -1]:
            seconds[key].append(timed(lambda key=key: programs[key](net.params, xs)))
    weights = sum(np.size(w) for w in (net.params.w_x, net.params.w_h))
    return {
        "net": net.name,
        "T": length,
        "B": batch,
        "iterations": int(reports.iterations.max()),
        "fell_back": bool(reports.fell_back.any()),
        "gradient_difference": gaps,
        "operations": 2 * weights * batch * length,  # of the products, one evaluation
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


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = ["## Evaluations of all steps until the residual is within the tolerance", ""]
    lines += _row("net", "T", *(f"{j}, {w}" for j in JACOBIANS for w in ("drawn", "trained")))
    lines += _row(*["---"] * 8)
    found = {(r["net"], r["T"], r["jacobian"], r["trained"]): r for r in results["convergence"]}
    for net, length in dict.fromkeys(key[:2] for key in found):
        cells = []
        for jacobian, trained in itertools.product(JACOBIANS, (False, True)):
            cells.append(_iterations(found.get((net, length, jacobian, trained))))
        lines += _row(net, f"{length:,}", *cells)
    rate = results["product_rate"]
    lines += ["", "## Time", "", f"One large product: {rate / 1e9:,.0f} GFLOP/s.", ""]
    lines += _row(
        *("net", "T", "B", "evaluations", "forward, loop / Newton, ms", "ratio"),
        *("gradient, loop / Newton, ms", "ratio", "rate that draws level, GFLOP/s"),
    )
    lines += _row(*["---"] * 9)
    for r in results["speed"]:
        cells = []
        for what in ("forward", "gradient"):
            loop, newton = (np.median(r["seconds"][f"{w} {what}"]) for w in ("loop", "newton"))
            cells += [f"{loop * 1e3:,.1f} / {newton * 1e3:,.1f}", f"{loop / newton:.2f}"]
        level = r["iterations"] * r["operations"] / np.median(r["seconds"]["loop forward"])
        count = f"{r['iterations']}{', the loop ran' if r['fell_back'] else ''}"
        rate = "-" if r["fell_back"] else f"{level / 1e9:,.0f}"
        lines += _row(r["net"], f"{r['T']:,}", r["B"], count, *cells, rate)
    return "\n".join(lines)


def _row(*cells: Any) -> list[str]:
    return [f"| {' | '.join(map(str, cells))} |"]


def _iterations(result: dict[str, Any] | None) -> str:
    """Such as `7-9`, or how many of the sequences the loop had to compute."""
    if result is None:
        return ""
    failed, count = sum(result["fell_back"]), len(result["fell_back"])
    if failed:
        return f"loop, {failed} of {count}"
    low, high = min(result["iterations"]), max(result["iterations"])
    return str(low) if low == high else f"{low}-{high}"


def measure(config: Config, nets: list[Net]) -> dict[str, Any]:
    """Everything about these nets."""
    results = {
        "settings": {k: v for k, v in vars(config).items() if not isinstance(v, Path)},
        "machine": {"cores": os.cpu_count(), "device": jax.devices()[0].device_kind},
        "versions": {"jax": jax.__version__, "jaxrnn": rnn.__version__},
        "scores": {net.name: net.score for net in nets if net.score},
        "product_rate": product_rate(),
        "convergence": [],
        "speed": [],
    }
    for net, length in itertools.product(nets, config.lengths):
        results["convergence"] += convergence(net, length, config)
        for batch in config.batches:
            results["speed"].append(speed(net, length, batch, config))
    return results


def main() -> None:
    """Trains what is not trained, measures, and writes results and table."""
    config = at_home(tyro.cli(Config, description=__doc__))
    try:
        nets = trained_nets(config)
    except OSError as error:
        print(f"--data-dir: expected shakespeare and mnist: {error}", file=sys.stderr)
        sys.exit(2)
    results = measure(config, nets)
    print(table(results))
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (config.out / "table.md").write_text(table(results) + "\n")


if __name__ == "__main__":
    with until_closed():
        main()
