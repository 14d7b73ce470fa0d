"""The arrays that a reader is given: chosen by a prefix, and checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.interop.entries import read, under

CALL = "load_published"


def chosen(arrays: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """What stands under a prefix, such as the name of a module, without it."""
    return under(CALL, "arrays", arrays, prefix)[1]


def named(
    arrays: Mapping[str, Any], shapes: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The arrays of these names, of one dtype and of shapes that fit; see `fit`."""
    found = {f"[{name!r}]": array for name, array in arrays.items()}
    wanted = {f"[{name!r}]": shape for name, shape in shapes.items()}
    read_ = read(f"{CALL}: arrays", found, wanted)
    return dict(zip(shapes, read_.values(), strict=True))
