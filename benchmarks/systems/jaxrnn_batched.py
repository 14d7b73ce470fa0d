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


def _elman_back(residuals, h_prev, ct):
    (h,) = residuals
    return ct[0] * (1 - h * h), (jnp.zeros_like(h_prev),)


def _lstm(z, carry):
    i, f, g, o = _split(z, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * carry[1] + i * g
    tanh_c = jnp.tanh(c)
    return (o * tanh_c, c), (i, f, g, o, carry[1], tanh_c)


def _lstm_back(residuals, h_prev, ct):
    i, f, g, o, c_prev, tanh_c = residuals
    ct_c = ct[1] + ct[0] * o * (1 - tanh_c * tanh_c)
    ct_z = [
        ct_c * g * i * (1 - i),
        ct_c * c_prev * f * (1 - f),
        ct_c * i * (1 - g * g),
        ct[0] * tanh_c * o * (1 - o),
    ]
    return jnp.concatenate(ct_z, -1), (jnp.zeros_like(h_prev), ct_c * f)


def _gru(gates, carry):
    n_x, r, z, n_h = _split(gates, 4)
    r, z = sigmoid(r), sigmoid(z)
    n = jnp.tanh(n_x + r * n_h)
    return (n + z * (carry[0] - n),), (r, z, n, n_h)


def _gru_back(residuals, h_prev, ct):
    r, z, n, n_h = residuals
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
            row = jnp.concatenate([carry[0], one, x], 1)
            carry, residuals = forward(z_of(params, x, carry[0]), carry)
            return carry, (row, residuals)

        return lax.scan(
            body, zeros(params, len(xs)), jnp.moveaxis(xs, 1, 0), reverse=reverse
        )

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def unroll(reverse, params, xs):
        (h, *_), (rows, _) = residuals_of(reverse, params, xs)
        return h, rows[..., : case.hidden_size]

    def unroll_forward(reverse, params, xs):
        (h, *_), (rows, residuals) = residuals_of(reverse, params, xs)
        hs = rows[..., : case.hidden_size]
        return (h, hs), (params, rows, hs, residuals)

    def unroll_backward(reverse, kept, cts):
        (w_x, w_h, b), rows, hs, residuals = kept
        ct_last, ct_hs = cts
        G_x, (H, G_h) = w_x.shape[1], w_h.shape
        head = len(b) - G_h  # columns that only x reaches
        w_h_t = lax.optimization_barrier(w_h.T)

        def body(ct, inputs):
            ct_h, h_prev, residuals = inputs
            ct_z, ct = backward(residuals, h_prev, ct)
            pieces = [ct_z[:, head:], ct_z[:, :head]][: 2 if head else 1]
            return (ct[0] + pieces[0] @ w_h_t + ct_h, *ct[1:]), pieces

        _, *more = zeros((w_x, w_h, b), len(ct_last))
        inputs = ct_hs, hs, residuals
        _, pieces = lax.scan(body, (ct_last, *more), inputs, reverse=not reverse)
        N = rows.shape[0] * rows.shape[1]
        rows = rows.reshape(N, -1)
        ct_w = rows.T @ pieces[0].reshape(N, -1)
        ct_w_x = ct_w[H + 1 :, : G_x - head]
        ct_b, ct_xs = ct_w[H], pieces[0][..., : G_x - head] @ w_x[:, head:].T
        if head:
            more = rows[:, H:].T @ pieces[1].reshape(N, -1)
            ct_w_x = jnp.concatenate([more[1:], ct_w_x], 1)
            ct_b = jnp.concatenate([more[0], ct_b])
            ct_xs = ct_xs + pieces[1] @ w_x[:, :head].T
        return (ct_w_x, ct_w[:H], ct_b), jnp.moveaxis(ct_xs, 0, 1)

    unroll.defvjp(unroll_forward, unroll_backward)

    def run(params, xs, reverse, final):
        last, hs = unroll(reverse, params, xs)
        if final:
            return last
        hs = jnp.concatenate([last[None], hs[:-1]] if reverse else [hs[1:], last[None]])
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
