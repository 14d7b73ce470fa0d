"""Weights that the authors of a cell published, under their own names.

Each reader is in the file of its family. It returns the cell that computes what the
authors' program computes, and its params.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxrnn.core import Cell
from jaxrnn.interop.published import (
    averages,
    indrnn,
    matrix,
    ncps,
    oscillators,
    sru,
    state_spaces,
    xlstm,
)

# By the kind, `(arrays, **options) -> (cell, params)`.
READERS: dict[str, Callable[..., tuple[Cell, Any]]] = {
    **indrnn.READERS,
    **matrix.READERS,
    **xlstm.READERS,
    **averages.READERS,
    **state_spaces.READERS,
    **ncps.READERS,
    **oscillators.READERS,
    **sru.READERS,
}


def load_published(
    kind: str, arrays: Mapping[str, Any], **options: Any
) -> tuple[Cell, Any]:
    """Makes a cell of what the authors of it published.

    Args:
      kind: the authors' program and the cell in it, such as "s5".
      arrays: by the authors' own names, in their layout. Their dtype is that of the
        params; for float64 JAX must have it enabled.
      **options: of the kind, where the arrays do not tell; see its reader.

    Returns:
      The cell and its params.

    Raises:
      ValueError: if there is no such kind; if a name is missing or is not one of the
        authors'; if a shape does not fit.
      TypeError: if the kind has no such option.
    """
    if not isinstance(kind, str) or kind not in READERS:
        raise ValueError(
            f"load_published: kind: expected one of {', '.join(sorted(READERS))}, got "
            f"{kind!r}"
        )
    if not isinstance(arrays, Mapping):
        raise ValueError(
            "load_published: arrays: expected a mapping of names to arrays, got "
            f"{type(arrays).__name__}"
        )
    found = {name: np.asarray(a) for name, a in arrays.items()}
    return READERS[kind](found, **options)
