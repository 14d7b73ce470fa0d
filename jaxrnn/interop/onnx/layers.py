"""What the operators between recurrent ones do to a sequence.

Each function is given the reader, a maker of errors, the inputs and the attributes. It
returns the outputs, or None where the inputs are no sequence that it knows.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import nn

from jaxrnn.interop.onnx.cell import ACTIVATIONS, Activation
from jaxrnn.interop.onnx.flow import Atom, Flow, Layer, both, shortcut
from jaxrnn.interop.onnx.graph import helper
from jaxrnn.layers import (
    EmbeddingParams,
    LayerNormParams,
    LinearParams,
    activation,
    embedding,
    layer_norm,
    linear,
)

LAYERS: dict[str, Callable[..., Any]] = {}  # by the operator


def reads(*operators: str) -> Callable[[Callable], Callable]:
    """Registers what some operators do."""

    def register(fun):
        for operator in operators:
            LAYERS[operator] = fun
        return fun

    return register


@reads("Identity", "Dropout")
def _same(reader, refuse, inputs, attributes):
    return [inputs[0]]


@reads("Cast")
def _cast(reader, refuse, inputs, attributes):
    dtype = helper.tensor_dtype_to_np_dtype(attributes["to"])
    flow = inputs[0]
    if flow.layers and not jnp.issubdtype(dtype, jnp.floating):
        raise refuse(f"attribute to={dtype}: a cell gives floating numbers")
    return [flow._replace(dtype=dtype)]


@reads("Transpose")
def _transpose(reader, refuse, inputs, attributes):
    rank = len(inputs[0].axes)
    perm = attributes.get("perm") or range(rank)[::-1]
    return [inputs[0].transposed(perm)]


@reads("Reshape", "Flatten")
def _reshape(reader, refuse, inputs, attributes):
    flow = inputs[0]
    if not isinstance(flow, Flow):
        return None
    shape = list(flow.shape)
    if len(inputs) == 1:
        axis = attributes.get("axis", 1) % (len(shape) + 1)
        target = [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))]
    elif isinstance(inputs[1], np.ndarray):
        target = [int(size) for size in inputs[1]]
        if not attributes.get("allowzero"):
            target = [s or shape[i] for i, s in enumerate(target)]
        if -1 in target:
            others = int(np.prod([s for s in target if s != -1]))
            target[target.index(-1)] = int(np.prod(shape)) // max(others, 1)
    else:
        raise refuse("its shape depends on the numbers of the input")
    new = flow.reshaped(target)
    if new is None and flow.layers:
        raise refuse(f"shape={target} cuts an axis of {flow.shape}")
    return None if new is None else [new]


@reads("Squeeze")
def _squeeze(reader, refuse, inputs, attributes):
    flow, axes = inputs[0], _axes(inputs, attributes)
    if axes is None:
        axes = [i for i, size in enumerate(flow.shape) if size == 1]
    gone = {axis % len(flow.axes) for axis in axes}
    kept = tuple(axis for i, axis in enumerate(flow.axes) if i not in gone)
    return [flow._replace(axes=kept)]


@reads("Unsqueeze")
def _unsqueeze(reader, refuse, inputs, attributes):
    flow, axes = inputs[0], _axes(inputs, attributes) or []
    rank = len(flow.axes) + len(axes)
    new, old = {axis % rank for axis in axes}, iter(flow.axes)
    return [
        flow._replace(axes=tuple(() if i in new else next(old) for i in range(rank)))
    ]


def _axes(inputs: list[Any], attributes: dict[str, Any]) -> list[int] | None:
    if len(inputs) > 1 and inputs[1] is not None:
        return np.asarray(inputs[1]).reshape(-1).tolist()
    return attributes.get("axes")


def _is_time(reader: Any, flow: Flow, axis: int) -> bool:
    labels = ",".join(atom.label for atom in flow.axes[axis])
    return reader.axes.get("time") == labels


@reads("Slice")
def _slice(reader, refuse, inputs, attributes):
    flow = inputs[0]
    if len(inputs) == 1:
        starts, ends = attributes["starts"], attributes["ends"]
        axes, steps = attributes.get("axes"), None
    else:
        starts, ends, axes, steps = [*inputs[1:], *[None] * (5 - len(inputs))]
    if not all(a is None or isinstance(a, np.ndarray | list) for a in (starts, ends)):
        return None
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = int(axis) % len(flow.axes)
        size = flow.shape[axis]
        taken = range(size)[slice(int(start), max(int(end), -size - 1), int(step))]
        if int(step) < 0 and int(end) < -size:
            taken = range(size)[slice(int(start), None, int(step))]
        if list(taken) == list(range(size)):
            continue
        if list(taken) == list(range(size))[::-1] and _may_be_time(reader, flow, axis):
            flow = flow._replace(flipped=not flow.flipped)
        elif _of_direction(flow, axis) and len(taken) == 1:
            flow = flow.half(axis, taken[0])
        elif flow.layers and _last(reader, flow, axis, list(taken)):
            cut = tuple(() if i == axis else a for i, a in enumerate(flow.axes))
            flow = flow._replace(axes=cut, last=True)
        elif not flow.layers:
            return None
        else:
            raise refuse(f"it takes {len(taken)} of {size} along axis {axis}")
    return [flow]


def _may_be_time(reader: Any, flow: Flow, axis: int) -> bool:
    """Of an input, of which it is not yet known, any but the features' is."""
    if "time" in reader.axes:
        return _is_time(reader, flow, axis)
    return axis < len(flow.axes) - 1


def _of_direction(flow: Flow, axis: int) -> bool:
    two = flow.layers and flow.layers[-1].halves
    return bool(two) and flow.axes[axis] == flow.features[:1] != flow.features


def _last(reader: Any, flow: Flow, axis: int, taken: list[int]) -> bool:
    """Whether the step that is taken is the last one that was computed."""
    at = 0 if flow.flipped else flow.shape[axis] - 1
    backs = [layer.back for layer in flow.layers]
    runs_on = all(back == flow.flipped for back in backs) and not flow.flipped
    return taken == [at] and _is_time(reader, flow, axis) and runs_on


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
    axis %= len(data.axes)
    taken = [int(i) % data.shape[axis] for i in at.reshape(-1)]
    if _of_direction(data, axis) and len(taken) == 1:
        half, axes = data.half(axis, taken[0]), list(data.axes)
        axes[axis : axis + 1] = [()] * at.ndim
        return [half._replace(axes=tuple(axes))]
    if not _last(reader, data, axis, taken):
        raise refuse(f"it takes {taken} of {data.shape[axis]} along axis {axis}")
    axes = list(data.axes)
    axes[axis : axis + 1] = [()] * at.ndim
    return [data._replace(axes=tuple(axes), last=True)]


@reads("Split")
def _split(reader, refuse, inputs, attributes):
    flow, axis = inputs[0], attributes.get("axis", 0) % len(inputs[0].axes)
    if not flow.layers or not _of_direction(flow, axis):
        return None
    return [flow.half(axis, 0), flow.half(axis, 1)]


@reads("ReverseSequence")
def _reverse_sequence(reader, refuse, inputs, attributes):
    flow, lengths = inputs
    axis = attributes.get("time_axis", 0)
    whole = isinstance(lengths, np.ndarray) and (lengths == flow.shape[axis]).all()
    if not isinstance(lengths, np.ndarray) or whole:  # of its own length, as a mask
        return [flow._replace(flipped=not flow.flipped)]
    raise refuse(f"sequence_lens={lengths.tolist()}: constant lengths")


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
        if b.size not in (1, w.shape[1]):
            raise refuse(f"C: expected shape [{w.shape[1]}], got {b.shape}")
        b = np.broadcast_to(b.reshape(-1), w.shape[1])
    return [_dense(reader, refuse, flow, w, b)]


@reads("Add")
def _add(reader, refuse, inputs, attributes):
    a, b = inputs
    if isinstance(a, Flow) and isinstance(b, Flow):
        added = shortcut(a, b) or both(a, b, "sum") or both(b, a, "sum")
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
    axis = attributes.get("axis", -1 if newer else 1) % len(flow.axes)
    if not flow.ready or axis != len(flow.axes) - 1:
        raise refuse(f"attribute axis={axis}: expected that of the features, the last")
    fun = nn.softmax if reader.node.op_type == "Softmax" else nn.log_softmax
    return [flow._replace(layers=(*flow.layers, Layer(activation(fun), ())))]


@reads("LayerNormalization")
def _layer_norm(reader, refuse, inputs, attributes):
    flow, scale, offset = [*inputs, None][:3]
    axis = attributes.get("axis", -1) % len(flow.axes)
    if (
        not flow.ready
        or axis != len(flow.axes) - 1
        or not isinstance(scale, np.ndarray)
    ):
        raise refuse(f"attribute axis={axis}: expected that of the features, the last")
    if attributes.get("stash_type", 1) != 1:
        raise refuse(f"attribute stash_type={attributes['stash_type']}")
    offset = np.zeros_like(scale) if offset is None else offset
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
    axis = attributes["axis"] % len(inputs[0].axes)
    if len(inputs) != 2 or axis != len(inputs[0].axes) - 1:
        return None
    merged = both(inputs[0], inputs[1], "concatenate")
    return None if merged is None else [merged]
