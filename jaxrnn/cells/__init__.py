"""Recurrent cells, one family a file."""

from collections.abc import Callable

from jaxrnn.cells.conv_lstm import ConvLSTMParams as ConvLSTMParams
from jaxrnn.cells.conv_lstm import conv_lstm as conv_lstm
from jaxrnn.cells.convolution import ConvolutionCarry as ConvolutionCarry
from jaxrnn.cells.convolution import ConvolutionParams as ConvolutionParams
from jaxrnn.cells.convolution import causal_conv as causal_conv
from jaxrnn.cells.coupled import CoupledLSTMParams as CoupledLSTMParams
from jaxrnn.cells.coupled import coupled_lstm as coupled_lstm
from jaxrnn.cells.elman import ElmanCarry as ElmanCarry
from jaxrnn.cells.elman import ElmanParams as ElmanParams
from jaxrnn.cells.elman import elman as elman
from jaxrnn.cells.gated import gated as gated
from jaxrnn.cells.gru import GRUCarry as GRUCarry
from jaxrnn.cells.gru import GRUParams as GRUParams
from jaxrnn.cells.gru import gru as gru
from jaxrnn.cells.indrnn import IndRNNParams as IndRNNParams
from jaxrnn.cells.indrnn import clip_indrnn as clip_indrnn
from jaxrnn.cells.indrnn import indrnn as indrnn
from jaxrnn.cells.indrnn import indrnn_limit as indrnn_limit
from jaxrnn.cells.irnn import irnn as irnn
from jaxrnn.cells.layer_norm import LayerNormGRUParams as LayerNormGRUParams
from jaxrnn.cells.layer_norm import LayerNormLSTMParams as LayerNormLSTMParams
from jaxrnn.cells.layer_norm import layer_norm_gru as layer_norm_gru
from jaxrnn.cells.layer_norm import layer_norm_lstm as layer_norm_lstm
from jaxrnn.cells.linear import linear_recurrence as linear_recurrence
from jaxrnn.cells.lstm import LSTMCarry as LSTMCarry
from jaxrnn.cells.lstm import LSTMParams as LSTMParams
from jaxrnn.cells.lstm import lstm as lstm
from jaxrnn.cells.mgu import MGUCarry as MGUCarry
from jaxrnn.cells.mgu import MGUParams as MGUParams
from jaxrnn.cells.mgu import mgu as mgu
from jaxrnn.cells.options import Options as Options
from jaxrnn.cells.peephole import PeepholeLSTMParams as PeepholeLSTMParams
from jaxrnn.cells.peephole import peephole_lstm as peephole_lstm
from jaxrnn.cells.projected import ProjectedLSTMParams as ProjectedLSTMParams
from jaxrnn.cells.projected import projected_lstm as projected_lstm
from jaxrnn.cells.recurrent import RecurrentParams as RecurrentParams
from jaxrnn.cells.recurrent import recurrent as recurrent
from jaxrnn.cells.slstm import SLSTMCarry as SLSTMCarry
from jaxrnn.cells.slstm import SLSTMParams as SLSTMParams
from jaxrnn.cells.slstm import slstm as slstm
from jaxrnn.cells.slstm_layer import SLSTMLayerCarry as SLSTMLayerCarry
from jaxrnn.cells.slstm_layer import SLSTMLayerParams as SLSTMLayerParams
from jaxrnn.cells.slstm_layer import slstm_layer as slstm_layer
from jaxrnn.core import Cell

_BY_NAME: dict[str, Callable[..., Cell]] = {
    "elman": elman,
    "gru": gru,
    "lstm": lstm,
    "coupled_lstm": coupled_lstm,
    "indrnn": indrnn,
    "irnn": irnn,
    "layer_norm_gru": layer_norm_gru,
    "layer_norm_lstm": layer_norm_lstm,
    "mgu": mgu,
    "peephole_lstm": peephole_lstm,
    "slstm": slstm,
}


def by_name(name: str) -> Callable[..., Cell]:
    """The factory of a cell by its name, such as the value of an option.

    Args:
      name: of a factory that is called with two sizes, such as "elman", "gru", "lstm".

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
