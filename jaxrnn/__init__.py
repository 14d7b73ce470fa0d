"""Recurrent networks as pure functions in JAX.

A model is a `Cell`; everything else is where its carry comes from, where its inputs
come from, and which outputs you read. Import it as `import jaxrnn as rnn`.
"""

from jaxrnn.attention import (
    Attended,
    AttentionParams,
    FeedingCarry,
    attend,
    attention_pool,
    bahdanau,
    input_feeding,
    luong,
)
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
from jaxrnn.decode import (
    Generated,
    Hypotheses,
    beam_search,
    generate,
    greedy,
    sample,
    stream,
)
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
    "Attended",
    "AttentionParams",
    "Cell",
    "Directions",
    "DropoutCarry",
    "ElmanCarry",
    "ElmanParams",
    "EmbeddingParams",
    "FeedingCarry",
    "GRUCarry",
    "GRUParams",
    "Generated",
    "Hypotheses",
    "LSTMCarry",
    "LSTMParams",
    "LayerNormParams",
    "LinearParams",
    "Metrics",
    "RecurrentParams",
    "TrainState",
    "accuracy",
    "activation",
    "attend",
    "attention_pool",
    "bahdanau",
    "beam_search",
    "bidirectional",
    "chain",
    "cross_entropy",
    "dropout",
    "elman",
    "embedding",
    "generate",
    "greedy",
    "gru",
    "input_feeding",
    "last",
    "layer_norm",
    "linear",
    "lstm",
    "luong",
    "make_epoch",
    "make_update",
    "recurrent",
    "remat",
    "residual",
    "sample",
    "scan_unroll",
    "shuffled",
    "sigmoid_cross_entropy",
    "squared_error",
    "stream",
    "train_state",
]
