"""Cells made of cells: one after the other, in both directions, with a shortcut."""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.build import check_cell
from jaxrnn.checks import check_array, check_floating, check_size, inputs_like
from jaxrnn.core import Cell, recorded
from jaxrnn.layers import EmbeddingParams, embedding
from jaxrnn.lift import around, lifted
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import plus


class Directions(NamedTuple):
    """Params, or a carry, of each half of a `bidirectional` cell."""

    forward: Any
    backward: Any


@recorded
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
        check_cell(f"chain: cell {i}", cell)

    def init(key):
        keys = jax.random.split(key, len(cells))
        params = tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True))
        xs = inputs_like(cells[0].about.reads, (1,))
        if xs is not None:
            # A trial run of one step, in shapes only, finds neighbors that do not fit.
            jax.eval_shape(
                lambda p, xs: chained.unroll(p, initial_carry(p), xs), params, xs
            )
        return params

    def initial_carry(params, key=None):
        keys = [None] * len(cells) if key is None else jax.random.split(key, len(cells))
        return tuple(
            cell.initial_carry(p, k)
            for cell, p, k in zip(cells, params, keys, strict=True)
        )

    def entries(what, value):
        if not isinstance(value, tuple | list) or len(value) != len(cells):
            raise ValueError(
                f"chain: {what}: expected a tuple with one entry for each of "
                f"{len(cells)} cells, got {jax.tree.structure(value)}"
            )
        return value

    def run(at, params, carry, y):
        carries = []
        for cell, p, c in zip(
            cells, entries("params", params), entries("carry", carry), strict=True
        ):
            c, y = at.run(cell, p, c, y)
            carries.append(c)
        return tuple(carries), y

    chained = lifted(
        f"chain({', '.join(cell.about.name for cell in cells)})",
        cells,
        run,
        init=init,
        initial_carry=initial_carry,
        split=partial(entries, "params"),
        join=lambda params, parts: tuple(parts),
    )
    return chained


@recorded
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
    check_cell("residual: cell", cell)
    name = f"residual({cell.about.name})"

    def run(at, params, carry, x):
        carry, y = at.run(cell, params, carry, x)
        x, y = at.blank(jnp.asarray(x)), check_array(f"{name}: output", y)
        if x.shape != y.shape:
            raise ValueError(
                f"{name}: expected an output of the input's shape {x.shape}, "
                f"got {y.shape}"
            )
        return carry, x.astype(y.dtype) + y

    return around(name, cell, run)


@recorded
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
    check_cell("bidirectional: forward", forward)
    check_cell("bidirectional: backward", backward)
    if not isinstance(merge, str) or merge not in merges:
        raise ValueError(
            f"bidirectional: merge: expected one of {', '.join(merges)}, got {merge!r}"
        )
    name = f"bidirectional({forward.about.name}, {backward.about.name})"

    def init(key):
        forward_key, backward_key = jax.random.split(key)
        return Directions(forward.init(forward_key), backward.init(backward_key))

    def directions(what, value):
        if not isinstance(value, Directions):
            raise ValueError(
                f"{name}: {what}: expected Directions, got {type(value).__name__}"
            )
        return value

    def initial_carry(params, key=None):
        keys = (None, None) if key is None else jax.random.split(key)
        return Directions(
            forward.initial_carry(params.forward, keys[0]),
            backward.initial_carry(params.backward, keys[1]),
        )

    def run(at, params, carry, xs):
        params, carry = directions("params", params), directions("carry", carry)
        ahead, ys = at.run(forward, params.forward, carry.forward, xs)
        back, zs = at.back().run(backward, params.backward, carry.backward, xs)
        ys = check_array(f"{name}: output forward", ys)
        zs = check_array(f"{name}: output backward", zs)
        if merge != "concatenate" and ys.shape != zs.shape:
            raise ValueError(
                f"{name}: merge={merge!r}: expected outputs of one shape, got "
                f"{ys.shape} forward and {zs.shape} backward"
            )
        return Directions(ahead, back), merges[merge](ys, zs)

    return lifted(
        name,
        (forward, backward),
        run,
        init=init,
        initial_carry=initial_carry,
        split=partial(directions, "params"),
        join=lambda params, parts: Directions(*parts),
        step=False,
    )


class TiedParams(NamedTuple):
    """Weights of `tied_embedding`."""

    w: jax.Array  # [V, D], the vectors of the tokens, and the weights of the logits
    cell: Any
    b: jax.Array  # [V], of the logits


@recorded
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
    check_cell("tied_embedding: cell", cell)
    name = f"tied_embedding({vocab_size}, {size}, {cell.about.name})"
    table = embedding(vocab_size, size, dtype=dtype)

    def init(key):
        table_key, cell_key = jax.random.split(key)
        b = jnp.zeros(vocab_size, dtype)
        return TiedParams(table.init(table_key).w, cell.init(cell_key), b)

    def initial_carry(params, key=None):
        return cell.initial_carry(params.cell, key)

    def split(params):
        if not isinstance(params, TiedParams):
            raise ValueError(
                f"{name}: params: expected TiedParams, got {type(params).__name__}"
            )
        return EmbeddingParams(params.w), params.cell, params.b

    def run(at, params, carry, x):
        vectors, inner, b = split(params)
        _, vector = at.run(table, vectors, (), x)
        carry, y = at.run(cell, inner, carry, vector)

        def logits(ys):
            ys = check_array(f"{name}: output of the cell", ys)
            if ys.shape[1:] != (size,):
                raise ValueError(
                    f"{name}: expected outputs of the cell of size {size}, got "
                    f"{ys.shape}"
                )
            product = rows_product(ys.astype(vectors.w.dtype), vectors.w.T)
            return plus(product, b[None])

        return carry, at.blank(at.rows(logits, y))

    return lifted(
        name,
        (table, cell),
        run,
        init=init,
        initial_carry=initial_carry,
        split=lambda params: split(params)[:2],
        join=lambda params, parts: params._replace(cell=parts[1]),
        join_outputs=lambda outputs, ys: TiedParams(outputs[0], outputs[1], ys),
    )
