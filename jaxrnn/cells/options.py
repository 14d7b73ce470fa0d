"""The options that gated cells share: typed, documented, given defaults and checked."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxrnn.checks import check_flag, check_floating, check_function, check_size
from jaxrnn.combinators.carries import learned_carry
from jaxrnn.core import Cell

Initializer = Callable[..., jax.Array]  # (key, shape, dtype) -> array


class Options(TypedDict, total=False):
    """Options of every gated cell, by keyword: `elman`, `gru`, `lstm`, `recurrent`.

    With `heads` the hidden units are split into heads of H / heads neighbours each, as
    in multi-head attention. A unit sees the h of its own head alone, so that w_h has
    blocks `[heads, H / heads, G H / heads]` in the place of `[H, G H]`, each with its G
    gates side by side. All heads see all of x.

    Attributes:
      bias: whether there is a b. The default is True.
      w_x_init: a `jax.nn.initializers` function for w_x, applied to each gate by
        itself. The default is `lecun_normal()`, of variance 1 / D.
      w_h_init: the same for w_h. The default is `orthogonal()`.
      b_init: the same for b. The default is `zeros`.
      carry_init: a `jax.nn.initializers` function for a learned initial carry, short
        for `learned_carry(cell, carry_init=...)`. The default is None, for zeros that
        are not learned.
      dtype: of the params and of the carry. The default is `jnp.float32`.
      compute_dtype: of the operands of matrix products, such as `jnp.bfloat16` for
        speed on accelerators. The products are added up, and all else is computed, in
        the params' dtype. The default is None, for the params' dtype.
      unroll: how many steps `lax.scan` puts into one turn of its loop. The default is
        1.
      heads: how many blocks w_h has, each drawn by itself; a divisor of H. The default
        is 1, for a full w_h. With H of them each unit sees only itself.
    """

    bias: bool
    w_x_init: Initializer
    w_h_init: Initializer
    b_init: Initializer
    carry_init: Initializer | None
    dtype: Any
    compute_dtype: Any
    unroll: int
    heads: int


class Settings(NamedTuple):
    """`Options` with the defaults in the place of what was not given."""

    bias: bool = True
    w_x_init: Initializer = initializers.lecun_normal()
    w_h_init: Initializer = initializers.orthogonal()
    b_init: Initializer = initializers.zeros
    carry_init: Initializer | None = None
    dtype: Any = jnp.float32
    compute_dtype: Any = None
    unroll: int = 1
    heads: int = 1


DEFAULTS = Settings()


def check_options(
    name: str, options: Mapping[str, Any], *hidden_sizes: int
) -> Settings:
    """Returns the settings, or raises an error that names the option.

    `hidden_sizes` are what the heads divide; without them there are no heads.

    Raises:
      TypeError: if there is no such option.
      ValueError: if the value of one does not fit.
    """
    for option in options:
        if option not in Settings._fields:
            raise TypeError(
                f"{name}: {option}: there is no such option; expected "
                f"{', '.join(Settings._fields)} or one of {name} alone"
            )
    settings = Settings(**options)
    for option in ("w_x_init", "w_h_init", "b_init"):
        check_function(f"{name}: {option}", getattr(settings, option))
    if settings.carry_init is not None:
        check_function(f"{name}: carry_init", settings.carry_init)
    check_floating(f"{name}: dtype", settings.dtype)
    if settings.compute_dtype is not None:
        check_floating(f"{name}: compute_dtype", settings.compute_dtype)
    return settings._replace(
        bias=check_flag(f"{name}: bias", settings.bias),
        unroll=check_size(f"{name}: unroll", settings.unroll),
        heads=check_heads(name, settings.heads, *hidden_sizes or (1,)),
    )


def check_heads(name: str, heads: Any, *sizes: int) -> int:
    """Returns how many heads there are, or a ValueError if they divide no size."""
    heads = check_size(f"{name}: heads", heads)
    if any(size % heads for size in sizes):
        found = " and of ".join(map(str, sizes))
        raise ValueError(f"{name}: heads: expected a divisor of {found}, got {heads}")
    return heads


def with_carry(cell: Cell, settings: Settings) -> Cell:
    """The cell, with a learned initial carry if the settings ask for one."""
    if settings.carry_init is None:
        return cell
    return learned_carry(cell, carry_init=settings.carry_init)
