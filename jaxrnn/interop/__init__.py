"""Weights in and out of other frameworks, and safetensors files.

`load_torch(kind, state)`, and the same for other frameworks, gives a cell and its
params that compute what the framework's layer computes. `to_torch(kind, params)` gives
the weights back under the framework's own names, as numpy arrays. The kinds are "rnn",
"gru" and "lstm". No framework needs to be installed. What does not fit is a
`ValueError` that names the entry, what was expected and what came.

Where conventions differ, the weights are rearranged so that the function stays the
same: gates change places, two biases become their sum, a constant that is added at run
time becomes part of the bias, and h' = (1 - z) h + z a becomes h' = (1 - z) n + z h by
the sign of the weights of z, since 1 - sigmoid(a) = sigmoid(-a).

The frameworks' wrappers are combinators here: layers one after the other are
`chain(*cells)` with a tuple of params, two directions `bidirectional(*cells)` with
`Directions(*params)`.
"""

from jaxrnn.interop.chainer import load_chainer, to_chainer
from jaxrnn.interop.cudnn import load_cudnn, to_cudnn
from jaxrnn.interop.equinox import load_equinox, to_equinox
from jaxrnn.interop.flax import load_flax, to_flax
from jaxrnn.interop.haiku import load_haiku, to_haiku
from jaxrnn.interop.keras import load_keras, to_keras
from jaxrnn.interop.mlx import load_mlx, to_mlx
from jaxrnn.interop.onnx import load_onnx, to_onnx
from jaxrnn.interop.paddle import load_paddle, to_paddle
from jaxrnn.interop.published import load_published
from jaxrnn.interop.safetensors import load_safetensors, save_safetensors
from jaxrnn.interop.sonnet import load_sonnet, to_sonnet
from jaxrnn.interop.tensorflow import load_tensorflow, to_tensorflow
from jaxrnn.interop.torch import load_torch, to_torch

__all__ = [
    "load_chainer",
    "load_cudnn",
    "load_equinox",
    "load_flax",
    "load_haiku",
    "load_keras",
    "load_mlx",
    "load_onnx",
    "load_paddle",
    "load_published",
    "load_safetensors",
    "load_sonnet",
    "load_tensorflow",
    "load_torch",
    "save_safetensors",
    "to_chainer",
    "to_cudnn",
    "to_equinox",
    "to_flax",
    "to_haiku",
    "to_keras",
    "to_mlx",
    "to_onnx",
    "to_paddle",
    "to_sonnet",
    "to_tensorflow",
    "to_torch",
]
