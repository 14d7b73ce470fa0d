"""A recurrence unrolled for all its steps at once, whatever its step computes."""

import logging
from functools import partial
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp

from jaxrnn.build import step_of
from jaxrnn.checks import (
    check_array,
    check_flag,
    check_input,
    check_length,
    check_mask,
    check_number,
    check_size,
    check_starts,
)
from jaxrnn.core import Cell, blank, is_key, recorded, restarted
from jaxrnn.loops import newton
from jaxrnn.precision import wide

LOG = logging.getLogger("jaxrnn")


class NewtonOptions(TypedDict, total=False):
    """How `parallel` and `newton_unroll` look for the states.

    Attributes:
      jacobian: "full" for the Jacobians of the step, `[n, n]` each; "block" for what a
        unit of the state has of itself, such as the 2 by 2 of h and c of an LSTM;
        "diagonal" for what a number of the state has of itself. None for "block" where
        all fields of the carry have one size, else "diagonal".
      damping: from 0, for Newton's method, to 1, for s_t = f(s_{t-1}, x_t) everywhere
        at once: the Jacobians are multiplied by 1 - damping.
      radius: the trust radius. A step whose correction is larger takes
        f(s_{t-1}, x_t).
      max_iterations: after so many evaluations of all steps the loop runs.
      tolerance: the bound on the residual max |s_t - f(s_{t-1}, x_t)| / (1 + |s_t|);
        None for eps^(3/4) of the dtype of the carry: 6e-6 in float32, 2e-12 in float64.
    """

    jacobian: Literal["full", "block", "diagonal"] | None
    damping: float
    radius: float
    max_iterations: int
    tolerance: float | None


class NewtonReport(NamedTuple):
    """How the states of a sequence were found.

    Attributes:
      iterations: how often all steps were evaluated, side by side. The last time found
        the residual within the tolerance, unless `fell_back`.
      residual: max |s_t - f(s_{t-1}, x_t)| / (1 + |s_t|) over all steps, of the states
        that were found; where `fell_back`, of those that were given up.
      fell_back: whether the loop computed the states.
    """

    iterations: jax.Array  # [] int32
    residual: jax.Array  # []
    fell_back: jax.Array  # [] bool


class _Settings(NamedTuple):
    jacobian: str | None = None
    damping: float = 0.0
    radius: float = 100.0
    max_iterations: int = 100
    tolerance: float | None = None


def _check(name: str, options: Any) -> _Settings:
    for option in options:
        if option not in _Settings._fields:
            raise TypeError(
                f"{name}: {option}: there is no such option; expected "
                f"{', '.join(_Settings._fields)}"
            )
    made = _Settings(**options)
    kinds = "full", "block", "diagonal"
    if made.jacobian not in (None, *kinds):
        raise ValueError(
            f'{name}: jacobian: expected "full", "block" or "diagonal", '
            f"got {made.jacobian!r}"
        )
    share, above = "a number from 0 to 1", "a number above 0"
    check_number(f"{name}: damping", made.damping, share, lambda v: 0 <= v <= 1)
    check_number(f"{name}: radius", made.radius, above, lambda v: v > 0)
    check_size(f"{name}: max_iterations", made.max_iterations)
    if made.tolerance is not None:
        check_number(f"{name}: tolerance", made.tolerance, above, lambda v: v > 0)
    return made


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
      **options: jacobian, damping, radius, max_iterations, tolerance; see
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
    settings = _check("parallel", options)
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
        run = partial(_unrolled, name, cell, settings, tell)
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
    settings = _check("newton_unroll", options)
    name = f"newton_unroll: {cell.about.name}"
    run = partial(_unrolled, name, cell, settings, None)
    return run(params, carry, xs, mask, reverse, starts)


class _Layout:
    """A carry as one vector, fields one after the other; complex ones as two."""

    def __init__(self, name: str, carry: Any):
        self.leaves, self.tree = jax.tree.flatten(carry)
        for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
            if is_key(leaf) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
                raise ValueError(
                    f"{name}: carry{jax.tree_util.keystr(path)}: expected floating "
                    f"numbers, got {leaf.dtype}; put parallel around the recurrent "
                    "cell alone, such as chain(parallel(lstm(3, 5)), dropout(0.1))"
                )
        self.sizes = []
        for leaf in self.leaves:
            self.sizes += [leaf.size] * (2 if jnp.iscomplexobj(leaf) else 1)
        dtypes = [wide(leaf.real.dtype) for leaf in self.leaves]
        self.dtype = max(dtypes, key=lambda d: jnp.finfo(d).bits)
        self.eps = float(max(jnp.finfo(leaf.real.dtype).eps for leaf in self.leaves))

    def vector(self, carry: Any) -> jax.Array:
        pieces = []
        for leaf in self.tree.flatten_up_to(carry):
            parts = [leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf]
            pieces += [part.reshape(-1).astype(self.dtype) for part in parts]
        return jnp.concatenate(pieces)

    def carry(self, vector: jax.Array) -> Any:
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes) - 1)]
        pieces, leaves = iter(jnp.split(vector, ends)), []
        for leaf in self.leaves:
            part = next(pieces)
            if jnp.iscomplexobj(leaf):
                part = jax.lax.complex(part, next(pieces))
            leaves.append(part.reshape(leaf.shape).astype(leaf.dtype))
        return self.tree.unflatten(leaves)

    def fields(self, name: str, jacobian: str | None) -> int | None:
        """K of `loops.blocks`."""
        if jacobian == "full":
            return None
        alike = len(set(self.sizes)) == 1
        if jacobian == "diagonal" or (jacobian is None and not alike):
            return 1
        if not alike:
            raise ValueError(
                f'{name}: jacobian: expected "full" or "diagonal" for a carry with '
                f'fields of sizes {self.sizes}, got "block", which needs one size'
            )
        return len(self.sizes)


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
        options = {"mask": mask, "reverse": reverse}
        options |= {} if starts is None else {"starts": starts}
        carry, ys = cell.unroll(params, carry, xs, **options)
        nothing = newton.Outcome(jnp.int32(0), jnp.float32(0), jnp.bool_(False))
        return carry, ys, NewtonReport(*nothing)
    layout = _Layout(name, carry)
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
        partial(_blocks, layout, fields, cell), *args
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


def _blocks(layout, fields, cell, params, s, x):
    """The step, and its Jacobian or what of it the blocks are."""
    local = None
    if fields is not None and cell.about.local is not None:
        local = cell.about.local(params, layout.carry(s), x)
    if local is not None:
        return layout.vector(local[0]), _own(layout, fields, local[1], s)

    def step(s):
        return layout.vector(cell.step(params, layout.carry(s), x)[0])

    new, push = jax.linearize(step, s)
    basis = jnp.eye(len(s), dtype=s.dtype)
    if fields is None:
        return new, jax.vmap(push, out_axes=1)(basis)
    units = len(s) // fields
    columns = jax.lax.map(push, basis)  # one after the other: only blocks are kept
    columns = columns.reshape(fields, units, fields, units)
    a = jnp.diagonal(columns, axis1=1, axis2=3)  # [K of s, K of new, n / K]
    return new, a.swapaxes(0, 1)


def _own(layout, fields, push, s):
    """The blocks, from a derivative in which each unit sees itself alone."""
    every = len(layout.sizes)
    field = jnp.repeat(jnp.eye(every, dtype=s.dtype), len(s) // every, axis=1)
    columns = jax.vmap(lambda d: layout.vector(push(layout.carry(d))))(field)
    a = columns.reshape(every, every, -1).swapaxes(0, 1)
    if fields == every:
        return a
    return jnp.diagonal(a).T.reshape(1, 1, -1)
