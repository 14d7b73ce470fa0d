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
    """

    bias: bool
    w_x_init: Initializer
    w_h_init: Initializer
    b_init: Initializer
    carry_init: Initializer | None
    dtype: Any
    compute_dtype: Any
    unroll: int


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


DEFAULTS = Settings()


def check_options(name: str, options: Mapping[str, Any]) -> Settings:
    """Returns the settings, or raises an error that names the option.

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
    )


def with_carry(cell: Cell, settings: Settings) -> Cell:
    """The cell, with a learned initial carry if the settings ask for one."""
    if settings.carry_init is None:
        return cell
    return learned_carry(cell, carry_init=settings.carry_init)
