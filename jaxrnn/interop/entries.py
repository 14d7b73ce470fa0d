"""Arrays of other frameworks by name: found, turned into numpy, and checked."""

import sys
from collections.abc import Callable, Mapping
from string import ascii_uppercase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_DTYPES = [np.dtype(t) for t in (np.float32, np.float64, np.float16, jnp.bfloat16)]


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises a ValueError unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def check_x64(where: str, dtype: Any) -> None:
    """Raises a ValueError if JAX, as it is set, would round the dtype."""
    rounded = jax.dtypes.canonicalize_dtype(dtype)
    if rounded != dtype:
        raise ValueError(
            f"{where}: expected dtype {rounded}, since jax_enable_x64 is off, got "
            f"{dtype}; turn it on, or round with .astype({str(rounded)!r})"
        )


def under(
    call: str, argument: str, tree: Any, prefix: Any, separator: str = "."
) -> tuple[str, Mapping[str, Any]]:
    """What stands under a prefix, without it, and the name of that for messages.

    Without a prefix it is all that there is. A prefix may lack its last separator.
    """
    name = f"{call}: {argument}"
    if not isinstance(tree, Mapping):
        raise ValueError(f"{name}: expected a mapping, got {type(tree).__name__}")
    if not isinstance(prefix, str):
        raise ValueError(f"{call}: prefix: expected a string, got {prefix!r}")
    if not prefix:
        return name, tree
    if not prefix.endswith(separator):
        prefix += separator
    found = {
        key.removeprefix(prefix): value
        for key, value in tree.items()
        if isinstance(key, str) and key.startswith(prefix)
    }
    if not found:
        raise ValueError(
            f"{call}: prefix: expected one of the names {', '.join(map(str, tree))}, "
            f"got {prefix!r}"
        )
    return f"{name} under {prefix!r}", found


def flatten(name: str, tree: Any) -> dict[str, Any]:
    """The leaves of nested mappings, each under its path: "['hi']['kernel']"."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"{name}: expected a mapping, got {type(tree).__name__}")
    entries = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            below = flatten(f"{name}[{key!r}]", value)
            entries |= {f"[{key!r}]{path}": leaf for path, leaf in below.items()}
        else:
            entries[f"[{key!r}]"] = value
    return entries


def fields(name: str, module: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The entries of a mapping, or those of these attributes that are not None."""
    if isinstance(module, Mapping):
        return {f".{key}": value for key, value in module.items()}
    found = {f".{n}": getattr(module, n, None) for n in names}
    found = {key: value for key, value in found.items() if value is not None}
    if not found:
        raise ValueError(
            f"{name}: expected a mapping or a module with {', '.join(names)}, got "
            f"{type(module).__name__}"
        )
    return found


def read(
    name: str,
    entries: Mapping[str, Any],
    shapes: Mapping[str, str],
    hint: Callable[[str], str] = lambda key: "",
) -> dict[str, np.ndarray]:
    """The entries for a cell: what `fit` returns, in a dtype that JAX will not round.

    `hint` gives what to add to the message about an entry too many.
    """
    arrays = fit(name, entries, shapes, hint)
    for key, array in arrays.items():
        check_x64(f"{name}{key}", array.dtype)
    return arrays


def fit(
    name: str,
    entries: Mapping[str, Any],
    shapes: Mapping[str, str],
    hint: Callable[[str], str] = lambda key: "",
) -> dict[str, np.ndarray]:
    """The entries as arrays of one dtype and of sizes that fit, or a ValueError.

    Args:
      name: of the argument, for messages.
      entries: arrays of any framework, by name.
      shapes: what there has to be, by name; `"4H D+H"` has two axes. The first axis
        that leaves one size open tells it. A size is a capital letter.
      hint: see `read`.

    Returns:
      An array for each of `shapes`.
    """
    for key in entries:
        if key not in shapes:
            raise ValueError(
                f"{name}{key}: expected only the entries {', '.join(shapes)}, "
                f"got this one too{hint(key)}"
            )
    arrays: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    for key, shape in shapes.items():
        axes = shape.split()
        if key not in entries:
            raise ValueError(
                f"{name}{key}: expected an array of shape [{', '.join(axes)}], "
                f"got no such entry among {', '.join(entries) or 'none'}"
            )
        array = as_numpy(f"{name}{key}", entries[key])
        first = next(iter(shapes))
        if arrays and array.dtype != arrays[first].dtype:
            raise ValueError(
                f"{name}{key}: expected dtype {arrays[first].dtype}, as {first} has, "
                f"got {array.dtype}"
            )
        if array.ndim != len(axes) or any(
            _size(axis, size, sizes) != size
            for axis, size in zip(axes, array.shape, strict=True)
        ):
            known = [f"{k} = {size}" for k, size in sizes.items() if k in shape]
            raise ValueError(
                f"{name}{key}: expected shape [{', '.join(axes)}]"
                f"{' with ' if known else ''}{', '.join(known)}, got {array.shape}"
            )
        arrays[key] = array
    return arrays


def _size(axis: str, size: int, sizes: dict[str, int]) -> int | None:
    """The size that an axis such as "D+4H" should have, or None if none will do.

    A letter that is not yet in `sizes` is put there, with what it has to be.
    """
    known, unknown = 0, None
    for term in axis.split("+"):
        factor = term.rstrip(ascii_uppercase)
        letter = term[len(factor) :]
        if letter and letter not in sizes:
            unknown = letter, int(factor or 1)
        else:
            known += int(factor or 1) * sizes.get(letter, 1)
    if unknown is None:
        return known
    letter, factor = unknown
    value, remainder = divmod(size - known, factor)
    if remainder or value < 1:
        return None
    sizes[letter] = value
    return size


def as_numpy(where: str, value: Any) -> np.ndarray:
    """An array of numpy of an array or a tensor of any framework, or a ValueError."""
    try:
        array = _converted(value)
    except Exception as error:  # whatever the framework raises
        raise ValueError(
            f"{where}: expected an array, got {type(value).__name__}: {error}"
        ) from None
    if array.dtype not in _DTYPES:
        raise ValueError(
            f"{where}: expected an array of one of {', '.join(map(str, _DTYPES))}, "
            f"got {array.dtype}"
        )
    return array


def _converted(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor: perhaps on a GPU, or with a gradient
        value = value.detach().cpu()
    # numpy has no bfloat16, and each framework its own way without it: an error, or
    # the bits as uint16. By way of float32 nothing is rounded.
    if str(getattr(value, "dtype", "")).split(".")[-1] == "bfloat16":
        array = value
        if not isinstance(value, np.ndarray | jax.Array):
            mlx = sys.modules.get("mlx.core")
            of_mlx = mlx is not None and isinstance(value, mlx.array)
            widen = getattr(value, "float", None)  # of torch
            if widen is not None:
                array = widen()
            elif hasattr(value, "astype"):
                array = value.astype(mlx.float32 if of_mlx else "float32")  # type: ignore
        return np.asarray(array).astype(jnp.bfloat16)
    if hasattr(value, "numpy"):
        return np.asarray(value.numpy())
    return np.asarray(value)
