"""The `Cell`: the one protocol of all models in jaxrnn, and its law.

Sizes, here and everywhere: `B` batch, `T` time, `D` input, `H` hidden, `V`
vocabulary, `K` classes. A singular name is one step (`x`, `h`, `y`), a plural one has
a leading time axis (`xs`, `hs`, `ys`). Functions see one sequence, `[T, D]`;
`jax.vmap` adds the batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.checks import check_flag, check_length, check_mask, check_starts
from jaxrnn.made import Made, by_the_call
from jaxrnn.made import recorded as recorded
from jaxrnn.precision import narrowed, widened


class Init(Protocol):
    """Draws the params of a cell."""

    def __call__(self, key: jax.Array, /) -> Any: ...


class InitialCarry(Protocol):
    """The carry before the first step. All randomness of a run enters here."""

    def __call__(self, params: Any, key: jax.Array | None = None, /) -> Any: ...


class Step(Protocol):
    """One tick: `(params, carry, x) -> (carry, y)`."""

    def __call__(self, params: Any, carry: Any, x: Any, /) -> tuple[Any, Any]: ...


class Unroll(Protocol):
    """A sequence: `(params, carry, xs) -> (carry, ys)`, as `lax.scan` of the step."""

    def __call__(
        self,
        params: Any,
        carry: Any,
        xs: Any,
        /,
        *,
        mask: jax.Array | None = None,
        reverse: bool = False,
        starts: jax.Array | None = None,
    ) -> tuple[Any, Any]: ...


def _unprepared(params: Any) -> Any:
    return params


class About(NamedTuple):
    """What messages say of a cell, and what only combinators call.

    Attributes:
      name: the cell as its factory was called, `lstm(28, 128)`.
      reads: what one step reads, an `Input` or a pytree of them, or None where that is
        not known.
      prepare: `(params) -> prepared`, computes once what depends on the params and on
        no step, such as the keys of a memory. `initial_carry`, `step` and `unroll`
        accept `prepared` in the place of the params and return the same; so does
        `prepare` itself. What scans a step prepares first.
      trace: `(params, carry, xs, *, mask, reverse, starts) -> (carry, ys, outputs)`,
        for `jaxrnn.trace`. None for a cell that gives nothing but its outputs.
      bind: `(params, memory, mask) -> prepared`, gives a memory to each attention that
        has none; see `attend`. None for a cell without such an attention.
      local: `(params, carry, x) -> (carry, push)`, the step and its derivative
        `push(d_carry) -> d_carry` if each hidden unit had come from itself alone, for
        `parallel`. None where it is not known, by itself or as the result.
      made: the call that made the cell, or None; see `recorded`.
    """

    name: str = "cell"
    reads: Any = None
    prepare: Callable[[Any], Any] = _unprepared
    trace: Callable[..., tuple[Any, Any, Any]] | None = None
    bind: Callable[[Any, Any, Any], Any] | None = None
    local: Callable[[Any, Any, Any], Any] | None = None
    made: Made | None = None


class Cell(NamedTuple):
    """A recurrent network, a layer or a whole model, as four pure functions.

    The law: `unroll(params, carry, xs)` equals
    `lax.scan(partial(step, params), carry, xs)`.

    With `mask` `[T]` the carry is frozen and the output zero where the mask is False,
    and what `xs` holds there is never read. With `starts` `[T]` a step where it is True
    begins with the initial carry (see `restarted`), so that nothing before it, NaN
    included, reaches anything after it. With `reverse` the scan runs from the last step
    to the first; a step still begins with the initial carry where `starts` says so.

    Attributes:
      init: `(key) -> params`.
      initial_carry: `(params, key=None) -> carry`. Without a key the model is
        evaluated: dropout does nothing. What is random in a carry are keys.
      step: `(params, carry, x) -> (carry, y)`, or None for a cell that reads the
        future and so has no single step.
      unroll: `(params, carry, xs, *, mask=None, reverse=False, starts=None) -> (carry,
        ys)`.
      about: its name and what it reads.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """

    init: Init
    initial_carry: InitialCarry
    step: Step | None
    unroll: Unroll
    about: About = About()

    def __repr__(self):
        return self.about.name

    def __reduce__(self):
        return by_the_call(self)


def scan_unroll(
    step: Step, initial_carry: InitialCarry | None = None, *, unroll: int = 1
) -> Unroll:
    """The law itself: the unroll that scans the step.

    Use it to make a cell of your own from a step alone.

    Args:
      step: `(params, carry, x) -> (carry, y)`.
      initial_carry: that of the cell, `(params, key=None) -> carry`; None for an unroll
        that refuses `starts`.
      unroll: how many steps `lax.scan` puts into one turn of its loop.

    Returns:
      `(params, carry, xs, *, mask=None, reverse=False, starts=None) -> (carry, ys)`.

    Raises:
      ValueError: from the unroll, if the mask or the starts do not fit, or there are
        starts and no initial carry is known.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> running_sum = rnn.scan_unroll(lambda params, carry, x: (carry + x,) * 2)
      >>> running_sum((), jnp.float32(0), jnp.arange(4.0), mask=jnp.arange(4) != 2)[1]
      Array([0., 1., 0., 4.], dtype=float32)
    """

    def unroll_by_scan(
        params, carry, xs, *, mask=None, reverse=False, starts=None
    ) -> tuple[Any, Any]:
        length = check_length("xs", xs)
        mask = check_mask("unroll", mask, length)
        reverse = check_flag("unroll: reverse", reverse)
        starts = check_starts("unroll", starts, length)
        initial = None
        if starts is not None:
            if initial_carry is None:
                raise ValueError(
                    "unroll: starts: expected None, since no initial carry is known "
                    "(give it to scan_unroll), got an array"
                )
            initial = restarted(initial_carry, params, carry)
        shared = params, initial
        wide = widened(shared)  # the loop adds up their gradient

        def body(carry, inputs):
            x, keep, start = inputs
            params, initial = narrowed(wide, shared)
            if start is not None:
                carry = select(start, initial, carry)
            new, y = step(params, carry, x)
            return select(keep, new, carry), zero_where_not(keep, y)

        inputs = blank(mask, xs), mask, starts
        return lax.scan(body, carry, inputs, reverse=reverse, unroll=unroll)

    return unroll_by_scan


def is_key(leaf: Any) -> bool:
    """Whether a leaf of a carry is a typed random key, or an array of them."""
    array = isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
    return array and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def restarted(initial_carry: InitialCarry, params: Any, carry: Any) -> Any:
    """The carry with which a step begins where `starts` is True.

    It is the initial carry, with the keys of the carry that came before: what is random
    in a run stays as it was drawn.
    """
    keys = [leaf for leaf in jax.tree.leaves(carry) if is_key(leaf)]
    one = [key.reshape(-1)[0] if key.ndim else key for key in keys[:1]]
    initial = initial_carry(params, *one)
    expected, got = map(jax.tree.structure, (carry, initial))
    if expected != got:
        raise ValueError(
            "unroll: starts: expected a carry of the structure of the initial one, "
            f"{got}, got {expected}"
        )
    return jax.tree.map(lambda old, new: old if is_key(old) else new, carry, initial)


def owned(tree: Any) -> Any:
    """Copies each array, so that whoever gets the tree may donate its buffers."""
    return jax.tree.map(jnp.copy, tree)


def select(keep: jax.Array | None, new: Any, old: Any) -> Any:
    """`new` where `keep`, a bool or None for always, else `old`; for pytrees."""
    if keep is None:
        return new
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, old)


def zero_where_not(keep: jax.Array | None, ys: Any) -> Any:
    """`ys` where `keep`, a bool or None for always, else zero; for pytrees."""
    return select(keep, ys, jax.tree.map(jnp.zeros_like, ys))


def blank(mask: jax.Array | None, xs: Any) -> Any:
    """Zeros what stands in the padding, so that no NaN there reaches a gradient."""
    if mask is None:
        return xs
    return jax.vmap(zero_where_not)(mask, xs)


def last(ys: Any, mask: jax.Array | None = None) -> Any:
    """The output of the last valid step; zeros if no step is valid.

    Args:
      ys: pytree of `[T, ...]`.
      mask: `[T]` bool, or None if all steps are valid.

    Returns:
      Pytree of `[...]`.

    Raises:
      ValueError: if there is no time step, or the mask is not bool or not of length T.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.last(jnp.arange(4.0), jnp.array([True, True, False, False])).item()
      1.0
    """
    length = check_length("last: ys", ys)
    mask = check_mask("last", mask, length)
    if mask is None:
        return jax.tree.map(lambda y: y[-1], ys)
    index = length - 1 - jnp.argmax(mask[::-1])
    return zero_where_not(mask.any(), jax.tree.map(lambda y: y[index], ys))
