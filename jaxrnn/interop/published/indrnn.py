"""Trained weights of the authors' independently recurrent network."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.indrnn import IndRNNParams, indrnn
from jaxrnn.core import Cell
from jaxrnn.interop.entries import check_choice, read

WHERE = "load_published: arrays: "
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def read_indrnn(
    arrays: Mapping[str, Any], *, activation: str = "relu"
) -> tuple[Cell, IndRNNParams]:
    """An `indrnn` of the state of an `IndRNN_onlyrecurrent` or of its cell.

    Its x is `[H]`, projected already: w_x is the identity. With the state of the
    `Linear_overtime_module` before it, w_x and b are those, and x is `[D]`.

    Args:
      arrays: `weight_hh` or `indrnn_cell.weight_hh`, of the modules for a CPU and for
        CUDA; and perhaps `fc.weight` and `fc.bias`.
      activation: "relu", as in the authors' code, or "tanh".
    """
    check_choice("load_published: activation", activation, tuple(ACTIVATIONS))
    name = "weight_hh" if "weight_hh" in arrays else "indrnn_cell.weight_hh"
    shapes = {name: "H"}
    if any(key.startswith("fc.") for key in arrays):
        shapes |= {"fc.weight": "H D", "fc.bias": "H"}
    found = read(WHERE, arrays, shapes)
    u = found[name]
    w_x = (
        found["fc.weight"].T if "fc.weight" in found else np.eye(len(u), dtype=u.dtype)
    )
    b = found.get("fc.bias", np.zeros_like(u))
    params = IndRNNParams(*map(jnp.asarray, (w_x, u, b)))
    cell = indrnn(len(w_x), len(u), activation=ACTIVATIONS[activation], dtype=u.dtype)
    return cell, params


READERS = {"indrnn": read_indrnn}
