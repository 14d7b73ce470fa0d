"""Cells with a matrix for a state in NumPy, one step and one head after the other.

Written from the equations. Every function takes arrays `[T, heads, ...]` and states
`[heads, K, V]`, and returns the last state and all outputs.
"""

import numpy as np


def sigmoid(a):
    return np.exp(-np.logaddexp(0, -a))


def log_sigmoid(a):
    return -np.logaddexp(0, -a)


def silu(a):
    return a * sigmoid(a)


def gla(s, q, k, v, g):
    s, ys = s.copy(), np.zeros_like(v)
    for t, head in np.ndindex(q.shape[:2]):
        s[head] = np.exp(g[t, head])[:, None] * s[head] + np.outer(
            k[t, head], v[t, head]
        )
        ys[t, head] = s[head].T @ q[t, head] / np.sqrt(q.shape[-1])
    return s, ys


def gated_delta_rule(s, q, k, v, beta, g):
    """By the product of the whole transition with the state."""
    s, ys = s.copy(), np.zeros_like(v)
    one = np.eye(q.shape[-1])
    for t, head in np.ndindex(q.shape[:2]):
        key, b = k[t, head], beta[t, head]
        turn = np.exp(g[t, head]) * (one - b * np.outer(key, key))
        s[head] = turn @ s[head] + b * np.outer(key, v[t, head])
        ys[t, head] = s[head].T @ q[t, head] / np.sqrt(q.shape[-1])
    return s, ys


def delta_rule(s, q, k, v, beta):
    return gated_delta_rule(s, q, k, v, beta, np.zeros_like(beta))


def mlstm(c, n, m, q, k, v, i, f, epsilon=1e-6):
    """By plain exponential gates; m only where it counts, beside epsilon."""
    c, n, m, ys = c.copy(), n.copy(), m.copy(), np.zeros_like(v)
    for t, head in np.ndindex(q.shape[:2]):
        decay = log_sigmoid(f[t, head])
        new = max(decay + m[head], i[t, head])
        key = k[t, head] / np.sqrt(q.shape[-1])
        keep, write = np.exp(decay + m[head] - new), np.exp(i[t, head] - new)
        c[head] = keep * c[head] + write * np.outer(key, v[t, head])
        n[head] = keep * n[head] + write * key
        m[head] = new
        below = max(abs(n[head] @ q[t, head]), np.exp(-new)) + epsilon
        ys[t, head] = c[head].T @ q[t, head] / below
    return (c, n, m), ys


def convolution(w, b, xs):
    """Of `[T, D]`, with zeros before the first input."""
    rows = np.concatenate([np.zeros((len(w) - 1, xs.shape[1])), xs])
    return np.array([(w * rows[t : t + len(w)]).sum(0) for t in range(len(xs))]) + b


def l2_normalized(a):
    return a / np.sqrt((a * a).sum(-1, keepdims=True) + 1e-6)


def rms_normalized(a):
    return a / np.sqrt((a * a).mean(-1, keepdims=True) + 1e-5)


def _qkv(p, xs, heads):
    rows = [xs @ w for w in (p.w_q, p.w_k, p.w_v)]
    if p.conv is not None:
        b = 0 if p.conv.b is None else p.conv.b
        sizes = np.cumsum([row.shape[1] for row in rows])[:-1]
        rows = np.split(
            silu(convolution(p.conv.w, b, np.concatenate(rows, 1))), sizes, 1
        )
    return [row.reshape(len(xs), heads, -1) for row in rows]


def _written(p, xs, ys):
    """Norm and gate of each head, and the last product."""
    ys = rms_normalized(ys) * p.norm
    if p.w_z is not None:
        ys = ys * silu(xs @ p.w_z).reshape(ys.shape)
    return ys.reshape(len(xs), -1) @ p.w_y


def gla_layer(p, xs, heads, divisor=16.0, feature_map=lambda a: a):
    q, k, v = _qkv(p, xs, heads)
    g = log_sigmoid(xs @ p.w_g @ p.w_gk + p.b_g).reshape(k.shape) / divisor
    zeros = np.zeros((heads, k.shape[-1], v.shape[-1]))
    return _written(p, xs, gla(zeros, feature_map(q), feature_map(k), v, g)[1])


def delta_net_layer(p, xs, heads, times=1.0):
    """Both DeltaNets; `times` is 2 with negative eigenvalues."""
    q, k, v = _qkv(p, xs, heads)
    if p.conv is None:
        q, k, v = silu(q), silu(k), silu(v)
    q, k = l2_normalized(q), l2_normalized(k)
    beta, g = times * sigmoid(xs @ p.w_beta), np.zeros((len(xs), heads))
    if p.decay is not None:
        step = np.logaddexp(0, xs @ p.decay.w + p.decay.b)
        g = -np.exp(p.decay.a_log) * step
    zeros = np.zeros((heads, k.shape[-1], v.shape[-1]))
    return _written(p, xs, gated_delta_rule(zeros, q, k, v, beta, g)[1])


def mlstm_cell(p, q, k, v, heads):
    rows = np.concatenate([q, k, v], axis=1)
    i, f = rows @ p.w_i + p.b_i, rows @ p.w_f + p.b_f
    q, k, v = (a.reshape(len(a), heads, -1) for a in (q, k, v))
    size = q.shape[-1]
    first = np.zeros((heads, size, size)), np.zeros((heads, size)), np.zeros(heads)
    hs = mlstm(*first, q, k, v, i, f)[1]
    hs = hs - hs.mean(-1, keepdims=True)
    hs = hs / np.sqrt((hs * hs).mean(-1, keepdims=True) + 1e-5)
    return hs.reshape(len(hs), -1) * (1 + p.norm)


def mlstm_layer(p, xs, heads):
    def blocks(rows, w):
        rows = rows.reshape(len(rows), len(w), -1)
        return np.einsum("tbi,bio->tbo", rows, w).reshape(len(rows), -1)

    u, z = np.split(xs @ p.w_x, 2, axis=1)
    c = silu(convolution(p.conv.w, p.conv.b, u))
    q, k, v = blocks(c, p.w_q), blocks(c, p.w_k), blocks(u, p.w_v)
    hs = mlstm_cell(p.cell, q, k, v, heads)
    return (hs + p.skip * c) * silu(z) @ p.w_y
