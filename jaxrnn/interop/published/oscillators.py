"""coRNN and LEM of T. Konstantin Rusch: github.com/tk-rusch/coRNN and /LEM."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.cornn import CoRNNParams, cornn
from jaxrnn.cells.lem import LEMParams, lem
from jaxrnn.core import Cell
from jaxrnn.interop.published.named import chosen, named


def read_cornn(
    arrays: Mapping[str, Any],
    *,
    dt: float = 0.042,
    gamma: float = 2.7,
    epsilon: float = 4.7,
    prefix: str = "",
) -> tuple[Cell, CoRNNParams]:
    """Reads a `coRNNCell`: i2h of x, z and y side by side.

    Args:
      arrays: its state dict.
      dt, gamma, epsilon: which the state dict does not hold; the defaults are those of
        the authors for permuted MNIST.
      prefix: before the names, such as "cell".
    """
    shapes = {"i2h.weight": "H D+2H", "i2h.bias": "H"}
    w, b = named(chosen(arrays, prefix), shapes).values()
    w_x, w_z, w_y = np.split(w.T, [-2 * len(b), -len(b)])
    cell = cornn(len(w_x), len(b), dt=dt, gamma=gamma, epsilon=epsilon, dtype=b.dtype)
    return cell, CoRNNParams(
        jnp.asarray(w_x), jnp.asarray(np.concatenate([w_y, w_z])), jnp.asarray(b)
    )


def read_lem(
    arrays: Mapping[str, Any], *, dt: float = 1.0, prefix: str = ""
) -> tuple[Cell, LEMParams]:
    """Reads a `LEMCell`: inp2hid, hid2hid and transform_z.

    The chunks of the first are those of both time steps, then the one that the code
    calls i_z and adds to what z gives, and the one that it calls i_y and adds to what y
    gives.

    Args:
      arrays: its state dict.
      dt: which the state dict does not hold; the default is that of the authors.
      prefix: before the names, such as "cell".
    """
    shapes = {
        "hid2hid.weight": "3H H",
        "hid2hid.bias": "3H",
        "inp2hid.weight": "4H D",
        "inp2hid.bias": "4H",
        "transform_z.weight": "H H",
        "transform_z.bias": "H",
    }
    found = named(chosen(arrays, prefix), shapes)
    b_h = np.concatenate([found["hid2hid.bias"], found["transform_z.bias"]])
    w_h = [found["hid2hid.weight"].T, found["transform_z.weight"].T]
    size = len(w_h[0])

    def reordered(a):
        a, b, p, s = np.split(a, 4)
        return np.concatenate([a, b, s, p])

    w_x = reordered(found["inp2hid.weight"]).T
    cell = lem(len(w_x), size, dt=dt, dtype=w_x.dtype)
    return cell, LEMParams(
        jnp.asarray(w_x),
        jnp.asarray(np.concatenate(w_h, axis=1)),
        jnp.asarray(reordered(found["inp2hid.bias"]) + b_h),
    )


READERS = {"cornn": read_cornn, "lem": read_lem}
