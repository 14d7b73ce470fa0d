"""Cells that are linear in their carry, in NumPy: one loop each, from the equations.

Params are those of the cells, as arrays of float64; a sequence is `[T, D]`.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(-abs(x))) + np.maximum(x, 0)


def silu(x):
    return x * sigmoid(x)


def skip(d, x):
    return d * x if d.ndim == 1 else x @ d


def lru(p, xs, h=None):
    """Orvieto et al. 2023, with the D of the code."""
    radius, angle = np.exp(-np.exp(p.nu_log)), np.exp(p.theta_log)
    decay = radius * (np.cos(angle) + 1j * np.sin(angle))
    b, c = p.b_re + 1j * p.b_im, p.c_re + 1j * p.c_im
    h, ys = np.zeros(len(decay), complex) if h is None else h, []
    for x in xs:
        h = decay * h + np.exp(p.gamma_log) * (x @ b)
        ys.append((h @ c).real + skip(p.d, x))
    return h, np.stack(ys)


def s5(p, xs, *, bilinear=False, conj_sym=True, clip_eigs=False, rescale=1.0):
    """Smith et al. 2023, section 3, in one direction or in two."""
    re = np.minimum(p.lambda_re, -1e-4) if clip_eigs else p.lambda_re
    eigenvalue, step = re + 1j * p.lambda_im, rescale * np.exp(p.log_step)
    b, c = p.b_re + 1j * p.b_im, p.c_re + 1j * p.c_im
    if bilinear:
        divisor = 1 / (1 - step / 2 * eigenvalue)
        decay, b = divisor * (1 + step / 2 * eigenvalue), divisor * step * b
    else:
        decay = np.exp(eigenvalue * step)
        b = (decay - 1) / eigenvalue * b
    hs = _states(decay, xs @ b)
    last = hs[-1]
    if len(c) == 2 * len(decay):
        back = _states(decay, xs[::-1] @ b)[::-1]
        hs, last = np.concatenate([hs, back], axis=1), (last, back[0])
    ys = (hs @ c).real * (2 if conj_sym else 1)
    return last, ys + np.stack([skip(p.d, x) for x in xs])


def _states(decay, inputs):
    h, hs = np.zeros(len(decay), complex), []
    for drive in inputs:
        h = decay * h + drive
        hs.append(h)
    return np.stack(hs)


def rg_lru(p, xs, starts=()):
    """De et al. 2024, equations 1 to 6, and the complex form of appendix A."""
    heads = len(p.w_a)

    def gate(x, w, b):
        parts = np.split(x, heads)
        return np.concatenate([sigmoid(parts[k] @ w[k] + b[k]) for k in range(heads)])

    h, ys, first = np.zeros(p.a_param.shape), [], True
    for t, x in enumerate(xs):
        r, i = gate(x, p.w_a, p.b_a), gate(x, p.w_input, p.b_input)
        log_a = -8 * r * softplus(p.a_param)
        a, root = np.exp(log_a), np.sqrt(1 - np.exp(2 * log_a))
        if p.a_imag_param is not None:
            a = a * np.exp(1j * p.a_imag_param * r)
            x = x[: len(a)] + 1j * x[len(a) :]
        if first or t in starts:
            h, root = np.zeros(a.shape), np.ones(a.shape)
        h, first = a * h + root * i * x, False
        ys.append(h if p.a_imag_param is None else np.concatenate([h.real, h.imag]))
    return h, np.stack(ys)


def g(v):
    return np.where(v >= 0, v + 0.5, sigmoid(v))


def mingru(p, xs, h=None):
    """Feng et al. 2024, section 3.1, with g."""
    h = np.zeros(p.w_x.shape[1] // 2) if h is None else h
    hs = []
    for x in xs:
        v, k = np.split(x @ p.w_x + (0 if p.b is None else p.b), 2)
        h = (1 - sigmoid(k)) * h + sigmoid(k) * g(v)
        hs.append(h)
    ys = np.stack(hs)
    return h, ys if p.w_y is None else ys @ p.w_y


def minlstm(p, xs, h=None):
    """Feng et al. 2024, section 3.2, with g."""
    h = np.zeros(p.w_x.shape[1] // 3) if h is None else h
    hs = []
    for x in xs:
        v, f, i = np.split(x @ p.w_x + (0 if p.b is None else p.b), 3)
        f, i = sigmoid(f), sigmoid(i)
        h = f / (f + i) * h + i / (f + i) * g(v)
        hs.append(h)
    ys = np.stack(hs)
    return h, ys if p.w_y is None else ys @ p.w_y


def qrnn(p, xs, pooling="fo"):
    """Bradbury et al. 2017, section 2.1, with the f of the code: 1 - f of the paper."""
    window = len(p.w_x) // xs.shape[1]
    padded = np.concatenate([np.zeros((window - 1, xs.shape[1])), xs])
    gates = {"f": 2, "fo": 3, "ifo": 4}[pooling]
    c, ys = np.zeros(p.w_x.shape[1] // gates), []
    for t in range(len(xs)):
        recent = padded[t : t + window][::-1].reshape(-1)
        z, f, *others = np.split(recent @ p.w_x + p.b, gates)
        z, f_paper = np.tanh(z), 1 - sigmoid(f)
        i = sigmoid(others[1]) if pooling == "ifo" else 1 - f_paper
        c = f_paper * c + i * z
        ys.append(c if pooling == "f" else sigmoid(others[0]) * c)
    return c, np.stack(ys)


def causal_conv(p, xs):
    width = len(p.w)
    padded = np.concatenate([np.zeros((width - 1, xs.shape[1])), xs])
    ys = [(padded[t : t + width] * p.w).sum(0) for t in range(len(xs))]
    return np.stack(ys) + (0 if p.b is None else p.b)


def selective_scan(p, xs, softplus_of=softplus):
    """Gu and Dao 2023, algorithm 2, with Delta b for the zero-order hold."""
    a = p.a if p.a_imag is None else p.a + 1j * p.a_imag
    h, ys = np.zeros(a.shape, a.dtype), []
    for t in range(len(xs.u)):
        u, delta, b, c = xs.u[t], xs.delta[t], xs.b[t], xs.c[t]
        if p.a_imag is not None:
            b, c = b[:, 0] + 1j * b[:, 1], c[:, 0] + 1j * c[:, 1]
        delta = softplus_of(delta + (0 if p.delta_bias is None else p.delta_bias))
        for channel in range(len(u)):
            for n in range(len(b)):
                decay = np.exp(delta[channel] * a[channel, n])
                drive = delta[channel] * b[n] * u[channel]
                h[channel, n] = decay * h[channel, n] + drive
        y = h @ c if p.a_imag is None else 2 * (h @ c).real
        y = y + (0 if p.d is None else p.d * u)
        ys.append(y if xs.z is None else y * silu(xs.z[t]))
    return h, np.stack(ys)


def mamba(p, xs, scan_params, scan_input):
    """Gu and Dao 2023, figure 3. The last two are the types of `selective_scan`."""
    rank, states = len(p.w_delta), p.a_log.shape[1]
    u, z = np.split(xs @ p.w_in + (0 if p.b_in is None else p.b_in), 2, axis=1)
    u = silu(causal_conv(p.conv, u))
    delta, b, c = np.split(u @ p.w_x, [rank, rank + states], axis=1)
    params = scan_params(-np.exp(p.a_log), p.d, p.delta_bias)
    h, ys = selective_scan(params, scan_input(u, delta @ p.w_delta, b, c, z))
    return h, ys @ p.w_out + (0 if p.b_out is None else p.b_out)
