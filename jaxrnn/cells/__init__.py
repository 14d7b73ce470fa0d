"""Recurrent cells, one family a file."""

from collections.abc import Callable

from jaxrnn.cells.causal_conv import CausalConvCarry as CausalConvCarry
from jaxrnn.cells.causal_conv import CausalConvParams as CausalConvParams
from jaxrnn.cells.causal_conv import causal_conv as causal_conv
from jaxrnn.cells.elman import ElmanCarry as ElmanCarry
from jaxrnn.cells.elman import ElmanParams as ElmanParams
from jaxrnn.cells.elman import elman as elman
from jaxrnn.cells.gated import gated as gated
from jaxrnn.cells.gru import GRUCarry as GRUCarry
from jaxrnn.cells.gru import GRUParams as GRUParams
from jaxrnn.cells.gru import gru as gru
from jaxrnn.cells.linear import linear_recurrence as linear_recurrence
from jaxrnn.cells.lru import LRUCarry as LRUCarry
from jaxrnn.cells.lru import LRUParams as LRUParams
from jaxrnn.cells.lru import lru as lru
from jaxrnn.cells.lstm import LSTMCarry as LSTMCarry
from jaxrnn.cells.lstm import LSTMParams as LSTMParams
from jaxrnn.cells.lstm import lstm as lstm
from jaxrnn.cells.mamba import MambaCarry as MambaCarry
from jaxrnn.cells.mamba import MambaParams as MambaParams
from jaxrnn.cells.mamba import mamba as mamba
from jaxrnn.cells.minimal import MinGRUCarry as MinGRUCarry
from jaxrnn.cells.minimal import MinGRUParams as MinGRUParams
from jaxrnn.cells.minimal import MinLSTMCarry as MinLSTMCarry
from jaxrnn.cells.minimal import MinLSTMParams as MinLSTMParams
from jaxrnn.cells.minimal import mingru as mingru
from jaxrnn.cells.minimal import minlstm as minlstm
from jaxrnn.cells.options import Options as Options
from jaxrnn.cells.projected import ProjectedLSTMParams as ProjectedLSTMParams
from jaxrnn.cells.projected import projected_lstm as projected_lstm
from jaxrnn.cells.qrnn import QRNNCarry as QRNNCarry
from jaxrnn.cells.qrnn import QRNNParams as QRNNParams
from jaxrnn.cells.qrnn import qrnn as qrnn
from jaxrnn.cells.recurrent import RecurrentParams as RecurrentParams
from jaxrnn.cells.recurrent import recurrent as recurrent
from jaxrnn.cells.rg_lru import RGLRUCarry as RGLRUCarry
from jaxrnn.cells.rg_lru import RGLRUParams as RGLRUParams
from jaxrnn.cells.rg_lru import rg_lru as rg_lru
from jaxrnn.cells.s5 import S5Carry as S5Carry
from jaxrnn.cells.s5 import S5Params as S5Params
from jaxrnn.cells.s5 import s5 as s5
from jaxrnn.cells.selective_scan import SelectiveScanCarry as SelectiveScanCarry
from jaxrnn.cells.selective_scan import SelectiveScanInput as SelectiveScanInput
from jaxrnn.cells.selective_scan import SelectiveScanParams as SelectiveScanParams
from jaxrnn.cells.selective_scan import selective_scan as selective_scan
from jaxrnn.core import Cell

_BY_NAME = {
    "elman": elman,
    "gru": gru,
    "lstm": lstm,
    "mingru": mingru,
    "minlstm": minlstm,
    "qrnn": qrnn,
}


def by_name(name: str) -> Callable[..., Cell]:
    """The factory of a cell by its name, such as the value of an option.

    Args:
      name: "elman", "gru", "lstm", "mingru", "minlstm" or "qrnn".

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
