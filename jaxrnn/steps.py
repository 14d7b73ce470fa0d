"""How a combinator runs the cells in it: one step, or all steps of a sequence."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import step_of
from jaxrnn.core import Cell, InitialCarry, blank, scan_unroll


class At(Protocol):
    """One step, or all steps of a sequence."""

    @property
    def starts(self) -> jax.Array | None:
        """Which steps begin with the initial carry; None for one step."""
        ...

    def run(self, cell: Cell, params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        """Steps or unrolls the cell."""
        ...

    def scan(
        self,
        step: Callable[["At", Any, Any, Any], tuple[Any, Any]],
        initial_carry: InitialCarry,
        params: Any,
        carry: Any,
        x: Any,
    ) -> tuple[Any, Any]:
        """Takes one step after the other, each by `(at, params, carry, x)`."""
        ...

    def back(self) -> "At":
        """The steps in the opposite order, for a cell that reads the future."""
        ...

    def blank(self, xs: Any) -> Any:
        """Zeros what stands in the padding of a sequence."""
        ...

    def rows(self, fun: Callable[[Any], Any], xs: Any) -> Any:
        """Applies a function of `[N, ...]` to the steps, of which there may be one."""
        ...


class OneStep:
    """A combinator's step."""

    starts = None

    def run(self, cell, params, carry, x):
        return step_of(cell.about.name, cell)(params, carry, x)

    def scan(self, step, initial_carry, params, carry, x):
        return step(self, params, carry, x)

    def back(self):
        raise ValueError("step: one step has no opposite order")

    def blank(self, xs):
        return xs

    def rows(self, fun, xs):
        return _only(fun(_alone(xs)))


class AllSteps(NamedTuple):
    """A combinator's unroll."""

    mask: jax.Array | None = None
    reverse: bool = False
    starts: jax.Array | None = None

    def run(self, cell, params, carry, xs):
        return cell.unroll(params, carry, xs, **self.options())

    def scan(self, step, initial_carry, params, carry, xs):
        unroll = scan_unroll(partial(step, OneStep()), initial_carry)
        return unroll(params, carry, xs, **self.options())

    def options(self) -> dict[str, Any]:
        """The keywords of `unroll`; without `starts` where there are none."""
        options = {"mask": self.mask, "reverse": self.reverse}
        return options if self.starts is None else options | {"starts": self.starts}

    def back(self) -> "AllSteps":
        """The same steps in the opposite order.

        Where a sequence begins in one order, the one before it begins in the other.
        """
        starts = self.starts
        if starts is not None:
            inner = (0, -1) if self.reverse else (1, None)
            rest, end = lax.slice_in_dim(starts, *inner), jnp.zeros(1, bool)
            starts = jnp.concatenate([end, rest] if self.reverse else [rest, end])
        return AllSteps(self.mask, not self.reverse, starts)

    def blank(self, xs):
        return blank(self.mask, xs)

    def rows(self, fun, xs):
        return fun(xs)


class Tracing:
    """A combinator's unroll that keeps what each cell in it gives."""

    def __init__(self, steps: AllSteps, outputs: list[Any] | None = None):
        self.steps, self.outputs = steps, [] if outputs is None else outputs

    @property
    def starts(self):
        return self.steps.starts

    def run(self, cell, params, carry, xs):
        carry, ys, outputs = traced(cell, params, carry, xs, self.steps)
        self.outputs.append(outputs)
        return carry, ys

    def scan(self, step, initial_carry, params, carry, xs):
        def traced_step(params, carry, x):
            at = _TracingStep()
            carry, y = step(at, params, carry, x)
            return carry, (y, at.outputs)

        unroll = scan_unroll(traced_step, initial_carry)
        carry, (ys, outputs) = unroll(params, carry, xs, **self.steps.options())
        self.outputs += outputs
        return carry, ys

    def back(self):
        return Tracing(self.steps.back(), self.outputs)

    def blank(self, xs):
        return self.steps.blank(xs)

    def rows(self, fun, xs):
        return fun(xs)


class _TracingStep(OneStep):
    """A step that keeps what each cell in it gives."""

    def __init__(self):
        self.outputs = []

    def run(self, cell, params, carry, x):
        carry, ys, outputs = traced(cell, params, carry, _alone(x), AllSteps())
        self.outputs.append(_only(outputs))
        return carry, _only(ys)


def traced(
    cell: Cell, params: Any, carry: Any, xs: Any, steps: AllSteps
) -> tuple[Any, Any, Any]:
    """The carry, the outputs, and the outputs of each cell in it."""
    if cell.about.trace is None:
        carry, ys = steps.run(cell, params, carry, xs)
        return carry, ys, ys
    return cell.about.trace(params, carry, xs, **steps.options())


def _alone(x: Any) -> Any:
    """One step as a sequence."""
    return jax.tree.map(lambda a: jnp.asarray(a)[None], x)


def _only(xs: Any) -> Any:
    """The step of a sequence of one."""
    return jax.tree.map(lambda a: a[0], xs)
