"""Cells of continuous time, oscillators and their kin as loops of NumPy, in float64.

Each takes the equations of a paper or of its authors' code, one step and one unit at a
time where that is clearer, and shares nothing with the library.
"""

import numpy as np


def sigmoid(a):
    """1 / (1 + exp(-a))"""
    return 1 / (1 + np.exp(-a))


def softplus(a):
    """log(1 + exp(a))"""
    return np.log1p(np.exp(a))


def cornn(params, h, z, xs, dt, gamma, epsilon):
    """The explicit scheme of the paper, equation (3) with the old z in the damping."""
    w, v = np.split(params.w_h, 2)
    for x in xs:
        force = np.tanh(w.T @ h + v.T @ z + params.w_x.T @ x + params.b)
        z = z + dt * force - dt * gamma * h - dt * epsilon * z
        h = h + dt * z
        yield h, z


def lem(params, y, z, xs, dt):
    """Equations (6) of the paper, with the new z in the last."""
    w_x = np.split(params.w_x, 4, axis=1)
    w_h = np.split(params.w_h, 4, axis=1)
    b = np.split(params.b, 4)
    for x in xs:
        bar, own, of_z, of_y = (x @ w + c for w, c in zip(w_x, b, strict=True))
        step_y = dt * sigmoid(bar + y @ w_h[0])
        step_z = dt * sigmoid(own + y @ w_h[1])
        z = (1 - step_z) * z + step_z * np.tanh(of_z + y @ w_h[2])
        y = (1 - step_y) * y + step_y * np.tanh(of_y + z @ w_h[3])
        yield y, z


def cfc(params, h, xs, spans, mode, activation):
    """`CfCCell.forward` of ncps."""
    *backbone, heads = params.layers
    for x, span in zip(xs, spans, strict=True):
        u = np.concatenate([x, h])
        for layer in backbone:
            u = activation(u @ layer.w + layer.b)
        outputs = u @ heads.w + heads.b
        if mode == "pure":
            decay = np.exp(-span * (abs(params.w_tau) + abs(outputs)))
            h = -params.a * decay * outputs + params.a
        else:
            f, g, a, c = np.split(outputs, 4)
            t = sigmoid(a * span + c)
            rest = np.tanh(f) if mode == "no_gate" else np.tanh(f) * (1 - t)
            h = rest + t * np.tanh(g)
        yield h


def ltc(params, v, xs, spans, masks, unfolds, epsilon, constrained):
    """`LTCCell._ode_solver` of ncps, as it divides by the span."""
    positive = softplus if constrained else lambda a: a

    def opened(synapses, mask, e):
        e = np.broadcast_to(e[:, None], synapses.mu.shape)
        w = positive(synapses.w) * sigmoid(synapses.sigma * (e - synapses.mu)) * mask
        return w.sum(0), (w * synapses.erev).sum(0)

    for x, span in zip(xs, spans, strict=True):
        e = x * params.input_w + params.input_b
        g_in, r_in = opened(params.sensory, masks[1], e)
        cm = positive(params.cm) / (span / unfolds)
        leak = positive(params.gleak)
        for _ in range(unfolds):
            g, r = opened(params.inner, masks[0], v)
            v = (cm * v + leak * params.vleak + r + r_in) / (
                cm + leak + g + g_in + epsilon
            )
        motor = v[: len(params.output_w)]
        yield motor * params.output_w + params.output_b, v


def modrelu_rnn(w_x, w_h, b, h, xs):
    """h = modReLU(x w_x + h w_h)"""
    for x in xs:
        z = x @ w_x + h @ w_h
        h = np.sign(z) * np.maximum(abs(z) + b, 0)
        yield h


def exponential(a):
    """The matrix exponential of a skew-symmetric matrix, by its eigenvectors."""
    angles, vectors = np.linalg.eigh(1j * a)
    return np.real((vectors * np.exp(-1j * angles)) @ vectors.conj().T)


def skew(a, size):
    """The skew-symmetric matrix with these entries above its diagonal."""
    full, k = np.zeros((size, size)), 0
    for i in range(size):
        for j in range(i + 1, size):
            full[i, j], full[j, i] = a[k], -a[k]
            k += 1
    return full


def clockwork(params, h, clock, xs, periods):
    """Module by module; only those whose turn it is run."""
    size = len(h) // len(periods)
    for x in xs:
        new = h.copy()
        for i, period in enumerate(periods):
            if clock % period == 0:
                own = slice(i * size, (i + 1) * size)
                heard = h[i * size :] @ params.w_h[i]
                new[own] = np.tanh(x @ params.w_x[:, own] + heard + params.b[own])
        h, clock = new, clock + 1
        yield h


def dilated(step, carries, xs):
    """A queue of carries: the oldest goes on."""
    carries = list(carries)
    for x in xs:
        carry, y = step(carries.pop(0), x)
        carries.append(carry)
        yield y


def sru(params, c, xs, use_tanh, scale):
    """Equations (1) to (7) of the paper, with the products of x as they stand there."""
    hidden = len(c)
    w = np.split(params.w_x, params.w_x.shape[1] // hidden, axis=1)
    v_f, v_r = np.split(params.w_c, 2)
    b_f, b_r = np.split(params.b, 2)
    for x in xs:
        read = x
        if params.norm is not None:
            centered = x - x.mean()
            read = centered / np.sqrt((centered**2).mean() + 1e-5)
            read = read * params.norm.scale + params.norm.offset
        if params.w_p is not None:
            read = read @ params.w_p
        f = sigmoid(read @ w[1] + v_f * c + b_f)
        r = sigmoid(read @ w[2] + v_r * c + b_r)
        c = f * c + (1 - f) * (read @ w[0])
        past = read @ w[3] if len(w) == 4 else scale * x
        yield r * (np.tanh(c) if use_tanh else c) + (1 - r) * past, c
