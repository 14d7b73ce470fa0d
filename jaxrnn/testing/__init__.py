"""The laws of a `Cell` as tests, for cells of your own: `rnn.testing.check(cell)`.

Check your own cell. However it is made, by `leaf`, by combinators or by hand as
`Cell(init, initial_carry, step, unroll)`, one line in its tests is enough:

    def test_my_cell():
        rnn.testing.check(my_cell(3, 5))

The check draws params and inputs, takes the step for the truth, and holds all else to
it. It ends at the first law that is broken and says which, where, and by how much:

    jaxrnn.testing.LawError: my_cell(3, 5): starts: the output of step 3 depends on what
    stands before the start at step 3 (largest difference 0.41)

It takes a few seconds, and computes in double precision, so that a missing term cannot
hide behind rounding. Whether the step computes the equations that you meant it cannot
know: hold the step to numbers from elsewhere.

The laws, in their order:

- pytrees: params and carries hold arrays and nothing static. The arrays of an initial
  carry are its own, so that it can be donated.
- keys: a key changes nothing in an initial carry but typed keys.
- shapes: `step` and `unroll` return a carry like that which they are given, and the
  output of `unroll` is that of `step` with a leading time axis.
- dtypes: float32 in, float32 out, if the initial carry has the dtype of the params.
- program: a program does not grow with the number of steps, and once compiled it is not
  traced again.
- finite: finite inputs give finite outputs.
- law: `unroll` is `lax.scan` of the step, in values and gradients.
- reverse: the same from the last step to the first.
- masks: where the mask is False the carry is frozen and the output zero, and what the
  inputs hold there, such as NaN, is never read, not even by a gradient.
- starts: where `starts` is True a step begins with the initial carry, be it masked or
  not. What stands before, such as NaN, reaches nothing after it.
- continuing: an `unroll`, and a `step`, go on where an `unroll` ended.
- jit, vmap: compiled, and in a batch, a cell gives what it gives by itself.
- preparing: `about.prepare(params)` may stand in the place of the params.
- derivatives: `jax.grad`, `jax.jvp` and finite differences agree.

A cell that reads the future (`step=None`) has no law. What can be said without one: in
reverse it gives what the flipped sequence gives, with a mask what the sequence without
the masked steps gives, and of packed sequences what they give apart.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.build import check_cell
from jaxrnn.checks import (
    check_flag,
    check_floating,
    check_length,
    check_number,
    inputs_like,
)
from jaxrnn.core import Cell, is_key
from jaxrnn.testing.forms import FORMS
from jaxrnn.testing.laws import LAWS
from jaxrnn.testing.trial import Trial


class LawError(AssertionError):
    """A cell breaks one of the laws of `jaxrnn.Cell`."""


def check(
    cell: Cell,
    xs: Any = None,
    *,
    params: Any = None,
    smooth: bool = True,
    dtype: Any = None,
    tolerance: float | None = None,
) -> None:
    """Holds a cell to the laws that the text of this module lists.

    Args:
      cell: any. If its initial carry has keys, it is checked with and without them.
      xs: the inputs of one sequence, a pytree of `[T, ...]` with T of at least 4. None
        for random ones; as tokens these are 0 and 1.
      params: of the cell; None for those of `init` with noise, so that nothing is left
        at a zero or a one.
      smooth: False for a cell whose derivative is not that of its values, such as a
        straight-through estimator, or that has none in forward mode: the law
        "derivatives" is left out.
      dtype: to compute in; None for double precision, or for single where the initial
        carry is single whatever the params are.
      tolerance: for differences, relative to 1 + |expected|; None for 1e-9 in double
        precision, and 1e-3 in single.

    Raises:
      LawError: an `AssertionError`, if the cell breaks a law.
      ValueError: if an argument is of the wrong kind, or there are no `xs` and the cell
        does not say what it reads.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> def step(params, carry, x):
      ...     return carry + x, carry + x
      >>> def initial_carry(params, key=None):
      ...     return jnp.zeros(3)
      >>> def init(key):
      ...     return ()
      >>> total = rnn.leaf("total(3)", rnn.Input((3,)), init, initial_carry, step)
      >>> rnn.testing.check(total)
      >>> def forgetful(params, carry, xs, **options):
      ...     return carry, total.unroll(params, carry, xs, **options)[1]
      >>> wrong = total._replace(unroll=forgetful)
      >>> rnn.testing.check(wrong)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxrnn.testing.LawError: total(3): law: the final carry is not that of ...
    """
    check_cell("check: cell", cell)
    smooth = check_flag("check: smooth", smooth)
    dtype = _precision(cell, params) if dtype is None else dtype
    check_floating("check: dtype", dtype)
    double = bool(jnp.finfo(dtype).bits > 32)
    if tolerance is None:
        tolerance = 1e-9 if double else 1e-3
    tolerance = check_number(
        "check: tolerance", tolerance, "a positive number", lambda value: value > 0
    )
    with jax.enable_x64(double):
        xs = _inputs(cell, xs)
        options = smooth, dtype, tolerance
        trial = Trial(cell, params, xs, None, *options)
        _hold(trial)
        key = jax.random.key(1)
        if any(map(is_key, jax.tree.leaves(cell.initial_carry(trial.params, key)))):
            _hold(Trial(cell, params, xs, key, *options))


def _precision(cell: Cell, params: Any) -> Any:
    """Double, unless the initial carry stays single for params in double precision."""

    def double(a):
        floating = jnp.issubdtype(a.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(a.shape, jnp.float64 if floating else a.dtype)

    try:
        with jax.enable_x64(True):
            key = jax.random.key(0)
            drawn = jax.eval_shape(lambda: cell.init(key) if params is None else params)
            carry = jax.eval_shape(cell.initial_carry, jax.tree.map(double, drawn))
    except Exception:  # the laws say what is wrong
        return jnp.float64
    single = jnp.float32, jnp.complex64
    return (
        jnp.float32
        if any(a.dtype in single for a in jax.tree.leaves(carry))
        else jnp.float64
    )


def _hold(trial: Trial) -> None:
    for name, law in (FORMS | LAWS).items():
        where = f"{trial.cell.about.name}: {name}: "
        try:
            broken = next(law(trial), None)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise LawError(f"{where}{type(error).__name__}: {reason}") from error
        if broken is not None:
            raise LawError(where + broken)


def _inputs(cell: Cell, xs: Any) -> Any:
    if xs is not None:
        length = check_length("check: xs", xs)
        if length < 4:
            raise ValueError(f"check: xs: expected at least 4 steps, got {length}")
        return jax.tree.map(jnp.asarray, xs)
    like = inputs_like(cell.about.reads, (7,))
    if like is None:
        raise ValueError(
            "check: xs: expected the inputs of a sequence, arrays [T, ...], since "
            f"{cell.about.name} does not say what it reads, got None"
        )
    noise = np.random.default_rng(0)

    def drawn(one):
        if jnp.issubdtype(one.dtype, jnp.integer):
            tokens = np.resize([1, 0], one.shape)
            return jnp.asarray(noise.permuted(tokens, axis=0), jnp.int32)
        return jnp.asarray(noise.normal(size=one.shape))

    return jax.tree.map(drawn, like)
