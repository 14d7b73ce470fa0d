"""A network that other frameworks have the layers for.

    x_t, or E x_t of a token x_t  ->  recurrent layers  ->  what is read  ->  output

What is read are all states, the last one, or one vector made of all of them.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

import jaxrnn as rnn
from experiments.card.layout import KINDS, linear
from jaxrnn import interop

Reads = Literal["steps", "last", "mean", "max", "ends", "attention"]


class Net(NamedTuple):
    """The params of such a network, of one seed; T steps, H units, K outputs."""

    cell: str  # one of `KINDS`
    layers: tuple[Any, ...]  # of each, the params of a cell, or `Directions` of two
    output: Any  # LinearParams, [H] to [K]
    reads: Reads  # "ends": the last state of each of two directions
    embedding: Any = None  # [V, D]
    query: Any = None  # [H], of the attention
    projection: Any = None  # LinearParams, between the states and the output
    start: tuple[Any, ...] = ()  # the learned first carry of each layer

    @property
    def kind(self) -> Any:
        """Its name in other frameworks: "rnn", "gru" or "lstm"."""
        return KINDS[self.cell][0]

    @property
    def both(self) -> bool:
        """Whether it reads in two directions."""
        return isinstance(self.layers[0], rnn.Directions)

    @property
    def first(self) -> Any:
        """The params of the first cell."""
        return self.layers[0].forward if self.both else self.layers[0]

    @property
    def bias(self) -> bool:
        """Whether the cells have biases."""
        return self.first.b is not None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Of an input or a token's vector, of a state of one direction, of an output.

        D, H and K.
        """
        return self.first.w_x.shape[0], self.first.w_h.shape[0], self.output.w.shape[1]

    @property
    def whole(self) -> Any:
        """The params of the recurrent layers, as the readers and writers have them."""
        return self.layers[0] if len(self.layers) == 1 else self.layers

    @property
    def shapes(self) -> str:
        """What it reads and tells, of a batch."""
        D, _, K = self.sizes
        inputs = "[B, T]" if self.embedding is not None else f"[B, T, {D}]"
        return f"{inputs} to [B, {'T, ' if self.reads == 'steps' else ''}{K}]"


def net(
    cell: str, layers: Sequence[Any], output: Any, reads: Reads, **more: Any
) -> Net | None:
    """The network, or None where torch has no such cell.

    Args:
      cell: its name.
      layers: the params of a `rnn.chain`; those of layers without params are left out.
      output: of the last layer.
      reads: what the output is told from.
      **more: further fields of `Net`.
    """
    if cell not in KINDS:
        return None
    kept = [params for params in layers if len(params)]
    start = ()
    if isinstance(kept[0], rnn.LearnedParams):
        start = tuple(params.carry for params in kept)
        kept = [params.cell for params in kept]
    return Net(cell, tuple(kept), output, reads, start=start, **more)


def tensors(net: Net) -> dict[str, np.ndarray]:
    """The params as torch has them, for `load_state_dict`."""
    found = {}
    if net.embedding is not None:
        found["embedding.weight"] = net.embedding
    if net.start:
        found["h_0"] = np.stack([carry.h for carry in net.start])
        if net.kind == "lstm":
            found["c_0"] = np.stack([carry.c for carry in net.start])
    found |= interop.to_torch(net.kind, net.whole, prefix="rnn.")
    if net.query is not None:
        found["query"] = net.query
    for name in ("projection", "output"):
        layer = getattr(net, name)
        found |= {} if layer is None else linear(name, layer)
    return {name: np.array(a, order="C") for name, a in found.items()}
