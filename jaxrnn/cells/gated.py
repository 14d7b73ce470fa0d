"""The builder of gated cells: a mix of the input and the state, and a pointwise part.

`gated` makes a cell of the two, which unrolls through the fast recurrence. `dense_init`
and `dense` draw and read the weights of a cell with a matrix for each gate, which is
full or, with heads, has blocks on its diagonal.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.build import leaf
from jaxrnn.cells.options import DEFAULTS, Settings, with_carry
from jaxrnn.checks import Input
from jaxrnn.core import Cell, Init, InitialCarry, blank, restarted
from jaxrnn.loops.dense import DENSE, Dense
from jaxrnn.loops.gated import Inputs, Loop, one_step, plain_step, recurrence
from jaxrnn.loops.mix import HEADS, Mix
from jaxrnn.loops.pointwise import Pointwise


def gated(
    name: str,
    reads: Input,
    init: Init,
    initial_carry: InitialCarry,
    split: Callable[[Any], tuple[Any, Any]],
    part: Pointwise,
    mix: Mix | None = None,
    settings: Settings = DEFAULTS,
    prepare: Callable[[Any], Any] | None = None,
    *,
    elementwise: bool = True,
) -> Cell:
    """Builds a cell from its mix and its pointwise part.

        z_t = mix(x_t, h_{t-1}),    carry_t = part(z_t, carry_{t-1}),    y_t = h_t

    Args:
      name: as the factory was called, for messages.
      reads: what one step reads.
      init: `(key) -> params`, which have a field `w_x`; the input is converted to its
        dtype.
      initial_carry: `(params, key=None) -> carry`, a NamedTuple with a field `h` and
        any others, of any shape and dtype.
      split: `(params) -> (weights, theta)`, for the mix and for the pointwise part.
      part: the pointwise part, with or without a derivative.
      mix: how x and h reach z; None for `DENSE` or, with heads, `HEADS`.
      settings: of which `carry_init`, `compute_dtype`, `unroll` and `heads` are read.
      prepare: as of `leaf`: `split` is given what it returns, which has the field `w_x`
        and serves `initial_carry` as well as the params do.
      elementwise: whether the pointwise part of a unit reads that unit alone, as with
        a layer norm in it it does not.

    Returns:
      The cell.
    """
    compute_dtype = settings.compute_dtype
    if mix is None:
        mix = DENSE if settings.heads == 1 else HEADS
    loop = Loop(part, mix, unroll=settings.unroll, compute_dtype=compute_dtype)

    def step(params, carry, x):
        weights, theta = split(params)
        x = x.astype(params.w_x.dtype)
        dtype = x.dtype if compute_dtype is None else compute_dtype
        run = one_step if part.backward else plain_step
        carry = run(loop._replace(compute_dtype=dtype), weights, theta, carry, x)
        return carry, carry.h

    def unroll_fast(params, carry, xs, *, mask=None, reverse=False, starts=None):
        weights, theta = split(params)
        xs = blank(mask, xs).astype(params.w_x.dtype)
        initial = None
        if starts is not None:
            initial = restarted(initial_carry, params, carry)
        inputs = Inputs(weights, theta, carry, initial, xs, mask, starts)
        carry, hs = recurrence(loop._replace(reverse=reverse), inputs)
        return carry, blank(mask, hs)

    def local(params, carry, x):
        alike, own = len({a.shape for a in carry}) == 1, mix.local
        if not alike or own is None or mix.inner is not None:
            return None
        weights, theta = split(params)
        if own(weights, carry.h) is None:
            return None
        x = x.astype(params.w_x.dtype)
        z = mix.z(mix.ready(weights, x.dtype), x, carry.h)
        apply = partial(part.apply, theta)

        def push(d_carry):
            d_z = own(weights, d_carry.h)
            return jax.jvp(apply, (z, carry), (d_z, d_carry))[1]

        return apply(z, carry), push

    functions = init, initial_carry, step, unroll_fast
    known = local if elementwise else None
    cell = leaf(name, reads, *functions, prepare=prepare, local=known)
    return with_carry(cell, settings)


def dense_init(
    key: jax.Array,
    input_size: int,
    hidden_size: int,
    gates: int,
    settings: Settings,
    *,
    output_size: int | None = None,
) -> tuple[dict[str, Any], jax.Array]:
    """Draws w_x [D, GH], w_h [H, GH] and b [GH]; returns them and a key for more.

    `output_size` is the number of rows of w_h, where h has another size than the gates.
    With heads w_h is [heads, H / heads, GH / heads].
    """
    w_x_key, w_h_key, b_key, more_key = jax.random.split(key, 4)
    dtype, heads = settings.dtype, settings.heads
    w_x_shape = input_size, hidden_size
    w_h_shape = (output_size or hidden_size) // heads, hidden_size // heads

    def block(key):
        return by_gate(settings.w_h_init, key, w_h_shape, gates, dtype)

    weights: dict[str, Any] = {
        "w_x": by_gate(settings.w_x_init, w_x_key, w_x_shape, gates, dtype),
        "w_h": block(w_h_key)
        if heads == 1
        else jnp.stack([block(k) for k in jax.random.split(w_h_key, heads)]),
        "b": None,
    }
    if settings.bias:
        weights["b"] = settings.b_init(b_key, (gates * hidden_size,), dtype)
    return weights, more_key


def by_gate(
    initializer: Callable[..., jax.Array],
    key: jax.Array,
    shape: tuple[int, ...],
    gates: int,
    dtype: Any,
) -> jax.Array:
    """Draws an array for each gate and joins them along the last axis."""
    # Some initializers, the orthogonal one for example, need 32 bits.
    draw_dtype = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32

    # Batched QR factorizations, which draw orthogonal weights, can wait for
    # each other for ever on CPU, so a batch is drawn one after the other.
    @jax.custom_batching.sequential_vmap
    def draw(key):
        return initializer(key, shape, draw_dtype)

    blocks = [draw(k) for k in jax.random.split(key, gates)]
    return jnp.concatenate(blocks, axis=-1).astype(dtype)


def dense(params: Any) -> Dense:
    """The weights of `DENSE` or `HEADS`, with zeros for a bias that is not there."""
    b = params.b
    if b is None:
        b = jnp.zeros(params.w_x.shape[1], params.w_h.dtype)
    return Dense(params.w_x, params.w_h, b)


def zeros_of(carry_type: Any, hidden_size: int) -> InitialCarry:
    """The initial carry of zeros, with a separate array `[H]` for each field."""

    def initial_carry(params, key=None):
        del key
        dtype = params.w_h.dtype
        return carry_type(*(jnp.zeros(hidden_size, dtype) for _ in carry_type._fields))

    return initial_carry
