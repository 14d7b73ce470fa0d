"""A node RNN, GRU or LSTM in a file: what it reads, and the layer that it is."""

from typing import Any

import numpy as np

from jaxrnn.interop.onnx.cell import CARRIES
from jaxrnn.interop.onnx.flow import Atom, Axis, Carry, Flow, Layer, Outside, array_of
from jaxrnn.interop.onnx.recurrent import directions
from jaxrnn.interop.onnx.states import join


def recurrent(
    reader: Any, node: Any, inputs: list[Any], attributes: dict[str, Any]
) -> Any:
    """The outputs Y, Y_h and Y_c of a node."""
    refuse, kind = reader.refusal(node), node.op_type
    given: list[Any] = [*inputs, *[None] * (8 - len(inputs))]
    x, w, r, b, lengths, h, c, p = given
    for name, value in (("W", w), ("R", r), ("B", b), ("P", p)):
        if value is not None and not isinstance(value, np.ndarray):
            raise refuse(f"{name}: expected a constant")
    if not isinstance(x, Flow) or x.last or len(x.axes) != 3 or not x.ready:
        what = getattr(x, "made_by", "") or "no sequence"
        raise refuse(f"X: expected [T, B, D] of the input, got {what}")
    if not x.layers and w is not None and x.dtype != w.dtype:
        raise refuse(f"X: expected {w.dtype} as of W, got {x.dtype}")
    layout = attributes.get("layout", 0)
    if layout not in (0, 1):
        raise refuse(f"attribute layout={layout}: expected 0 or 1")
    steps, rows = (x.axes[1], x.axes[0]) if layout else x.axes[:2]
    for name, axis in (("time", steps), ("batch", rows)):
        labels = ",".join(atom.label for atom in axis if atom.size != 1)
        if labels and reader.axes.setdefault(name, labels) != labels:
            raise refuse(
                f"X: its {name} axis is {labels}, that of an earlier node "
                f"{reader.axes[name]}"
            )
    time = x.shape[1 - (not layout)]
    reader.ragged |= _ragged(lengths, time, refuse)
    states = [
        _initial(name, s, layout, refuse)
        for name, s in (("initial_h", h), ("initial_c", c))
    ]
    batch = x.shape[0 if layout else 1]
    for name, state in zip(("initial_h", "initial_c"), states, strict=True):
        size = batch if np.ndim(state) != 3 else state.shape[1]
        if size != batch and not {size, batch} & reader.free:
            raise refuse(f"{name}: expected a batch of {batch} as of X, got {size}")
    found = directions(kind, attributes, (w, r, b, p), tuple(states), refuse)
    if w is not None and w.shape[2] != x.shape[2]:
        raise refuse(f"W: expected D = {x.shape[2]}, as X has, got {w.shape[2]}")
    name = frozenset([", ".join(node.output)])
    fields = CARRIES[kind]._fields
    one = [
        Layer(d.cell, d.params, d.back != x.flipped, nodes=name, fields=fields)
        for d in found
    ]
    number = len(x.layers)
    units = (Atom(f"units.{number}", r.shape[2]),)
    way: Axis = ()
    if len(one) == 2:
        if x.flipped:
            raise refuse("attribute direction=bidirectional: X is turned around")
        cell, params = join(*one)
        layer = Layer(cell, params, False, tuple(one), name, fields)
        way = (Atom(f"direction.{number}", 2),)
    else:
        layer = one[0]
    layers = (*x.layers, layer)
    axes = (rows, steps, way, units) if layout else (steps, way, rows, units)
    y = Flow(layers, axes, (*way, *units), x.flipped)
    last = (rows, way, units) if layout else (way, rows, units)
    ways = (0, 1) if way else (None,)
    ends = [
        Flow(layers, last, (*way, *units), last=True)._replace(
            states=tuple((at, field) for at in ways)
        )
        for field in fields
    ]
    if not way and not layer.back:
        ends[0] = ends[0]._replace(states=())  # the last output of a step
    return [y, *ends]


def _ragged(lengths: Any, time: int, refuse: Any) -> bool:
    """Whether the sequences have lengths of their own."""
    if isinstance(lengths, Carry) or (isinstance(lengths, Flow) and lengths.layers):
        raise refuse("sequence_lens: it depends on what the layers give")
    if isinstance(lengths, Outside) and lengths.made_by:
        raise refuse(f"sequence_lens: {lengths.made_by} computes it from an input")
    if isinstance(lengths, Flow) and (
        lengths.dtype != np.int32 or len(lengths.axes) > 1
    ):
        raise refuse(
            f"sequence_lens: expected int32 [B], got {lengths.dtype} {lengths.shape}"
        )
    if isinstance(lengths, np.ndarray) and (lengths != time).any():
        raise refuse(
            f"sequence_lens={lengths.tolist()}: constant lengths; a cell is given "
            "a mask with each call"
        )
    return isinstance(lengths, Flow | Outside)


def _initial(name: str, value: Any, layout: int, refuse: Any) -> Any:
    """A constant initial state, or None for zeros and for what the caller gives."""
    if value is None or isinstance(value, np.ndarray):
        return value if value is None or not layout else value.transpose(1, 0, 2)
    if isinstance(value, Carry) or (isinstance(value, Flow) and value.layers):
        raise refuse(f"{name}: it is the final state of another node")
    if isinstance(value, Outside) and value.made_by:
        raise refuse(f"{name}: {value.made_by} computes it from an input")
    like = array_of(value)
    return like.transpose(1, 0, 2) if layout else like
