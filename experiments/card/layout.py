"""A network as other frameworks have it: tensors under torch's names, and code."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

FRAMEWORKS = ("torch", "keras", "flax", "jaxrnn")
KINDS: dict[
    str, tuple[Any, str]
] = {  # of the cells that torch, Keras and flax have: their kind, their function
    "elman": ("rnn", "tanh"),
    "irnn": ("rnn", "relu"),
    "gru": ("gru", "tanh"),
    "lstm": ("lstm", "tanh"),
}


class Layout(NamedTuple):
    """What `load_state_dict` of torch reads, and programs that load it.

    A program defines `network`, which reads a batch.
    """

    tensors: Mapping[str, np.ndarray]
    codes: Mapping[str, str]  # by framework
    sizes: Mapping[str, int]


def linear(name: str, params: Any) -> dict[str, np.ndarray]:
    """Params of a linear layer as those of torch's."""
    found = {f"{name}.weight": np.array(np.asarray(params.w).T, order="C")}
    return found if params.b is None else found | {f"{name}.bias": params.b}


def read_layers(cell: str, layers: int = 1, both: bool = False) -> str:
    """A call that reads the recurrent layers from `state`, for any framework.

    Example:
      >>> read_layers("gru", layers=2)
      'interop.load_torch("gru", state, num_layers=2, prefix="rnn.")'
    """
    kind, nonlinearity = KINDS[cell]
    options = [f'"{kind}"', "state"]
    if layers > 1:
        options.append(f"num_layers={layers}")
    if both:
        options.append("bidirectional=True")
    if nonlinearity != "tanh":
        options.append(f'nonlinearity="{nonlinearity}"')
    options.append('prefix="rnn."')
    return f"interop.load_torch({', '.join(options)})"
