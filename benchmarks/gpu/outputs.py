"""Outputs and gradients of cells, by the kernels that the environment asks for.

    python -m benchmarks.gpu.outputs FILE.npz [--exact] [--small]

`--exact` computes in float32 with products of full precision; otherwise cells compute
as users have it. A program like this one imports jaxrnn once, with one setting of
`JAXRNN_KERNELS`, so that its outputs are those of the loops or those of the kernels.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn

CELLS = {
    "elman": rnn.elman,
    "relu": lambda *sizes, **o: rnn.elman(*sizes, activation=jax.nn.relu, **o),
    "gru": rnn.gru,
    "lstm": rnn.lstm,
}


class Case(NamedTuple):
    """A cell with float32 params and products in bfloat16 is "mixed"."""

    cell: str
    hidden_size: int
    dtype: str
    packed: bool  # with a mask and starts
    reverse: bool

    @property
    def name(self) -> str:
        """Such as `lstm 256 float32 packed`."""
        words = [self.cell, str(self.hidden_size), self.dtype]
        words += ["packed"] * self.packed + ["reverse"] * self.reverse
        return " ".join(words)


def cases(small: bool) -> Iterator[Case]:
    """Both forms of the kernels, in each dtype; the small ones are for a CPU."""
    on_chip, streamed, large = (5, 40, 40) if small else (100, 256, 512)
    for cell in CELLS:
        yield Case(cell, streamed, "float32", packed=True, reverse=False)
        yield Case(cell, on_chip, "bfloat16", packed=True, reverse=True)
    for cell in ("gru", "lstm"):
        yield Case(cell, on_chip, "float32", packed=False, reverse=False)
        yield Case(cell, large, "mixed", packed=False, reverse=False)


def outputs(case: Case, exact: bool, small: bool) -> tuple[list[Any], list[Any]]:
    """The outputs and gradients, and how `jaxrnn.kernels.explain` says they came."""
    batch, time = (3, 4) if small else (37, 50)
    low = jnp.bfloat16 if case.dtype == "bfloat16" else jnp.float32
    options: dict[str, Any] = {"dtype": jnp.float32 if exact else low}
    if case.dtype == "mixed" and not exact:
        options["compute_dtype"] = jnp.bfloat16
    cell = CELLS[case.cell](case.hidden_size, case.hidden_size, **options)
    noise = np.random.default_rng(0)

    def drawn(*shape):
        # Of numbers that every dtype holds.
        return jnp.asarray(noise.normal(size=shape), low).astype(options["dtype"])

    params = jax.tree.map(
        lambda a: drawn(*a.shape) / 2 ** round(np.log2(case.hidden_size) / 2),
        cell.init(jax.random.key(0)),
    )
    xs = drawn(batch, time, case.hidden_size)
    flags = [jnp.asarray(noise.random((batch, time)) < p) for p in (0.8, 0.2)]
    masks, starts = flags if case.packed else (None, None)

    def loss(params, xs):
        def one(xs, mask, starts):
            carry, ys = cell.unroll(
                params,
                cell.initial_carry(params),
                xs,
                mask=mask,
                starts=starts,
                reverse=case.reverse,
            )
            return (ys.astype(jnp.float32) ** 2).mean(), (carry, ys)

        losses, found = jax.vmap(one)(xs, masks, starts)
        return losses.sum(), found

    found = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, xs)
    paths = rnn.kernels.explain(cell, batch, time)
    return jax.tree.leaves(found), [path._asdict() for path in paths]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", "highest" if args.exact else None)
    arrays, told = {}, {}
    for case in cases(args.small):
        found, told[case.name] = outputs(case, args.exact, args.small)
        for i, a in enumerate(found):
            arrays[f"{case.name}/{i}"] = np.asarray(a, np.float64)
    np.savez(args.path, **arrays)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
