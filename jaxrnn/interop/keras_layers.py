"""What a layer of Keras says besides its weights: its version and its activations."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

_SAME: dict[str, Callable] = {  # in Keras 2 and 3
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "linear": lambda x: x,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "exponential": jnp.exp,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
}


def _hard_sigmoid_2(x: jax.Array) -> jax.Array:
    return jnp.clip(x / 5 + 0.5, 0, 1)


_HARD_SIGMOID = {2: _hard_sigmoid_2, 3: jax.nn.hard_sigmoid}


def version_of(layer: Any) -> int | None:
    """The first number of the version of the Keras that a layer is of."""
    for base in type(layer).__mro__:
        top = base.__module__.split(".")[0]
        if top == "tf_keras" or base.__module__.startswith("tensorflow.python.keras"):
            return 2
        if top == "keras":
            return int(str(getattr(sys.modules.get(top), "__version__", "3"))[0])
    return None


def function_of(option: str, value: Any, version: int | None) -> Callable:
    """The activation of a name in a version of Keras, or a function as it is."""
    if callable(value):
        return value
    name = f"load_keras: {option}"
    if value == "hard_sigmoid":
        if version not in _HARD_SIGMOID:
            raise ValueError(
                f"{name}: expected also version=2 or version=3 for 'hard_sigmoid', "
                "which is clip(x / 5 + 1 / 2, 0, 1) in Keras 2 and "
                f"clip(x / 6 + 1 / 2, 0, 1) in Keras 3, got version={version!r}"
            )
        return _HARD_SIGMOID[version]
    if not isinstance(value, str) or value not in _SAME:
        raise ValueError(
            f"{name}: expected one of {', '.join((*_SAME, 'hard_sigmoid'))}, or a "
            f"function of jax arrays, got {value!r}"
        )
    return _SAME[value]
