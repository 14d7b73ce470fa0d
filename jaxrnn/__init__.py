"""Recurrent networks as pure functions in JAX.

A model is a `Cell`; everything else is where its carry comes from, where its inputs
come from, and which outputs you read. Import it as `import jaxrnn as rnn`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxrnn import cells as cells
from jaxrnn import kernels as kernels
from jaxrnn import serialization as serialization
from jaxrnn.attention import AttentionParams as AttentionParams
from jaxrnn.attention import attend as attend
from jaxrnn.attention import bahdanau as bahdanau
from jaxrnn.attention import luong as luong
from jaxrnn.build import leaf as leaf
from jaxrnn.cells import QKV as QKV
from jaxrnn.cells import CfCCarry as CfCCarry
from jaxrnn.cells import CfCParams as CfCParams
from jaxrnn.cells import ClockworkCarry as ClockworkCarry
from jaxrnn.cells import ClockworkParams as ClockworkParams
from jaxrnn.cells import ConvLSTMParams as ConvLSTMParams
from jaxrnn.cells import ConvolutionCarry as ConvolutionCarry
from jaxrnn.cells import ConvolutionParams as ConvolutionParams
from jaxrnn.cells import CoRNNCarry as CoRNNCarry
from jaxrnn.cells import CoRNNParams as CoRNNParams
from jaxrnn.cells import CoupledLSTMParams as CoupledLSTMParams
from jaxrnn.cells import DecayParams as DecayParams
from jaxrnn.cells import DeltaInputs as DeltaInputs
from jaxrnn.cells import DeltaNetParams as DeltaNetParams
from jaxrnn.cells import DropoutGRUCarry as DropoutGRUCarry
from jaxrnn.cells import DropoutLSTMCarry as DropoutLSTMCarry
from jaxrnn.cells import ElmanCarry as ElmanCarry
from jaxrnn.cells import ElmanParams as ElmanParams
from jaxrnn.cells import GatedDeltaInputs as GatedDeltaInputs
from jaxrnn.cells import GLAInputs as GLAInputs
from jaxrnn.cells import GLAParams as GLAParams
from jaxrnn.cells import GRUCarry as GRUCarry
from jaxrnn.cells import GRUParams as GRUParams
from jaxrnn.cells import IndRNNParams as IndRNNParams
from jaxrnn.cells import LayerNormGRUParams as LayerNormGRUParams
from jaxrnn.cells import LayerNormLSTMParams as LayerNormLSTMParams
from jaxrnn.cells import LEMCarry as LEMCarry
from jaxrnn.cells import LEMParams as LEMParams
from jaxrnn.cells import LRUCarry as LRUCarry
from jaxrnn.cells import LRUParams as LRUParams
from jaxrnn.cells import LSTMCarry as LSTMCarry
from jaxrnn.cells import LSTMParams as LSTMParams
from jaxrnn.cells import LTCCarry as LTCCarry
from jaxrnn.cells import LTCParams as LTCParams
from jaxrnn.cells import MambaCarry as MambaCarry
from jaxrnn.cells import MambaParams as MambaParams
from jaxrnn.cells import MatrixCarry as MatrixCarry
from jaxrnn.cells import MGUCarry as MGUCarry
from jaxrnn.cells import MGUParams as MGUParams
from jaxrnn.cells import MinGRUCarry as MinGRUCarry
from jaxrnn.cells import MinGRUParams as MinGRUParams
from jaxrnn.cells import MinLSTMCarry as MinLSTMCarry
from jaxrnn.cells import MinLSTMParams as MinLSTMParams
from jaxrnn.cells import MLSTMCarry as MLSTMCarry
from jaxrnn.cells import MLSTMCellParams as MLSTMCellParams
from jaxrnn.cells import MLSTMInputs as MLSTMInputs
from jaxrnn.cells import MLSTMParams as MLSTMParams
from jaxrnn.cells import OrthogonalCarry as OrthogonalCarry
from jaxrnn.cells import OrthogonalParams as OrthogonalParams
from jaxrnn.cells import PeepholeLSTMParams as PeepholeLSTMParams
from jaxrnn.cells import ProjectedLSTMParams as ProjectedLSTMParams
from jaxrnn.cells import QRNNCarry as QRNNCarry
from jaxrnn.cells import QRNNParams as QRNNParams
from jaxrnn.cells import RecurrentParams as RecurrentParams
from jaxrnn.cells import RGLRUCarry as RGLRUCarry
from jaxrnn.cells import RGLRUParams as RGLRUParams
from jaxrnn.cells import S5Carry as S5Carry
from jaxrnn.cells import S5Params as S5Params
from jaxrnn.cells import SelectiveScanCarry as SelectiveScanCarry
from jaxrnn.cells import SelectiveScanInput as SelectiveScanInput
from jaxrnn.cells import SelectiveScanParams as SelectiveScanParams
from jaxrnn.cells import SLSTMCarry as SLSTMCarry
from jaxrnn.cells import SLSTMLayerCarry as SLSTMLayerCarry
from jaxrnn.cells import SLSTMLayerParams as SLSTMLayerParams
from jaxrnn.cells import SLSTMParams as SLSTMParams
from jaxrnn.cells import SRUCarry as SRUCarry
from jaxrnn.cells import SRUParams as SRUParams
from jaxrnn.cells import Synapses as Synapses
from jaxrnn.cells import Timed as Timed
from jaxrnn.cells import causal_conv as causal_conv
from jaxrnn.cells import cfc as cfc
from jaxrnn.cells import clockwork as clockwork
from jaxrnn.cells import conv_lstm as conv_lstm
from jaxrnn.cells import cornn as cornn
from jaxrnn.cells import coupled_lstm as coupled_lstm
from jaxrnn.cells import delta_net as delta_net
from jaxrnn.cells import delta_rule as delta_rule
from jaxrnn.cells import dropout_gru as dropout_gru
from jaxrnn.cells import dropout_lstm as dropout_lstm
from jaxrnn.cells import elman as elman
from jaxrnn.cells import gated_delta_net as gated_delta_net
from jaxrnn.cells import gated_delta_rule as gated_delta_rule
from jaxrnn.cells import gla as gla
from jaxrnn.cells import gla_recurrence as gla_recurrence
from jaxrnn.cells import gru as gru
from jaxrnn.cells import indrnn as indrnn
from jaxrnn.cells import irnn as irnn
from jaxrnn.cells import layer_norm_gru as layer_norm_gru
from jaxrnn.cells import layer_norm_lstm as layer_norm_lstm
from jaxrnn.cells import lem as lem
from jaxrnn.cells import linear_recurrence as linear_recurrence
from jaxrnn.cells import lru as lru
from jaxrnn.cells import lstm as lstm
from jaxrnn.cells import ltc as ltc
from jaxrnn.cells import mamba as mamba
from jaxrnn.cells import mgu as mgu
from jaxrnn.cells import mingru as mingru
from jaxrnn.cells import minlstm as minlstm
from jaxrnn.cells import mlstm as mlstm
from jaxrnn.cells import mlstm_cell as mlstm_cell
from jaxrnn.cells import mlstm_recurrence as mlstm_recurrence
from jaxrnn.cells import orthogonal as orthogonal
from jaxrnn.cells import peephole_lstm as peephole_lstm
from jaxrnn.cells import projected_lstm as projected_lstm
from jaxrnn.cells import qrnn as qrnn
from jaxrnn.cells import recurrent as recurrent
from jaxrnn.cells import rg_lru as rg_lru
from jaxrnn.cells import s5 as s5
from jaxrnn.cells import selective_scan as selective_scan
from jaxrnn.cells import slstm as slstm
from jaxrnn.cells import slstm_layer as slstm_layer
from jaxrnn.cells import sru as sru
from jaxrnn.checks import Input as Input
from jaxrnn.combinators import Directions as Directions
from jaxrnn.combinators import FeedingCarry as FeedingCarry
from jaxrnn.combinators import LearnedParams as LearnedParams
from jaxrnn.combinators import NewtonOptions as NewtonOptions
from jaxrnn.combinators import NewtonReport as NewtonReport
from jaxrnn.combinators import NoiseCarry as NoiseCarry
from jaxrnn.combinators import TiedParams as TiedParams
from jaxrnn.combinators import bidirectional as bidirectional
from jaxrnn.combinators import chain as chain
from jaxrnn.combinators import dilated as dilated
from jaxrnn.combinators import input_feeding as input_feeding
from jaxrnn.combinators import learned_carry as learned_carry
from jaxrnn.combinators import newton_unroll as newton_unroll
from jaxrnn.combinators import parallel as parallel
from jaxrnn.combinators import recurrent_dropout as recurrent_dropout
from jaxrnn.combinators import rekeyed as rekeyed
from jaxrnn.combinators import remat as remat
from jaxrnn.combinators import residual as residual
from jaxrnn.combinators import starting as starting
from jaxrnn.combinators import tied_embedding as tied_embedding
from jaxrnn.combinators import weight_drop as weight_drop
from jaxrnn.combinators import zoneout as zoneout
from jaxrnn.core import About as About
from jaxrnn.core import Cell as Cell
from jaxrnn.core import last as last
from jaxrnn.core import scan_unroll as scan_unroll
from jaxrnn.decode import Generated as Generated
from jaxrnn.decode import Hypotheses as Hypotheses
from jaxrnn.decode import SamplingCarry as SamplingCarry
from jaxrnn.decode import beam_search as beam_search
from jaxrnn.decode import generate as generate
from jaxrnn.decode import greedy as greedy
from jaxrnn.decode import prefill as prefill
from jaxrnn.decode import sample as sample
from jaxrnn.decode import scheduled_sampling as scheduled_sampling
from jaxrnn.decode import stream as stream
from jaxrnn.ends import summary as summary
from jaxrnn.layers import DropoutCarry as DropoutCarry
from jaxrnn.layers import EmbeddingParams as EmbeddingParams
from jaxrnn.layers import LayerNormParams as LayerNormParams
from jaxrnn.layers import LinearParams as LinearParams
from jaxrnn.layers import activation as activation
from jaxrnn.layers import dropout as dropout
from jaxrnn.layers import embedding as embedding
from jaxrnn.layers import layer_norm as layer_norm
from jaxrnn.layers import linear as linear
from jaxrnn.lift import apply as apply
from jaxrnn.lift import around as around
from jaxrnn.lift import lifted as lifted
from jaxrnn.lift import trace as trace
from jaxrnn.losses import accuracy as accuracy
from jaxrnn.losses import cross_entropy as cross_entropy
from jaxrnn.losses import sigmoid_cross_entropy as sigmoid_cross_entropy
from jaxrnn.losses import squared_error as squared_error
from jaxrnn.means import Weighted as Weighted
from jaxrnn.packing import Packed as Packed
from jaxrnn.packing import pack as pack
from jaxrnn.penalties import activation_penalty as activation_penalty
from jaxrnn.penalties import temporal_activation_penalty as temporal_activation_penalty
from jaxrnn.pooling import Attended as Attended
from jaxrnn.pooling import attention_pool as attention_pool
from jaxrnn.train import Metrics as Metrics
from jaxrnn.train import TrainState as TrainState
from jaxrnn.train import make_epoch as make_epoch
from jaxrnn.train import make_update as make_update
from jaxrnn.train import shuffled as shuffled
from jaxrnn.train import train_state as train_state

if TYPE_CHECKING:
    from jaxrnn import testing as testing

__version__ = "0.1.0"

serialization.register()


def __getattr__(name: str) -> Any:
    """Imports `jaxrnn.testing` when it is first used, which few programs do."""
    if name == "testing":
        return importlib.import_module("jaxrnn.testing")
    raise AttributeError(f"module 'jaxrnn' has no attribute {name!r}")
