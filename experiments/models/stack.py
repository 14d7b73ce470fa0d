"""Recurrent layers, one on top of the other."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jaxrnn as rnn
from experiments import lab


def check_options(cell: str, options: Mapping[str, Any]) -> None:
    """Raises a UsageError that names an option which a cell does not have.

    Args:
      cell: its name.
      options: by the name of the option, the parameters of the factory that it sets.
    """
    known = inspect.signature(rnn.cells.by_name(cell)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return  # it has all that gated cells share
    for option, names in options.items():
        lacking = not set(names) <= set(known)
        lab.require(not lacking, option, f"its default with --cell {cell}", "another")


def cell_named(name: str) -> Callable[..., rnn.Cell]:
    """(input_size, hidden_size, **options) -> a cell, of any two sizes.

    A cell that gives as many numbers as it reads stands after a linear layer where the
    two sizes differ.

    Args:
      name: of the cell, one of `rnn.cells.NAMES`.

    Example:
      >>> cell_named("gru")(3, 5).about.name, cell_named("mamba")(3, 5).about.name
      ('gru(3, 5)', 'chain(linear(3, 5), mamba(5))')
    """
    make = rnn.cells.by_name(name)
    if name not in rnn.cells.OF_ONE_SIZE:
        return make

    def fitted(input_size: int, hidden_size: int, **options: Any) -> rnn.Cell:
        cell = make(hidden_size, hidden_size, **options)
        if input_size == hidden_size:
            return cell
        return rnn.chain(rnn.linear(input_size, hidden_size), cell)

    return fitted


def stack(
    cell: Callable[..., rnn.Cell],
    input_size: int,
    hidden_size: int,
    layers: int = 1,
    *,
    dropout: float = 0.0,
    **options: Any,
) -> list[rnn.Cell]:
    """Cells with dropout after each, for `rnn.chain`.

        h^0_t = x_t,    s^l_t = cell(h^{l-1}_t, s^l_{t-1}),    h^l_t = dropout(s^l_t)

    The masks of the dropout are drawn once for a sequence.

    Args:
      cell: (input_size, hidden_size, **options) -> cell, such as `rnn.lstm`.
      input_size: of x_t.
      hidden_size: of all s^l_t.
      layers: how many cells.
      dropout: the share of the hidden units that is left out while training.
      **options: of each cell.

    Returns:
      Twice as many cells as there are layers: a cell, its dropout, and so on.

    References:
      Zaremba, Sutskever and Vinyals, "Recurrent neural network regularization", 2014;
      Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent
      neural networks", NeurIPS 2016, for one mask for a sequence.

    Example:
      >>> import jax
      >>> reader = rnn.chain(*stack(rnn.gru, 3, 5, layers=2, dropout=0.5))
      >>> params = reader.init(jax.random.key(0))
      >>> [p.w_x.shape for p in params if p]
      [(3, 15), (5, 15)]
    """
    found = []
    for layer in range(layers):
        size = hidden_size if layer else input_size
        found += [cell(size, hidden_size, **options), rnn.dropout(dropout)]
    return found
