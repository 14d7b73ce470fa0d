"""Cells made of cells."""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.core import (
    Cell,
    Input,
    blank,
    check_array,
    check_flag,
    check_floating,
    check_input,
    check_key,
    check_length,
    check_mask,
    check_size,
    name_of,
    named,
    reads_of,
)
from jaxrnn.layers import EmbeddingParams, embedding
from jaxrnn.transposable import rows_product


class Directions(NamedTuple):
    """Params, or a carry, of each half of a `bidirectional` cell."""

    forward: Any
    backward: Any


def chain(*cells: Cell) -> Cell:
    """Each cell reads the output of the one before.

    Args:
      *cells: at least one.

    Returns:
      A cell whose params and carry are tuples, one entry for each cell. Its `step` is
      None if that of one of the cells is.

    Raises:
      ValueError: if there is no cell; from `init`, `step` or `unroll`, if one cell
        does not give what the next reads.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.lstm(3, 5), rnn.linear(5, 11))
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.initial_carry(params)
      >>> model.unroll(params, carry, jnp.array([3, 1, 4, 1]))[1].shape
      (4, 11)
    """
    if not cells:
        raise ValueError("chain: expected at least one cell, got none")
    for i, cell in enumerate(cells):
        _check_cell(f"chain: cell {i}", cell)

    def init(key):
        keys = jax.random.split(key, len(cells))
        params = tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True))
        reads = reads_of(cells[0])
        if reads is not None and reads.shape is not None:
            # A trial run of one step, in shapes only, finds neighbors that do not fit.
            dtype = jnp.int32 if reads.kind is jnp.integer else jnp.float32
            xs = jax.ShapeDtypeStruct((1, *reads.shape), dtype)
            jax.eval_shape(lambda p, xs: unroll(p, initial_carry(p), xs), params, xs)
        return params

    def initial_carry(params, key=None):
        check_entries("params", params)
        if key is not None:
            check_key("chain: key", key)
        keys = [None] * len(cells) if key is None else jax.random.split(key, len(cells))
        return tuple(
            cell.initial_carry(p, k)
            for cell, p, k in zip(cells, params, keys, strict=True)
        )

    def check_entries(what, value):
        if not isinstance(value, tuple | list) or len(value) != len(cells):
            raise ValueError(
                f"chain: {what}: expected a tuple with one entry for each of "
                f"{len(cells)} cells, got {jax.tree.structure(value)}"
            )

    def through(params, carry, y, call, leading):
        check_entries("params", params)
        check_entries("carry", carry)
        carries = []
        for i, (cell, p, c) in enumerate(zip(cells, params, carry, strict=True)):
            if i:
                _check_neighbors(cells, i, y, leading)
            c, y = call(cell, p, c, y)
            carries.append(c)
        return tuple(carries), y

    def step(params, carry, x):
        def call(cell, *args):
            return cell.step(*args)

        return through(params, carry, x, call, 0)

    def unroll(params, carry, xs, *, mask=None, reverse=False):
        def call(cell, *args):
            return cell.unroll(*args, mask=mask, reverse=reverse)

        return through(params, carry, xs, call, 1)

    streams = all(cell.step is not None for cell in cells)
    cell = Cell(init, initial_carry, step if streams else None, unroll)
    return named(cell, f"chain({', '.join(map(name_of, cells))})", reads_of(cells[0]))


def _check_cell(name: str, cell: Any) -> None:
    if not isinstance(cell, Cell):
        raise ValueError(f"{name}: expected a Cell, got {cell!r}")


def _check_neighbors(cells: tuple[Cell, ...], i: int, y: Any, leading: int) -> None:
    reads = reads_of(cells[i])
    if reads is None or not isinstance(y, jax.Array):
        return
    fits_shape = reads.shape is None or y.shape[leading:] == reads.shape
    fits_kind = reads.kind is None or jnp.issubdtype(y.dtype, reads.kind)
    if not (fits_shape and fits_kind):
        gives = Input(
            y.shape[leading:],
            jnp.integer if jnp.issubdtype(y.dtype, jnp.integer) else jnp.floating,
        )
        raise ValueError(
            f"chain: cell {i - 1}, {name_of(cells[i - 1])}, gives {gives}, but "
            f"cell {i}, {name_of(cells[i])}, expects {reads}"
        )


def residual(cell: Cell) -> Cell:
    """Adds the input to the output: y = x + cell(x).

    Args:
      cell: with outputs of the size of its inputs.

    Returns:
      A cell with the params and the carry of `cell`.

    Raises:
      ValueError: from `step` and `unroll`, if the sizes differ.

    References:
      He et al., "Deep residual learning for image recognition", CVPR 2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.residual(rnn.gru(3, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> cell.step(params, cell.initial_carry(params), jnp.ones(3))[1].shape
      (3,)
    """
    _check_cell("residual: cell", cell)
    name = f"residual({name_of(cell)})"

    def add(x, y):
        x = jnp.asarray(x)
        if x.shape != y.shape:
            raise ValueError(
                f"{name}: expected an output of the input's shape {x.shape}, "
                f"got {y.shape}"
            )
        return x.astype(y.dtype) + y

    def step(params, carry, x):
        assert cell.step is not None  # for the type checker: see the last line
        carry, y = cell.step(params, carry, x)
        return carry, add(x, y)

    def unroll(params, carry, xs, *, mask=None, reverse=False):
        carry, ys = cell.unroll(params, carry, xs, mask=mask, reverse=reverse)
        return carry, add(blank(mask, xs), ys)

    streams = cell.step is not None
    return named(
        cell._replace(step=step if streams else None, unroll=unroll),
        name,
        reads_of(cell),
    )


def bidirectional(
    forward: Cell,
    backward: Cell,
    *,
    merge: Literal["concatenate", "sum", "mean"] = "concatenate",
) -> Cell:
    """One cell reads from the first step to the last, another one back.

        y_t = merge(forward_t, backward_t)

    Args:
      forward: reads in the order of `unroll`.
      backward: reads in the opposite order.
      merge: "concatenate", "sum" or "mean", of the two outputs.

    Returns:
      A cell with `Directions` of params and of carries. Its `step` is None, since each
      output depends on the whole sequence.

    Raises:
      ValueError: if `merge` is none of the three; from `unroll`, if the outputs
        cannot be merged.

    References:
      Schuster and Paliwal, "Bidirectional recurrent neural networks", IEEE
      Transactions on Signal Processing 45, 1997.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.bidirectional(rnn.lstm(3, 5), rnn.lstm(3, 5))
      >>> params = cell.init(jax.random.key(0))
      >>> cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))[1].shape
      (7, 10)
    """
    merges = {
        "concatenate": lambda a, b: jnp.concatenate([a, b], axis=-1),
        "sum": lambda a, b: a + b,
        "mean": lambda a, b: (a + b) / 2,
    }
    _check_cell("bidirectional: forward", forward)
    _check_cell("bidirectional: backward", backward)
    if not isinstance(merge, str) or merge not in merges:
        raise ValueError(
            f"bidirectional: merge: expected one of {', '.join(merges)}, got {merge!r}"
        )
    name = f"bidirectional({name_of(forward)}, {name_of(backward)})"

    def init(key):
        forward_key, backward_key = jax.random.split(key)
        return Directions(forward.init(forward_key), backward.init(backward_key))

    def check_directions(what, value):
        if not isinstance(value, Directions):
            raise ValueError(
                f"{name}: {what}: expected Directions, got {type(value).__name__}"
            )

    def initial_carry(params, key=None):
        check_directions("params", params)
        if key is not None:
            check_key(f"{name}: key", key)
        keys = (None, None) if key is None else jax.random.split(key)
        return Directions(
            forward.initial_carry(params.forward, keys[0]),
            backward.initial_carry(params.backward, keys[1]),
        )

    def unroll(params, carry, xs, *, mask=None, reverse=False):
        check_directions("params", params)
        check_directions("carry", carry)
        reverse = check_flag(f"{name}: reverse", reverse)
        ahead, ys = forward.unroll(
            params.forward, carry.forward, xs, mask=mask, reverse=reverse
        )
        back, zs = backward.unroll(
            params.backward, carry.backward, xs, mask=mask, reverse=not reverse
        )
        if merge != "concatenate" and ys.shape != zs.shape:
            raise ValueError(
                f"{name}: merge={merge!r}: expected outputs of one shape, got "
                f"{ys.shape} forward and {zs.shape} backward"
            )
        return Directions(ahead, back), merges[merge](ys, zs)

    cell = Cell(init, initial_carry, None, unroll)
    return named(cell, name, reads_of(forward))


class TiedParams(NamedTuple):
    """Weights of `tied_embedding`."""

    w: jax.Array  # [V, D], the vectors of the tokens, and the weights of the logits
    cell: Any
    b: jax.Array  # [V], of the logits


def tied_embedding(
    vocab_size: int, size: int, cell: Cell, *, dtype: Any = jnp.float32
) -> Cell:
    """From tokens to logits with one table for both.

        e_t = w[x_t],    h_t = cell(e_t),    y_t = h_t w^T + b

    Args:
      vocab_size: V.
      size: D, of a vector.
      cell: reads vectors `[D]` and gives vectors `[D]`.
      dtype: of w and b.

    Returns:
      A cell from an integer `x` `[]` to logits `[V]`, with `TiedParams` and the carry
      of `cell`. Its `step` is None if that of the cell is.

    Raises:
      ValueError: if a size is below 1; later, if the cell does not give `[D]`.

    References:
      Press and Wolf, "Using the output embedding to improve language models", EACL
      2017.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.tied_embedding(11, 5, rnn.lstm(5, 5))
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.initial_carry(params)
      >>> model.unroll(params, carry, jnp.array([3, 1, 4, 1]))[1].shape
      (4, 11)
    """
    vocab_size = check_size("tied_embedding: vocab_size", vocab_size)
    size = check_size("tied_embedding: size", size)
    check_floating("tied_embedding: dtype", dtype)
    _check_cell("tied_embedding: cell", cell)
    name = f"tied_embedding({vocab_size}, {size}, {name_of(cell)})"
    table = embedding(vocab_size, size, dtype=dtype)

    def init(key):
        table_key, cell_key = jax.random.split(key)
        b = jnp.zeros(vocab_size, dtype)
        return TiedParams(table.init(table_key).w, cell.init(cell_key), b)

    def check_params(params):
        if not isinstance(params, TiedParams):
            raise ValueError(
                f"{name}: params: expected TiedParams, got {type(params).__name__}"
            )

    def initial_carry(params, key=None):
        check_params(params)
        return cell.initial_carry(params.cell, key)

    def logits(params, ys):
        if ys.shape[1:] != (size,):
            raise ValueError(
                f"{name}: expected outputs of the cell of size {size}, got {ys.shape}"
            )
        return rows_product(ys.astype(params.w.dtype), params.w.T) + params.b[None]

    def step(params, carry, x):
        assert cell.step is not None  # for the type checker: see the last line
        check_params(params)
        assert table.step is not None
        _, vector = table.step(EmbeddingParams(params.w), (), x)
        carry, y = cell.step(params.cell, carry, vector)
        return carry, logits(params, y[None])[0]

    def unroll(params, carry, xs, *, mask=None, reverse=False):
        check_params(params)
        _, vectors = table.unroll(EmbeddingParams(params.w), (), xs, mask=mask)
        carry, ys = cell.unroll(params.cell, carry, vectors, mask=mask, reverse=reverse)
        return carry, blank(mask, logits(params, ys))

    streams = cell.step is not None
    tied = Cell(init, initial_carry, step if streams else None, unroll)
    return named(tied, name, reads_of(table))


def remat(cell: Cell, *, segment: int | None = None) -> Cell:
    """Keeps only some carries for the backward pass and computes the rest again.

    The sequence is cut into segments; the backward pass runs each once more. With
    segments of about sqrt(T) steps memory grows as sqrt(T), not T, for a third more
    arithmetic.

    Args:
      cell: any cell with a step order, so none with `step=None`.
      segment: steps in a segment; None for the square root of T.

    Returns:
      A cell with the params, the carry and the results of `cell`.

    Raises:
      ValueError: if `segment` is below 1 or the cell has no `step`.

    References:
      Chen et al., "Training deep nets with sublinear memory cost", 2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.remat(rnn.lstm(3, 5))
      >>> params = cell.init(jax.random.key(0))
      >>> cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))[1].shape
      (7, 5)
    """
    _check_cell("remat: cell", cell)
    name = f"remat({name_of(cell)})"
    if cell.step is None:
        raise ValueError(f"{name}: a cell that reads the future cannot be cut in time")
    if segment is not None:
        segment = check_size("remat: segment", segment)

    def unroll(params, carry, xs, *, mask=None, reverse=False):
        reads = reads_of(cell)
        if reads is not None:
            xs = check_input(f"{name}: xs", xs, reads, ("T",))
        length = check_length(f"{name}: xs", xs)
        size = min(segment or math.isqrt(length - 1) + 1, length)
        mask = check_mask(name, mask, length)
        reverse = check_flag(f"{name}: reverse", reverse)
        params = jax.tree.map(partial(check_array, f"{name}: params"), params)
        carry = jax.tree.map(partial(check_array, f"{name}: carry"), carry)

        @jax.checkpoint
        def run(params, carry, inputs):
            xs, mask = inputs
            return cell.unroll(params, carry, xs, mask=mask, reverse=reverse)

        whole = length - length % size
        cut = jax.tree.map(
            lambda x: x[:whole].reshape(-1, size, *x.shape[1:]), (xs, mask)
        )
        rest = jax.tree.map(lambda x: x[whole:], (xs, mask))

        def scan(carry):
            carry, ys = lax.scan(
                lambda c, inputs: run(params, c, inputs), carry, cut, reverse=reverse
            )
            return carry, jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), ys)

        if whole == length:
            return scan(carry)
        if reverse:
            carry, ends = run(params, carry, rest)
            carry, ys = scan(carry)
        else:
            carry, ys = scan(carry)
            carry, ends = run(params, carry, rest)
        return carry, jax.tree.map(lambda *a: jnp.concatenate(a), ys, ends)

    return named(cell._replace(unroll=unroll), name, reads_of(cell))
