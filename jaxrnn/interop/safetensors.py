"""Params in safetensors files: names, shapes and numbers, and nothing that runs."""

import os
import secrets
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.interop.entries import check_x64

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def save_safetensors(params: Any, path: str | os.PathLike[str]) -> None:
    """Writes each array under its path in the pytree, such as `[1].w_x`.

    The file is there as a whole or not at all: it is written beside its place, and
    replaces what was there once it is on the disk.

    Args:
      params: pytree of arrays.
      path: of the file, in a folder that exists.

    Raises:
      ValueError: if a leaf is not an array of numbers.
      ImportError: if safetensors is not installed.
      OSError: if the file cannot be written.

    Example:
      >>> import jax, os, tempfile, jaxrnn as rnn
      >>> from jaxrnn import interop
      >>> cell = rnn.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> path = os.path.join(tempfile.mkdtemp(), "lstm.safetensors")
      >>> interop.save_safetensors(params, path)
      >>> like = jax.eval_shape(cell.init, jax.random.key(0))
      >>> bool((interop.load_safetensors(path, like).w_x == params.w_x).all())
      True
    """
    save = _safetensors("save_safetensors").numpy.save
    arrays = {}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(key_path)
        got = str(getattr(leaf, "dtype", type(leaf).__name__))
        if got not in _DTYPES.values():
            raise ValueError(
                f"save_safetensors: params{name}: expected an array of one of "
                f"{', '.join(_DTYPES.values())}, got {got}"
            )
        arrays[name] = np.array(leaf, order="C")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"save_safetensors: path: expected a folder at {path.parent}, got none"
        )
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            file.write(save(arrays))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_safetensors(path: str | os.PathLike[str], like: Any) -> Any:
    """Reads what `save_safetensors` wrote.

    Args:
      path: of the file.
      like: params, or `jax.eval_shape(cell.init, key)`: the pytree to fill, whose
        names, shapes and dtypes the file has to have.

    Returns:
      A pytree like `like`, of jax arrays.

    Raises:
      ValueError: if it is not a safetensors file, if a name is missing or one too many,
        or if a shape or dtype is another; if a dtype needs `jax_enable_x64`.
      ImportError: if safetensors is not installed.
      OSError: if the file is missing or cannot be read.
    """
    safetensors = _safetensors("load_safetensors")
    if not isinstance(path, str | os.PathLike) or "\0" in os.fsdecode(path):
        raise ValueError(f"load_safetensors: path: expected a path, got {path!r}")
    try:
        found = dict(safetensors.deserialize(Path(path).read_bytes()))
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"load_safetensors: path: expected a safetensors file, got {path}: {error}"
        ) from None
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(key_path) for key_path, _ in leaves]
    for name in found:
        if name not in names:
            raise ValueError(
                f"load_safetensors: {path}: expected only the names "
                f"{', '.join(names)}, got {name} too"
            )
    filled = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if name not in found:
            raise ValueError(
                f"load_safetensors: {path}: expected the name {name}, got "
                f"{', '.join(found) or 'none'}"
            )
        entry = found[name]
        where = f"load_safetensors: {path}: {name}"
        shape = tuple(entry["shape"])
        if shape != jnp.shape(leaf):
            raise ValueError(f"{where}: expected shape {jnp.shape(leaf)}, got {shape}")
        dtype = _DTYPES.get(entry["dtype"], entry["dtype"])
        expected = str(getattr(leaf, "dtype", type(leaf).__name__))
        if dtype != expected:
            raise ValueError(f"{where}: expected dtype {expected}, got {dtype}")
        if dtype == "bool" and entry["data"].translate(None, b"\0\1"):
            raise ValueError(f"{where}: expected bytes of 0 and 1 for bool, got others")
        array = np.frombuffer(entry["data"], jnp.dtype(dtype)).reshape(shape)
        check_x64(where, array.dtype)
        filled.append(jnp.array(array))
    return tree.unflatten(filled)


def _safetensors(call: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f"{call} needs safetensors: pip install 'jaxrnn[interop]'"
        ) from error
    return safetensors
