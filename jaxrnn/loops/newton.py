"""A recurrence solved for all its steps at once, by Newton's method.

The states of s_t = f(s_{t-1}, x_t) are the root of T equations. From a guess of all of
them an iteration evaluates f and A_t, its Jacobian or a part of that, at every step
side by side, and solves a linear recurrence for the correction e:

    r_t = f(s_{t-1}, x_t) - s_t,    e_t = (1 - damping) A_t e_{t-1} + r_t,    s_t += e_t

Whatever A is, after k iterations the first k states are right; how much sooner all are
depends on A and on f. Where |e_t| passes the trust radius, or is no number, the step
takes f(s_{t-1}, x_t) in its place.

The derivative is that of the root: with J the whole Jacobians, d_t = J_t d_{t-1} + b_t,
solved by the same corrections (with J = A, one is enough) to the same tolerance.
Where either does not get there, the steps are taken in turn.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.core import select
from jaxrnn.loops.blocks import identity, solve


class Problem(NamedTuple):
    """What is fixed before any array is read. States are vectors `[n]`."""

    step: Callable  # (params, s, x) -> s
    blocks: Callable  # (params, s, x) -> (s, A), the step and its Jacobian
    fields: int | None  # K of `loops.blocks`
    damping: float
    radius: float
    max_iterations: int
    tolerance: float
    fallen: Callable | None = None  # called with a bool and the residual


class Inputs(NamedTuple):
    """What one sequence is made of."""

    params: Any
    first: jax.Array  # [n], before the first step
    initial: jax.Array  # [n], with which a step begins where `starts`
    xs: Any  # [T, ...], finite where the mask is False
    mask: Any  # [T] bool, or None
    starts: Any  # [T] bool, or None


class Outcome(NamedTuple):
    """How it went."""

    iterations: jax.Array  # [] int32
    residual: jax.Array  # []
    fell_back: jax.Array  # [] bool


def before(inputs: Inputs, states: jax.Array) -> jax.Array:
    """The state that each step reads, `[T, n]`."""
    rest = lax.slice_in_dim(states, 0, -1)
    states = jnp.concatenate([inputs.first[None], rest])
    if inputs.starts is None:
        return states
    return jnp.where(inputs.starts[:, None], inputs.initial[None], states)


def _next(problem: Problem, inputs: Inputs, states: jax.Array) -> jax.Array:
    """f at every step."""
    states = before(inputs, states)
    new = jax.vmap(problem.step, (None, 0, 0))(inputs.params, states, inputs.xs)
    return new if inputs.mask is None else jnp.where(inputs.mask[:, None], new, states)


def _linear(problem: Problem, inputs: Inputs, states: jax.Array):
    """f at every step, and A."""
    states = before(inputs, states)
    new, a = jax.vmap(problem.blocks, (None, 0, 0))(inputs.params, states, inputs.xs)
    if inputs.mask is not None:
        new = jnp.where(inputs.mask[:, None], new, states)
        same = identity(problem.fields, states.shape[1], a.dtype)[None]
        mask = inputs.mask.reshape(-1, *[1] * (a.ndim - 1))
        a = jnp.where(mask, a, same)
    return new, a


def _largest(errors: jax.Array, scale: jax.Array) -> jax.Array:
    """The largest relative error; infinite if one is no number."""
    errors = jnp.abs(errors) / scale
    return jnp.where(jnp.isfinite(errors), errors, jnp.inf).max()


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def states(problem: Problem, inputs: Inputs) -> tuple[jax.Array, Outcome]:
    """The states after each step, `[T, n]`, and how they were found."""
    length = jax.tree.leaves(inputs.xs)[0].shape[0]
    guess = jnp.broadcast_to(inputs.initial, (length, *inputs.initial.shape))

    def is_open(loop):
        _, count, residual = loop
        return (residual > problem.tolerance) & (count < problem.max_iterations)

    def body(loop):
        s, count, _ = loop
        new, a = _linear(problem, inputs, s)
        errors = new - s
        residual = _largest(errors, 1 + jnp.abs(s))
        a = a * jnp.asarray(1 - problem.damping, a.dtype)
        moves = solve(problem.fields, a, errors, inputs.starts)
        near = (jnp.abs(moves) <= problem.radius).all(axis=1, keepdims=True)
        found = residual <= problem.tolerance
        s = jnp.where(found, s, jnp.where(near, s + moves, new))
        return s, count + 1, residual

    infinite = jnp.full((), jnp.inf, guess.dtype)
    begin = guess, jnp.zeros((), jnp.int32), infinite
    s, count, residual = lax.while_loop(is_open, body, begin)
    failed = ~(residual <= problem.tolerance)

    def in_turn(loop):
        del loop
        if problem.fallen is not None:
            problem.fallen(failed, residual)

        def step(s, inputs_t):
            x, valid, start = inputs_t
            if start is not None:
                s = select(start, inputs.initial, s)
            s = select(valid, problem.step(inputs.params, s, x), s)
            return s, s

        xs = inputs.xs, inputs.mask, inputs.starts
        return lax.scan(step, inputs.first, xs)[1], jnp.zeros((), bool)

    # Not lax.cond, of which vmap would run both branches always.
    s, _ = lax.while_loop(lambda loop: loop[1], in_turn, (s, failed))
    return s, Outcome(count, residual, failed)


@states.defjvp
def _states_jvp(problem: Problem, primals, tangents):
    (inputs,), (d_inputs,) = primals, tangents
    s, outcome = states(problem, inputs)
    _, rhs = jax.jvp(lambda i: _next(problem, i, s), (inputs,), (d_inputs,))

    def residual(d_s):
        return d_s - jax.jvp(partial(_next, problem, inputs), (s,), (d_s,))[1]

    d_s = lax.custom_linear_solve(
        residual,
        rhs,
        partial(_solved, problem, inputs, s, outcome.fell_back, False),
        partial(_solved, problem, inputs, s, outcome.fell_back, True),
    )
    zeros = jax.tree.map(_no_tangent, outcome)
    return (s, outcome), (d_s, zeros)


def _no_tangent(a: jax.Array) -> Any:
    if jnp.issubdtype(a.dtype, jnp.inexact):
        return jnp.zeros_like(a)
    return jnp.zeros(a.shape, jax.dtypes.float0)


def _solved(
    problem: Problem,
    inputs: Inputs,
    s: jax.Array,
    fell_back: jax.Array,
    transposed: bool,
    matvec: Callable[[jax.Array], jax.Array],
    b: jax.Array,
) -> jax.Array:
    """Solves matvec(d) = b by corrections, or in turn where they do not get there."""
    _, a = _linear(problem, inputs, s)
    size = jnp.abs(b).max()

    def is_open(loop):
        _, errors, count, residual = loop
        del errors
        return (residual > problem.tolerance) & (count < problem.max_iterations)

    def body(loop):
        d, errors, count, _ = loop
        d = d + solve(problem.fields, a, errors, inputs.starts, transposed=transposed)
        errors = b - matvec(d)
        return d, errors, count + 1, _largest(errors, size + jnp.abs(d))

    count = jnp.where(fell_back, problem.max_iterations, 0)
    residual = jnp.where(size == 0, 0, jnp.full_like(size, jnp.inf))
    begin = jnp.zeros_like(b), b, count, residual
    d, _, _, residual = lax.while_loop(is_open, body, begin)
    failed = ~(residual <= problem.tolerance)

    def in_turn(loop):
        del loop
        return _in_turn(problem, inputs, s, transposed, b), jnp.zeros((), bool)

    return lax.while_loop(lambda loop: loop[1], in_turn, (d, failed))[0]


def _in_turn(problem, inputs, s, transposed, b):
    """d_t = J_t d_{t-1} + b_t, one step after the other; or its transpose."""

    def map_of(s, x, valid):
        def step(s):
            return select(valid, problem.step(inputs.params, s, x), s)

        return step

    def push(d, at):
        s, x, valid, start, b = at
        moved = jax.jvp(map_of(s, x, valid), (s,), (d,))[1]
        d = b + (moved if start is None else select(start, jnp.zeros_like(d), moved))
        return d, d

    def pull(ct, at):
        s, x, valid, start, b = at
        d = b + ct
        (ct,) = jax.vjp(map_of(s, x, valid), s)[1](d)
        return ct if start is None else select(start, jnp.zeros_like(d), ct), d

    xs = before(inputs, s), inputs.xs, inputs.mask, inputs.starts, b
    body = pull if transposed else push
    return lax.scan(body, jnp.zeros_like(b[0]), xs, reverse=transposed)[1]
