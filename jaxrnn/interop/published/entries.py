"""Arrays under the names that their authors gave them, found and checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxrnn.interop.entries import read

WHERE = "load_published: arrays: "


def dotted(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays by names such as "input_gate.w", whatever joins the parts of these.

    In a flax tree that is a slash, and all may stand under "params".
    """
    found = {str(name).replace("/", "."): value for name, value in arrays.items()}
    if found and all(name.startswith("params.") for name in found):
        return {name.removeprefix("params."): value for name, value in found.items()}
    return found


def fitted(
    arrays: Mapping[str, Any], shapes: Mapping[str, str], optional: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """What `jaxrnn.interop.entries.read` makes of the arrays.

    Of `optional` those that are there are read as well.
    """
    there = {name: shape for name, shape in optional.items() if name in arrays}
    return read(WHERE, arrays, {**shapes, **there})
