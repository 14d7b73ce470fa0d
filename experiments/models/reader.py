"""A network that reads a sequence and decides after its last step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxrnn as rnn
from experiments.models.stack import cell_named, stack


class ReaderParams(NamedTuple):
    """Weights of a `Reader`."""

    reader: Any
    readout: Any


class Reader(NamedTuple):
    """s_t = cell(x_t, s_{t-1}) and s_t V, as functions of one sequence."""

    cells: rnn.Cell  # from x_t to s_t
    readout: rnn.Cell  # from s_t to s_t V
    init: Callable[[jax.Array], ReaderParams]
    read: Callable[..., jax.Array]  # (params, xs [T, D], key) -> s_1 .. s_T, [T, H]
    tell: Callable[..., jax.Array]  # (params, states [T, H]) -> s_1 V .. s_T V, [T, K]

    def logits(
        self, params: ReaderParams, xs: jax.Array, key: jax.Array | None = None
    ) -> jax.Array:
        """s_T V, [K]."""
        state = rnn.last(self.read(params, xs, key))
        return self.tell(params, state[None])[0]


def reader(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_classes: int,
    *,
    layers: int = 1,
    dropout: float = 0.0,
    bias: bool = True,
    init_scale: float | None = None,
    compute_dtype: Any = None,
) -> Reader:
    """Stacked cells with dropout, and a linear readout V.

    Args:
      cell: its name.
      input_size: D.
      hidden_size: H.
      num_classes: K.
      layers: the number of cells.
      dropout: the share of hidden units that is left out, between and after layers.
      bias: whether the cells and the readout have biases.
      init_scale: draws all weights, and a learned first state, from N(0, this^2). None
        for the library's initializers, and a first state of zeros.
      compute_dtype: of the operands of the recurrent products.

    Example:
      >>> net = reader("gru", 3, 5, 2)
      >>> params = net.init(jax.random.key(0))
      >>> net.logits(params, jax.numpy.ones((7, 3))).shape
      (2,)
    """
    weights, readout_weights = {}, {}
    if init_scale is not None:
        normal = jax.nn.initializers.normal(init_scale)
        names = ("w_x_init", "w_h_init", "b_init", "carry_init")
        weights = dict.fromkeys(names, normal)
        readout_weights = {"w_init": normal, "b_init": normal}
    # Not every cell has these options: they are given where they are asked for.
    weights |= {} if compute_dtype is None else {"compute_dtype": compute_dtype}
    weights |= {} if bias else {"bias": False}
    make, sizes = cell_named(cell), (input_size, hidden_size)
    cells = rnn.chain(*stack(make, *sizes, layers, dropout=dropout, **weights))
    readout = rnn.linear(hidden_size, num_classes, bias=bias, **readout_weights)

    def init(key):
        reader_key, readout_key = jax.random.split(key)
        return ReaderParams(cells.init(reader_key), readout.init(readout_key))

    def read(params, xs, key=None):
        carry = cells.initial_carry(params.reader, key)
        return cells.unroll(params.reader, carry, xs)[1]

    def tell(params, states):
        return readout.unroll(params.readout, (), states)[1]

    return Reader(cells, readout, init, read, tell)


def scores(logits_SNK: np.ndarray, labels_N: np.ndarray) -> dict[str, np.ndarray]:
    """Of each seed: accuracy on all images and on the first 100, and the loss; [S]."""
    hits_SN = logits_SNK.argmax(-1) == labels_N
    log_p_SNK = np.asarray(jax.nn.log_softmax(logits_SNK), np.float64)
    return {
        "accuracy": hits_SN.mean(axis=1),
        "first_100_accuracy": hits_SN[:, :100].mean(axis=1),
        "loss": -log_p_SNK[:, np.arange(len(labels_N)), labels_N].mean(axis=1),
    }
