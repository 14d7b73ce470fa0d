"""Layers without memory: cells whose carry is `()`, so that they chain alike."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from jaxrnn.build import leaf
from jaxrnn.checks import (
    Input,
    as_index,
    check_flag,
    check_floating,
    check_function,
    check_number,
    check_size,
    note_keyless,
)
from jaxrnn.core import Cell, blank, recorded
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import plus, wide

Initializer = Callable[..., jax.Array]  # (key, shape, dtype) -> array

LECUN_NORMAL = initializers.lecun_normal()
UNIT_VECTOR = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


class LinearParams(NamedTuple):
    """Weights of `linear`."""

    w: jax.Array  # [D, K]
    b: jax.Array | None = None  # [K]


class EmbeddingParams(NamedTuple):
    """Weights of `embedding`."""

    w: jax.Array  # [V, D]


class LayerNormParams(NamedTuple):
    """Weights of `layer_norm`."""

    scale: jax.Array  # [D]
    offset: jax.Array  # [D]


class DropoutCarry(NamedTuple):
    """What `dropout` needs to draw its masks."""

    key: jax.Array
    step: jax.Array  # [], how many steps have been taken


def _no_carry(params, key=None):
    del params, key
    return ()


@recorded
def linear(
    input_size: int,
    output_size: int,
    *,
    bias: bool = True,
    w_init: Initializer = LECUN_NORMAL,
    b_init: Initializer = initializers.zeros,
    dtype: Any = jnp.float32,
) -> Cell:
    """The affine map y = x w + b.

    Args:
      input_size: D.
      output_size: K.
      bias: whether there is a b.
      w_init, b_init: a `jax.nn.initializers` function for each weight.
      dtype: of the params; the layer computes in the params' dtype.

    Returns:
      A cell from `x` `[D]` to `y` `[K]`, with `LinearParams` and carry `()`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> layer = rnn.linear(3, 5)
      >>> layer.step(layer.init(jax.random.key(0)), (), jnp.ones(3))[1].shape
      (5,)
    """
    input_size = check_size("linear: input_size", input_size)
    output_size = check_size("linear: output_size", output_size)
    check_floating("linear: dtype", dtype)
    check_function("linear: w_init", w_init)
    check_function("linear: b_init", b_init)
    bias = check_flag("linear: bias", bias)

    def init(key):
        w_key, b_key = jax.random.split(key)
        w = w_init(w_key, (input_size, output_size), dtype)
        return LinearParams(w, b_init(b_key, (output_size,), dtype) if bias else None)

    def step(params, carry, x):
        y = rows_product(x.astype(params.w.dtype)[None], params.w)[0]
        return carry, y if params.b is None else plus(y, params.b)

    name = f"linear({input_size}, {output_size})"
    return leaf(name, Input((input_size,)), init, _no_carry, step, stateless=True)


@recorded
def embedding(
    vocab_size: int,
    size: int,
    *,
    w_init: Initializer = UNIT_VECTOR,
    dtype: Any = jnp.float32,
) -> Cell:
    """One vector for each token: y = w[x].

    A token outside 0..V-1 gives NaN, so that the mistake shows, and never the vector
    of another token.

    Args:
      vocab_size: V.
      size: D, of a vector.
      w_init: a `jax.nn.initializers` function.
      dtype: of the params.

    Returns:
      A cell from an integer `x` `[]` to `y` `[D]`, with `EmbeddingParams` and
      carry `()`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> layer = rnn.embedding(11, 5)
      >>> params = layer.init(jax.random.key(0))
      >>> layer.unroll(params, (), jnp.array([3, 1, 4]))[1].shape
      (3, 5)
    """
    vocab_size = check_size("embedding: vocab_size", vocab_size)
    size = check_size("embedding: size", size)
    check_floating("embedding: dtype", dtype)
    check_function("embedding: w_init", w_init)

    def init(key):
        return EmbeddingParams(w_init(key, (vocab_size, size), dtype))

    def step(params, carry, x):
        return carry, _row(params.w, as_index(x))

    name = f"embedding({vocab_size}, {size})"
    reads = Input((), jnp.integer, vocab_size)
    return leaf(name, reads, init, _no_carry, step, stateless=True)


@jax.custom_jvp
def _row(w: jax.Array, x: jax.Array) -> jax.Array:
    """w[x], or NaN where there is no such row."""
    rows = w.at[x]
    return rows.get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


@_row.defjvp
def _row_jvp(primals, tangents):
    # The transpose adds up all that reads a row.
    (w, x), (d_w, _) = primals, tangents
    rows = d_w.astype(wide(w.dtype)).at[x]
    d_y = rows.get(mode="fill", fill_value=0, wrap_negative_indices=False)
    return _row(w, x), d_y.astype(w.dtype)


@recorded
def layer_norm(size: int, *, epsilon: float = 1e-6, dtype: Any = jnp.float32) -> Cell:
    """Layer normalization.

        y = scale (x - mean(x)) / sqrt(var(x) + epsilon) + offset

    Args:
      size: D.
      epsilon: keeps the root away from zero.
      dtype: of the params and of y. The mean and the variance, one after the other,
        are those of x in at least single precision.

    Returns:
      A cell from `x` `[D]` to `y` `[D]`, with `LayerNormParams` and carry `()`.

    Raises:
      ValueError: if the size is below 1 or epsilon is not positive; later, if an
        argument does not fit the cell.

    References:
      Ba, Kiros and Hinton, "Layer normalization", 2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> layer = rnn.layer_norm(2)
      >>> layer.step(layer.init(jax.random.key(0)), (), jnp.array([3.0, 5.0]))[1]
      Array([-0.9999995,  0.9999995], dtype=float32)
    """
    size = check_size("layer_norm: size", size)
    check_floating("layer_norm: dtype", dtype)
    epsilon = check_number(
        "layer_norm: epsilon", epsilon, "a positive number", lambda value: value > 0
    )

    def init(key):
        del key
        return LayerNormParams(jnp.ones(size, dtype), jnp.zeros(size, dtype))

    def step(params, carry, x):
        like = params.scale.dtype
        x, scale, offset = (a.astype(wide(like)) for a in (x, *params))
        # The mean of large numbers is rounded, and what is left of it taken away after.
        x = x - lax.stop_gradient(x.mean())
        x = x - x.mean()
        y = x * lax.rsqrt(jnp.square(x).mean() + epsilon)
        return carry, (scale * y + offset).astype(like)

    return leaf(
        f"layer_norm({size})", Input((size,)), init, _no_carry, step, stateless=True
    )


@recorded
def activation(fun: Callable[[jax.Array], jax.Array]) -> Cell:
    """Any function of one step as a cell: y = fun(x).

    Args:
      fun: from one step to one step, such as `jax.nn.relu`.

    Returns:
      A cell with params `()` and carry `()`.

    Raises:
      ValueError: if `fun` is not a function.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.activation(jax.nn.relu).step((), (), jnp.array([-1.0, 2.0]))[1]
      Array([0., 2.], dtype=float32)
    """
    check_function("activation: fun", fun)

    def step(params, carry, x):
        del params
        return carry, fun(x)

    name = f"activation({getattr(fun, '__name__', 'fun')})"
    return leaf(
        name, Input(None, None), lambda key: (), _no_carry, step, stateless=True
    )


@recorded
def dropout(rate: float, *, per_step: bool = False) -> Cell:
    """Zeros each entry with probability `rate` and scales up the others.

        y = x mask / (1 - rate),    mask ~ Bernoulli(1 - rate)

    The key comes with `initial_carry(params, key)`; without one the layer is the
    identity. By default one mask serves the whole sequence, as it should between
    recurrent layers; `per_step` draws a fresh one each step.

    Args:
      rate: in [0, 1).
      per_step: whether each step draws a new mask.

    Returns:
      A cell with params `()` and `DropoutCarry`, or carry `()` without a key.

    Raises:
      ValueError: if the rate is outside [0, 1).

    References:
      Gal and Ghahramani, "A theoretically grounded application of dropout in
      recurrent neural networks", NIPS 2016.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> layer = rnn.dropout(0.5)
      >>> carry = layer.initial_carry((), jax.random.key(0))
      >>> ys = layer.unroll((), carry, jnp.ones((7, 3)))[1]
      >>> bool((ys == ys[:1]).all())
      True
    """
    rate = check_number(
        "dropout: rate", rate, "a number in [0, 1)", lambda value: 0 <= value < 1
    )
    per_step = check_flag("dropout: per_step", per_step)

    def initial_carry(params, key=None):
        del params
        return () if key is None else DropoutCarry(key, jnp.zeros((), jnp.int32))

    def check(carry):
        empty = jax.tree.structure(carry) == jax.tree.structure(())
        if not empty and not isinstance(carry, DropoutCarry):
            raise ValueError(
                f"dropout({rate}): carry: expected DropoutCarry or (), "
                f"got {type(carry).__name__}"
            )

    def drop(key, x, step):
        key = jax.random.fold_in(key, step) if per_step else key
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))

    def step(params, carry, x):
        del params
        check(carry)
        if not carry:
            if rate:
                note_keyless(f"dropout({rate})")
            return carry, x
        return carry._replace(step=carry.step + 1), drop(carry.key, x, carry.step)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        del params
        check(carry)
        xs = blank(mask, xs)
        if not carry:
            if rate:
                note_keyless(f"dropout({rate})")
            return carry, xs
        steps, after = _count(xs.shape[0], carry.step, mask, reverse, starts)
        ys = jax.vmap(partial(drop, carry.key))(xs, steps)
        return carry._replace(step=after), blank(mask, ys)

    return leaf(
        f"dropout({rate})", Input(None), lambda key: (), initial_carry, step, unroll
    )


def _count(length, first, mask, reverse, starts):
    """How many steps were taken before each one, and after all; from 0 at a start."""
    taken = jnp.ones(length, first.dtype) if mask is None else mask.astype(first.dtype)
    sums = lax.cumsum(taken, reverse=reverse)
    before, total = sums - taken, taken.sum(dtype=first.dtype)
    if starts is None:
        return first + before, first + total
    # Of the last start, the steps before it: they are not counted after it.
    forgotten = jnp.where(starts, before, -first)
    forgotten = lax.cummax(jnp.maximum(forgotten, -first), reverse=reverse)
    return before - forgotten, total - forgotten.max()
