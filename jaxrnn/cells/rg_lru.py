"""The real-gated linear recurrent unit of Griffin and RecurrentGemma."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid, softplus

from jaxrnn.build import leaf, step_of
from jaxrnn.cells.linear import linear_recurrence
from jaxrnn.checks import Input, check_flag, check_floating, check_number, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.recent import recent
from jaxrnn.precision import wide

MAX_SLOPE = 1000.0  # of the square root


class RGLRUCarry(NamedTuple):
    """Carry of `rg_lru`."""

    h: jax.Array  # [D], or complex [D / 2]; in at least single precision
    fresh: jax.Array  # [], 1 where no step has been read yet, else 0


class RGLRUParams(NamedTuple):
    """Weights of `rg_lru`; E is D, or D / 2 with complex states."""

    w_input: jax.Array  # [heads, D / heads, E / heads]
    b_input: jax.Array  # [heads, E / heads]
    w_a: jax.Array  # [heads, D / heads, E / heads]
    b_a: jax.Array  # [heads, E / heads]
    a_param: jax.Array  # [E]
    a_imag_param: jax.Array | None = None  # [E], of complex states


class _Inputs(NamedTuple):
    """What a step reads once it is known whether it is the first one."""

    x: Any
    fresh: Any


class _State(NamedTuple):
    h: Any


@recorded
def rg_lru(
    size: int,
    *,
    heads: int = 1,
    only_real: bool = True,
    min_rad: float = 0.9,
    dtype: Any = jnp.float32,
    method: str = "best",
) -> Cell:
    """The RG-LRU: a decay and an input gate that both depend on the input.

        r_t = sigmoid(x_t w_a + b_a),    i_t = sigmoid(x_t w_input + b_input)
        log a_t = -8 r_t softplus(a_param)
        h_t = a_t h_{t-1} + sqrt(1 - a_t^2) i_t x_t,    y_t = h_t

    with block-diagonal w_a and w_input. The first step of a sequence reads its input
    whole: h_1 = i_1 x_1. So the carry knows whether it is fresh. `starts` is what the
    authors' code calls `segment_pos == 0`.

    With complex states a_t = exp(log a_t + i a_imag_param r_t); the first half of x and
    y holds real parts, the second imaginary ones, and a_t^2 in the root is |a_t|^2.

    It computes what the authors' code computes (recurrentgemma 1.0.1). The paper writes
    log a_t = 8 r_t log sigmoid(L), which is the same with a_param = -L, and says that
    a^8 begins in the ring from 0.9 to 0.999; in the code this is a = exp(-softplus(
    a_param)) itself, before the 8. As in the code the derivative of the square root is
    at most 1000, so that the gradient is finite at r_t = 0. Here 1 - a_t^2 is -expm1(2
    log a_t), which keeps the digits that the code loses where a_t is near 1.

    Args:
      size: D, of x and y.
      heads: of the block-diagonal matrices; a divisor of D, and of D / 2.
      only_real: False for complex states.
      min_rad: exp(-softplus(a_param)) begins in the ring from this to 0.999.
      dtype: of the params. The carry has at least single precision.
      method: of the unroll; see `linear_recurrence`.

    Returns:
      A cell from `x` `[D]` to `y` `[D]`, with `RGLRUParams` and `RGLRUCarry`. The
      matrices begin with the variance heads / D, the biases at zero, a_imag_param
      uniformly between 0 and 0.1 pi.

    Raises:
      ValueError: if a size is below 1, or the heads do not divide it; later, if an
        argument does not fit the cell.

    References:
      De et al., "Griffin: mixing gated linear recurrences with local attention for
      efficient language models", 2024.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.rg_lru(6, heads=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 6)))
      >>> carry.h.shape, carry.fresh.item(), ys.shape
      ((6,), 0.0, (7, 6))
    """
    size = check_size("rg_lru: size", size)
    heads = check_size("rg_lru: heads", heads)
    only_real = check_flag("rg_lru: only_real", only_real)
    states = size if only_real else size // 2
    if size % heads or states % heads or (size % 2 and not only_real):
        half = "" if only_real else " / 2, and an even size"
        raise ValueError(
            f"rg_lru: heads: expected a divisor of size{half}, got {heads} for the "
            f"size {size}"
        )
    min_rad = check_number(
        "rg_lru: min_rad", min_rad, "0 <= min_rad < 0.999", lambda r: 0 <= r < 0.999
    )
    check_floating("rg_lru: dtype", dtype)

    def init(key):
        real_key, imag_key, *gate_keys = jax.random.split(key, 4)
        real = wide(dtype)
        ring = 0.999**2 - min_rad**2
        u = jax.random.uniform(real_key, (states,), real)
        log_a = 0.5 * jnp.log(u * ring + min_rad**2 + 1e-8)
        a_param = jnp.log(jnp.expm1(-log_a)).astype(dtype)
        imag = 0.1 * jnp.pi * jax.random.uniform(imag_key, (states,), real)
        shape = heads, size // heads, states // heads
        w_input, w_a = (
            jax.random.normal(k, shape, dtype) * jnp.asarray(shape[1] ** -0.5, dtype)
            for k in gate_keys
        )
        b_input, b_a = (jnp.zeros((heads, shape[2]), dtype) for _ in range(2))
        imag = None if only_real else imag.astype(dtype)
        return RGLRUParams(w_input, b_input, w_a, b_a, a_param, imag)

    def initial_state(params, key=None):
        zeros = jnp.zeros(states, wide(params.a_param.dtype))
        return _State(zeros if only_real else lax.complex(zeros, zeros))

    def terms(params, inputs):
        x = inputs.x.astype(params.w_a.dtype)
        r = sigmoid(_blocks(x, params.w_a, params.b_a))
        i = sigmoid(_blocks(x, params.w_input, params.b_input))
        x = x.astype(r.dtype)
        log_a = -8 * r * softplus(params.a_param.astype(r.dtype))
        root = _bounded_sqrt(-jnp.expm1(2 * log_a))
        scale = i * (inputs.fresh + (1 - inputs.fresh) * root)
        if only_real:
            return _State(jnp.exp(log_a)), _State(scale * x)
        angle = r * params.a_imag_param.astype(r.dtype)
        real, imag = jnp.split(x, 2)
        a = jnp.exp(lax.complex(log_a, angle))
        return _State(a), _State(lax.complex(scale * real, scale * imag))

    def output(params, state, inputs):
        h = state.h
        h = h if only_real else jnp.concatenate([h.real, h.imag])
        return h.astype(params.a_param.dtype)

    name = f"rg_lru({size})"
    reads = Input((size,))
    inner = linear_recurrence(
        name,
        _Inputs(reads, Input(())),
        init,
        initial_state,
        terms,
        output,
        method=method,
    )

    advance = step_of(name, inner)

    def initial_carry(params, key=None):
        one = jnp.ones((), wide(params.a_param.dtype))
        return RGLRUCarry(initial_state(params).h, one)

    def step(params, carry, x):
        state, y = advance(params, _State(carry.h), _Inputs(x, carry.fresh))
        return RGLRUCarry(state.h, jnp.zeros_like(carry.fresh)), y

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        options = {"mask": mask, "reverse": reverse, "starts": starts}
        one, fresh = jnp.ones_like(carry.fresh)[None], carry.fresh[None]
        read = jnp.zeros(xs.shape[0], fresh.dtype)
        fresh, (before,) = recent(fresh, read, one, **options)
        state, ys = inner.unroll(
            params, _State(carry.h), _Inputs(xs, before), **options
        )
        return RGLRUCarry(state.h, fresh[0]), ys

    return leaf(name, reads, init, initial_carry, step, unroll)


def _blocks(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """x times a block-diagonal matrix, plus b, in at least single precision."""
    z = jnp.einsum("hi,hij->hj", x.reshape(w.shape[0], -1), w)
    return (z.astype(wide(z.dtype)) + b.astype(wide(b.dtype))).reshape(-1)


@jax.custom_jvp
def _bounded_sqrt(x: jax.Array) -> jax.Array:
    """The square root with a derivative of at most `MAX_SLOPE`."""
    return jnp.sqrt(x)


@_bounded_sqrt.defjvp
def _bounded_sqrt_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    slope = 0.5 * lax.rsqrt(jnp.maximum(x, 1 / (4 * MAX_SLOPE**2)))
    return _bounded_sqrt(x), slope * dx
