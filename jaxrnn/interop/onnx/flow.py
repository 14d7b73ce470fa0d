"""What a file computes of its sequence: layers so far, and where the axes have gone.

A file says where time, batch and features are only by what it does with them. So each
axis of an array is followed as a tuple of atoms, a label and a size, of which a Reshape
may put several into one axis and take them apart again.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.combinators import Directions, bidirectional, chain, residual
from jaxrnn.core import Cell, recorded
from jaxrnn.lift import around


class Atom(NamedTuple):
    """An axis of the file's input, or of what a layer gives."""

    label: str
    size: int


Axis = tuple[Atom, ...]


class Layer(NamedTuple):
    """A cell on the way; `back` if it reads from the last step to the first."""

    cell: Cell
    params: Any
    back: bool = False
    halves: "tuple[Layer, ...]" = ()  # of two directions
    nodes: frozenset[str] = frozenset()  # the recurrent ones in it


class Flow(NamedTuple):
    """An array that depends on the sequence step by step."""

    layers: tuple[Layer, ...]
    axes: tuple[Axis, ...]
    features: Axis  # of one step
    flipped: bool = False  # the last step comes first
    last: bool = False  # of the last step alone
    dtype: Any = np.float32
    outside: int | None = None  # of tokens: what stands for one outside the table

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(atom.size for atom in axis) for axis in self.axes)

    def transposed(self, perm: Sequence[int]) -> "Flow":
        return self._replace(axes=tuple(self.axes[i] for i in perm))

    def reshaped(self, shape: Sequence[int]) -> "Flow | None":
        """With the atoms grouped anew; None where one had to be cut."""
        atoms = [a for axis in self.axes for a in axis if a.size != 1]
        axes = []
        for size in shape:
            axis: list[Atom] = []
            while atoms and math.prod(a.size for a in axis) < size:
                axis.append(atoms.pop(0))
            if math.prod(a.size for a in axis) != size:
                return None
            axes.append(tuple(axis))
        return None if atoms else self._replace(axes=tuple(axes))

    def then(self, cell: Cell, params: Any, features: Axis) -> "Flow":
        """With one more layer, which reads the last axis."""
        return self._replace(
            layers=(*self.layers, Layer(cell, params)),
            axes=(*self.axes[:-1], features),
            features=features,
        )

    def half(self, axis: int, at: int) -> "Flow":
        """One direction of two, whose axis it is."""
        (last,) = self.layers[-1:]
        return self._replace(
            layers=(*self.layers[:-1], last.halves[at]),
            axes=tuple(() if i == axis else a for i, a in enumerate(self.axes)),
            features=tuple(a for a in self.features if a not in self.axes[axis]),
        )

    @property
    def ready(self) -> bool:
        """Whether the last axis holds the features, in their order."""
        return bool(self.axes) and _real(self.axes[-1]) == _real(self.features)


class Carry(NamedTuple):
    """A final state, or several, of which no step is the output."""

    layers: tuple[Layer, ...]


class Outside(NamedTuple):
    """What was made of an input that is no sequence, such as an initial state."""

    made_by: str
    like: np.ndarray


def _real(axis: Axis) -> Axis:
    return tuple(atom for atom in axis if atom.size != 1)


def both(a: Flow, b: Flow, merge: Any) -> Flow | None:
    """Two directions of one sequence, forward first; None if they are not that."""
    same = a.layers[:-1] == b.layers[:-1] and a.axes[:-1] == b.axes[:-1]
    plain = not (a.flipped or b.flipped or a.last or b.last)
    if not (a.layers and b.layers and same and plain):
        return None
    ahead, behind = a.layers[-1], b.layers[-1]
    if ahead.back or not behind.back:
        return None
    cell, params = join(ahead, behind, merge)
    features = (*a.features, *b.features) if merge == "concatenate" else a.features
    if merge == "concatenate":
        size = sum(math.prod(x.size for x in f) for f in (a.features, b.features))
        features = (Atom(f"both.{len(a.layers)}", size),)
    joined = Layer(cell, params, False, (ahead, behind), ahead.nodes | behind.nodes)
    layers = (*a.layers[:-1], joined)
    return a._replace(layers=layers, axes=(*a.axes[:-1], features), features=features)


def join(ahead: Layer, behind: Layer, merge: Any = "concatenate") -> tuple[Cell, Any]:
    """The two directions as one cell."""
    cell = bidirectional(ahead.cell, behind.cell, merge=merge)
    return cell, Directions(ahead.params, behind.params)


def shortcut(a: Flow, b: Flow) -> Flow | None:
    """The sum of a flow and what layers made of it; None for other sums."""
    if len(a.layers) > len(b.layers):
        a, b = b, a
    n = len(a.layers)
    same = a.layers == b.layers[:n] and a.shape == b.shape and a.flipped == b.flipped
    if not same or len(b.layers) == n or a.last != b.last:
        return None
    cell, params = together(b.layers[n:])
    added = Layer(residual(cell), params, nodes=nodes_of(b.layers[n:]))
    return b._replace(layers=(*a.layers, added))


def nodes_of(layers: Sequence[Layer]) -> frozenset[str]:
    """The recurrent nodes in some layers."""
    return frozenset().union(*(layer.nodes for layer in layers))


def together(layers: Sequence[Layer]) -> tuple[Cell, Any]:
    """The layers as one cell."""
    cells = [backward(one.cell) if one.back else one.cell for one in layers]
    if len(layers) == 1:
        return cells[0], layers[0].params
    return chain(*cells), tuple(one.params for one in layers)


@recorded
def backward(cell: Cell) -> Cell:
    """The cell in the opposite order of steps, as an operator of direction reverse."""

    def run(at, params, carry, xs):
        return at.back().run(cell, params, carry, xs)

    return around(f"backward({cell.about.name})", cell, run, step=False)
