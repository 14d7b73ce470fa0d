"""Recurrent layers before an output, as other frameworks have them."""

from collections.abc import Sequence
from typing import Any

from experiments.card import flax, keras, own, torch
from experiments.card.layout import Layout
from experiments.card.net import Reads, net, tensors


def recurrent(
    cell: str, layers: Sequence[Any], output: Any, reads: Reads, **more: Any
) -> Layout | None:
    """The tensors and the code, or None where torch lacks the cell; see `net`."""
    made = net(cell, layers, output, reads, **more)
    if made is None:
        return None
    codes = {"torch": torch.code(made), "keras": keras.code(made)}
    codes |= {"flax": flax.code(made), "jaxrnn": own.code(made)}
    sizes = dict(zip("DHK", made.sizes, strict=True)) | {"layers": len(made.layers)}
    if made.embedding is not None:
        sizes["V"] = len(made.embedding)
    return Layout(tensors(made), codes, sizes)
