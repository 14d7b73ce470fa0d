"""What the operators that move numbers do to a sequence.

Each function is given the reader, a maker of errors, the inputs and the attributes. It
returns the outputs, or None where the inputs are no sequence that it knows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.interop.onnx.flow import Flow, place
from jaxrnn.interop.onnx.graph import helper

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
    training = inputs[2] if len(inputs) > 2 else None
    if training is not None and (not isinstance(training, np.ndarray) or training):
        raise refuse("training_mode: expected the constant False")
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
    if sorted(perm) != list(range(rank)):
        raise refuse(f"attribute perm={list(perm)}: expected the {rank} axes in turn")
    return [inputs[0].transposed(perm)]


@reads("Reshape", "Flatten")
def _reshape(reader, refuse, inputs, attributes):
    flow = inputs[0]
    if not isinstance(flow, Flow):
        return None
    shape = list(flow.shape)
    if len(inputs) == 1:
        axis = attributes.get("axis", 1)
        axis = axis if axis == len(shape) else place(axis, len(shape))
        target = [math.prod(shape[:axis]), math.prod(shape[axis:])]
    elif isinstance(inputs[1], np.ndarray):
        target = [int(size) for size in inputs[1]]
        if not attributes.get("allowzero"):
            target = [s or shape[i] for i, s in enumerate(target)]
        if -1 in target:
            others = math.prod(s for s in target if s != -1)
            target[target.index(-1)] = math.prod(shape) // max(others, 1)
        if any(size < 0 for size in target):
            raise refuse(f"shape={target}: expected sizes, and -1 at most once")
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
    gone = {place(axis, len(flow.axes)) for axis in axes}
    if any(flow.shape[axis] != 1 for axis in gone):
        raise refuse(f"axes={list(axes)}: expected axes of size 1 of {flow.shape}")
    kept = tuple(axis for i, axis in enumerate(flow.axes) if i not in gone)
    return [flow._replace(axes=kept)]


@reads("Unsqueeze")
def _unsqueeze(reader, refuse, inputs, attributes):
    flow, axes = inputs[0], _axes(inputs, attributes) or []
    rank = len(flow.axes) + len(axes)
    new, old = {place(axis, rank) for axis in axes}, iter(flow.axes)
    if len(new) < len(axes):
        raise refuse(f"axes={list(axes)}: one is there twice")
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
        axis = place(axis, len(flow.axes))
        size = flow.shape[axis]
        taken = range(size)[slice(int(start), max(int(end), -size - 1), int(step))]
        if int(step) < 0 and int(end) < -size:
            taken = range(size)[slice(int(start), None, int(step))]
        if taken == range(size):
            continue
        if taken == range(size)[::-1] and _may_be_time(reader, flow, axis):
            flow = flow._replace(flipped=not flow.flipped)
        elif of_direction(flow, axis) and len(taken) == 1:
            flow = flow.half(axis, taken[0])
        elif not flow.layers:
            return None
        else:
            ended = at_the_end(reader, refuse, flow, axis, taken)
            if ended is None:
                raise refuse(f"it takes {len(taken)} of {size} along axis {axis}")
            flow = ended
    return [flow]


def _may_be_time(reader: Any, flow: Flow, axis: int) -> bool:
    """Of an input, of which it is not yet known, any but the features' is."""
    if "time" in reader.axes:
        return _is_time(reader, flow, axis)
    return axis < len(flow.axes) - 1


def of_direction(flow: Flow, axis: int) -> bool:
    """Whether an axis holds the two directions of the last layer."""
    two = flow.states[1:] if flow.states else flow.layers and flow.layers[-1].halves
    return bool(two) and flow.axes[axis] == flow.features[:1] != flow.features


def at_the_end(
    reader: Any, refuse: Any, flow: Flow, axis: int, taken: Sequence[int]
) -> Flow | None:
    """The last step that was computed; None if that is not the one that is taken."""
    if not flow.layers or len(taken) != 1 or not _is_time(reader, flow, axis):
        return None
    end = flow.shape[axis] - 1
    at = end - taken[0] if flow.flipped else taken[0]
    layer = flow.layers[-1]
    ended = flow._replace(
        axes=tuple(() if i == axis else a for i, a in enumerate(flow.axes)),
        flipped=False,
        last=True,
    )
    if at == end and not any(layer.back for layer in flow.layers):
        found = ended
    elif layer.fields and not layer.halves and at == (0 if layer.back else end):
        found = ended._replace(states=((None, "h"),))
    else:
        return None
    if reader.ragged:
        raise refuse("it takes one step of all sequences, though they have lengths")
    return found


@reads("Split")
def _split(reader, refuse, inputs, attributes):
    flow, axis = inputs[0], place(attributes.get("axis", 0), len(inputs[0].axes))
    if not flow.layers or not of_direction(flow, axis):
        return None
    sizes = inputs[1] if len(inputs) > 1 else attributes.get("split")
    plain = sizes is None or np.array_equal(sizes, [1, 1])
    if not plain or len(reader.node.output) != 2:
        raise refuse("it does not split the two directions")
    return [flow.half(axis, 0), flow.half(axis, 1)]


@reads("ReverseSequence")
def _reverse_sequence(reader, refuse, inputs, attributes):
    flow, lengths = inputs
    axis = attributes.get("time_axis", 0)
    whole = isinstance(lengths, np.ndarray) and (lengths == flow.shape[axis]).all()
    if not isinstance(lengths, np.ndarray) or whole:  # of its own length, as a mask
        return [flow._replace(flipped=not flow.flipped)]
    raise refuse(f"sequence_lens={lengths.tolist()}: constant lengths")
