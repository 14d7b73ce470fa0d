"""The options and the report of an unroll by Newton's method."""

from typing import Any, Literal, NamedTuple, TypedDict

import jax

from jaxrnn.checks import check_flag, check_number, check_size


class NewtonOptions(TypedDict, total=False):
    """How `parallel` and `newton_unroll` look for the states.

    Attributes:
      jacobian: "full" for the Jacobians of the step, `[n, n]` each; "block" for what a
        unit of the state has of itself, such as the 2 by 2 of h and c of an LSTM;
        "diagonal" for what a number of the state has of itself. None for "block" where
        all fields of the carry have one size, else "diagonal".
      damping: from 0, for Newton's method, to 1, for s_t = f(s_{t-1}, x_t) everywhere
        at once: the Jacobians are multiplied by 1 - damping.
      radius: the trust radius. A step whose correction is larger takes
        f(s_{t-1}, x_t).
      max_iterations: after so many evaluations of all steps the loop runs.
      tolerance: the bound on the residual max |s_t - f(s_{t-1}, x_t)| / (1 + |s_t|);
        None for eps^(3/4) of the dtype of the carry: 6e-6 in float32, 2e-12 in float64.
      warn: whether the logger "jaxrnn" says, once for a cell, that the loop ran. Such a
        call to Python is what `jax.export` cannot write to a file.
    """

    jacobian: Literal["full", "block", "diagonal"] | None
    damping: float
    radius: float
    max_iterations: int
    tolerance: float | None
    warn: bool


class NewtonReport(NamedTuple):
    """How the states of a sequence were found.

    Attributes:
      iterations: how often all steps were evaluated, side by side. The last time found
        the residual within the tolerance, unless `fell_back`.
      residual: max |s_t - f(s_{t-1}, x_t)| / (1 + |s_t|) over all steps, of the states
        that were found; where `fell_back`, of those that were given up.
      fell_back: whether the loop computed the states.
    """

    iterations: jax.Array  # [] int32
    residual: jax.Array  # []
    fell_back: jax.Array  # [] bool


class Settings(NamedTuple):
    """`NewtonOptions` with the defaults in the place of what was not given."""

    jacobian: str | None = None
    damping: float = 0.0
    radius: float = 100.0
    max_iterations: int = 100
    tolerance: float | None = None
    warn: bool = True


def check_newton(name: str, options: Any) -> Settings:
    """Returns the settings, or raises an error that names the option."""
    for option in options:
        if option not in Settings._fields:
            raise TypeError(
                f"{name}: {option}: there is no such option; expected "
                f"{', '.join(Settings._fields)}"
            )
    made = Settings(**options)
    kinds = "full", "block", "diagonal"
    if made.jacobian not in (None, *kinds):
        raise ValueError(
            f'{name}: jacobian: expected "full", "block" or "diagonal", '
            f"got {made.jacobian!r}"
        )
    share, above = "a number from 0 to 1", "a number above 0"
    check_number(f"{name}: damping", made.damping, share, lambda v: 0 <= v <= 1)
    check_number(f"{name}: radius", made.radius, above, lambda v: v > 0)
    check_size(f"{name}: max_iterations", made.max_iterations)
    check_flag(f"{name}: warn", made.warn)
    if made.tolerance is not None:
        check_number(f"{name}: tolerance", made.tolerance, above, lambda v: v > 0)
    return made
