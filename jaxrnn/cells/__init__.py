"""Recurrent cells, one family a file."""

from collections.abc import Callable

from jaxrnn.cells.cfc import CfCCarry as CfCCarry
from jaxrnn.cells.cfc import CfCParams as CfCParams
from jaxrnn.cells.cfc import cfc as cfc
from jaxrnn.cells.cfc import lecun_tanh as lecun_tanh
from jaxrnn.cells.clockwork import ClockworkCarry as ClockworkCarry
from jaxrnn.cells.clockwork import ClockworkParams as ClockworkParams
from jaxrnn.cells.clockwork import clockwork as clockwork
from jaxrnn.cells.conv_lstm import ConvLSTMParams as ConvLSTMParams
from jaxrnn.cells.conv_lstm import conv_lstm as conv_lstm
from jaxrnn.cells.convolution import ConvolutionCarry as ConvolutionCarry
from jaxrnn.cells.convolution import ConvolutionParams as ConvolutionParams
from jaxrnn.cells.convolution import causal_conv as causal_conv
from jaxrnn.cells.cornn import CoRNNCarry as CoRNNCarry
from jaxrnn.cells.cornn import CoRNNParams as CoRNNParams
from jaxrnn.cells.cornn import cornn as cornn
from jaxrnn.cells.coupled import CoupledLSTMParams as CoupledLSTMParams
from jaxrnn.cells.coupled import coupled_lstm as coupled_lstm
from jaxrnn.cells.delta_layer import DecayParams as DecayParams
from jaxrnn.cells.delta_layer import DeltaNetParams as DeltaNetParams
from jaxrnn.cells.delta_net import delta_net as delta_net
from jaxrnn.cells.delta_net import gated_delta_net as gated_delta_net
from jaxrnn.cells.delta_rule import DeltaInputs as DeltaInputs
from jaxrnn.cells.delta_rule import GatedDeltaInputs as GatedDeltaInputs
from jaxrnn.cells.delta_rule import delta_rule as delta_rule
from jaxrnn.cells.delta_rule import gated_delta_rule as gated_delta_rule
from jaxrnn.cells.driven import Timed as Timed
from jaxrnn.cells.dropped import DropoutGRUCarry as DropoutGRUCarry
from jaxrnn.cells.dropped import DropoutLSTMCarry as DropoutLSTMCarry
from jaxrnn.cells.dropped import dropout_gru as dropout_gru
from jaxrnn.cells.dropped import dropout_lstm as dropout_lstm
from jaxrnn.cells.elman import ElmanCarry as ElmanCarry
from jaxrnn.cells.elman import ElmanParams as ElmanParams
from jaxrnn.cells.elman import elman as elman
from jaxrnn.cells.gated import gated as gated
from jaxrnn.cells.gla import GLAParams as GLAParams
from jaxrnn.cells.gla import gla as gla
from jaxrnn.cells.gla_recurrence import GLAInputs as GLAInputs
from jaxrnn.cells.gla_recurrence import gla_recurrence as gla_recurrence
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
from jaxrnn.cells.lem import LEMCarry as LEMCarry
from jaxrnn.cells.lem import LEMParams as LEMParams
from jaxrnn.cells.lem import lem as lem
from jaxrnn.cells.linear import linear_recurrence as linear_recurrence
from jaxrnn.cells.lru import LRUCarry as LRUCarry
from jaxrnn.cells.lru import LRUParams as LRUParams
from jaxrnn.cells.lru import lru as lru
from jaxrnn.cells.lstm import LSTMCarry as LSTMCarry
from jaxrnn.cells.lstm import LSTMParams as LSTMParams
from jaxrnn.cells.lstm import lstm as lstm
from jaxrnn.cells.ltc import LTCCarry as LTCCarry
from jaxrnn.cells.ltc import LTCParams as LTCParams
from jaxrnn.cells.ltc import Synapses as Synapses
from jaxrnn.cells.ltc import ltc as ltc
from jaxrnn.cells.mamba import MambaCarry as MambaCarry
from jaxrnn.cells.mamba import MambaParams as MambaParams
from jaxrnn.cells.mamba import mamba as mamba
from jaxrnn.cells.matrix import MatrixCarry as MatrixCarry
from jaxrnn.cells.mgu import MGUCarry as MGUCarry
from jaxrnn.cells.mgu import MGUParams as MGUParams
from jaxrnn.cells.mgu import mgu as mgu
from jaxrnn.cells.minimal import MinGRUCarry as MinGRUCarry
from jaxrnn.cells.minimal import MinGRUParams as MinGRUParams
from jaxrnn.cells.minimal import MinLSTMCarry as MinLSTMCarry
from jaxrnn.cells.minimal import MinLSTMParams as MinLSTMParams
from jaxrnn.cells.minimal import mingru as mingru
from jaxrnn.cells.minimal import minlstm as minlstm
from jaxrnn.cells.mlstm import MLSTMParams as MLSTMParams
from jaxrnn.cells.mlstm import mlstm as mlstm
from jaxrnn.cells.mlstm_cell import QKV as QKV
from jaxrnn.cells.mlstm_cell import MLSTMCellParams as MLSTMCellParams
from jaxrnn.cells.mlstm_cell import mlstm_cell as mlstm_cell
from jaxrnn.cells.mlstm_recurrence import MLSTMCarry as MLSTMCarry
from jaxrnn.cells.mlstm_recurrence import MLSTMInputs as MLSTMInputs
from jaxrnn.cells.mlstm_recurrence import mlstm_recurrence as mlstm_recurrence
from jaxrnn.cells.options import Options as Options
from jaxrnn.cells.orthogonal import OrthogonalCarry as OrthogonalCarry
from jaxrnn.cells.orthogonal import OrthogonalParams as OrthogonalParams
from jaxrnn.cells.orthogonal import orthogonal as orthogonal
from jaxrnn.cells.peephole import PeepholeLSTMParams as PeepholeLSTMParams
from jaxrnn.cells.peephole import peephole_lstm as peephole_lstm
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
from jaxrnn.cells.slstm import SLSTMCarry as SLSTMCarry
from jaxrnn.cells.slstm import SLSTMParams as SLSTMParams
from jaxrnn.cells.slstm import slstm as slstm
from jaxrnn.cells.slstm_layer import SLSTMLayerCarry as SLSTMLayerCarry
from jaxrnn.cells.slstm_layer import SLSTMLayerParams as SLSTMLayerParams
from jaxrnn.cells.slstm_layer import slstm_layer as slstm_layer
from jaxrnn.cells.sru import SRUCarry as SRUCarry
from jaxrnn.cells.sru import SRUParams as SRUParams
from jaxrnn.cells.sru import sru as sru
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
    "delta_net": delta_net,
    "gated_delta_net": gated_delta_net,
    "gla": gla,
    "mlstm": mlstm,
    "mingru": mingru,
    "minlstm": minlstm,
    "qrnn": qrnn,
    "cfc": cfc,
    "clockwork": clockwork,
    "cornn": cornn,
    "lem": lem,
    "ltc": ltc,
    "orthogonal": orthogonal,
    "sru": sru,
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
