"""The equations of RNN, GRU and LSTM in ONNX's standard operators."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jaxrnn.interop.doctor.recurrent import GATES, Activation, Recurrent


class Writer:
    """Collects nodes and constants; every name is its own."""

    def __init__(self, prefix: str, constants: list[onnx.TensorProto] | None = None):
        """Names begin with the prefix; `constants` are shared with another writer."""
        self.prefix, self.nodes = prefix, []
        self.constants = [] if constants is None else constants

    def __call__(self, op: str, *inputs: str, out: str = "", **attrs: Any) -> str:
        """Adds a node, and gives the name of its output."""
        out = out or f"{self.prefix}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, **attrs))
        return out

    def many(self, op: str, inputs: list[str], outputs: int, **attrs: Any) -> list[str]:
        """Adds a node of several outputs."""
        name = f"{self.prefix}/{op}_{len(self.nodes)}"
        names = [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attrs))
        return names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Adds a constant."""
        name = f"{self.prefix}/constant_{len(self.constants)}"
        array = np.array(value, dtype, order="C")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        """Adds a constant list of int64."""
        return self.constant(values, np.int64)

    def flipped(self, name: str, form: str) -> str:
        """The tensor with its first axis, of any length, turned around.

        MNN loses its memory over a Slice with a negative step, and tract has no Range
        over a length that it does not know: the form says which of them reads it.
        """
        if form == "Scan":
            ends = self.ints(-1), self.ints(-(2**31)), self.ints(0), self.ints(-1)
            return self("Slice", name, *ends)
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        size = self("Gather", self("Shape", name), zero, axis=0)
        # A Range that counts down is made a Slice to -1, an empty one, in onnxruntime.
        last = self("Sub", size, one)
        places = self("Sub", last, self("Range", zero, size, one))
        return self("Gather", name, places, axis=0)

    def sizes(self, name: str, *sizes: int) -> str:
        """A shape: the tensor's own size where -1 - axis stands, else the size."""
        shape = self("Shape", name)
        parts = [
            self.ints(s) if s >= 0 else self("Gather", shape, self.ints(-1 - s), axis=0)
            for s in sizes
        ]
        return self("Concat", *parts, axis=0)

    def zeros(self, shape: str) -> str:
        """Zeros of a shape that is computed."""
        value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
        return self("ConstantOfShape", shape, value=value)


def activated(w: Writer, function: Activation, z: str) -> str:
    """An activation with its constants."""
    name, alpha, beta = function
    if name in ("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh"):
        return w(name, z)
    if name == "Affine":
        return w("Add", w("Mul", z, w.constant([alpha])), w.constant([beta]))
    if name == "ScaledTanh":
        inner = w("Tanh", w("Mul", z, w.constant([beta])))
        return w("Mul", inner, w.constant([alpha]))
    if name == "HardSigmoid":  # by Clip, which every runtime has
        line = w("Add", w("Mul", z, w.constant([alpha])), w.constant([beta]))
        return w("Clip", line, w.constant(0.0), w.constant(1.0))
    if name == "LeakyRelu":
        return w("LeakyRelu", z, alpha=alpha)
    if name == "Elu":
        return w("Elu", z, alpha=alpha)
    above = w("Greater", z, w.constant([alpha]))
    return w("Mul", z, w("Cast", above, to=TensorProto.FLOAT))


class Step:
    """One direction of a node: its input projections, and a step of it."""

    def __init__(self, node: Recurrent, direction: int, w: Writer):
        """The weights become constants of the writer."""
        size, gates = node.hidden_size, GATES[node.op]
        self.node, self.d, self.size = node, direction, size
        kernel, recurrent = (
            np.asarray(node.weights[k], np.float32)[direction].T for k in "WR"
        )
        bias = node.weights.get("B")
        bias = (
            np.zeros((1, 2 * gates * size)) if bias is None else bias[direction][None]
        )
        w_b, self.r_b = np.split(np.asarray(bias, np.float32), 2, axis=1)
        self.inner = node.op == "GRU"  # whose candidate's bias r_b stays inside
        outer = self.r_b.copy()
        if self.inner:
            outer[:, 2 * size :] = 0
        self.kernel = w.constant(kernel)
        self.bias = w.constant((w_b + outer)[0])
        self.recurrent = w.constant(recurrent)
        if self.inner:
            self.r_zr = w.constant(recurrent[:, : 2 * size])
            self.r_n = w.constant(recurrent[:, 2 * size :])
            self.b_n = w.constant(self.r_b[0, 2 * size :])
        peepholes = node.weights.get("P")
        self.peepholes = None
        if peepholes is not None:
            self.peepholes = [w.constant(p) for p in np.split(peepholes[direction], 3)]
        self.split = w.ints(*[size] * gates)
        self.split_two = w.ints(size, size)
        self.split_rest = w.ints(2 * size, size)
        self.one = w.constant([1.0])
        self.limits = None
        if node.clip is not None:
            self.limits = w.constant(-node.clip), w.constant(node.clip)

    def projected(self, w: Writer, xs: str) -> str:
        """W x + b of all steps, [T, B, gates H]."""
        return w("Add", w("MatMul", xs, self.kernel), self.bias)

    def _gate(self, w: Writer, which: int, z: str) -> str:
        if self.limits is not None:
            z = w("Clip", z, *self.limits)
        return activated(w, self.node.activations[self.d][which], z)

    def __call__(self, w: Writer, g: str, h: str, c: str) -> tuple[str, str]:
        """The state (h, c) after one step, from W x + b [B, gates H]."""
        return {"RNN": self._rnn, "GRU": self._gru, "LSTM": self._lstm}[self.node.op](
            w, g, h, c
        )

    def _rnn(self, w: Writer, g: str, h: str, c: str) -> tuple[str, str]:
        return self._gate(w, 0, w("Add", g, w("MatMul", h, self.recurrent))), c

    def _gru(self, w: Writer, g: str, h: str, c: str) -> tuple[str, str]:
        zr, n = w.many("Split", [g, self.split_rest], 2, axis=-1)
        zr = w("Add", zr, w("MatMul", h, self.r_zr))
        z, r = w.many("Split", [zr, self.split_two], 2, axis=-1)
        z, r = self._gate(w, 0, z), self._gate(w, 0, r)
        if self.node.linear_before_reset:
            inner = w("Mul", r, w("Add", w("MatMul", h, self.r_n), self.b_n))
        else:
            inner = w("Add", w("MatMul", w("Mul", r, h), self.r_n), self.b_n)
        n = self._gate(w, 1, w("Add", n, inner))
        kept = w("Mul", z, h)
        return w("Add", w("Mul", w("Sub", self.one, z), n), kept), c

    def _lstm(self, w: Writer, g: str, h: str, c: str) -> tuple[str, str]:
        z = w("Add", g, w("MatMul", h, self.recurrent))
        i, o, f, n = w.many("Split", [z, self.split], 4, axis=-1)
        if self.peepholes:
            i = w("Add", i, w("Mul", c, self.peepholes[0]))
            f = w("Add", f, w("Mul", c, self.peepholes[2]))
        i, n = self._gate(w, 0, i), self._gate(w, 1, n)
        coupled = self.node.input_forget
        f = w("Sub", self.one, i) if coupled else self._gate(w, 0, f)
        c = w("Add", w("Mul", f, c), w("Mul", i, n))
        if self.peepholes:
            o = w("Add", o, w("Mul", c, self.peepholes[1]))
        # The cell state itself is not clipped, neither in onnxruntime nor in OpenVINO.
        shown = activated(w, self.node.activations[self.d][2], c)
        return w("Mul", self._gate(w, 0, o), shown), c
