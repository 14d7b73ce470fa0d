"""A complex diagonal state between two real matrices, as `lru` and `s5` have it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.cells.linear import linear_recurrence
from jaxrnn.checks import Input
from jaxrnn.core import Cell, Init
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import wide


class Modes(NamedTuple):
    """h_t = decay h_{t-1} + x_t b,    y_t = Re(h_t c) + x_t d

    What is not complex has the dtype of the params, in which the products are.
    """

    decay: jax.Array  # [N], complex, in at least single precision
    b: jax.Array  # [D, 2N], the real parts, then the imaginary ones
    c: jax.Array  # [2N, O], the real parts, then the imaginary ones times -1
    d: jax.Array | None  # [D], elementwise; [D, O]; None for no such term


def modes(
    decay: jax.Array, gain: jax.Array, params: Any, c: jax.Array, d: jax.Array | None
) -> Modes:
    """The modes with `gain * (b_re + i b_im)` of the params, and a real c `[2N, O]`."""
    dtype = params.b_re.dtype
    real = wide(dtype)
    b = lax.complex(params.b_re.astype(real), params.b_im.astype(real))
    b = b * gain.astype(b.dtype)[None]
    b = jnp.concatenate([b.real, b.imag], axis=1).astype(dtype)
    return Modes(decay, b, c, d)


def modes_cell(
    name: str,
    input_size: int,
    state_size: int,
    init: Init,
    carry_type: Any,
    prepare: Callable[[Any], Modes],
    method: str,
) -> Cell:
    """Builds a cell whose `prepare` makes `Modes` of its params, which have b_re."""

    def initial_carry(params, key=None):
        zeros = jnp.zeros(state_size, wide(params.b_re.dtype))
        return carry_type(lax.complex(zeros, zeros))

    def terms(modes, x):
        z = rows_product(x.astype(modes.b.dtype)[None], modes.b)[0]
        re, im = jnp.split(z.astype(modes.decay.real.dtype), 2)
        return carry_type(modes.decay), carry_type(lax.complex(re, im))

    def output(modes, carry, x):
        h = jnp.concatenate([carry.h.real, carry.h.imag]).astype(modes.c.dtype)
        y, x = rows_product(h[None], modes.c)[0], x.astype(modes.c.dtype)
        if modes.d is None:
            return y
        matrix = modes.d.ndim == 2
        return y + (rows_product(x[None], modes.d)[0] if matrix else modes.d * x)

    reads = Input((input_size,))
    return linear_recurrence(
        name, reads, init, initial_carry, terms, output, prepare=prepare, method=method
    )


def skip_init(
    key: jax.Array, input_size: int, output_size: int, dtype: Any
) -> jax.Array:
    """d ~ N(0, 1), elementwise; a matrix where the sizes differ, of variance 1 / D."""
    if input_size == output_size:
        return jax.random.normal(key, (input_size,), dtype)
    d = jax.random.normal(key, (input_size, output_size), dtype)
    return d * jnp.asarray(input_size**-0.5, dtype)
