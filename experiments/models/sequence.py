"""A network of any cell for any task, as large as a number of params allows.

Two ways to stack cells. `plain`, as gated cells are used,

    h^0_t = x_t,    h^l_t = dropout(cell(h^{l-1}_t, s^l_{t-1}))

and `residual`, as cells that are linear in their state are used, since nothing else in
them is not linear (Smith, Warrington and Linderman, ICLR 2023; Orvieto et al., ICML
2023):

    h^0_t = x_t w,    h^l_t = h^{l-1}_t + dropout(glu(cell(norm(h^{l-1}_t), s^l_{t-1})))
    glu(u) = (u v) sigmoid(u w)

The answers are h^L_t V at each step, or of the last state, or of the mean of all.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

import jaxrnn as rnn
from experiments.models.decays import DECAYS
from experiments.models.stack import cell_named, stack


class SequenceParams(NamedTuple):
    """Weights of a `Sequence`."""

    reader: Any
    readout: Any


class Sequence(NamedTuple):
    """A network, as functions of one sequence."""

    init: Callable[[jax.Array], SequenceParams]
    # (params, xs [T] or [T, D], key) -> [T, K], or [K] of one answer
    answers: Callable[..., jax.Array]


CELLS = (*rnn.cells.NAMES, *DECAYS)
if TYPE_CHECKING:
    CellName = str
else:
    CellName = Literal[CELLS]


def factory(cell: str) -> Callable[..., rnn.Cell]:
    """The factory of a cell of the library, or of one of `DECAYS`."""
    return DECAYS[cell] if cell in DECAYS else cell_named(cell)


def sequence(
    cell: str,
    vocab_size: int | None,
    input_size: int,
    hidden_size: int,
    outputs: int,
    *,
    layers: int = 1,
    block: Literal["plain", "residual"] = "plain",
    reads: Literal["steps", "last", "mean"] = "steps",
    window: int = 1,
    dropout: float = 0.0,
) -> Sequence:
    """A stack of cells between an encoder and a linear readout.

    Args:
      cell: its name; see `factory`.
      vocab_size: V, of tokens, whose vectors have the hidden size; None for numbers.
      input_size: D, of numbers.
      hidden_size: H, of all layers.
      outputs: K.
      layers: L.
      block: how cells are stacked; see above.
      reads: what an answer is read from: each state, the last, or the mean.
      window: how many steps a layer reads together: 2 shows it the step before, too, so
        that one layer can see that a value follows its key.
      dropout: the share of hidden units left out after each layer, once for a sequence.

    Example:
      >>> net = sequence("gru", None, 3, 5, 2, reads="last")
      >>> net.answers(net.init(jax.random.key(0)), jnp.ones((7, 3))).shape
      (2,)
    """
    H, make = hidden_size, factory(cell)
    encoder = [] if vocab_size is None else [rnn.embedding(vocab_size, H)]
    D = input_size if vocab_size is None else H
    if window > 1:
        encoder += [recent(D, window), rnn.linear(window * D, H)]
        D = H
    if block == "plain":
        layers_ = stack(make, D, H, layers, dropout=dropout)
    else:
        encoder += [rnn.linear(D, H)] if vocab_size is None and window == 1 else []
        layers_ = [
            rnn.residual(
                rnn.chain(
                    rnn.layer_norm(H),
                    make(H, H),
                    rnn.linear(H, 2 * H),
                    rnn.activation(jax.nn.glu),
                    rnn.dropout(dropout),
                )
            )
            for _ in range(layers)
        ]
        layers_ += [rnn.layer_norm(H)]
    reader, readout = rnn.chain(*encoder, *layers_), rnn.linear(H, outputs)

    def init(key):
        reader_key, readout_key = jax.random.split(key)
        return SequenceParams(reader.init(reader_key), readout.init(readout_key))

    def answers(params, xs, key=None):
        carry = reader.initial_carry(params.reader, key)
        states = reader.unroll(params.reader, carry, xs)[1]
        if reads == "steps":
            return readout.unroll(params.readout, (), states)[1]
        state = rnn.last(states) if reads == "last" else states.mean(axis=0)
        return rnn.apply(readout, params.readout, state)

    return Sequence(init, answers)


def recent(size: int, steps: int) -> rnn.Cell:
    """The last few inputs side by side: y_t = [x_t, x_{t-1}, ...], zeros at first.

    Example:
      >>> cell = recent(1, 2)
      >>> cell.unroll((), cell.initial_carry(()), jnp.array([[3.0], [5.0]]))[1].tolist()
      [[3.0, 0.0], [5.0, 3.0]]
    """

    def initial_carry(params, key=None):
        del params, key
        return jnp.zeros((steps - 1, size))

    def step(params, carry, x):
        del params
        rows = jnp.concatenate([x[None], carry])
        return rows[:-1], rows.ravel()

    reads = rnn.Input((size,))
    return rnn.leaf(
        f"recent({size}, {steps})", reads, lambda key: (), initial_carry, step
    )


def count_params(init: Callable[[jax.Array], Any]) -> int:
    """How many numbers there are in what `init` draws; a complex one counts as two.

    Example:
      >>> count_params(rnn.linear(3, 5).init)
      20
    """
    leaves = jax.tree.leaves(jax.eval_shape(init, jax.random.key(0)))
    return sum(a.size * (2 if jnp.iscomplexobj(a) else 1) for a in leaves)


def fitted(make: Callable[[int], Sequence], budget: int) -> int:
    """The hidden size with which a network comes nearest to a number of params.

    Args:
      make: (hidden_size) -> network, with more params the larger the size; a size that
        does not fit, such as one that heads cannot share, is a ValueError.
      budget: the number of params.

    Raises:
      ValueError: if no multiple of a power of two up to 64 fits.

    Example:
      >>> fitted(lambda H: sequence("gru", None, 3, H, 2), 3 * 20 * 20)
      18
    """

    @lru_cache
    def count(size: int) -> int:
        return count_params(make(size).init)

    def fits(step: int) -> bool:
        try:
            return count(step) > 0 and count(3 * step) > 0
        except ValueError:
            return False

    step = next((2**n for n in range(7) if fits(2**n)), None)
    if step is None:
        count(64)  # its own message says why
        raise ValueError("fitted: expected sizes that are multiples of 64 to fit")
    high = 1
    while count(high * step) < budget:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle * step) < budget else (low, middle)
    sizes = [n * step for n in (low, high) if n]
    return min(sizes, key=lambda size: abs(count(size) - budget))
