"""What an optimizer of optax is given, and what is made of its answer."""

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import DifferentiallyPrivateAggregateState


def check_optimizer(name: str, optimizer: Any) -> None:
    """Raises a ValueError for what has no init and update."""
    for part in ("init", "update"):
        if not callable(getattr(optimizer, part, None)):
            raise ValueError(
                f"{name}: optimizer: expected one of optax, with init and update, "
                f"got {optimizer!r}"
            )


def single(tree: Any) -> Any:
    """Half precision becomes single precision; all else stays."""

    def leaf(a):
        half = jnp.issubdtype(a.dtype, jnp.floating) and jnp.finfo(a.dtype).bits < 32
        return a.astype(jnp.float32) if half else a

    return jax.tree.map(leaf, tree)


def trained(params: Any) -> Any:
    """The params that the loss reads and that have a gradient."""
    return params.fast if isinstance(params, optax.LookaheadParams) else params


def begin(name: str, optimizer: Any, params: Any) -> Any:
    """The state of an optimizer before its first update."""
    opt_state = optimizer.init(single(params))
    _check_kind(name, opt_state, params)
    return opt_state


def advance(
    optimizer: Any, grads: Any, opt_state: Any, params: Any, offered: dict[str, Any]
) -> tuple[Any, Any]:
    """The params and the state of an optimizer after its update.

    `offered` is what the optimizer may ask for by name, besides the gradients.
    """
    _check_kind("update", opt_state, params)
    # Some of optax relies on implicit promotion, which users may have turned off.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, after = _asked(
            optimizer.update, (grads, opt_state, single(params)), offered
        )
        _check_same("updates", updates, params, dtypes=False)
        _check_same("state.opt_state", opt_state, after)
        return optax.apply_updates(params, updates), after


def _asked(
    update: Callable[..., Any], args: tuple[Any, ...], offered: dict[str, Any]
) -> Any:
    """Calls the update with as much of what is offered as it takes.

    A signature does not tell: `optax.chain` hands all that it is given to each of its
    parts, and some of these take nothing but what they need.
    """
    parameters = inspect.signature(update).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        offered = {name: offered[name] for name in offered if name in parameters}
    refusals = []
    for count in range(len(offered), -1, -1):
        for names in itertools.combinations(offered, count):
            try:
                return update(*args, **{name: offered[name] for name in names})
            except NameError as error:  # of `axis_name`, for a pmean
                raise ValueError(
                    "update: optimizer: expected one that takes no means over an axis, "
                    f"since the gradient is a mean already: {error}"
                ) from error
            except (TypeError, ValueError) as error:
                refused = isinstance(error, TypeError) and "argument" in str(error)
                if not refusals and not refused:
                    raise
                refusals.append(error)
    raise ValueError(
        "update: optimizer: expected one that asks for nothing but the gradient, its "
        f"state, the params, value, grad, value_fn, grad_fn and obj_fn: {refusals[0]}"
    ) from refusals[0]


def _check_kind(name: str, opt_state: Any, params: Any) -> None:
    """Raises a ValueError for an optimizer that no update can serve."""

    def known(node):
        return isinstance(
            node, DifferentiallyPrivateAggregateState | optax.LookaheadState
        )

    for node in filter(known, jax.tree.leaves(opt_state, is_leaf=known)):
        if not isinstance(node, optax.LookaheadState):
            raise ValueError(
                f"{name}: optimizer: expected one that reads the mean gradient of a "
                "batch, got differentially_private_aggregate (of dpsgd), which clips "
                "the gradient of each example"
            )
        if not isinstance(params, optax.LookaheadParams):
            raise ValueError(
                f"{name}: params: expected optax.LookaheadParams.init_synced(params) "
                f"for optax.lookahead, got {type(params).__name__}"
            )


def _check_same(name: str, got: Any, want: Any, dtypes: bool = True) -> None:
    """Raises a ValueError where the optimizer changes structure, shape or dtype."""
    paths = jax.tree_util.tree_leaves_with_path(got)
    leaves = jax.tree.leaves(want)
    if jax.tree.structure(got) != jax.tree.structure(want):
        raise ValueError(
            f"update: {name}: expected the structure {jax.tree.structure(want)}, got "
            f"{jax.tree.structure(got)}"
        )
    for (path, a), b in zip(paths, leaves, strict=True):
        where = f"update: {name}{jax.tree_util.keystr(path)}"
        if jnp.shape(a) != jnp.shape(b):
            raise ValueError(f"{where}: expected shape {b.shape}, got {a.shape}")
        if dtypes and a.dtype != b.dtype:
            raise ValueError(
                f"{where}: expected {b.dtype}, as after the update, got {a.dtype}; "
                "train_state makes it"
            )
