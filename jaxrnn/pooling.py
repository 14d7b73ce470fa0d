"""The mean of a sequence, weighted by how well each entry answers a query."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.checks import Input, check_input, check_mask
from jaxrnn.core import blank
from jaxrnn.precision import wide


class Attended(NamedTuple):
    """What was read from a memory, and from where."""

    output: jax.Array  # [Q], or [H] from `attention_pool`
    weights: jax.Array  # [S], zero where the memory is masked, else of sum 1


def weigh(
    scores: jax.Array, memory: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The context `[M]` of a memory, which is zero where it is masked; the weights.

    The scores are in at least single precision.
    """
    lowest = jnp.finfo(scores.dtype).min
    weights = jax.nn.softmax(jnp.where(mask, scores, lowest))
    weights = jnp.where(mask, weights, 0)
    context = weights @ memory.astype(weights.dtype)
    return context.astype(memory.dtype), weights.astype(memory.dtype)


def dot(keys: jax.Array, query: jax.Array) -> jax.Array:
    """`keys @ query`, `[S, A]` and `[A]`, in at least single precision."""
    return jnp.matmul(keys, query, preferred_element_type=wide(query.dtype))


def attention_pool(
    query: jax.Array, ys: jax.Array, mask: jax.Array | None = None
) -> Attended:
    """Sums up a sequence by what a query asks for.

        weights = softmax(ys query)
        output = sum over t of weights_t y_t

    To classify sequences, learn the query: among the params, `jnp.zeros(H)` is a good
    start, since with it the output is the mean.

    Args:
      query: `[H]`.
      ys: `[T, H]`.
      mask: `[T]` bool, or None if all steps are valid.

    Returns:
      The output `[H]` and the weights `[T]`, all zero if no step is valid.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Yang et al., "Hierarchical attention networks for document classification",
      NAACL 2016.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> mask = jnp.array([True, True, False])
      >>> rnn.attention_pool(jnp.zeros(2), jnp.eye(3)[:, :2], mask).output
      Array([0.5, 0.5], dtype=float32)
    """
    query = check_input("attention_pool: query", query, Input(None), ("H",))
    if query.ndim != 1:
        raise ValueError(
            f"attention_pool: query: expected shape [H], got {query.shape}"
        )
    ys = check_input("attention_pool: ys", ys, Input(query.shape), ("T",))
    mask = check_mask("attention_pool", mask, ys.shape[0])
    if mask is None:
        mask = jnp.ones(ys.shape[0], bool)
    ys = blank(mask, ys).astype(query.dtype)
    return Attended(*weigh(dot(ys, query), ys, mask))
