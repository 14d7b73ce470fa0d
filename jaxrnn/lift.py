"""How a combinator is built: one `run` that runs the cells in it.

`run` is written once; `lifted` makes of it the step, the unroll, and what `About`
holds for `trace`, for `attend` and for whatever scans the step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxrnn.build import check_cell, step_of
from jaxrnn.checks import check_flag, check_key
from jaxrnn.core import About, Cell, Init, InitialCarry
from jaxrnn.steps import AllSteps, OneStep, Tracing, traced


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
    reads: Any = None,
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

    def bind(params, memory, mask):
        pairs = zip([cell.about.bind for cell in cells], split(params), strict=True)
        return join(params, [p if b is None else b(p, memory, mask) for b, p in pairs])

    def trace(params, carry, xs, *, mask=None, reverse=False, starts=None):
        at = Tracing(all_steps(mask, reverse, starts))
        carry, ys = run(at, params, carry, xs)
        if join_outputs is None:
            return carry, ys, join(params, at.outputs)
        return carry, ys, join_outputs(at.outputs, ys)

    has_step = step and all(cell.step is not None for cell in cells)
    binds = any(cell.about.bind is not None for cell in cells)
    return Cell(
        checked_init,
        checked_initial_carry,
        one_step if has_step else None,
        unroll,
        About(
            name,
            cells[0].about.reads if reads is None else reads,
            prepare,
            trace,
            bind if binds else None,
        ),
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
