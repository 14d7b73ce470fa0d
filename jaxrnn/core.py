"""The `Cell`: the one protocol that every model in jaxrnn speaks.

Sizes, here and everywhere: `B` batch, `T` time, `D` input, `H` hidden, `V`
vocabulary, `K` classes. A singular name is one step (`x`, `h`, `y`), a plural one has
a leading time axis (`xs`, `hs`, `ys`). Functions see one sequence, `[T, D]`;
`jax.vmap` adds the batch.
"""

import numbers
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax


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
    ) -> tuple[Any, Any]: ...


class Cell(NamedTuple):
    """A recurrent network, a layer or a whole model, as four pure functions.

    The law: `unroll(params, carry, xs)` equals
    `lax.scan(partial(step, params), carry, xs)`. With `mask` `[T]` the carry is frozen
    and the output zero where the mask is False, and what `xs` holds there is never
    read. With `reverse` the scan runs from the last step to the first.

    Attributes:
      init: `(key) -> params`.
      initial_carry: `(params, key=None) -> carry`. Without a key the model is
        evaluated: dropout and its kin do nothing.
      step: `(params, carry, x) -> (carry, y)`, or None for a cell that reads the
        future and so has no single step.
      unroll: `(params, carry, xs, *, mask=None, reverse=False) -> (carry, ys)`.

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


class Input(NamedTuple):
    """What one step of a cell reads."""

    shape: tuple[int, ...] | None  # None: any
    kind: Any = jnp.floating  # jnp.floating, jnp.integer, or None for any

    def __str__(self):
        kind = {jnp.floating: "floating", jnp.integer: "integer"}.get(self.kind, "any")
        return kind if self.shape is None else f"{kind} {list(self.shape)}"


class _Init:
    """An `init` that knows its cell's name and input, so that errors can name them."""

    def __init__(self, init: Init, name: str, reads: Input | None):
        self._init = init
        self.name = name
        self.reads = reads

    def __call__(self, key: jax.Array, /) -> Any:
        check_key(f"{self.name}: key", key)
        return self._init(key)

    def __repr__(self):
        return self.name


def name_of(cell: Cell) -> str:
    """The cell as its factory was called, `lstm(28, 128)`, or "cell"."""
    return getattr(cell.init, "name", "cell")


def reads_of(cell: Cell) -> Input | None:
    """What one step of the cell reads, or None where that is not known."""
    return getattr(cell.init, "reads", None)


def step_of(name: str, cell: Any) -> Step:
    """The step of a cell; ValueError, with the name before it, if it has none."""
    if not isinstance(cell, Cell):
        raise ValueError(f"{name}: cell: expected a Cell, got {cell!r}")
    if cell.step is None:
        raise ValueError(
            f"{name}: cell: expected one with a step, got {name_of(cell)}, which reads "
            "the future (step=None)"
        )
    return cell.step


def named(cell: Cell, name: str, reads: Input | None) -> Cell:
    """Returns the cell with a name and an input that `name_of` and `reads_of` know."""
    return cell._replace(init=_Init(cell.init, name, reads))


def leaf(
    name: str,
    reads: Input,
    init: Init,
    initial_carry: InitialCarry,
    step: Step,
    unroll: Unroll | None = None,
    *,
    stateless: bool = False,
) -> Cell:
    """Builds a cell whose arguments are checked before they are used.

    Args:
      name: as the factory was called, for messages.
      reads: what one step reads.
      init, initial_carry, step: see `Cell`.
      unroll: a faster equal of `scan_unroll(step)`, which is the default.
      stateless: the step neither reads nor changes its carry, so all steps of a
        sequence are taken at once.

    Returns:
      The cell.

    Raises:
      ValueError: from `step` and `unroll`, when an argument has the wrong structure,
        shape or kind of number.
    """
    if unroll is None:
        unroll = _map_unroll(step) if stateless else scan_unroll(step)

    @cache
    def params_shape():
        return jax.eval_shape(lambda: init(jax.random.key(0)))

    def check_params(params):
        check_tree(f"{name}: params", params, params_shape())

    def check(params, carry):
        check_params(params)
        expected = jax.eval_shape(initial_carry, params)
        if stateless or jax.tree.leaves(expected):  # that of dropout may be () or not
            check_tree(f"{name}: carry", carry, expected, True)

    def checked_initial_carry(params, key=None):
        check_params(params)
        if key is not None:
            check_key(f"{name}: key", key)
        return initial_carry(params, key)

    def checked_step(params, carry, x):
        check(params, carry)
        return step(params, carry, check_input(f"{name}: x", x, reads, ()))

    def checked_unroll(params, carry, xs, *, mask=None, reverse=False):
        check(params, carry)
        xs = check_input(f"{name}: xs", xs, reads, ("T",))
        reverse = check_flag(f"{name}: reverse", reverse)
        return unroll(
            params, carry, xs, mask=check_mask(name, mask, xs.shape[0]), reverse=reverse
        )

    cell = Cell(init, checked_initial_carry, checked_step, checked_unroll)
    return named(cell, name, reads)


def scan_unroll(step: Step, *, unroll: int = 1) -> Unroll:
    """The law itself: the unroll that scans the step.

    Use it to make a cell of your own from a step alone.

    Args:
      step: `(params, carry, x) -> (carry, y)`.
      unroll: how many steps `lax.scan` puts into one turn of its loop.

    Returns:
      `(params, carry, xs, *, mask=None, reverse=False) -> (carry, ys)`.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> running_sum = rnn.scan_unroll(lambda params, carry, x: (carry + x,) * 2)
      >>> running_sum((), jnp.float32(0), jnp.arange(4.0), mask=jnp.arange(4) != 2)[1]
      Array([0., 1., 0., 4.], dtype=float32)
    """

    def unroll_by_scan(params, carry, xs, *, mask=None, reverse=False):
        mask = check_mask("unroll", mask, check_length("xs", xs))
        reverse = check_flag("unroll: reverse", reverse)

        def body(carry, inputs):
            x, keep = inputs
            new, y = step(params, carry, x)
            return select(keep, new, carry), zero_where_not(keep, y)

        return lax.scan(
            body, carry, (blank(mask, xs), mask), reverse=reverse, unroll=unroll
        )

    return unroll_by_scan


def _map_unroll(step: Step) -> Unroll:
    def unroll_by_map(params, carry, xs, *, mask=None, reverse=False):
        del reverse
        ys = jax.vmap(lambda x: step(params, carry, x)[1])(blank(mask, xs))
        return carry, blank(mask, ys)

    return unroll_by_map


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


def check_size(name: str, value: Any) -> int:
    """Returns the value as an int, or raises a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")
    return int(value)


def check_number(
    name: str, value: Any, expected: str, fits: Callable[[Any], bool]
) -> float:
    """Returns the value as a float, or raises a ValueError that names it."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (real and fits(value)):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return float(value)


def check_flag(name: str, value: Any) -> bool:
    """Returns the value as a bool, or raises a ValueError that names it."""
    of_numpy = getattr(value, "dtype", None) == jnp.bool_ and jnp.ndim(value) == 0
    if not (isinstance(value, bool) or of_numpy):
        raise ValueError(f"{name}: expected a bool, got {value!r}")
    return bool(value)


def check_function(name: str, value: Any) -> None:
    """Raises a ValueError unless the value can be called."""
    if not callable(value):
        raise ValueError(f"{name}: expected a function, got {value!r}")


def check_key(name: str, key: Any) -> jax.Array:
    """Returns one key, of the new kind or of the old, or raises a ValueError."""
    try:
        new = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        one = (key if new else jax.random.wrap_key_data(key)).shape == ()
    except (AttributeError, TypeError):
        one = False
    if not one:
        what = getattr(key, "shape", type(key).__name__)
        raise ValueError(
            f"{name}: expected one key, such as jax.random.key(0), got {what}"
        )
    return key


def check_array(name: str, value: Any) -> jax.Array:
    """Returns the value as an array, or raises a ValueError that names it."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"{name}: expected an array, got {type(value).__name__}: {reason}"
        ) from None


def _check_leaf(name: str, leaf: Any) -> tuple[tuple[int, ...], Any]:
    """The shape and the dtype, or a ValueError for what is no array."""
    try:
        return jnp.shape(leaf), jnp.result_type(leaf)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{name}: expected an array, got {type(leaf).__name__}"
        ) from None


def check_length(name: str, xs: Any) -> int:
    """Returns the common size of the leading axes, or raises a ValueError."""
    shapes = [_check_leaf(name, x)[0] for x in jax.tree.leaves(xs)]
    lengths = {shape[:1] for shape in shapes}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            f"{name}: expected arrays with one common, non-empty leading axis, "
            f"got shapes {shapes}"
        )
    return lengths.pop()[0]


def check_floating(name: str, dtype: Any) -> None:
    """Raises a ValueError unless the dtype is a floating one."""
    try:
        named = isinstance(dtype, type | str | jnp.dtype)
        floating = named and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise ValueError(f"{name}: expected a floating dtype, got {dtype!r}")


def check_mask(name: str, mask: Any, length: int) -> jax.Array | None:
    """Returns the mask as an array `[length]` of bool, or raises a ValueError."""
    if mask is None:
        return None
    mask = check_array(f"{name}: mask", mask)
    if mask.dtype != jnp.bool_:
        raise ValueError(f"{name}: mask: expected dtype bool, got {mask.dtype}")
    if mask.shape != (length,):
        hint = "; for a batch use jax.vmap" if mask.ndim > 1 else ""
        raise ValueError(
            f"{name}: mask: expected shape [T] = ({length},), got {mask.shape}{hint}"
        )
    return mask


def check_tree(name: str, got: Any, expected: Any, with_dtype: bool = False) -> None:
    """Raises a ValueError where `got` differs from `expected` in structure or shape."""
    if type(got) is not type(expected):
        raise ValueError(
            f"{name}: expected {type(expected).__name__}, got {type(got).__name__}"
        )
    if jax.tree.structure(got) != jax.tree.structure(expected):
        raise ValueError(
            f"{name}: expected the structure {jax.tree.structure(expected)}, "
            f"got {jax.tree.structure(got)}"
        )
    expected_leaves = jax.tree.leaves(expected)
    paths_and_leaves = jax.tree_util.tree_leaves_with_path(got)
    for (path, leaf), want in zip(paths_and_leaves, expected_leaves, strict=True):
        where = f"{name}{jax.tree_util.keystr(path)}"
        shape, dtype = _check_leaf(where, leaf)
        if shape != want.shape:
            batched = len(shape) > len(want.shape)
            hint = "; for a batch use jax.vmap" if batched else ""
            raise ValueError(f"{where}: expected shape {want.shape}, got {shape}{hint}")
        if with_dtype and dtype != want.dtype:
            raise ValueError(f"{where}: expected dtype {want.dtype}, got {dtype}")


def check_input(name: str, x: Any, reads: Input, leading: tuple[str, ...]) -> jax.Array:
    """Returns x as an array that `reads` fits, or raises a ValueError."""
    x = check_array(name, x)
    if reads.kind is not None and not jnp.issubdtype(x.dtype, reads.kind):
        hint = "; convert it with x.astype(float)" if reads.kind is jnp.floating else ""
        kind = {jnp.floating: "floating", jnp.integer: "integer"}[reads.kind]
        raise ValueError(f"{name}: expected {kind} numbers, got dtype {x.dtype}{hint}")
    rank = len(leading) + len(reads.shape or ())
    wrong_rank = x.ndim < rank if reads.shape is None else x.ndim != rank
    if wrong_rank:
        sizes = ", ".join([*leading, *map(str, reads.shape or ())])
        what = "one sequence" if leading else "one step"
        hint = "; for a batch use jax.vmap" if x.ndim > rank else ""
        raise ValueError(
            f"{name}: expected {what} of shape [{sizes}], got shape {x.shape}{hint}"
        )
    if reads.shape is not None and x.shape[len(leading) :] != reads.shape:
        raise ValueError(
            f"{name}: expected size {reads.shape[-1]} on the last axis, "
            f"got shape {x.shape}"
        )
    if leading and x.shape[0] == 0:  # len fails for a symbolic size
        raise ValueError(
            f"{name}: expected at least one time step, got shape {x.shape}"
        )
    return x
