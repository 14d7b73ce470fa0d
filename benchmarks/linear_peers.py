"""LRU and S5 beside memax and the authors' own programs in JAX.

    python -m benchmarks.linear_peers --minimal-lru CLONE --s5 CLONE --out FOLDER

The layers have the same weights, which `interop.load_published` reads, and B sequences
of T steps with as many inputs, states and outputs as H. Each system computes all
outputs, or the gradient of their squares' sum with respect to weights and inputs. memax
and flax come from the package index, the authors' programs from clones of
NicolasZucchet/minimal-LRU and lindermanlab/S5 on GitHub. What is not at hand is left
out, and said.

The systems take turns, as in `benchmarks.linear`; outputs and the gradients of the
inputs are compared before anything is measured.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.linear import (
    heading,
    in_markdown,
    in_rounds,
    median,
    spread,
    told,
    write,
)
from benchmarks.paths import at_home
from benchmarks.pipe import until_closed
from jaxrnn import interop

System = tuple[Any, Callable[[Any, Any], Any]]  # params, (params, xs [T, H]) -> ys


@dataclass(frozen=True)
class Config:
    """What is measured."""

    minimal_lru: Path | None = None
    """A clone of the authors' LRU."""
    s5: Path | None = None
    """A clone of the authors' S5."""
    rounds: int = 5
    lengths: tuple[int, ...] = (1024, 4096, 16384, 65536)
    """T."""
    hidden_size: int = 128
    """H, of inputs, states and outputs."""
    tokens: int = 65536
    """B T of each case."""
    min_seconds: float = 0.05
    """A call that is shorter is repeated within a round."""
    out: Path | None = None
    """A folder for the results, in JSON and as a table."""


def ours(kind: str, arrays: Any, **options: Any) -> System:
    """jaxrnn, with the weights of another system."""
    cell, params = interop.load_published(kind, arrays, **options)

    def run(params, xs):
        return cell.unroll(params, cell.initial_carry(params), xs)[1]

    return params, run


def lru_systems(config: Config) -> dict[str, System]:
    """memax's LRU and the authors', and jaxrnn with the weights of memax."""
    import equinox
    from memax.equinox.semigroups.lru import LRU

    layer = LRU(config.hidden_size, config.hidden_size, key=jax.random.key(0))
    params, rest = equinox.partition(layer, equinox.is_inexact_array)
    names = ("theta_log", "nu_log", "gamma_log", "B_re", "B_im", "C_re", "C_im", "D")
    arrays = {name: np.asarray(getattr(layer, name)) for name in names}
    found = {"jaxrnn": ours("minimal_lru", arrays)}

    def run(params, xs):
        layer = equinox.combine(params, rest)
        starts = jnp.zeros(len(xs), bool)
        return layer(layer.initialize_carry(), (xs, starts))[1]

    found["memax"] = params, run
    if config.minimal_lru is not None:
        sys.path.insert(0, str(config.minimal_lru))
        module = importlib.import_module("lru.model")
        authors = module.LRU(config.hidden_size, config.hidden_size)
        found["minimal-LRU"] = {"params": arrays}, authors.apply
    return found


def s5_systems(config: Config) -> dict[str, System]:
    """The authors' S5, and jaxrnn with its weights."""
    if config.s5 is None:
        return {}
    # An annotation that newer versions of JAX lack.
    setattr(jnp, "DeviceArray", jax.Array)  # noqa: B010
    sys.path.insert(0, str(config.s5))
    module = importlib.import_module("s5.ssm")
    size = config.hidden_size
    make = importlib.import_module("s5.ssm_init").make_DPLR_HiPPO
    decays, _, _, v, _ = make(2 * size)
    half = decays[:size], v[:, :size]
    layer = module.S5SSM(
        half[0].real,
        half[0].imag,
        half[1],
        half[1].conj().T,
        H=size,
        P=size,
        C_init="lecun_normal",
        discretization="zoh",
        dt_min=0.001,
        dt_max=0.1,
    )
    params = layer.init(jax.random.key(0), jnp.zeros((2, size)))
    arrays = {name: np.asarray(a) for name, a in params["params"].items()}
    return {"jaxrnn": ours("s5", arrays), "S5": (params, layer.apply)}


def measure(config: Config) -> dict[str, Any]:
    """Measures all systems."""
    cases = []
    for layer, make in (("LRU", lru_systems), ("S5", s5_systems)):
        systems = make(config)
        for length in config.lengths if len(systems) > 1 else ():
            shape = max(1, config.tokens // length), length, config.hidden_size
            xs = np.random.default_rng(0).normal(size=shape)
            xs = jnp.asarray(xs, jnp.float32)
            for training in (False, True):
                more = training, config.rounds, config.min_seconds
                case = {"layer": layer, "T": length, "B": len(xs), "H": shape[2]}
                case["what"] = "gradient" if training else "forward"
                cases.append(case | {"systems": in_rounds(systems, xs, *more)})
                print(line(cases[-1]), flush=True)
    return told(config) | {"cases": cases}


def line(case: Any) -> str:
    """A case as a line of the table."""
    found = case["systems"]
    mine = median(found["jaxrnn"])
    peers = {name: median(r) / mine for name, r in found.items() if name != "jaxrnn"}
    cells = [case[name] for name in ("layer", "what", "T", "B", "H")]
    cells.append(spread(found["jaxrnn"]))
    cells.append(", ".join(f"{name} {ratio:.2f}" for name, ratio in peers.items()))
    memory = {name: r["temporaries"] / 2**20 for name, r in found.items()}
    cells.append(", ".join(f"{name} {size:.0f}" for name, size in memory.items()))
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Measures, prints the table and writes it where --out says."""
    config = at_home(tyro.cli(Config, description=__doc__))
    clones = {"--minimal-lru": config.minimal_lru, "--s5": config.s5}
    left_out = [option for option, clone in clones.items() if clone is None]
    if left_out:
        print(f"without {' and '.join(left_out)}: left out", file=sys.stderr)
    results = measure(config)
    names = ["layer", "what", "T", "B", "H", "jaxrnn, ms", "time / jaxrnn", "MiB"]
    head = heading("LRU and S5", "benchmarks.linear_peers", results)
    page = head + in_markdown(names, map(line, results["cases"]))
    if config.out is not None:
        write(config.out, results, page)


if __name__ == "__main__":
    with until_closed():
        main()
