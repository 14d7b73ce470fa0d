"""Choosers: from the output of a cell to its next input."""

import dataclasses
import sys
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.checks import check_array, check_key, check_number, check_size


class Choose(Protocol):
    """Makes the next input of a cell from its output: `(y, key) -> token`."""

    def __call__(self, y: Any, key: jax.Array | None, /) -> Any: ...


def greedy(logits: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """The token with the largest logit; of equal ones, the first.

    Where one of the logits is NaN it is -1, which is no token.

    Args:
      logits: `[V]`.
      key: not used.

    Returns:
      `[]` int32.

    Raises:
      ValueError: if the logits are not floating numbers `[V]`.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.greedy(jnp.array([1.0, 3.0, 3.0])).item()
      1
    """
    del key
    logits = check_logits("greedy", logits)
    return or_none(logits, jnp.argmax(logits).astype(jnp.int32))


def sample(
    temperature: float = 1.0, *, top_k: int | None = None, top_p: float | None = None
) -> Choose:
    """Makes a chooser that draws a token.

        p = softmax(logits / temperature)

    Only the `top_k` most probable tokens are kept, and of those, with their share of
    p made to sum to one, the fewest whose sum reaches `top_p`. Of equally probable
    tokens the first is kept. If a logit is NaN the draw is -1, which is no token.
    Choosers made with the same arguments are equal, so that `jax.jit` compiles a
    program for one of them once.

    Args:
      temperature: below 1 for more probable tokens, above 1 for more variety.
      top_k: at least 1; None for all.
      top_p: in (0, 1]; None for all. At least one token is kept.

    Returns:
      `(logits, key) -> token`, from `[V]` to `[]` int32.

    Raises:
      ValueError: if an argument is outside its range; from the chooser, if the logits
        are not floating numbers `[V]` or there is no key.

    References:
      Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> choose = rnn.sample(0.8, top_k=2)
      >>> choose(jnp.array([1.0, -jnp.inf, -jnp.inf]), jax.random.key(0)).item()
      0
    """
    temperature = check_number(
        "sample: temperature",
        temperature,
        "a positive number",
        lambda value: 0 < value <= sys.float_info.max,
    )
    if top_k is not None:
        top_k = check_size("sample: top_k", top_k)
    if top_p is not None:
        top_p = check_number(
            "sample: top_p", top_p, "a number in (0, 1]", lambda value: 0 < value <= 1
        )
    return _Sample(temperature, top_k, top_p)


@dataclasses.dataclass(frozen=True)
class _Sample:
    temperature: float
    top_k: int | None
    top_p: float | None

    def __call__(self, logits: jax.Array, key: jax.Array | None, /) -> jax.Array:
        logits = check_logits("sample", logits)
        key = check_key("sample: key", key)
        given = logits
        logits = (logits - logits.max()) / self.temperature
        if self.top_k is None and self.top_p is None:
            drawn = jax.random.categorical(key, logits)
            return or_none(given, drawn.astype(jnp.int32))
        size = logits.size if self.top_k is None else min(self.top_k, logits.size)
        logits, tokens = lax.top_k(logits, size)  # in order, of equal ones the first
        if self.top_p is not None and self.top_p < 1:
            p = jax.nn.softmax(logits)
            reached = jnp.cumsum(p) - p >= self.top_p * (1 - 1e-6)  # but for rounding
            logits = jnp.where(reached, -jnp.inf, logits)
        return or_none(given, tokens[jax.random.categorical(key, logits)])


def or_none(logits: jax.Array, token: jax.Array) -> jax.Array:
    """The token, or -1 where a logit is NaN, so that no token stands for a mistake."""
    return jnp.where(jnp.isnan(logits.max()), -1, token)


def check_logits(name: str, logits: Any) -> jax.Array:
    """The logits in at least single precision."""
    logits = check_array(f"{name}: logits", logits)
    floating = jnp.issubdtype(logits.dtype, jnp.floating)
    if not floating or logits.ndim != 1 or not logits.size:
        hint = "; for a batch use jax.vmap" if logits.ndim > 1 else ""
        raise ValueError(
            f"{name}: logits: expected floating numbers of shape [V], "
            f"got {logits.dtype} {logits.shape}{hint}"
        )
    return logits if jnp.finfo(logits).bits >= 32 else logits.astype(jnp.float32)
