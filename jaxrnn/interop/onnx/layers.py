"""What the operators that compute something do to a sequence: layers of jaxrnn.

The functions are as those of `axes`.
"""

import jax.numpy as jnp
import numpy as np
from jax import nn

from jaxrnn.interop.onnx.axes import at_the_end, of_direction, reads
from jaxrnn.interop.onnx.cell import ACTIVATIONS, Activation
from jaxrnn.interop.onnx.flow import Atom, Flow, Layer, place, shortcut
from jaxrnn.interop.onnx.states import both, settled
from jaxrnn.layers import (
    EmbeddingParams,
    LayerNormParams,
    LinearParams,
    activation,
    embedding,
    layer_norm,
    linear,
)


@reads("Gather")
def _gather(reader, refuse, inputs, attributes):
    data, at = inputs
    axis = attributes.get("axis", 0)
    if isinstance(data, np.ndarray) and isinstance(at, Flow):
        if axis or data.ndim != 2 or at.layers:
            raise refuse("it is no table of vectors, one for each token")
        if at.outside is not None:
            if at.outside != len(data) - 1 or not np.isnan(data[-1]).all():
                raise refuse(f"a token outside the table is read as {at.outside}")
            data = data[:-1]
        units = (Atom(f"vector.{len(at.layers)}", data.shape[1]),)
        params = EmbeddingParams(jnp.array(data))
        layer = Layer(embedding(*data.shape, dtype=data.dtype), params)
        return [Flow((layer,), (*at.axes, units), units, at.flipped, at.last)]
    if not isinstance(data, Flow) or not isinstance(at, np.ndarray) or not data.layers:
        return None
    axis = place(axis, len(data.axes))
    taken = [place(int(i), data.shape[axis]) for i in at.reshape(-1)]
    if of_direction(data, axis) and len(taken) == 1:
        half, axes = data.half(axis, taken[0]), list(data.axes)
        axes[axis : axis + 1] = [()] * at.ndim
        return [half._replace(axes=tuple(axes))]
    ended = at_the_end(reader, refuse, data, axis, taken)
    if data.shape[axis] == 1 and taken == [0]:
        ended = data
    if ended is None:
        raise refuse(f"it takes {taken} of {data.shape[axis]} along axis {axis}")
    axes = list(ended.axes)
    axes[axis : axis + 1] = [()] * at.ndim
    return [ended._replace(axes=tuple(axes))]


def _dense(reader, refuse, flow, w, b):
    if not flow.ready:
        raise refuse("it reads an axis that is not the features alone")
    if w.ndim != 2 or w.shape[0] != flow.shape[-1]:
        raise refuse(f"expected weights [{flow.shape[-1]}, K], got {w.shape}")
    cell = linear(*w.shape, bias=b is not None, dtype=w.dtype)
    params = LinearParams(jnp.array(w), None if b is None else jnp.array(b))
    return flow.then(cell, params, (Atom(f"out.{len(flow.layers)}", w.shape[1]),))


@reads("MatMul")
def _matmul(reader, refuse, inputs, attributes):
    flow, w = inputs
    if not isinstance(flow, Flow) or not isinstance(w, np.ndarray):
        return None
    return [_dense(reader, refuse, flow, w, None)]


@reads("Gemm")
def _gemm(reader, refuse, inputs, attributes):
    flow, w, b = [*inputs, *[None] * (3 - len(inputs))]
    constant = b is None or isinstance(b, np.ndarray)
    if not isinstance(flow, Flow) or not isinstance(w, np.ndarray) or not constant:
        return None
    if attributes.get("transA"):
        raise refuse("attribute transA=1")
    w = (w.T if attributes.get("transB") else w) * w.dtype.type(
        attributes.get("alpha", 1)
    )
    if b is not None:
        b = b * b.dtype.type(attributes.get("beta", 1))
        if b.size != 1 and (b.size, *b.shape[-1:]) != (w.shape[1], w.shape[1]):
            raise refuse(f"C: expected shape [{w.shape[1]}], got {b.shape}")
        b = np.broadcast_to(b.reshape(-1), w.shape[1])
    return [_dense(reader, refuse, flow, w, b)]


@reads("Add")
def _add(reader, refuse, inputs, attributes):
    a, b = inputs
    if isinstance(a, Flow) and isinstance(b, Flow):
        added = both(a, b, "sum") or both(b, a, "sum")
        added = added or shortcut(settled(a), settled(b))
        return None if added is None else [added]
    flow, b = (a, b) if isinstance(a, Flow) else (b, a)
    last = flow.layers[-1] if flow.layers else None
    if last is None or not isinstance(last.params, LinearParams):
        return None
    if last.params.b is not None or not isinstance(b, np.ndarray) or not flow.ready:
        return None
    w = last.params.w
    if b.size not in (1, w.shape[1]) or b.size != b.shape[-1:][0] if b.ndim else False:
        raise refuse(f"expected a bias [{w.shape[1]}], got {b.shape}")
    b = jnp.array(np.broadcast_to(b.reshape(-1), w.shape[1]), w.dtype)
    layer = Layer(linear(*w.shape, dtype=w.dtype), LinearParams(w, b))
    return [flow._replace(layers=(*flow.layers[:-1], layer))]


@reads(*(name for name in ACTIVATIONS if name not in ("Affine", "ScaledTanh")))
def _activation(reader, refuse, inputs, attributes):
    flow, name = inputs[0], reader.node.op_type
    if not flow.layers:
        return None
    defaults = ACTIVATIONS[name][1]
    given = zip(("alpha", "beta"), defaults, strict=False)
    numbers = tuple(attributes.get(key, value) for key, value in given)
    layer = Layer(activation(Activation(name, numbers)), ())
    return [flow._replace(layers=(*flow.layers, layer))]


@reads("Softmax", "LogSoftmax")
def _softmax(reader, refuse, inputs, attributes):
    (flow,) = inputs
    newer = reader.version >= 13
    axis = place(attributes.get("axis", -1 if newer else 1), len(flow.axes))
    if not flow.ready or axis != len(flow.axes) - 1:
        raise refuse(f"attribute axis={axis}: expected that of the features, the last")
    fun = nn.softmax if reader.node.op_type == "Softmax" else nn.log_softmax
    return [flow._replace(layers=(*flow.layers, Layer(activation(fun), ())))]


@reads("LayerNormalization")
def _layer_norm(reader, refuse, inputs, attributes):
    flow, scale, offset = [*inputs, None][:3]
    axis = place(attributes.get("axis", -1), len(flow.axes))
    if (
        not flow.ready
        or axis != len(flow.axes) - 1
        or not isinstance(scale, np.ndarray)
    ):
        raise refuse(f"attribute axis={axis}: expected that of the features, the last")
    if attributes.get("stash_type", 1) != 1:
        raise refuse(f"attribute stash_type={attributes['stash_type']}")
    offset = np.zeros_like(scale) if offset is None else offset
    if not scale.size == np.size(offset) == flow.shape[-1]:
        raise refuse(
            f"Scale and B: expected [{flow.shape[-1]}], got {scale.shape} and "
            f"{np.shape(offset)}"
        )
    epsilon = attributes.get("epsilon", 1e-5)
    cell = layer_norm(scale.size, epsilon=epsilon, dtype=scale.dtype)
    params = LayerNormParams(
        jnp.array(scale.reshape(-1)), jnp.array(offset.reshape(-1))
    )
    return [flow._replace(layers=(*flow.layers, Layer(cell, params)))]


@reads("Concat")
def _concat(reader, refuse, inputs, attributes):
    if not all(isinstance(value, Flow) for value in inputs):
        return None
    if len(inputs) == 1:
        return [inputs[0]]
    axis = place(attributes["axis"], len(inputs[0].axes))
    if len(inputs) != 2 or axis != len(inputs[0].axes) - 1:
        return None
    merged = both(inputs[0], inputs[1], "concatenate")
    return None if merged is None else [merged]
