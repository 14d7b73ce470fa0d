"""The builder of cells with a matrix for a state, and what such cells share.

A cell projects its inputs, convolves some of what comes of them over time, and gives
the queries, keys, values and gates to the recurrence of `jaxrnn.loops.matrix`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import leaf
from jaxrnn.cells.convolution import (
    ConvolutionParams,
    convolve,
    convolve_one,
    empty_window,
)
from jaxrnn.checks import check_floating, check_size
from jaxrnn.core import Cell, Init, blank
from jaxrnn.loops.matrix import METHODS, Choice, one_step, unroll
from jaxrnn.loops.matrix_chunk import State, Steps
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import wide


class MatrixCarry(NamedTuple):
    """Carry of cells with a matrix for a state."""

    s: jax.Array  # [heads, K, V]
    window: jax.Array | None = None  # [W - 1, ...], the last inputs of the convolution


class Parts(NamedTuple):
    """What a cell does before and after the recurrence, for all steps at once.

    Attributes:
      project: `(params, xs) -> (rows, rest)`: what is convolved `[T, C]`, and what not.
      steps: `(params, rows, rest) -> Steps`.
      output: `(params, read, rows, rest) -> ys`.
      convolution: `(params) -> ConvolutionParams`, or None where there is none.
      enter: `(carry) -> State`.
      leave: `(state, window) -> carry`.
    """

    project: Callable[..., tuple[Any, Any]]
    steps: Callable[..., Steps]
    output: Callable[..., Any]
    convolution: Callable[[Any], ConvolutionParams | None] = lambda params: None
    enter: Callable[[Any], State] = lambda carry: State(carry.s)
    leave: Callable[..., Any] = lambda state, window: MatrixCarry(state.s, window)


def matrix_cell(
    name: str,
    reads: Any,
    init: Init,
    first: Callable[[Any], State],
    parts: Parts,
    choice: Choice,
) -> Cell:
    """Builds the cell.

    Args:
      name: as the factory was called, for messages.
      reads: what one step reads.
      init: `(key) -> params`.
      first: `(params) -> State`, before the first step: zeros.
      parts: what is done before and after the recurrence.
      choice: how all steps of a sequence are computed.
    """

    def initial_carry(params, key=None):
        del key
        convolution = parts.convolution(params)
        window = None if convolution is None else empty_window(convolution)
        return parts.leave(first(params), window)

    def step(params, carry, x):
        rows, rest = parts.project(params, jax.tree.map(lambda a: a[None], x))
        convolution, window = parts.convolution(params), carry.window
        if convolution is not None:
            window, row = convolve_one(convolution, window, rows[0])
            rows = row[None]
        one = jax.tree.map(lambda a: a[0], parts.steps(params, rows, rest))
        state, read = one_step(parts.enter(carry), one)
        read = jax.tree.map(lambda a: a[None], read)
        y = jax.tree.map(lambda a: a[0], parts.output(params, read, rows, rest))
        return parts.leave(state, window), y

    def unroll_all(params, carry, xs, *, mask=None, reverse=False, starts=None):
        options = {"mask": mask, "reverse": reverse, "starts": starts}
        rows, rest = parts.project(params, blank(mask, xs))
        convolution, window = parts.convolution(params), carry.window
        if convolution is not None:
            window, rows = convolve(convolution, window, rows, **options)
        steps = parts.steps(params, rows, rest)
        state, read = unroll(choice, parts.enter(carry), steps, **options)
        ys = blank(mask, parts.output(params, read, rows, rest))
        return parts.leave(state, window), ys

    return leaf(name, reads, init, initial_carry, step, unroll_all)


def check_choice(name: str, method: Any, chunk_size: Any) -> Choice:
    """Returns the choice, or raises a ValueError."""
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"{name}: method: expected one of {', '.join(METHODS)}, got {method!r}"
        )
    if chunk_size is not None:
        chunk_size = check_size(f"{name}: chunk_size", chunk_size)
        if chunk_size & (chunk_size - 1):
            raise ValueError(
                f"{name}: chunk_size: expected a power of two, got {chunk_size}"
            )
    return Choice(method, chunk_size)


class Sizes(NamedTuple):
    """Of the heads of a cell."""

    heads: int
    key_size: int  # K
    value_size: int  # V

    @property
    def keys(self) -> int:
        """Of the keys of all heads."""
        return self.heads * self.key_size

    @property
    def values(self) -> int:
        """Of the values of all heads."""
        return self.heads * self.value_size

    def first(self, dtype: Any) -> State:
        """The state before the first step, in at least float32."""
        return State(jnp.zeros(self, wide(dtype)))


def check_heads(
    name: str, heads: Any, key_size: Any, value_size: Any, dtype: Any
) -> Sizes:
    """Returns the sizes, or raises a ValueError."""
    check_floating(f"{name}: dtype", dtype)
    return Sizes(
        check_size(f"{name}: heads", heads),
        check_size(f"{name}: key_size", key_size),
        check_size(f"{name}: value_size", value_size),
    )


def share(part: float, hidden_size: int, heads: int) -> int:
    """The size of one of the heads that together have a part of H, rounded up."""
    return -(-int(part * hidden_size * 4) // (4 * heads))


def by_heads(rows: jax.Array, heads: int) -> jax.Array:
    """From `[T, heads * K]` to `[T, heads, K]`, in at least float32."""
    rows = rows.astype(wide(rows.dtype))
    return rows.reshape(rows.shape[0], heads, rows.shape[1] // heads)


def split_rows(rows: jax.Array, *sizes: int) -> list[jax.Array]:
    """The columns of `[T, sum of sizes]` by their sizes."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    pairs = zip([0, *ends], ends, strict=False)
    return [lax.slice_in_dim(rows, start, end, axis=1) for start, end in pairs]


def times(xs: jax.Array, *matrices: jax.Array) -> list[jax.Array]:
    """`[T, D]` times each of the matrices `[D, G]`, by one product."""
    joined = jnp.concatenate(matrices, axis=1)
    rows = rows_product(xs.astype(joined.dtype), joined)
    return split_rows(rows, *(w.shape[1] for w in matrices))


def l2_normalized(a: jax.Array) -> jax.Array:
    """a / sqrt(|a|^2 + 1e-6) for each head, which is finite for zeros."""
    return a * lax.rsqrt(jnp.square(a).sum(axis=-1, keepdims=True) + 1e-6)


def rms_normalized(a: jax.Array, scale: jax.Array) -> jax.Array:
    """scale a / sqrt(mean(a^2) + 1e-5) for each head of `[T, heads, V]`."""
    a = a * lax.rsqrt(jnp.square(a).mean(axis=-1, keepdims=True) + 1e-5)
    return scale.astype(a.dtype)[None, None, :] * a


def merged(ys: jax.Array, w_o: jax.Array) -> jax.Array:
    """From `[T, heads, V]` to `[T, H]`, by a product with w_o."""
    flat = ys.reshape(ys.shape[0], ys.shape[1] * ys.shape[2])
    return rows_product(flat.astype(w_o.dtype), w_o)


def core_cell(
    name: str,
    sizes: Sizes,
    reads: Any,
    steps: Callable[[Any], Steps],
    choice: Choice,
    dtype: Any,
) -> Cell:
    """A recurrence by itself, whose x has its queries, keys, values and gates."""
    dtype = wide(jnp.dtype(dtype))
    parts = Parts(
        project=lambda params, xs: (None, xs),
        steps=lambda params, rows, xs: steps(
            jax.tree.map(lambda a: a.astype(dtype), xs)
        ),
        output=lambda params, read, rows, xs: read.y,
    )
    return matrix_cell(
        name, reads, lambda key: (), lambda params: sizes.first(dtype), parts, choice
    )
