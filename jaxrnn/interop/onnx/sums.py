"""JAX's primitives that add up numbers, or choose among them, as operators of ONNX."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.interop.onnx.graph import Graph, Operand, tensor_type
from jaxrnn.interop.onnx.operators import says


@says("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
def _reduce(g, eqn, x):
    name, axes = eqn.primitive.name, list(map(int, eqn.params["axes"]))
    return _reduced(g, f"Reduce{name.split('_')[1].capitalize()}", x, axes)


def _reduced(g: Graph, kind: str, x: Operand, axes: list[int]) -> Operand:
    if not axes:
        return x
    if kind == "ReduceSum" or g.opset >= 18:
        return g.op(kind, x, np.array(axes, np.int64), keepdims=0)
    return g.op(kind, x, axes=axes, keepdims=0)


@says("reduce_and", "reduce_or")
def _reduce_bools(g, eqn, x):
    kind = "ReduceMin" if eqn.primitive.name == "reduce_and" else "ReduceMax"
    axes = list(map(int, eqn.params["axes"]))
    return g.cast(_reduced(g, kind, g.cast(x, np.int32), axes), bool)


@says("argmax", "argmin")
def _arg(g, eqn, x):
    (axis,) = eqn.params["axes"]
    kind = "ArgMax" if eqn.primitive.name == "argmax" else "ArgMin"
    at = g.op(kind, x, axis=int(axis), keepdims=0)
    return g.cast(at, eqn.outvars[0].aval.dtype)


@says("cumsum")
def _cumsum(g, eqn, x):
    axis = np.array(int(eqn.params["axis"]), np.int64)
    return g.op("CumSum", x, axis, reverse=int(eqn.params["reverse"]))


@says("top_k")
def _top_k(g, eqn, x):
    k = np.array([eqn.params["k"]], np.int64)
    values, indices = g.ops("TopK", x, k, outputs=2, axis=-1)
    return values, g.cast(indices, eqn.outvars[1].aval.dtype)


@says("rows_product")
def _rows(g, eqn, xs, w):
    dtype = eqn.params["dtype"]
    return g.op("MatMul", _rounded(g, xs, dtype), _rounded(g, w, dtype))


def _rounded(g: Graph, x: Operand, dtype: Any) -> Operand:
    if jnp.finfo(dtype).bits >= 32:
        return x
    to = g.op("Cast", x, to=tensor_type(dtype))
    return g.op("Cast", to, to=tensor_type(np.float32))


@says("dot_general")
def _dot(g, eqn, a, b):
    (of_a, of_b), (batch_a, batch_b) = eqn.params["dimension_numbers"]
    ranks = [v.aval.ndim for v in eqn.invars]
    plain = not batch_a and list(of_a) == [ranks[0] - 1] and ranks[1] <= 2
    if plain and list(of_b) == [0] and ranks[0] >= 1:
        return g.op("MatMul", a, b)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left, right = ([""] * rank for rank in ranks)
    for i, j in [*zip(batch_a, batch_b, strict=True), *zip(of_a, of_b, strict=True)]:
        left[i] = right[j] = next(letters)
    left = [letter or next(letters) for letter in left]
    right = [letter or next(letters) for letter in right]
    summed = {left[i] for i in of_a}
    batch = [left[i] for i in batch_a]
    out = batch + [c for c in left if c not in summed and c not in batch]
    out += [c for c in right if c not in summed and c not in batch]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    return g.op("Einsum", a, b, equation=equation)
