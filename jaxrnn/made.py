"""How a cell is pickled: as the call that made it.

A cell consists of functions made in functions, which pickle refuses. Its factory and
the arguments of that, such as sizes, other cells and arrays, can be sent.
"""

import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
C = TypeVar("C", bound=Any)


class Made:
    """The call that made a cell. It is equal to itself alone, as functions are."""

    def __init__(self, factory: Callable, args: tuple, options: dict, cell: Any):
        self.factory, self.args, self.options = factory, args, options
        self.cell = cell  # as it was made, to see whether it has been changed since


def recorded(factory: Callable[P, C]) -> Callable[P, C]:
    """A factory of cells that know the call that made them."""

    @functools.wraps(factory)
    def make(*args: P.args, **options: P.kwargs) -> C:
        cell = factory(*args, **options)
        if any(cell is arg for arg in args):
            return cell
        return _with_made(cell, Made(make, args, options, cell))

    return make


def by_the_call(cell: Any) -> tuple[Any, ...]:
    """What pickle is told of a cell; its functions, where the call is not known."""
    made = cell.about.made
    if made is None or cell != _with_made(made.cell, made):
        return type(cell), tuple(cell)
    args = [_named(arg) for arg in made.args]
    options = {name: _named(option) for name, option in made.options.items()}
    return _make, (made.factory, args, options)


def _with_made(cell: Any, made: Made) -> Any:
    return cell._replace(about=cell.about._replace(made=made))


def _make(factory: Callable, args: list, options: dict) -> Any:
    options = {name: _found(option) for name, option in options.items()}
    return factory(*map(_found, args), **options)


class _Name(NamedTuple):
    """Where a function is found that JAX has wrapped, such as `jax.nn.relu`."""

    module: str
    name: str


def _named(value: Any) -> Any:
    """The name of a wrapped function: pickle looks for what is inside, in vain."""
    name = _Name(
        getattr(value, "__module__", None) or "", getattr(value, "__name__", "")
    )
    plain = isinstance(value, type | types.FunctionType) or not callable(value)
    if plain or name.module not in sys.modules or name.module == "__main__":
        return value
    there = getattr(sys.modules[name.module], name.name, None)
    return name if there is value else value


def _found(value: Any) -> Any:
    if isinstance(value, _Name):
        return getattr(importlib.import_module(value.module), value.name)
    return value
