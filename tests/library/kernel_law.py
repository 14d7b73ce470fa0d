"""The law of kernels: a kernel equals its loop. What tests of kernels share.

`hold` compares a cell whose loops are replaced with the same cell without kernels.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from battery import Case, inexact, quick_jit, scalar, with_gradient

import jaxrnn as rnn
from jaxrnn.loops.substitute import KERNELS, Kernel

Kernels = Mapping[tuple[str, str], Kernel]


@contextmanager
def installed(kernels: Kernels) -> Iterator[None]:
    """With these kernels in the table, and no others."""
    with mock.patch.dict(KERNELS, kernels, clear=True):
        yield


def flags(length: int, batch: int, seed: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).random((batch, length)) < 0.6)


def examples(cell: rnn.Cell, length: int, batch: int, dtype):
    """Params, and carries and xs [B, ...] of sequences of this length."""
    reads: Any = cell.about.reads
    case = Case(cell, size=reads.shape[0])
    drawn = [case.arguments(dtype, seed, length) for seed in range(batch)]
    rest = jax.tree.map(lambda *a: jnp.stack(a), *(d[1:] for d in drawn))
    return drawn[0][0], *rest


def batched(unroll: Callable, masked: bool, started: bool, reverse: bool) -> Callable:
    """Outputs and gradients of a batch: (params, carries, xs, masks, starts)."""

    def one(params, carry, xs, mask, starts):
        options = {
            "mask": mask if masked else None,
            "starts": starts if started else None,
            "reverse": reverse,
        }
        return with_gradient(partial(unroll, **options))(params, carry, xs)

    return jax.vmap(one, (None, 0, 0, 0, 0))


def assert_near(got, expected, tolerance: float) -> None:
    """Close in units of the largest number of each array."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.dtype == b.dtype
        error = tolerance * max(1, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=error)


def hold(
    kernels: Kernels, cell: rnn.Cell, *, dtype=jnp.float32, tolerance: float = 1e-5
) -> None:
    """Fails unless the cell with the kernels is the cell without them.

    Values and gradients: of batches of odd sizes, with and without masks, starts and
    reverse; of one sequence; of a batch of batches; and the derivative of the gradient.
    """

    def same(fun, *args):
        expected = quick_jit(fun)(*args)
        with installed(kernels):
            # A function of its own, for which nothing is compiled yet.
            got = quick_jit(lambda *args: fun(*args))(*args)
        assert_near(got, expected, tolerance)

    def drawn(length, batch):
        masks, starts = flags(length, batch, 1), flags(length, batch, 2)
        return *examples(cell, length, batch, dtype), masks, starts

    for options in [
        (False, False, False),
        (True, False, True),
        (False, True, False),
        (True, True, False),
        (True, True, True),
    ]:
        same(batched(cell.unroll, *options), *drawn(7, 3))
    for length, batch in ((1, 1), (2, 17), (19, 2)):
        same(batched(cell.unroll, True, True, False), *drawn(length, batch))

    params, carries, xs, _, starts = drawn(5, 4)
    carry = jax.tree.map(lambda a: a[0], carries)
    one = partial(cell.unroll, starts=starts[0])
    same(with_gradient(one), params, carry, xs[0])

    def loss(params, carry, xs):
        batches = jax.tree.map(lambda a: a.reshape(2, 2, *a.shape[1:]), (carry, xs))
        inner = jax.vmap(scalar(cell.unroll), (None, 0, 0))
        return jax.vmap(inner, (None, 0, 0))(params, *batches).sum()

    floats, put = inexact((params, carries, xs))

    def slopes(floats):
        def of(floats):
            return loss(*put(floats))

        gradients, more = jax.jvp(jax.grad(of), [floats], [floats])
        return gradients, more, jax.jvp(of, [floats], [floats])

    same(slopes, floats)
