"""How a combinator is built: one `run` that runs the cells in it.

`run` is written once; `lifted` makes of it the step, the unroll, and what `trace` and
`About.prepare` need.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import check_cell, step_of
from jaxrnn.checks import Input, check_flag, check_key
from jaxrnn.core import About, Cell, Init, InitialCarry, blank


class At(Protocol):
    """How a combinator runs the cells in it: one step, or all steps of a sequence."""

    def run(self, cell: Cell, params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        """Steps or unrolls the cell."""
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

    def run(self, cell, params, carry, x):
        return step_of(cell.about.name, cell)(params, carry, x)

    def back(self):
        raise ValueError("step: one step has no opposite order")

    def blank(self, xs):
        return xs

    def rows(self, fun, xs):
        return jax.tree.map(lambda y: y[0], fun(jax.tree.map(lambda x: x[None], xs)))


class AllSteps(NamedTuple):
    """A combinator's unroll."""

    mask: jax.Array | None = None
    reverse: bool = False
    starts: jax.Array | None = None

    def run(self, cell, params, carry, xs):
        return cell.unroll(params, carry, xs, **self.options())

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

    def run(self, cell, params, carry, xs):
        carry, ys, outputs = traced(cell, params, carry, xs, self.steps)
        self.outputs.append(outputs)
        return carry, ys

    def back(self):
        return Tracing(self.steps.back(), self.outputs)

    def blank(self, xs):
        return self.steps.blank(xs)

    def rows(self, fun, xs):
        return fun(xs)


def traced(
    cell: Cell, params: Any, carry: Any, xs: Any, steps: AllSteps
) -> tuple[Any, Any, Any]:
    """The carry, the outputs, and the outputs of each cell in it."""
    if cell.about.trace is None:
        carry, ys = steps.run(cell, params, carry, xs)
        return carry, ys, ys
    return cell.about.trace(params, carry, xs, **steps.options())


def trace(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Any,
    *,
    mask: jax.Array | None = None,
    reverse: bool = False,
    starts: jax.Array | None = None,
) -> Any:
    """What a model computes on the way: the outputs of every cell in it.

    Args:
      cell, params, carry, xs, mask, reverse, starts: as for `cell.unroll`.

    Returns:
      A tree like the params, with the outputs of a cell `[T, ...]` in the place of its
      params: a tuple for a `chain`, `Directions` for a `bidirectional`. An attention
      gives `Attended(output, weights)`. What a combinator makes of the outputs of the
      one cell in it, such as the sum of a `residual`, is not shown.

    Raises:
      ValueError: as `cell.unroll`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.lstm(3, 5), rnn.linear(5, 2))
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.initial_carry(params)
      >>> hs, logits = rnn.trace(model, params, carry, jnp.ones((7, 3)))
      >>> hs.shape, logits.shape
      ((7, 5), (7, 2))
    """
    check_cell("trace: cell", cell)
    steps = AllSteps(mask, check_flag("trace: reverse", reverse), starts)
    return traced(cell, params, carry, xs, steps)[2]


def apply(layer: Cell, params: Any, x: Any) -> Any:
    """The output of a layer without memory for one input: y = layer(x).

    Args:
      layer: whose carry is empty, such as `linear` or a `chain` of such layers.
      params: of the layer.
      x: one input, without a time axis.

    Returns:
      One output.

    Raises:
      ValueError: if the layer has no step or has a memory, or an argument does not fit.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> readout = rnn.linear(3, 5)
      >>> rnn.apply(readout, readout.init(jax.random.key(0)), jnp.ones(3)).shape
      (5,)
    """
    step = step_of("apply", layer)
    carry = layer.initial_carry(params)
    if jax.tree.leaves(carry):
        raise ValueError(
            f"apply: layer: expected one without memory, got {layer.about.name} with "
            f"the carry {jax.tree.structure(carry)}"
        )
    return step(params, carry, x)[1]


def lifted(
    name: str,
    cells: Sequence[Cell],
    run: Callable[[Any, Any, Any, Any], tuple[Any, Any]],
    *,
    init: Init,
    initial_carry: InitialCarry,
    split: Callable[[Any], Sequence[Any]],
    join: Callable[[Any, Sequence[Any]], Any],
    join_outputs: Callable[[Sequence[Any], Any], Any] | None = None,
    reads: Input | None = None,
    step: bool = True,
) -> Cell:
    """Builds a combinator: a cell that runs others.

    Args:
      name: as the factory was called, for messages.
      cells: the cells in it.
      run: `(at, params, carry, x) -> (carry, y)`, which calls `at.run` for each of the
        cells, in their order; see `At`. It serves one step and whole sequences.
      init, initial_carry: see `Cell`.
      split: `(params) -> params of each cell`, or a ValueError where they do not fit.
      join: `(params, params of each cell) -> params`, the inverse of `split`.
      join_outputs: `(outputs of each cell, ys) -> outputs`, for `trace`; None for
        `join` of the params and the outputs.
      reads: what one step reads; None for what the first cell reads.
      step: whether there can be one.

    Returns:
      The cell. It has no step if one of the cells has none.
    """

    def checked_init(key):
        return init(check_key(f"{name}: key", key))

    def checked_initial_carry(params, key=None):
        split(params)
        return initial_carry(
            params, None if key is None else check_key(f"{name}: key", key)
        )

    def one_step(params, carry, x):
        return run(OneStep(), params, carry, x)

    def all_steps(mask, reverse, starts):
        return AllSteps(mask, check_flag(f"{name}: reverse", reverse), starts)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        return run(all_steps(mask, reverse, starts), params, carry, xs)

    def prepare(params):
        pairs = zip(cells, split(params), strict=True)
        return join(params, [cell.about.prepare(p) for cell, p in pairs])

    def trace(params, carry, xs, *, mask=None, reverse=False, starts=None):
        at = Tracing(all_steps(mask, reverse, starts))
        carry, ys = run(at, params, carry, xs)
        if join_outputs is None:
            return carry, ys, join(params, at.outputs)
        return carry, ys, join_outputs(at.outputs, ys)

    has_step = step and all(cell.step is not None for cell in cells)
    return Cell(
        checked_init,
        checked_initial_carry,
        one_step if has_step else None,
        unroll,
        About(name, cells[0].about.reads if reads is None else reads, prepare, trace),
    )


def around(name: str, cell: Cell, run: Callable[..., tuple[Any, Any]], **more) -> Cell:
    """A combinator of one cell, with its params and, unless `more` says so, its carry.

    Args:
      name, run: as for `lifted`.
      cell: the one in it.
      **more: of `lifted`, in the place of what this cell has.
    """
    return lifted(
        name,
        (cell,),
        run,
        **{
            "init": cell.init,
            "initial_carry": cell.initial_carry,
            "split": lambda params: (params,),
            "join": lambda params, parts: parts[0],
            **more,
        },
    )
