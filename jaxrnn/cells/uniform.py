"""The start values that many authors draw: from a uniform distribution around zero."""

import jax

from jaxrnn.cells.options import Initializer


def uniform(bound: float) -> Initializer:
    """An initializer that draws from U(-bound, bound)."""

    def draw(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
