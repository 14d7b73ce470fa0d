"""What a file computes of its sequence: layers so far, and where the axes have gone.

A file says where time, batch and features are only by what it does with them. So each
axis of an array is followed as a tuple of atoms, a label and a size, of which a Reshape
may put several into one axis and take them apart again.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.combinators import chain, residual
from jaxrnn.core import Cell, recorded
from jaxrnn.lift import around


def place(axis: int, rank: int) -> int:
    """The number of an axis, counted from the first one."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank} axes")
    return int(axis) % rank


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
    fields: tuple[str, ...] = ()  # of the carry, if it is one recurrent node


State = tuple[int | None, str]  # of a carry: which direction of two, and the field


class Flow(NamedTuple):
    """An array that depends on the sequence step by step."""

    layers: tuple[Layer, ...]
    axes: tuple[Axis, ...]
    features: Axis  # of one step
    flipped: bool = False  # the last step comes first
    last: bool = False  # of the last step alone
    states: tuple[State, ...] = ()  # of a final carry, which is no output of a step
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
        one = self._replace(
            axes=tuple(() if i == axis else a for i, a in enumerate(self.axes)),
            features=tuple(a for a in self.features if a not in self.axes[axis]),
        )
        if self.states:
            return one._replace(states=self.states[at : at + 1])
        return one._replace(layers=(*self.layers[:-1], last.halves[at]))

    @property
    def ready(self) -> bool:
        """Whether the last axis holds the features, in their order."""
        return bool(self.axes) and _real(self.axes[-1]) == _real(self.features)


class Carry(NamedTuple):
    """The final states of several layers."""

    layers: tuple[Layer, ...]
    parts: tuple[Flow, ...] = ()  # one after the other along the first axis


class Outside(NamedTuple):
    """What was made of an input that is no sequence, such as an initial state."""

    made_by: str
    like: np.ndarray


def array_of(value: Any) -> Any:
    """Numbers in the place of what is not known before the file runs."""
    if isinstance(value, Flow):  # they take no memory
        return np.broadcast_to(np.zeros((), value.dtype), value.shape)
    return value.like if isinstance(value, Outside) else value


def _real(axis: Axis) -> Axis:
    return tuple(atom for atom in axis if atom.size != 1)


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
