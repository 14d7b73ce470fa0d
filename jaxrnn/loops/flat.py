"""A carry as one vector `[n]`, and the Jacobian of a step in it, or its blocks."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.core import is_key
from jaxrnn.precision import wide


class Layout:
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


def blocks_of(layout, fields, cell, params, s, x):
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
