"""What Elman, GRU and LSTM compute between two products, on tiles of units.

A tile is [rows, units] in float32, one array for each gate: the arrays of Triton can be
neither split nor put together, as the cells themselves do it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid


class Gates(NamedTuple):
    """The pointwise part of a cell and its derivative. The state is (h,) or (h, c).

    Attributes:
      of_x, of_h: how many gates get a share of the inputs, and of h.
      pieces: of the ct of z, how many gates each has.
      kept: by name what the loop keeps of a step: for each array of the residuals the
        parts of its last axis.
      forward: `(zs_x, zs_h, b_h, state) -> (state, what is kept by name)`. The last of
        zs_h is the product of `inner`, if there is one; b_h is the bias of the last
        gate of h, where that has its own.
      backward: `(kept, h, ct, by_inner) -> (pieces of the ct of z, the one that passes
        to h by the product, the ct of the state without that; None for nothing)`.
      inner, inner_back: `(zs_x, zs_h, state)` and `(kept, ct)` to what a second product
        of a step reads, with the last columns of the matrix.
      reads_h: whether `backward` reads the h before the step.
    """

    of_x: int
    of_h: int
    pieces: tuple[int, ...]
    kept: tuple[tuple[str, ...], ...]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inner: Callable[..., Any] | None = None
    inner_back: Callable[..., Any] | None = None
    reads_h: bool = False

    @property
    def matrices(self) -> int:
        """How many [H, H] the recurrence has."""
        return self.of_h + (self.inner is not None)


def _elman(activation, zs_x, zs_h, b_h, state):
    y = activation(zs_x[0] + zs_h[0])
    return (y,), {"y": y}


def _tanh_back(kept, h, ct, by_inner):
    of_z = [ct[0] * (1 - kept["y"] * kept["y"])]
    return [of_z], of_z, (None,)


def _relu_back(kept, h, ct, by_inner):
    of_z = [jnp.where(kept["y"] > 0, ct[0], jnp.zeros_like(ct[0]))]
    return [of_z], of_z, (None,)


def _gru(zs_x, zs_h, b_h, state):
    r, z = (sigmoid(a + b) for a, b in zip(zs_x[:2], zs_h[:2], strict=True))
    n_h = zs_h[2] + b_h
    n = jnp.tanh(zs_x[2] + r * n_h)
    return (n + z * (state[0] - n),), {"r": r, "z": z, "n": n, "n_h": n_h}


def _gru_back(kept, h, ct, by_inner):
    r, z, n, n_h = (kept[name] for name in ("r", "z", "n", "n_h"))
    ct_n = _ct_n(kept, ct)
    of_h = [ct_n * n_h * r * (1 - r), ct[0] * (h - n) * z * (1 - z), ct_n * r]
    return [[ct_n], of_h], of_h, (ct[0] * z,)


def _ct_n(kept, ct):
    return ct[0] * (1 - kept["z"]) * (1 - kept["n"] * kept["n"])


def _reset(zs_x, zs_h, state):
    return sigmoid(zs_x[0] + zs_h[0]) * state[0]


def _reset_before(zs_x, zs_h, b_h, state):
    r, z = (sigmoid(a + b) for a, b in zip(zs_x[:2], zs_h[:2], strict=True))
    n = jnp.tanh(zs_x[2] + zs_h[2])
    return (n + z * (state[0] - n),), {"r": r, "z": z, "n": n}


def _reset_before_back(kept, h, ct, by_inner):
    r, z, n = (kept[name] for name in ("r", "z", "n"))
    of_h = [by_inner * h * r * (1 - r), ct[0] * (h - n) * z * (1 - z)]
    return [of_h, [_ct_n(kept, ct)]], of_h, (ct[0] * z + by_inner * r,)


def _lstm(zs_x, zs_h, b_h, state):
    i, f, g, o = (a + b for a, b in zip(zs_x, zs_h, strict=True))
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * state[1] + i * g
    kept = {"i": i, "f": f, "g": g, "o": o, "c": state[1]}
    return (o * jnp.tanh(c), c), kept


def _lstm_back(kept, h, ct, by_inner):
    i, f, g, o, c = (kept[name] for name in ("i", "f", "g", "o", "c"))
    tanh_c = jnp.tanh(f * c + i * g)
    ct_c = ct[1] + ct[0] * o * (1 - tanh_c * tanh_c)
    ct_f, ct_g = ct_c * c * f * (1 - f), ct_c * i * (1 - g * g)
    of_z = [ct_c * g * i * (1 - i), ct_f, ct_g, ct[0] * tanh_c * o * (1 - o)]
    return [of_z], of_z, (None, ct_c * f)


# By the name of the pointwise part. What is kept has the order of its residuals.
GATES = {
    "elman tanh": Gates(1, 1, (1,), (("y",),), partial(_elman, jnp.tanh), _tanh_back),
    "elman relu": Gates(
        1, 1, (1,), (("y",),), partial(_elman, jax.nn.relu), _relu_back
    ),
    "gru": Gates(
        *(3, 3, (1, 3), (("r", "z", "n_h"), ("n",)), _gru, _gru_back), reads_h=True
    ),
    "gru reset before": Gates(
        *(3, 2, (2, 1), (("r", "z"), ("n",)), _reset_before, _reset_before_back),
        *(_reset, _ct_n, True),
    ),
    "lstm": Gates(4, 4, (4,), (("i", "f", "g", "o"), ("c",)), _lstm, _lstm_back),
}
