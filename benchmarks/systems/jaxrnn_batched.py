"""jaxrnn's recurrence written for a batch by hand: what its `vmap` costs.

The same loops, residuals and products, with the batch as an axis of every array.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

from benchmarks.cases import Case
from benchmarks.data import Block, Data
from benchmarks.systems import UnsupportedError, training
from benchmarks.systems.training import Layer


def _split(a, parts):
    return jnp.split(a, parts, axis=-1)


def _elman(z, carry):
    del carry
    h = jnp.tanh(z)
    return (h,), (h,)


def _elman_back(residuals, ct):
    (h,) = residuals
    return ct[0] * (1 - h * h), (jnp.zeros_like(h),)


def _lstm(z, carry):
    i, f, g, o = _split(z, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * carry[1] + i * g
    tanh_c = jnp.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, carry[1], tanh_c)


def _lstm_back(residuals, ct):
    i, f, g, o, c_prev, tanh_c = residuals
    ct_c = ct[1] + ct[0] * o * (1 - tanh_c * tanh_c)
    ct_z = [
        ct_c * g * i * (1 - i),
        ct_c * c_prev * f * (1 - f),
        ct_c * i * (1 - g * g),
        ct[0] * tanh_c * o * (1 - o),
    ]
    return jnp.concatenate(ct_z, -1), (jnp.zeros_like(c_prev), ct_c * f)


def _gru(gates, carry):
    n_x, r, z, n_h = _split(gates, 4)
    r, z = sigmoid(r), sigmoid(z)
    n = jnp.tanh(n_x + r * n_h)
    return (n + z * (carry[0] - n),), (r, z, n, n_h, carry[0])


def _gru_back(residuals, ct):
    r, z, n, n_h, h_prev = residuals
    ct_n = ct[0] * (1 - z) * (1 - n * n)
    ct_z = [
        ct_n,
        ct_n * n_h * r * (1 - r),
        ct[0] * (h_prev - n) * z * (1 - z),
        ct_n * r,
    ]
    return jnp.concatenate(ct_z, -1), (ct[0] * z,)


PARTS = {"elman": (_elman, _elman_back), "lstm": (_lstm, _lstm_back)}
PARTS["gru"] = (_gru, _gru_back)


def layer(case: Case) -> Layer:
    """One direction of one layer."""
    forward, backward = PARTS[case.cell]

    def params(block: Block):
        if case.cell != "gru":
            return block.w_x, block.w_h, block.b
        # n from x, r, z, n from h
        first = partial(jnp.roll, shift=case.hidden_size, axis=-1)
        b = jnp.concatenate([first(block.b), block.b_h])
        return first(block.w_x), block.w_h, b

    def z_of(params, x, h):
        w_x, w_h, b = params
        u, v = x @ w_x, h @ w_h
        more = len(b) - u.shape[1]
        return jnp.pad(u, [(0, 0), (0, more)]) + jnp.pad(v, [(0, 0), (more, 0)]) + b

    def zeros(params, batch):
        n = 2 if case.cell == "lstm" else 1
        return (jnp.zeros((batch, case.hidden_size), params[1].dtype),) * n

    def residuals_of(reverse, params, xs):
        one = jnp.ones((len(xs), 1), xs.dtype)

        def body(carry, x):
            row = jnp.concatenate([x, carry[0], one], 1)
            carry, residuals = forward(z_of(params, x, carry[0]), carry)
            return carry, (carry[0], row, residuals)

        _, kept = lax.scan(
            body, zeros(params, len(xs)), jnp.moveaxis(xs, 1, 0), reverse=reverse
        )
        return kept

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def unroll(reverse, params, xs):
        return residuals_of(reverse, params, xs)[0]

    def unroll_forward(reverse, params, xs):
        hs, rows, residuals = residuals_of(reverse, params, xs)
        return hs, (params, rows, residuals)

    def unroll_backward(reverse, kept, ct_hs):
        (w_x, w_h, b), rows, residuals = kept
        (D, G_x), (H, G_h) = w_x.shape, w_h.shape
        w_h_t = lax.optimization_barrier(w_h.T)

        def body(ct, inputs):
            ct_h, residuals = inputs
            ct_z, ct = backward(residuals, (ct[0] + ct_h, *ct[1:]))
            return (ct[0] + ct_z[:, -G_h:] @ w_h_t, *ct[1:]), ct_z

        start = zeros((w_x, w_h, b), ct_hs.shape[1])
        _, ct_zs = lax.scan(body, start, (ct_hs, residuals), reverse=not reverse)
        T, B, _ = rows.shape
        ct_w = rows.reshape(T * B, -1).T @ ct_zs.reshape(T * B, -1)
        ct_params = ct_w[:D, :G_x], ct_w[D : D + H, -G_h:], ct_w[-1]
        return ct_params, jnp.moveaxis(ct_zs[..., :G_x] @ w_x.T, 0, 1)

    unroll.defvjp(unroll_forward, unroll_backward)

    def run(params, xs, reverse, final):
        hs = unroll(reverse, params, xs)
        if final:
            return hs[0 if reverse else -1]
        return jnp.moveaxis(hs, 0, 1)

    def tick(params, carry, x):
        carry, _ = forward(z_of(params, x, carry[0]), carry)
        return carry, carry[0]

    return Layer(params, run, zeros, tick)


def start(case: Case, data: Data, devices: int, platform: str) -> training.Run:
    """Compiles the case."""
    if case.dtype != "float32":
        raise UnsupportedError("written for float32")
    model = training.stack(layer(case))
    return training.Run(model, case, data, devices, platform)
