"""Cells by their names, such as the value of an option."""

from collections.abc import Callable
from typing import Any

from jaxrnn.cells.cfc import cfc
from jaxrnn.cells.clockwork import clockwork
from jaxrnn.cells.cornn import cornn
from jaxrnn.cells.coupled import coupled_lstm
from jaxrnn.cells.delta_net import delta_net, gated_delta_net
from jaxrnn.cells.elman import elman
from jaxrnn.cells.gla import gla
from jaxrnn.cells.gru import gru
from jaxrnn.cells.indrnn import indrnn
from jaxrnn.cells.irnn import irnn
from jaxrnn.cells.layer_norm import layer_norm_gru, layer_norm_lstm
from jaxrnn.cells.lem import lem
from jaxrnn.cells.lru import lru
from jaxrnn.cells.lstm import lstm
from jaxrnn.cells.ltc import ltc
from jaxrnn.cells.mamba import mamba
from jaxrnn.cells.mgu import mgu
from jaxrnn.cells.minimal import mingru, minlstm
from jaxrnn.cells.mlstm import mlstm
from jaxrnn.cells.orthogonal import orthogonal
from jaxrnn.cells.peephole import peephole_lstm
from jaxrnn.cells.qrnn import qrnn
from jaxrnn.cells.rg_lru import rg_lru
from jaxrnn.cells.s5 import s5
from jaxrnn.cells.slstm import slstm
from jaxrnn.cells.slstm_layer import slstm_layer
from jaxrnn.cells.sru import sru
from jaxrnn.checks import check_size
from jaxrnn.core import Cell

Factory = Callable[..., Cell]  # (input_size, hidden_size, **options) -> cell


def _with_outputs(factory: Factory) -> Factory:
    """Of a cell with a state of one size and outputs of another: here both are H."""

    def make(input_size: int, hidden_size: int, **options: Any) -> Cell:
        return factory(
            input_size, hidden_size, **{"output_size": hidden_size, **options}
        )

    return make


def _of_one_size(name: str, factory: Factory) -> Factory:
    """Of a cell that gives as many numbers as it reads."""

    def make(input_size: int, hidden_size: int, **options: Any) -> Cell:
        size = check_size(f"{name}: hidden_size", hidden_size)
        if check_size(f"{name}: input_size", input_size) != size:
            raise ValueError(
                f"{name}: input_size: expected the hidden size, {size}, since it gives "
                f"as many numbers as it reads, got {input_size}"
            )
        return factory(size, **options)

    return make


_BY_NAME: dict[str, Factory] = {
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
    "lru": _with_outputs(lru),
    "s5": _with_outputs(s5),
}
_ONE_SIZE = {"mamba": mamba, "rg_lru": rg_lru, "slstm_layer": slstm_layer}
_BY_NAME |= {name: _of_one_size(name, factory) for name, factory in _ONE_SIZE.items()}
NAMES = tuple(_BY_NAME)
OF_ONE_SIZE = tuple(_ONE_SIZE)  # those that give as many numbers as they read


def by_name(name: str) -> Factory:
    """The factory of a cell by its name, such as the value of an option.

    Args:
      name: one of `jaxrnn.cells.NAMES`, such as "elman", "gru", "lstm", "s5".

    Returns:
      `(input_size, hidden_size, **options) -> Cell`, of a cell from `[D]` to `[H]`.
      Those of `jaxrnn.cells.OF_ONE_SIZE`, such as "mamba", give as many numbers as they
      read: there the sizes are one.

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
