"""A recurrence unrolled for all its steps at once, whatever its step computes."""

import logging
from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp

from jaxrnn.build import step_of
from jaxrnn.checks import (
    check_array,
    check_flag,
    check_input,
    check_length,
    check_mask,
    check_starts,
)
from jaxrnn.combinators.newton import NewtonOptions, NewtonReport, check_newton
from jaxrnn.combinators.time import is_forward_only
from jaxrnn.core import Cell, blank, recorded, restarted
from jaxrnn.loops import newton
from jaxrnn.loops.flat import Layout, blocks_of
from jaxrnn.steps import AllSteps

LOG = logging.getLogger("jaxrnn")


@recorded
def parallel(cell: Cell, **options: Unpack[NewtonOptions]) -> Cell:
    """Unrolls a cell by Newton's method: all steps at once, a few times over.

    The states s_t = f(s_{t-1}, x_t) are found together. From a guess, that all are the
    initial carry, each iteration evaluates f and its Jacobians, or a part A_t of them,
    at all steps side by side, and solves a linear recurrence for the correction:

        r_t = f(s_{t-1}, x_t) - s_t
        e_t = (1 - damping) A_t e_{t-1} + r_t,    s_t = s_t + e_t

    until the residual is within the tolerance. After k iterations the first k states
    are right, so T suffice; it pays where far fewer do, which depends on the net. What
    has not converged after `max_iterations`, or is not finite, the loop computes: the
    logger "jaxrnn" has a warning, once for a cell, and `newton_unroll` a report.

    Gradients solve the linear recurrence d_t = J_t d_{t-1} + b_t with the whole
    Jacobians J of the states that were found, by the same corrections and to the same
    tolerance, or in turn, so that they are the loop's whatever `jacobian` is.

    The Jacobians of "block" and "diagonal" cost about as much as f where a cell tells
    what a unit gives itself, as `elman`, `gru`, `lstm` and other gated cells do. Of
    others all n columns are computed and most of each thrown away.

    Args:
      cell: with a step. Its carry holds floating or complex numbers and no keys; all
        fields have one size for "block".
      **options: jacobian, damping, radius, max_iterations, tolerance, warn; see
        `jaxrnn.NewtonOptions`.

    Returns:
      A cell with the params and the carry of `cell`. Its step is that of the cell.

    Raises:
      TypeError: if there is no such option.
      ValueError: if an option does not fit or the cell has no step; from `unroll`, if
        the carry does not fit.

    References:
      Lim et al., "Parallelizing non-linear sequential models over the sequence
      length", ICLR 2024, for full Jacobians; Gonzalez et al., "Towards scalable and
      stable parallelization of nonlinear RNNs", NeurIPS 2024, for diagonal ones and
      the damping; Danieli et al., "ParaRNN: unlocking parallel training of nonlinear
      RNNs for large language models", 2025, for blocks.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.parallel(rnn.lstm(3, 5), jacobian="block")
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """
    name = f"parallel({step_of('parallel', cell) and cell.about.name})"
    settings = check_newton("parallel", options)
    told = []

    def fallen(failed, residual):
        if failed and not told:
            told.append(True)
            LOG.warning(
                "%s: no states within the tolerance after %d iterations (residual %.2g)"
                ": the loop computed them (said once; see newton_unroll)",
                name,
                settings.max_iterations,
                residual,
            )

    def tell(failed, residual):
        jax.debug.callback(fallen, failed, residual)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        if is_forward_only():
            return AllSteps(mask, reverse, starts).run(cell, params, carry, xs)
        run = partial(_unrolled, name, cell, settings, tell if settings.warn else None)
        return run(params, carry, xs, mask, reverse, starts)[:2]

    return cell._replace(unroll=unroll, about=cell.about._replace(name=name))


def newton_unroll(
    cell: Cell,
    params: Any,
    carry: Any,
    xs: Any,
    *,
    mask: jax.Array | None = None,
    reverse: bool = False,
    starts: jax.Array | None = None,
    **options: Unpack[NewtonOptions],
) -> tuple[Any, Any, NewtonReport]:
    """As the unroll of `parallel(cell, **options)`, and how the states were found.

    Args:
      cell, **options: as for `parallel`.
      params, carry, xs, mask, reverse, starts: as for `cell.unroll`.

    Returns:
      The final carry, the outputs, and a `NewtonReport`.

    Raises:
      TypeError, ValueError: as `parallel` and its unroll.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.gru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, xs = cell.initial_carry(params), jnp.ones((7, 3))
      >>> carry, ys, report = rnn.newton_unroll(cell, params, carry, xs)
      >>> ys.shape, bool(report.fell_back)
      ((7, 5), False)
    """
    step_of("newton_unroll", cell)
    settings = check_newton("newton_unroll", options)
    name = f"newton_unroll: {cell.about.name}"
    run = partial(_unrolled, name, cell, settings, None)
    return run(params, carry, xs, mask, reverse, starts)


def _unrolled(name, cell, settings, fallen, params, carry, xs, mask, reverse, starts):
    if cell.about.reads is not None:
        xs = check_input(f"{name}: xs", xs, cell.about.reads, ("T",))
    length = check_length(f"{name}: xs", xs)
    mask = check_mask(name, mask, length)
    starts = check_starts(name, starts, length)
    reverse = check_flag(f"{name}: reverse", reverse)
    params = jax.tree.map(partial(check_array, f"{name}: params"), params)
    params = cell.about.prepare(params)
    if not jax.tree.leaves(carry):
        steps = AllSteps(mask, reverse, starts)
        carry, ys = steps.run(cell, params, carry, xs)
        nothing = newton.Outcome(jnp.int32(0), jnp.float32(0), jnp.bool_(False))
        return carry, ys, NewtonReport(*nothing)
    layout = Layout(name, carry)
    xs, mask, starts = (
        jax.tree.map(lambda a: jnp.flip(a, 0) if reverse else jnp.asarray(a), tree)
        for tree in (blank(mask, xs), mask, starts)
    )
    x = jax.tree.map(lambda a: a[0], xs)
    jax.eval_shape(cell.step, params, carry, x)  # it checks what it is given
    initial = restarted(cell.initial_carry, params, carry)
    fields = layout.fields(name, settings.jacobian)

    def step(params, s, x):
        return layout.vector(cell.step(params, layout.carry(s), x)[0])

    # What the two close over may be under differentiation too.
    args = params, layout.vector(carry), x
    step, of_step = jax.closure_convert(step, *args)
    blocks, of_blocks = jax.closure_convert(
        partial(blocks_of, layout, fields, cell), *args
    )
    inputs = newton.Inputs(
        (params, of_step, of_blocks), args[1], layout.vector(initial), xs, mask, starts
    )
    tolerance = settings.tolerance or layout.eps**0.75
    problem = newton.Problem(
        lambda shared, s, x: step(shared[0], s, x, *shared[1]),
        lambda shared, s, x: blocks(shared[0], s, x, *shared[2]),
        fields,
        settings.damping,
        settings.radius,
        settings.max_iterations,
        tolerance,
        fallen,
    )
    states, outcome = newton.states(problem, inputs)
    carries = jax.vmap(layout.carry)(newton.before(inputs, states))
    _, ys = jax.vmap(cell.step, (None, 0, 0))(params, carries, xs)
    if mask is not None:
        ys = blank(mask, ys)
    ys = jax.tree.map(lambda a: jnp.flip(a, 0) if reverse else a, ys)
    return layout.carry(states[-1]), ys, NewtonReport(*outcome)
