"""Checks of arguments: an error names the argument, what was expected and what came.

This module imports no other one of jaxrnn.
"""

import numbers
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_keyless: ContextVar[set[str] | None] = ContextVar("keyless", default=None)


@contextmanager
def noting_keyless() -> Iterator[set[str]]:
    """Gathers the names of what is random, and is not, for want of a key."""
    names = set()
    token = _keyless.set(names)
    try:
        yield names
    finally:
        _keyless.reset(token)


def note_keyless(name: str) -> None:
    """Says that a cell does without its randomness, to whoever asks."""
    names = _keyless.get()
    if names is not None:
        names.add(name)


class Input(NamedTuple):
    """What one step of a cell reads."""

    shape: tuple[int, ...] | None  # None: any
    kind: Any = jnp.floating  # jnp.floating, jnp.integer, or None for any
    below: int | None = None  # of integers: V, if they are 0..V-1

    def __str__(self):
        kind = {jnp.floating: "floating", jnp.integer: "integer"}.get(self.kind, "any")
        return kind if self.shape is None else f"{kind} {list(self.shape)}"


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
    """Returns one typed key, made from the raw bits of an old one, or a ValueError."""
    try:
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        key = key if typed else jax.random.wrap_key_data(key)
        one = key.shape == ()
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
    if hasattr(value, "_fields"):  # which JAX would try to stack
        fields = ", ".join(value._fields)
        raise ValueError(
            f"{name}: expected an array, got {type(value).__name__}({fields})"
        )
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(
            f"{name}: expected an array, got {type(value).__name__}: {reason}"
        ) from None
    _check_whole(name, value, array)
    return array


def _check_whole(name: str, value: Any, array: jax.Array) -> None:
    """Raises a ValueError for integers of NumPy that JAX would cut to 32 bits."""
    integers = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iu"
    if integers and value.size and value.dtype != array.dtype:
        limits = jnp.iinfo(array.dtype)
        if not limits.min <= int(value.min()) <= int(value.max()) <= limits.max:
            raise ValueError(
                f"{name}: expected integers that fit {array.dtype}, got "
                f"{value.min()} to {value.max()}"
            )


def as_index(x: jax.Array) -> jax.Array:
    """Integers as int32; those that do not fit as the lowest, the index of nothing."""
    if x.dtype == jnp.int32:
        return x
    index = x.astype(jnp.int32)
    fits = index.astype(x.dtype) == x
    return jnp.where(fits, index, jnp.iinfo(jnp.int32).min)


def known(value: Any) -> np.ndarray | None:
    """The value of an array, or None while a program is traced."""
    if isinstance(value, Tracer):
        return None
    whole = getattr(value, "is_fully_addressable", True)
    return np.asarray(value) if whole else None


def check_token(name: str, token: Any, below: int | None) -> None:
    """Raises a ValueError for a token that is known and not in 0..below-1."""
    value = known(token)
    if below is None or value is None:
        return
    if not ((value >= 0) & (value < below)).all():
        raise ValueError(f"{name}: expected 0 to {below - 1}, got {value}")


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


def check_mask(name: str, mask: Any, length: int, axis: str = "T") -> jax.Array | None:
    """Returns the mask as an array `[length]` of bool, or raises a ValueError."""
    return _check_flags(f"{name}: mask", mask, length, axis)


def check_starts(name: str, starts: Any, length: int) -> jax.Array | None:
    """Returns the starts as an array `[length]` of bool, or raises a ValueError."""
    return _check_flags(f"{name}: starts", starts, length)


def _check_flags(
    name: str, flags: Any, length: int, axis: str = "T"
) -> jax.Array | None:
    if flags is None:
        return None
    flags = check_array(name, flags)
    if flags.dtype != jnp.bool_:
        raise ValueError(f"{name}: expected dtype bool, got {flags.dtype}")
    if flags.shape != (length,):
        hint = "; for a batch use jax.vmap" if flags.ndim > 1 else ""
        raise ValueError(
            f"{name}: expected shape [{axis}] = ({length},), got {flags.shape}{hint}"
        )
    return flags


def check_tree(name: str, got: Any, expected: Any, with_dtype: bool = False) -> None:
    """Raises a ValueError where `got` differs from `expected` in structure or shape."""
    one_array = isinstance(expected, jax.ShapeDtypeStruct)
    if type(got) is not type(expected) and not one_array:
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


def is_input(reads: Any) -> bool:
    """Whether it is what one array holds, and not a pytree of such."""
    return isinstance(reads, Input)


def inputs_like(
    reads: Any, leading: tuple[Any, ...] = (), dtype: Any = jnp.float32
) -> Any:
    """The shapes of what a cell reads, or None where it does not say.

    Floating arrays are of the dtype, and integers of 32 bits.
    """
    leaves = jax.tree.leaves(reads, is_leaf=is_input)
    if reads is None or any(one.shape is None for one in leaves):
        return None

    def like(one):
        kind = jnp.int32 if one.kind is jnp.integer else dtype
        return jax.ShapeDtypeStruct((*leading, *one.shape), kind)

    return jax.tree.map(like, reads, is_leaf=is_input)


def check_input(name: str, x: Any, reads: Any, leading: tuple[str, ...]) -> Any:
    """Returns x as arrays that `reads`, an `Input` or a pytree of them, fits.

    Raises:
      ValueError: if it does not.
    """
    if is_input(reads):
        return _check_one(name, x, reads, leading)
    expected = jax.tree.structure(reads, is_leaf=is_input)
    if type(x) is not type(reads) or jax.tree.structure(x) != expected:
        what = ", ".join(getattr(reads, "_fields", ())) or expected
        raise ValueError(
            f"{name}: expected {type(reads).__name__}({what}) of arrays, got "
            f"{type(x).__name__}"
        )
    ones = jax.tree.leaves(reads, is_leaf=is_input)
    found = [
        _check_one(f"{name}{jax.tree_util.keystr(path)}", leaf, one, leading)
        for (path, leaf), one in zip(
            jax.tree_util.tree_leaves_with_path(x), ones, strict=True
        )
    ]
    if leading:
        check_length(name, found)
    return expected.unflatten(found)


def _check_one(name: str, x: Any, reads: Input, leading: tuple[str, ...]) -> jax.Array:
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
    for axis, size in enumerate(reads.shape or (), len(leading)):
        if x.shape[axis] != size:
            where = "the last axis" if axis == x.ndim - 1 else f"axis {axis}"
            raise ValueError(
                f"{name}: expected size {size} on {where}, got shape {x.shape}"
            )
    if leading and x.shape[0] == 0:  # len fails for a symbolic size
        raise ValueError(
            f"{name}: expected at least one time step, got shape {x.shape}"
        )
    return x
