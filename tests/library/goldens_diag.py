"""What the authors of the diagonal linear cells computed, by the name of the file.

What a check needs to know, such as the number of heads, it finds in the file.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from jaxrnn.interop import load_published


def weights(arrays):
    """The arrays that the authors' layer holds, under their names."""
    return {
        name.removeprefix("param/"): value
        for name, value in arrays.items()
        if name.startswith("param/")
    }


def near(got: Any, expected: np.ndarray, like: np.ndarray) -> None:
    """Holds numbers to the authors', who computed in the dtype of `like`."""
    tolerance = 1e-10 if like.dtype == np.float64 else 2e-6
    got, size = np.asarray(got), max(abs(expected).max(), 1e-3)
    assert got.shape == expected.shape
    assert abs(got - expected).max() <= tolerance * size


def both_ways(cell, params, carry, xs, starts=None):
    """The last carry and the outputs `[T, ...]`, by `unroll` and step by step.

    The last of the three is the carry after each step.
    """
    options = {} if starts is None else {"starts": starts}
    unrolled = jax.jit(partial(cell.unroll, **options))(params, carry, xs)
    if cell.step is None:
        return [unrolled], None

    def step(params, carry, x):
        carry, y = cell.step(params, carry, x)
        return carry, (y, carry)

    scan = jax.jit(partial(rnn.scan_unroll(step, cell.initial_carry), **options))
    last, (ys, carries) = scan(params, carry, xs)
    return [unrolled, (last, ys)], carries


def in_precision(check):
    """The check in the dtype in which the authors computed."""

    def checked(arrays, **options):
        with jax.enable_x64(arrays["x"].dtype == np.float64):
            check(arrays, **options)

    return checked


def rows(arrays, *names, axis=0) -> Iterator[Any]:
    """The examples of a batch, of those arrays that are there."""
    found = [arrays.get(name) for name in names]
    count = next(a for a in found if a is not None).shape[axis]
    for i in range(count):
        yield [None if a is None else np.take(a, i, axis) for a in found]


def minimal_lru(arrays):
    states(arrays, "minimal_lru")


def s5(arrays, **options):
    states(arrays, "s5", **options)


def states(arrays, kind, **options):
    """Holds outputs in single precision, and the states of a loop in double."""
    x, y, hidden = arrays["x"], arrays["y"], arrays.get("hidden")
    runs, _ = in_dtype(arrays, kind, x.dtype, options)
    for _, ys in runs:
        near(ys, y, x)
    if hidden is None:
        return
    with jax.enable_x64(True):
        runs, carries = in_dtype(arrays, kind, np.float64, options)
        for last, ys in runs:
            near(ys, y, x)
            if carries is not None:
                near(last.h, hidden[-1], hidden.real)
                near(carries.h, hidden, hidden.real)
            elif hidden.shape[1] == 2 * last.forward.h.size:
                ahead, back = np.split(hidden, 2, axis=1)
                near(last.forward.h, ahead[-1], hidden.real)
                near(last.backward.h, back[0], hidden.real)


def in_dtype(arrays, kind, dtype, options):
    given = {name: a.astype(dtype) for name, a in weights(arrays).items()}
    cell, params = load_published(kind, given, **options)
    carry, x = cell.initial_carry(params), jnp.asarray(arrays["x"].astype(dtype))
    return both_ways(cell, params, carry, x)


@in_precision
def rg_lru(arrays):
    heads = arrays.get("num_heads")
    options = {} if heads is None else {"num_heads": int(heads)}
    kind = "recurrentgemma.rglru"
    cell, params = load_published(kind, weights(arrays), **options)
    names = "x", "segment_pos", "h0", "y", "last_h"
    for x, position, h0, y, last_h in rows(arrays, *names):
        carry = cell.initial_carry(params)
        h = carry.h if h0 is None else as_state(h0, carry.h)
        carry = rnn.RGLRUCarry(h, jnp.zeros_like(carry.fresh))
        for last, ys in both_ways(cell, params, carry, x, position == 0)[0]:
            near(ys, y, x)
            near(last.h, np.asarray(as_state(last_h, carry.h)), x)


def as_state(h, like):
    """The authors' state, of which the halves may be the parts of complex numbers."""
    h = jnp.asarray(h)
    return jax.lax.complex(*jnp.split(h, 2)) if jnp.iscomplexobj(like) else h


@in_precision
def minimal(arrays, kind):
    cell, params = load_published(f"mingru_pytorch.{kind}", weights(arrays))
    names = "x", "y", "hidden", "next_hidden", "prev_hidden"
    for x, y, hidden, after, before in rows(arrays, *names):
        carry = cell.initial_carry(params)
        if before is not None:
            carry = type(carry)(jnp.asarray(before[0]))
        runs, carries = both_ways(cell, params, carry, x)
        for last, ys in runs:
            near(ys, y, x)
            if after is not None:
                near(last.h, after[0], x)
        if hidden is not None and carries is not None:
            near(carries.h, hidden, x)


@in_precision
def qrnn(arrays):
    given, x = weights(arrays), arrays["x"]
    window = given["linear.weight"].shape[1] // x.shape[-1]
    gate = given["linear.bias"].shape[0] == 3 * arrays["y"].shape[-1]
    options = {"window": window, "output_gate": gate}
    cell, params = load_published("qrnn", given, **options)
    names = "x", "h0", "y", "h_n", "prev_x"
    for x, h0, y, h_n, before in rows(arrays | batch_first(arrays), *names):
        carry = cell.initial_carry(params)
        carry = carry if h0 is None else carry._replace(h=jnp.asarray(h0))
        if before is not None:
            carry = carry._replace(window=jnp.asarray(before))
        for last, ys in both_ways(cell, params, carry, x)[0]:
            near(ys, y, x)
            near(last.h, h_n[-1], x)


def batch_first(arrays):
    names = "x", "y", "h_n", "prev_x"
    return {name: arrays[name].swapaxes(0, 1) for name in names if name in arrays}


def selective_scan(arrays):
    names = "A", "D", "delta_bias"
    given = {name: arrays[name] for name in names if name in arrays}
    options = {
        "gate": "z" in arrays,
        "delta_softplus": "delta_softplus=False" not in str(arrays.get("layout")),
    }
    pair = np.iscomplexobj(given["A"])
    with jax.enable_x64(arrays["u"].dtype == np.float64):
        cell, params = load_published("mamba.selective_scan", given, **options)
        names = "u", "delta", "B", "C", "z", "out", "last_state"
        for u, delta, b, c, z, out, last_state in rows(arrays, *names):
            steps = u.shape[1]
            b, c = (
                np.moveaxis(a.reshape(len(a), steps, -1), 1, 0) if pair else a.T
                for a in (b, c)
            )
            z = None if z is None else z.T
            xs = rnn.SelectiveScanInput(*map(jnp.asarray, (u.T, delta.T, b, c)))
            xs = xs._replace(z=None if z is None else jnp.asarray(z))
            carry = cell.initial_carry(params)
            for last, ys in both_ways(cell, params, carry, xs)[0]:
                near(ys, out.T, u)
                near(last.h, last_state, u)


@in_precision
def mamba(arrays):
    cell, params = load_published("mambapy.block", weights(arrays))
    for x, y, h in rows(arrays, "x", "y", "final_h"):
        carry = cell.initial_carry(params)
        for last, ys in both_ways(cell, params, carry, x)[0]:
            near(ys, y, x)
            if h is not None:
                near(last.h, h, x)


GOLDENS = {
    "minimal_lru": minimal_lru,
    "s5_zoh": s5,
    "s5_bilinear": partial(s5, discretization="bilinear"),
    "s5_zoh_bidirectional": s5,
    "s5_bilinear_bidirectional": partial(s5, discretization="bilinear"),
    "recurrentgemma_rglru": rg_lru,
    "recurrentgemma_rglru_jax": rg_lru,
    "recurrentgemma_rglru_jax_complex": rg_lru,
    "lucidrains_mingru": partial(minimal, kind="mingru"),
    "lucidrains_minlstm": partial(minimal, kind="minlstm"),
    "salesforce_qrnn_window1": qrnn,
    "salesforce_qrnn_window2": qrnn,
    "mamba_selective_scan": selective_scan,
    "mambapy_block": mamba,
}
