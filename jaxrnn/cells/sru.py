"""The simple recurrent unit: all products of x, and elementwise gates."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.draws import uniform
from jaxrnn.cells.driven import driven
from jaxrnn.checks import Input, check_flag, check_floating, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.layers import LayerNormParams
from jaxrnn.layers import layer_norm as normalized
from jaxrnn.loops.rows import rows_product


class SRUCarry(NamedTuple):
    """Carry of `sru`."""

    c: jax.Array  # [H]


class SRUParams(NamedTuple):
    """Weights of `sru`; k of 3, or 4 where x is projected onto the output."""

    w_x: jax.Array  # [D or P, kH], columns u, f, r and, of 4, x'
    w_c: jax.Array  # [2H], of f and r
    b: jax.Array  # [2H], of f and r
    w_p: jax.Array | None = None  # [D, P]
    norm: LayerNormParams | None = None  # of x


@recorded
def sru(
    input_size: int,
    hidden_size: int,
    *,
    projection_size: int | None = None,
    use_tanh: bool = False,
    skip: bool = True,
    rescale: bool = True,
    highway_bias: float = 0.0,
    layer_norm: bool = False,
    dtype: Any = jnp.float32,
) -> Cell:
    """The simple recurrent unit.

        u, f, r, x' = x_t w_x                      x' = scale x_t where D = H
        f = sigmoid(f + w_c[f] c_{t-1} + b[f])
        r = sigmoid(r + w_c[r] c_{t-1} + b[r])
        c_t = f c_{t-1} + (1 - f) u
        h_t = r g(c_t) + (1 - r) x',    y_t = h_t

    The gates see the state through vectors alone, so that the one product with a matrix
    is made for all steps at once; the rest is elementwise, and in turn, since c_{t-1}
    stands inside the gates. g is the identity, or tanh.

    scale = sqrt(1 + 2 exp(highway_bias)) makes the variance of h that of x. In the
    paper, and here where D = H, it is a constant that multiplies x. Where x is
    projected (D != H) the authors' code multiplies the start values of those columns of
    w_x instead, so that training may change it. Both are as in the package sru 2.6.0,
    whose weights have the k columns of a unit side by side: u, f, r, x' of unit 0, of
    unit 1, and so on.

    Args:
      input_size: D.
      hidden_size: H.
      projection_size: P, for w_x as the product of `[D, P]` and `[P, kH]`; None for one
        matrix. The package does this only where P is below D and H.
      use_tanh: whether g is tanh.
      skip: whether there is an x'; without, h_t = r g(c_t).
      rescale: whether scale is above 1.
      highway_bias: the start value of b[r], below 0 for more of x'.
      layer_norm: whether x is normalized before the product, with epsilon 1e-5. x' is
        x before that.
      dtype: of the params and of the carry.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `SRUParams` and `SRUCarry`.

    Raises:
      ValueError: if a size is below 1 or an option does not fit; later, if an argument
        does not fit the cell.

    References:
      Lei, Zhang, Wang, Dai and Artzi, "Simple recurrent units for highly parallelizable
      recurrence", EMNLP 2018; sru 2.6.0, github.com/asappresearch/sru.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.sru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> params.w_x.shape, ys.shape
      ((3, 20), (7, 5))
    """
    input_size = check_size("sru: input_size", input_size)
    hidden_size = check_size("sru: hidden_size", hidden_size)
    if projection_size is not None:
        projection_size = check_size("sru: projection_size", projection_size)
    use_tanh = check_flag("sru: use_tanh", use_tanh)
    skip = check_flag("sru: skip", skip)
    rescale = check_flag("sru: rescale", rescale)
    highway_bias = check_number(
        "sru: highway_bias", highway_bias, "a finite number", math.isfinite
    )
    layer_norm = check_flag("sru: layer_norm", layer_norm)
    check_floating("sru: dtype", dtype)
    projected = skip and input_size != hidden_size
    scale = math.sqrt(1 + 2 * math.exp(highway_bias)) if rescale else 1.0
    norm = normalized(input_size, epsilon=1e-5, dtype=dtype)

    def init(key):
        w_key, c_key, p_key = jax.random.split(key, 3)
        rows = input_size if projection_size is None else projection_size
        columns = [1.0, math.sqrt(0.5), math.sqrt(0.5), scale][: 4 if projected else 3]
        smaller = 0.1 if layer_norm else 1.0
        w = [
            smaller
            * factor
            * uniform(math.sqrt(3 / rows))(k, (rows, hidden_size), dtype)
            for k, factor in zip(
                jax.random.split(w_key, len(columns)), columns, strict=True
            )
        ]
        w_p = None
        if projection_size is not None:
            shape = input_size, projection_size
            w_p = uniform(math.sqrt(3 / input_size))(p_key, shape, dtype)
        b_f = jnp.zeros(hidden_size, dtype)
        return SRUParams(
            jnp.concatenate(w, axis=1),
            uniform(math.sqrt(1.5))(c_key, (2 * hidden_size,), dtype),
            jnp.concatenate([b_f, jnp.full_like(b_f, highway_bias)]),
            w_p,
            norm.init(key) if layer_norm else None,
        )

    def initial_carry(params, key=None):
        del key
        return SRUCarry(jnp.zeros(hidden_size, params.w_x.dtype))

    def drive(params, xs):
        xs = xs.astype(params.w_x.dtype)
        read = xs
        if layer_norm:
            _, read = norm.unroll(params.norm, (), read)
        if params.w_p is not None:
            read = rows_product(read, params.w_p)
        us = rows_product(read, params.w_x)
        if projected or not skip:
            return us, None
        return us, scale * xs

    def advance(params, carry, u):
        u, past = u
        u, gates, *more = jnp.split(u, [hidden_size, 3 * hidden_size])
        of_c = params.w_c * jnp.concatenate([carry.c, carry.c])
        f, r = jnp.split(sigmoid(gates + of_c + params.b), 2)
        c = u + (carry.c - u) * f
        g = jnp.tanh(c) if use_tanh else c
        if not skip:
            return SRUCarry(c), r * g
        past = more[0] if projected else past
        return SRUCarry(c), past + (g - past) * r

    return driven(
        f"sru({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        initial_carry,
        drive,
        advance,
    )
