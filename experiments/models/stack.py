"""Recurrent layers one on top of the other, with dropout after each."""

from typing import Any

import jaxrnn as rnn

CELLS = {"elman": rnn.elman, "gru": rnn.gru, "lstm": rnn.lstm}


def stacked(
    cell: str,
    input_size: int,
    hidden_size: int,
    layers: int,
    *,
    dropout: float,
    **options: Any,
) -> list[rnn.Cell]:
    """The parts of a chain: cells, each with dropout after it.

    Args:
      cell: a key of `CELLS`.
      input_size: D of the first cell.
      hidden_size: H of all of them.
      layers: how many cells.
      dropout: the share of hidden units that is left out.
      **options: of the cells.

    Example:
      >>> import jax
      >>> parts = stacked("gru", 3, 5, 2, dropout=0.1)
      >>> len(parts), len(rnn.chain(*parts, rnn.linear(5, 2)).init(jax.random.key(0)))
      (4, 5)
    """
    sizes = [input_size, *[hidden_size] * (layers - 1)]
    parts = []
    for size in sizes:
        parts.append(CELLS[cell](size, hidden_size, **options))
        parts.append(rnn.dropout(dropout))
    return parts
