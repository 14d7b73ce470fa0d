"""The two directions of a sequence, and final states that a later layer reads."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.combinators import Directions, bidirectional
from jaxrnn.core import Cell, recorded
from jaxrnn.interop.onnx.flow import Atom, Carry, Flow, Layer, State, backward
from jaxrnn.lift import around


@recorded
def final_states(
    cell: Cell, states: tuple[State, ...], merge: str = "concatenate"
) -> Cell:
    """Final states of a cell as its output, the same one at each valid step.

    So the output for a sequence is `jaxrnn.last(ys, mask)`, as of any other cell, and
    layers may follow. It reads all of the sequence before the first output, and has no
    step.

    Args:
      cell: a recurrent cell, or a `bidirectional` one of two.
      states: of each part the direction, 0 or 1, or None, and the carry's field.
      merge: "concatenate", or "sum".
    """
    name = f"final_states({cell.about.name})"

    def run(at, params, carry, xs):
        if at.starts is not None:
            raise ValueError(
                f"{name}: starts: expected None, since each sequence has its own final "
                "states, got an array"
            )
        carry, _ = at.run(cell, params, carry, xs)
        found = [
            getattr(carry if way is None else carry[way], field)
            for way, field in states
        ]
        y = found[0]
        if merge == "concatenate":
            y = jnp.concatenate(found)
        else:
            for part in found[1:]:
                y = y + part
        steps = jax.tree.leaves(xs)[0].shape[0]
        return carry, at.blank(jnp.broadcast_to(y, (steps, *y.shape)))

    return around(name, cell, run, step=False)


def settled(flow: Any) -> Any:
    """A flow whose final states are the output of a layer."""
    if not isinstance(flow, Flow) or not flow.states:
        return flow
    return _read(flow, "concatenate")


def _read(flow: Flow, merge: str) -> Flow:
    *before, layer = flow.layers
    cell = backward(layer.cell) if layer.back else layer.cell
    read = Layer(
        final_states(cell, flow.states, merge), layer.params, nodes=layer.nodes
    )
    return flow._replace(layers=(*before, read), states=())


def states_of(flow: Flow) -> tuple[State, ...]:
    """Which final states a flow is; none if it is something else."""
    if flow.states or not flow.last or not flow.layers:
        return flow.states
    layer = flow.layers[-1]
    is_h = layer.fields and not layer.halves and not layer.back
    return ((None, "h"),) if is_h else ()


def join(ahead: Layer, behind: Layer, merge: Any = "concatenate") -> tuple[Cell, Any]:
    """The two directions as one cell."""
    cell = bidirectional(ahead.cell, behind.cell, merge=merge)
    return cell, Directions(ahead.params, behind.params)


def both(a: Flow, b: Flow, merge: str) -> Flow | None:
    """Two directions of one sequence, forward first; None if they are not that."""
    same = a.layers[:-1] == b.layers[:-1] and a.axes[:-1] == b.axes[:-1]
    if not (a.layers and b.layers and same):
        return None
    if a.last and b.last:
        return _both_states(a, b, merge)
    ahead, behind = a.layers[-1], b.layers[-1]
    plain = not (a.flipped or b.flipped or a.last or b.last)
    if not plain or ahead.back or not behind.back:
        return None
    features = _merged(a, b, merge)
    layers = (*a.layers[:-1], _joined(ahead, behind, merge))
    return a._replace(layers=layers, axes=(*a.axes[:-1], features), features=features)


def _joined(ahead: Layer, behind: Layer, merge: str) -> Layer:
    cell, params = join(ahead, behind, merge)
    nodes = ahead.nodes | behind.nodes
    return Layer(cell, params, False, (ahead, behind), nodes, ahead.fields)


def _merged(a: Flow, b: Flow, merge: str) -> tuple[Atom, ...]:
    if merge != "concatenate":
        return a.features
    size = sum(math.prod(x.size for x in f) for f in (a.features, b.features))
    return (Atom(f"both.{len(a.layers)}", size),)


def _both_states(a: Flow, b: Flow, merge: str) -> Flow | None:
    """Final states side by side, or their sum."""
    parts = states_of(a), states_of(b)
    if not all(parts) or not (a.ready and b.ready):
        return None
    one, other = a.layers[-1], b.layers[-1]
    if one is not other:
        if one.halves or other.halves or one.back == other.back:
            return None
        ahead, behind = (other, one) if one.back else (one, other)
        if ahead.fields != behind.fields:
            return None
        joined = _joined(ahead, behind, "concatenate")
        a = a._replace(layers=(*a.layers[:-1], joined))
        parts = tuple(
            tuple((int(layer.back), field) for _, field in part)
            for layer, part in zip((one, other), parts, strict=True)
        )
    features = _merged(a, b, merge)
    a = a._replace(
        axes=(*a.axes[:-1], features), features=features, states=(*parts[0], *parts[1])
    )
    if merge == "concatenate":
        return a
    alike = a.shape == b.shape and all(len(part) == 1 for part in parts)
    return _read(a, merge) if alike else None


def stacked(flows: list[Flow], axis: int) -> Carry:
    """The final states of several layers, one after the other."""
    longest = max((flow.layers for flow in flows), key=len)
    return Carry(longest, tuple(flows) if axis == 0 else ())


def part_of(carry: Carry, at: int) -> tuple[Flow, int] | None:
    """The flow that holds a place of the first axis, and the place in it."""
    sizes = [flow.shape[0] for flow in carry.parts]
    at = at + sum(sizes) if at < 0 else at
    for flow, size in zip(carry.parts, sizes, strict=True):
        if 0 <= at < size:
            return flow, at
        at -= size
    return None


def unstacked(carry: Carry, shape: list[int]) -> Carry | None:
    """With the layers along the first axis, and the directions along the second."""
    shapes = {flow.shape for flow in carry.parts}
    if len(shapes) != 1 or shape != [len(carry.parts), *shapes.pop()]:
        return None
    parts = tuple(f._replace(axes=((), *f.axes)) for f in carry.parts)
    return carry._replace(parts=parts)
