"""What a cell reads while it decodes: its first input, and what is chosen after it."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.checks import (
    Input,
    check_array,
    check_function,
    check_input,
    check_key,
    check_token,
    is_input,
)
from jaxrnn.core import Cell, Step
from jaxrnn.decode.choosers import Choose

TOKEN = Input((), jnp.integer)


def next_input(choose: Choose, y: Any, key: jax.Array | None) -> tuple[Any, Any]:
    """What is chosen to be read next, and the key of the choices after it."""
    if key is None:
        return choose(y, None), None
    key, choice_key = jax.random.split(key)
    return choose(y, choice_key), key


def check_first(
    name: str, cell: Cell, params: Any, carry: Any, first: Any
) -> tuple[Any, Any]:
    """The prepared params and the first input, or a ValueError for a prompt."""
    first = jax.tree.map(lambda a: check_array(f"{name}: first", a), first)
    check_arrays(name, params, carry)
    reads = cell.about.reads if is_input(cell.about.reads) else None
    ndim = None if reads is None or reads.shape is None else len(reads.shape)
    if isinstance(first, jax.Array) and ndim is not None and first.ndim == ndim + 1:
        raise ValueError(
            f"{name}: first: expected one input, {reads}, got shape {first.shape}; a "
            "prompt is read before, by carry, first = prefill(cell, params, carry, "
            "prompt)"
        )
    if isinstance(first, jax.Array) and reads is not None:
        check_token(f"{name}: first", first, reads.below)
    return cell.about.prepare(params), first


def check_arrays(name: str, params: Any, carry: Any) -> None:
    """Raises a ValueError unless all leaves are arrays."""
    for what, tree in (("params", params), ("carry", carry)):
        for leaf in jax.tree.leaves(tree):
            if not isinstance(leaf, jax.Array):
                check_array(f"{name}: {what}", leaf)


def match(
    name: str,
    step: Step,
    params: Any,
    carry: Any,
    x: Any,
    choose: Choose,
    key: jax.Array | None,
    stop_token: Any,
) -> tuple[Any, jax.Array | None]:
    """Checks that the cell reads what is chosen; x and the stop token in its dtype."""
    check_function(f"{name}: choose", choose)
    if key is not None:
        check_key(f"{name}: key", key)

    def choice(carry, x, key):
        return next_input(choose, step(params, carry, x)[1], key)[0]

    chosen = jax.eval_shape(choice, carry, x, key)

    def kinds(tree):
        return jax.tree.map(
            lambda a: (a.shape, jnp.issubdtype(a.dtype, jnp.integer)), tree
        )

    if kinds(chosen) != kinds(x):
        raise ValueError(
            f"{name}: choose: expected it to return what the cell reads, "
            f"{jax.eval_shape(lambda: x)}, got {chosen} (a prompt is read by prefill)"
        )
    x = jax.tree.map(lambda a, b: a.astype(b.dtype), x, chosen)
    if stop_token is None:
        return x, None
    if kinds(x) != ((), True):
        raise ValueError(
            f"{name}: stop_token: expected None, since choose returns no tokens, "
            f"integers [], but {chosen}; got {stop_token!r}"
        )
    return x, check_stop(name, stop_token).astype(x.dtype)


def check_stop(name: str, stop_token: Any) -> jax.Array:
    """Returns the token as an int32 array, or raises a ValueError."""
    return check_input(f"{name}: stop_token", stop_token, TOKEN, ()).astype(jnp.int32)
