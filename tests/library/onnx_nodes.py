"""Files with one recurrent node, and its equations in NumPy as loops in float64."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
T, B, D, H = 5, 2, 3, 4
USUAL = {
    "RNN": ["Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
}


def weights(op, directions=1, peepholes=False, bias=True, dtype=np.float32):
    key, g = np.random.default_rng(GATES[op]), GATES[op]
    found = {
        "W": key.normal(size=(directions, g * H, D)),
        "R": key.normal(size=(directions, g * H, H)) * 0.7,
    }
    if bias:
        found["B"] = key.normal(size=(directions, 2 * g * H)) * 0.5
    if peepholes:
        found["P"] = key.normal(size=(directions, 3 * H))
    return {k: v.astype(dtype) for k, v in found.items()}


class Case:
    """A model, its inputs, and what is asked of it."""

    def __init__(self, op, *, opset=17, time: Any = T, batch: Any = B,
                 lengths=None, fed=False, states=(), outputs=None,
                 dtype: Any = np.float32, hidden=True, bias=True,
                 peepholes=False, **attrs: Any):  # fmt: skip
        self.op, self.attrs, self.lengths = op, attrs, lengths
        twice = attrs.get("direction") == "bidirectional"
        self.w = weights(op, 1 + twice, peepholes, bias, dtype)
        key = np.random.default_rng(7)
        layout = attrs.get("layout", 0)
        self.feeds = {"X": key.normal(size=(T, B, D)).astype(dtype)}
        for name in states:
            self.feeds[name] = key.normal(size=(1 + twice, B, H)).astype(dtype)
        if layout:
            self.feeds = {k: v.swapaxes(0, 1).copy() for k, v in self.feeds.items()}
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

        def info(name, shape, kind=kind):
            return helper.make_tensor_value_info(name, kind, shape)

        shapes = {k: list(v.shape) for k, v in self.feeds.items()}
        if time != T or batch != B:
            shapes["X"] = [time, batch, D]
        ins = [info(k, s) for k, s in shapes.items()]
        stored: dict[str, Any] = dict(self.w)
        if lengths is not None:
            array = np.array(lengths, np.int32)
            if fed:
                self.feeds["L"] = array
                ins.append(info("L", [batch], TensorProto.INT32))
            else:
                stored["L"] = array
        given = {"X", "L" if lengths is not None else "", *stored, *states}
        names = ["X", "W", "R", "B", "L", "h0", "c0", "P"]
        names = [n if n in given else "" for n in names]
        while not names[-1]:
            names.pop()
        keys = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
        named = keys if outputs is None else outputs
        final = [1 + twice, batch, H]
        out = {"Y": [time, 1 + twice, batch, H], "Y_h": final, "Y_c": final}
        if layout:
            final = [B, 1 + twice, H]
            out = {"Y": [B, time, 1 + twice, H], "Y_h": final, "Y_c": final}
        if hidden:
            attrs = attrs | {"hidden_size": H}
        node = helper.make_node(op, names, named, name="node", **attrs)
        graph = helper.make_graph(
            [node], "g", ins, [info(n, out[n]) for n in named if n],
            [numpy_helper.from_array(v, k) for k, v in stored.items()])  # fmt: skip
        opsets = [helper.make_opsetid("", opset)]
        self.model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(self.model)

    def loop(self, **as_if: Any) -> dict[str, np.ndarray]:
        """The outputs by the specification, or as a runtime computes them instead."""
        o = {"lengths": self.lengths, **self.attrs, **as_if}
        return loop(self.op, self.w, self.feeds, o)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def function(name, alpha, beta):
    """An activation; the defaults are those of ONNX's operators."""

    def of(value, default):
        return default if value is None else value

    return {
        "affine": lambda z: of(alpha, 1) * z + of(beta, 0),
        "elu": lambda z: np.where(z < 0, of(alpha, 1) * np.expm1(z), z),
        "hardsigmoid": lambda z: np.clip(of(alpha, 0.2) * z + of(beta, 0.5), 0, 1),
        "leakyrelu": lambda z: np.where(z < 0, of(alpha, 0.01) * z, z),
        "relu": lambda z: np.maximum(z, 0),
        "scaledtanh": lambda z: of(alpha, 1) * np.tanh(of(beta, 1) * z),
        "sigmoid": sigmoid,
        "softplus": lambda z: np.log1p(np.exp(z)),
        "softsign": lambda z: z / (1 + np.abs(z)),
        "tanh": np.tanh,
        "thresholdedrelu": lambda z: np.where(z > of(alpha, 1), z, 0),
    }[name.lower()]


def loop(op, w, feeds, o):
    layout = o.get("layout", 0)
    turn = (lambda a: a.swapaxes(0, 1)) if layout else (lambda a: a)
    xs, size = turn(feeds["X"]).astype(float), w["R"].shape[2]
    steps, batch, _ = xs.shape
    directions, rows, _ = w["W"].shape
    zeros = np.zeros((directions, batch, size))
    h0 = turn(feeds["h0"]).astype(float) if "h0" in feeds else zeros
    c0 = turn(feeds["c0"]).astype(float) if "c0" in feeds else zeros
    bias = w.get("B", np.zeros((directions, 2 * rows))).astype(float)
    p = w.get("P") if o.get("P", "iof") is not None else None
    p = np.zeros((directions, 3 * size)) if p is None else p.astype(float)
    names = o.get("activations", "default")
    n = len(USUAL[op])
    if names == "default":
        names = USUAL[op] * directions
    elif names == "forward's":
        names = o["given"][:n] * directions
    alphas = o.get("activation_alpha") or [None] * len(names)
    betas = o.get("activation_beta") or [None] * len(names)
    every = [function(*each) for each in zip(names, alphas, betas, strict=True)]
    bound = o.get("clip")
    clip = (lambda z: np.clip(z, -bound, bound)) if bound else (lambda z: z)
    lengths = o["lengths"] if o.get("lengths") is not None else [steps] * batch
    ys = np.zeros((steps, directions, batch, size))
    hs, cs = np.zeros_like(zeros), np.zeros_like(zeros)
    before = o.get("linear_before_reset", 0)
    for d in range(directions):
        f = every[d * n : (d + 1) * n]
        kernel, recurrent = w["W"][d].astype(float), w["R"][d].astype(float)
        w_b, r_b = np.split(bias[d], 2)
        backward = d == 1 or o.get("direction") == "reverse"
        for row in range(batch):
            h, c = h0[d, row], c0[d, row]
            order = list(range(lengths[row]))[:: -1 if backward else 1]
            for at, t in enumerate(order):
                x = kernel @ xs[t, row] + w_b
                u = recurrent @ h
                if op == "RNN":
                    h = f[0](clip(x + u + r_b))
                elif op == "GRU":
                    z, r, _ = np.split(x + u + r_b, 3)
                    z, r = f[0](clip(z)), f[0](clip(r))
                    x_n, u_n, b_n = x[2 * size :], u[2 * size :], r_b[2 * size :]
                    if before == "mnn":
                        q = x_n + b_n + r * u_n
                    elif before:
                        q = x_n + r * (u_n + b_n)
                    else:
                        q = x_n + recurrent[2 * size :] @ (r * h) + b_n
                    h = (1 - z) * f[1](clip(q)) + z * h
                else:
                    i, out, g, n_ = np.split(x + u + r_b, 4)
                    p_i, p_o, p_f = np.split(p[d], 3)
                    if o.get("P") == "ifo":
                        p_o, p_f = p_f, p_o
                    i = f[0](clip(i + p_i * c))
                    own = f[0](clip(g + p_f * c))
                    c = (1 - i if o.get("input_forget") else own) * c
                    c = c + i * f[1](clip(n_))
                    h = f[0](clip(out + p_o * c)) * f[2](c)
                ys[t, d, row] = h
                if o.get("final") != "first" or at == 0:
                    hs[d, row], cs[d, row] = h, c
            if not order and o.get("empty") != "zeros":
                hs[d, row], cs[d, row] = h, c
    found = {"Y": ys, "Y_h": hs, "Y_c": cs}
    if layout:
        found = {"Y": ys.transpose(2, 0, 1, 3), "Y_h": turn(hs), "Y_c": turn(cs)}
    return found
