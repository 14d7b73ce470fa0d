"""Start values that the authors of several cells draw."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxrnn.cells.options import Initializer
from jaxrnn.precision import wide

# Uniform in +-1/sqrt(D), as torch draws the matrix [D, G] of a linear layer.
TORCH_LINEAR = initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform(bound: float) -> Initializer:
    """An initializer that draws from U(-bound, bound)."""

    def draw(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def delta_bias_init(
    key: jax.Array,
    size: int,
    dtype: Any,
    delta_min: float = 0.001,
    delta_max: float = 0.1,
) -> jax.Array:
    """Draws a bias whose softplus is log-uniform, and not below 0.0001."""
    low, high = math.log(delta_min), math.log(delta_max)
    delta = jnp.exp(jax.random.uniform(key, (size,), wide(dtype), low, high))
    delta = jnp.maximum(delta, 1e-4)
    return (delta + jnp.log(-jnp.expm1(-delta))).astype(dtype)
