"""Gated cells in NumPy: one step each, written from the equations of their papers.

A step is `(params, carry, x) -> (carry, y)`, with the carry as a tuple of arrays.
"""

import itertools
from typing import Any

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def full(w_h):
    """Blocks [heads, d, G d] as the matrix [H, G H] that they stand for."""
    if w_h.ndim == 2:
        return w_h
    heads, size, columns = w_h.shape
    gates = columns // size
    w = np.zeros((heads, size, gates, heads, size))
    for k in range(heads):
        w[k, :, :, k] = w_h[k].reshape(size, gates, size)
    return w.reshape(heads * size, -1)


def of(gate, size, *arrays):
    """The columns of one gate."""
    return [a[..., gate * size : (gate + 1) * size] for a in arrays]


def affine(p, h, x, gate):
    """x w_x + h w_h + b of one gate."""
    w_x, w_h, b = of(gate, len(h), p.w_x, full(p.w_h), p.b)
    return x @ w_x + h @ w_h + b


def elman(p, carry, x, activation=np.tanh):
    h = activation(affine(p, carry[0], x, 0))
    return (h,), h


def irnn(p, carry, x):
    return elman(p, carry, x, lambda a: np.maximum(a, 0))


def indrnn(p, carry, x):
    h = np.maximum(x @ p.w_x + p.b + p.w_h * carry[0], 0)
    return (h,), h


def mgu(p, carry, x):
    (h,) = carry
    f = sigmoid(affine(p, h, x, 0))
    n = np.tanh(affine(p, f * h, x, 1))
    h = (1 - f) * h + f * n
    return (h,), h


def mgu_after(p, carry, x):
    (h,) = carry
    f = sigmoid(affine(p, h, x, 0))
    w_x, w_h, b = of(1, len(h), p.w_x, full(p.w_h), p.b)
    n = np.tanh(x @ w_x + b + f * (h @ w_h + p.b_h))
    h = (1 - f) * h + f * n
    return (h,), h


def gru_before(p, carry, x):
    (h,) = carry
    r, z = (sigmoid(affine(p, h, x, gate)) for gate in (0, 1))
    n = np.tanh(affine(p, r * h, x, 2))
    h = (1 - z) * n + z * h
    return (h,), h


def gru(p, carry, x):
    (h,) = carry
    r, z = (sigmoid(affine(p, h, x, gate)) for gate in (0, 1))
    w_x, w_h, b = of(2, len(h), p.w_x, full(p.w_h), p.b)
    n = np.tanh(x @ w_x + b + r * (h @ w_h + p.b_h))
    h = (1 - z) * n + z * h
    return (h,), h


def lstm(p, carry, x):
    h, c = carry
    i, f, g, o = (affine(p, h, x, gate) for gate in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def peephole_lstm(p, carry, x):
    h, c = carry
    w_i, w_f, w_o = np.split(p.w_c, 3)
    i, f, g, o = (affine(p, h, x, gate) for gate in range(4))
    c_new = sigmoid(f + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(g)
    h = sigmoid(o + w_o * c_new) * np.tanh(c_new)
    return (h, c_new), h


def coupled_lstm(p, carry, x):
    h, c = carry
    f, g, o = (affine(p, h, x, gate) for gate in range(3))
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def norm(params, a, columns=slice(None)):
    scale, offset = params.scale[columns], params.offset[columns]
    return scale * (a - a.mean()) / np.sqrt(a.var() + 1e-5) + offset


def layer_norm_lstm(p, carry, x):
    h, c = carry
    z = norm(p.norm_x, x @ p.w_x + p.b) + norm(p.norm_h, h @ full(p.w_h))
    i, f, g, o = np.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(norm(p.norm_c, c))
    return (h, c), h


def layer_norm_gru(p, carry, x):
    (h,) = carry
    gates, rest = slice(0, 2 * len(h)), slice(2 * len(h), None)
    u, v = x @ p.w_x + p.b, h @ full(p.w_h)
    z = norm(p.norm_x, u[gates], gates) + norm(p.norm_h, v[gates], gates)
    r, z = np.split(sigmoid(z), 2)
    n = np.tanh(norm(p.norm_x, u[rest], rest) + r * norm(p.norm_h, v[rest], rest))
    h = (1 - z) * n + z * h
    return (h,), h


def convolved(x, w):
    """A convolution over space with zeros around it, place by place."""
    *space, _ = x.shape
    kernel = w.shape[: len(space)]
    y = np.zeros((*space, w.shape[-1]))
    for place in itertools.product(*map(range, space)):
        for tap in itertools.product(*map(range, kernel)):
            # Of an even kernel the smaller half lies before the place.
            at = np.array(place) + tap - (np.array(kernel) - 1) // 2
            if (at >= 0).all() and (at < space).all():
                y[place] += x[tuple(at)] @ w[tap]
    return y


def conv_lstm(p, carry, x):
    h, c = carry
    z = convolved(x, p.w_x) + convolved(h, p.w_h) + p.b
    i, f, g, o = np.split(z, 4, axis=-1)
    w_i, w_f, w_o = (0, 0, 0) if p.w_c is None else np.split(p.w_c, 3, axis=-1)
    c_new = sigmoid(f + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(g)
    h = sigmoid(o + w_o * c_new) * np.tanh(c_new)
    return (h, c_new), h


def slstm_gates(i, f, z, o, c, n, m):
    """The stabilised form; the state of zeros has read nothing."""
    log_f = -np.log1p(np.exp(-f))
    m_new = np.where(n == 0, i, np.maximum(log_f + m, i))
    decay = np.where(n == 0, 0, np.exp(log_f + m - m_new))
    c = decay * c + np.exp(i - m_new) * np.tanh(z)
    n = decay * n + np.exp(i - m_new)
    h = sigmoid(o) * c / n
    return (h, c, n, m_new), h


def slstm(p, carry, x):
    h, *state = carry
    return slstm_gates(*(affine(p, h, x, gate) for gate in range(4)), *state)


def slstm_layer(p, carry, x):
    window, h, *state = carry
    window = np.concatenate([window, x[None]])
    u = (p.conv.w * window).sum(0) + p.conv.b
    u = u * sigmoid(u)
    heads, size = p.cell.w_h.shape[:2]

    def by_head(a, w):
        return np.einsum("hd,hde->he", a.reshape(heads, size), w).reshape(-1)

    of_x = map(by_head, (u, u, x, x), p.cell.w_x)
    of_h = np.split(h @ full(p.cell.w_h) + p.cell.b, 4)
    state, h = slstm_gates(*map(np.add, of_x, of_h), *state)
    a = h.reshape(heads, size)
    a = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-5)
    return (window[1:], *state), p.scale * a.reshape(-1)


def unroll(step, params, carry, xs, initial, *, mask, starts, reverse):
    """The law: a start begins with `initial`, a masked step changes nothing."""
    ys: list[Any] = [None] * len(xs)
    order = range(len(xs))
    for t in reversed(order) if reverse else order:
        if starts[t]:
            carry = initial
        new, y = step(params, carry, xs[t] if mask[t] else np.zeros_like(xs[t]))
        carry = new if mask[t] else carry
        ys[t] = y if mask[t] else np.zeros_like(y)
    return carry, np.stack(ys)
