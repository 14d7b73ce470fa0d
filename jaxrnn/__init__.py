"""Recurrent networks as pure functions in JAX.

A model is a `Cell`; everything else is where its carry comes from, where its inputs
come from, and which outputs you read. Import it as `import jaxrnn as rnn`.
"""

from jaxrnn.cells import (
    ElmanCarry,
    ElmanParams,
    GRUCarry,
    GRUParams,
    LSTMCarry,
    LSTMParams,
    RecurrentParams,
    elman,
    gru,
    lstm,
    recurrent,
)
from jaxrnn.combinators import Directions, bidirectional, chain, remat, residual
from jaxrnn.core import Cell, last, scan_unroll
from jaxrnn.layers import (
    DropoutCarry,
    EmbeddingParams,
    LayerNormParams,
    LinearParams,
    activation,
    dropout,
    embedding,
    layer_norm,
    linear,
)
from jaxrnn.losses import accuracy, cross_entropy, sigmoid_cross_entropy, squared_error
from jaxrnn.train import (
    Metrics,
    TrainState,
    make_epoch,
    make_update,
    shuffled,
    train_state,
)

__version__ = "0.1.0"

__all__ = [
    "Cell",
    "Directions",
    "DropoutCarry",
    "ElmanCarry",
    "ElmanParams",
    "EmbeddingParams",
    "GRUCarry",
    "GRUParams",
    "LSTMCarry",
    "LSTMParams",
    "LayerNormParams",
    "LinearParams",
    "Metrics",
    "RecurrentParams",
    "TrainState",
    "accuracy",
    "activation",
    "bidirectional",
    "chain",
    "cross_entropy",
    "dropout",
    "elman",
    "embedding",
    "gru",
    "last",
    "layer_norm",
    "linear",
    "lstm",
    "make_epoch",
    "make_update",
    "recurrent",
    "remat",
    "residual",
    "scan_unroll",
    "shuffled",
    "sigmoid_cross_entropy",
    "squared_error",
    "train_state",
]
