"""The LSTM and the GRU with layer normalisation inside."""

import math
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.gru import GRUCarry
from jaxrnn.cells.lstm import LSTMCarry
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import Input, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.layers import LayerNormParams
from jaxrnn.loops.pointwise import Pointwise
from jaxrnn.precision import wide


class LayerNormLSTMParams(NamedTuple):
    """Weights of `layer_norm_lstm`; a norm has a scale and an offset."""

    w_x: jax.Array  # [D, 4H], gates i, f, g, o
    w_h: jax.Array  # [H, 4H], gates i, f, g, o, or [heads, H / heads, 4H / heads]
    norm_x: LayerNormParams  # [4H]
    norm_h: LayerNormParams  # [4H]
    norm_c: LayerNormParams  # [H]
    b: jax.Array | None = None  # [4H]


class LayerNormGRUParams(NamedTuple):
    """Weights of `layer_norm_gru`; a norm has a scale and an offset."""

    w_x: jax.Array  # [D, 3H], gates r, z, n
    w_h: jax.Array  # [H, 3H], gates r, z, n, or [heads, H / heads, 3H / heads]
    norm_x: LayerNormParams  # [3H]
    norm_h: LayerNormParams  # [3H]
    b: jax.Array | None = None  # [3H]


@recorded
def layer_norm_lstm(
    input_size: int,
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    epsilon: float = 1e-5,
    **options: Unpack[Options],
) -> Cell:
    """The long short-term memory with layer normalisation.

        i, f, g, o = split(norm_x(x_t w_x + b) + norm_h(h_{t-1} w_h), 4)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(norm_c(c_t)),    y_t = h_t
        norm(a) = scale (a - mean(a)) / sqrt(var(a) + epsilon) + offset

    What x gives and what h gives are normalised apart, each as one vector of all four
    gates `[4H]`, also with heads; c is normalised on its way out, and goes on as it is.

    The paper has b after both norms, the authors' code has the same b in both places.
    Here b is inside, and the offset of norm_x is outside, so that both can be had: the
    paper's with `bias=False` and b in that offset, the code's with b added to it.

    Args:
      input_size: D.
      hidden_size: H.
      forget_bias: added to the initial offset of norm_x for the forget gate, since
        inside the norm it would be rescaled. 0 in the authors' code.
      epsilon: keeps the root away from zero.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`. Scales begin at 1, offsets at 0.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `LayerNormLSTMParams` and `LSTMCarry`. It
      unrolls through the fast recurrence, and JAX finds the derivative of a step.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or epsilon is not positive; later, if an argument
        does not fit the cell.

    References:
      Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, 2016, equations 20
      to 22; code by Kiros, github.com/ryankiros/layer-norm.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.layer_norm_lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.c.shape, ys.shape
      ((5,), (7, 5))
    """
    forget_bias = check_number(
        "layer_norm_lstm: forget_bias", forget_bias, "a finite number", math.isfinite
    )

    def init(weights, norm):
        norm_x, h = norm(4), hidden_size
        offset = norm_x.offset.at[h : 2 * h].add(forget_bias)
        norm_x = norm_x._replace(offset=offset)
        return LayerNormLSTMParams(
            **weights, norm_x=norm_x, norm_h=norm(4), norm_c=norm(1)
        )

    sizes = input_size, hidden_size, 4
    return _normalised(
        "layer_norm_lstm", sizes, init, LSTMCarry, _lstm, epsilon, options
    )


@recorded
def layer_norm_gru(
    input_size: int,
    hidden_size: int,
    *,
    epsilon: float = 1e-5,
    **options: Unpack[Options],
) -> Cell:
    """The gated recurrent unit with layer normalisation.

        u, v = x_t w_x + b, h_{t-1} w_h
        r, z = sigmoid(split(norm_x(u[r, z]) + norm_h(v[r, z]), 2))
        n = tanh(norm_x(u[n]) + r norm_h(v[n]))
        h_t = (1 - z) n + z h_{t-1},    y_t = h_t
        norm(a) = scale (a - mean(a)) / sqrt(var(a) + epsilon) + offset

    There are four norms: of what x gives and of what h gives, for the two gates as one
    vector `[2H]`, and for the candidate `[H]`, which is reset after its norm.

    The paper prints h_t = (1 - z) h_{t-1} + z n and no b; the authors' code computes
    what is said above, and so does this cell. haste normalises all three together.

    Args:
      input_size: D.
      hidden_size: H.
      epsilon: keeps the root away from zero.
      **options: bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll, heads; see `jaxrnn.cells.Options`. Scales begin at 1, offsets at 0.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `LayerNormGRUParams` and `GRUCarry`. It
      unrolls through the fast recurrence, and JAX finds the derivative of a step.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size is below 1 or epsilon is not positive; later, if an argument
        does not fit the cell.

    References:
      Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, 2016, equations 23
      to 25; code by Kiros, github.com/ryankiros/layer-norm.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.layer_norm_gru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """

    def init(weights, norm):
        return LayerNormGRUParams(**weights, norm_x=norm(3), norm_h=norm(3))

    sizes = input_size, hidden_size, 3
    return _normalised("layer_norm_gru", sizes, init, GRUCarry, _gru, epsilon, options)


def _normalised(name, sizes, make, carry_type, part, epsilon, options) -> Cell:
    input_size, hidden_size, gates = sizes
    input_size = check_size(f"{name}: input_size", input_size)
    hidden_size = check_size(f"{name}: hidden_size", hidden_size)
    epsilon = check_number(
        f"{name}: epsilon", epsilon, "a positive number", lambda value: value > 0
    )
    settings = check_options(name, options, hidden_size)

    def norm(gates):
        shape = gates * hidden_size
        return LayerNormParams(
            jnp.ones(shape, settings.dtype), jnp.zeros(shape, settings.dtype)
        )

    def init(key):
        weights, _ = dense_init(key, input_size, hidden_size, gates, settings)
        return make(weights, norm)

    return gated(
        f"{name}({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(carry_type, hidden_size),
        _split,
        Pointwise(partial(part, partial(_norm, epsilon))),
        settings=settings,
        elementwise=False,
    )


def _split(params: Any) -> tuple[Any, Any]:
    # The gate vector is what x gives and, after it, what h gives.
    w = dense(params)
    norms = [a for a in params if isinstance(a, LayerNormParams)]
    return w._replace(b=jnp.concatenate([w.b, jnp.zeros_like(w.b)])), norms


def _norm(epsilon, params: LayerNormParams, a: jax.Array) -> jax.Array:
    """The mean and the variance are computed in at least single precision."""
    centred = a.astype(wide(a.dtype))
    centred = centred - centred.mean()
    normed = centred * jax.lax.rsqrt((centred * centred).mean() + epsilon)
    return params.scale * normed.astype(a.dtype) + params.offset


def _lstm(norm, norms, z, carry):
    of_x, of_h = jnp.split(z, 2)
    norm_x, norm_h, norm_c = norms
    gates = norm(norm_x, of_x) + norm(norm_h, of_h)
    i, f, g, o = jnp.split(gates, 4)
    c = sigmoid(f) * carry.c + sigmoid(i) * jnp.tanh(g)
    return LSTMCarry(sigmoid(o) * jnp.tanh(norm(norm_c, c)), c)


def _gru(norm, norms, z, carry):
    gates = 2 * len(carry.h)

    def apart(params, a):
        """The gates and the candidate, each normalised by itself."""
        parts = zip(*(jnp.split(leaf, [gates]) for leaf in (*params, a)), strict=True)
        return [norm(LayerNormParams(*params), part) for *params, part in parts]

    (gates_x, n_x), (gates_h, n_h) = map(apart, norms, jnp.split(z, 2))
    r, z = jnp.split(sigmoid(gates_x + gates_h), 2)
    n = jnp.tanh(n_x + r * n_h)
    return GRUCarry(n + z * (carry.h - n))
