"""What the state of a run is made of: shapes, keys, and a digest of all its bytes."""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def without_keys(state: Any) -> Any:
    """The state with the data of its keys, which can be saved, in their place."""
    return jax.tree.map(lambda a: jax.random.key_data(a) if _is_key(a) else a, state)


def with_keys(state: Any, like: Any) -> Any:
    """The state with keys where `like` has them; see `without_keys`."""

    def wrap(a, b):
        impl = jax.random.key_impl(b) if _is_key(b) else None
        return a if impl is None else jax.random.wrap_key_data(a, impl=impl)

    return jax.tree.map(wrap, state, like)


def shapes(state: Any) -> dict[str, Any]:
    """By the path of each leaf, its dtype and its shape, in JSON's own types."""
    return {
        jax.tree_util.keystr(path): [str(leaf.dtype), *leaf.shape]
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """The first difference of two results of `shapes`, in words."""
    for name in expected:
        if name not in found:
            return f"it has no state{name}"
        if found[name] != expected[name]:
            return f"state{name}: expected {expected[name]}, found {found[name]}"
    return f"it has surplus entries: {', '.join(sorted(set(found) - set(expected)))}"


def digest(state: Any, record: dict[str, Any]) -> str:
    """Of the record and of all bytes of the arrays."""
    found = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for leaf in jax.tree.leaves(state):
        found.update(np.ascontiguousarray(leaf).data)
    return found.hexdigest()
