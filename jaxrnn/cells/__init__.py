"""Recurrent cells, one family a file."""

from collections.abc import Callable

from jaxrnn.cells.dropped import DropoutGRUCarry as DropoutGRUCarry
from jaxrnn.cells.dropped import DropoutLSTMCarry as DropoutLSTMCarry
from jaxrnn.cells.dropped import dropout_gru as dropout_gru
from jaxrnn.cells.dropped import dropout_lstm as dropout_lstm
from jaxrnn.cells.elman import ElmanCarry as ElmanCarry
from jaxrnn.cells.elman import ElmanParams as ElmanParams
from jaxrnn.cells.elman import elman as elman
from jaxrnn.cells.gated import gated as gated
from jaxrnn.cells.gru import GRUCarry as GRUCarry
from jaxrnn.cells.gru import GRUParams as GRUParams
from jaxrnn.cells.gru import gru as gru
from jaxrnn.cells.linear import linear_recurrence as linear_recurrence
from jaxrnn.cells.lstm import LSTMCarry as LSTMCarry
from jaxrnn.cells.lstm import LSTMParams as LSTMParams
from jaxrnn.cells.lstm import lstm as lstm
from jaxrnn.cells.options import Options as Options
from jaxrnn.cells.projected import ProjectedLSTMParams as ProjectedLSTMParams
from jaxrnn.cells.projected import projected_lstm as projected_lstm
from jaxrnn.cells.recurrent import RecurrentParams as RecurrentParams
from jaxrnn.cells.recurrent import recurrent as recurrent
from jaxrnn.core import Cell

_BY_NAME = {"elman": elman, "gru": gru, "lstm": lstm}


def by_name(name: str) -> Callable[..., Cell]:
    """The factory of a cell by its name, such as the value of an option.

    Args:
      name: "elman", "gru" or "lstm".

    Returns:
      `(input_size, hidden_size, **options) -> Cell`.

    Raises:
      ValueError: if there is no such cell.

    Example:
      >>> import jaxrnn as rnn
      >>> rnn.cells.by_name("gru")(3, 5)
      gru(3, 5)
    """
    if not isinstance(name, str) or name not in _BY_NAME:
        raise ValueError(
            f"by_name: name: expected one of {', '.join(_BY_NAME)}, got {name!r}"
        )
    return _BY_NAME[name]


NAMES = tuple(_BY_NAME)  # of all factories that `by_name` knows
