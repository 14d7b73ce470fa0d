"""Attention: a cell reads a memory, such as all outputs of an encoder.

`luong` and `bahdanau` are layers: from a query `[Q]`, such as the output of a recurrent
cell, to an output `[Q]` that depends on the memory. The memory is given when the
layer is built, for each sequence anew, or to all of them in a cell by `attend`. Without
one they are initialized just the same, and read an empty memory: their context is zero.

Sizes: `S` entries in the memory, `M` size of an entry, `Q` of the query, `A` of the
space in which the two are compared.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxrnn.build import check_cell, leaf
from jaxrnn.checks import (
    Input,
    check_flag,
    check_floating,
    check_input,
    check_mask,
    check_size,
)
from jaxrnn.core import Cell, blank, recorded
from jaxrnn.lift import around
from jaxrnn.loops.rows import rows_product
from jaxrnn.pooling import Attended, dot, weigh
from jaxrnn.precision import plus

LECUN_NORMAL = initializers.lecun_normal()


class AttentionParams(NamedTuple):
    """Weights of `luong` and `bahdanau`."""

    w: jax.Array  # [M + Q, Q], of the output
    w_k: jax.Array | None = None  # [M, A], of the memory
    w_q: jax.Array | None = None  # [Q, A], of the query
    v: jax.Array | None = None  # [A]


class _Keys(NamedTuple):
    """A memory beside the params, prepared to be compared with queries."""

    params: AttentionParams
    keys: jax.Array  # [S, A]
    memory: jax.Array  # [S, M], zero where it is masked
    mask: jax.Array  # [S]


@recorded
def luong(
    query_size: int,
    memory_size: int,
    *,
    score: Literal["dot", "general", "concat"] = "general",
    memory: jax.Array | None = None,
    mask: jax.Array | None = None,
    weights: bool = False,
    dtype: Any = jnp.float32,
) -> Cell:
    """Attention that multiplies the query with the memory.

        score(q, m_s) = q . m_s                       "dot"
        score(q, m_s) = q . (m_s w_k)                 "general"
        score(q, m_s) = v . tanh(q w_q + m_s w_k)     "concat", A = Q
        context = sum over s of softmax(score)_s m_s
        y = tanh([context, q] w)

    The product of the memory with w_k is made once for a sequence.

    Args:
      query_size: Q, also that of the output.
      memory_size: M.
      score: "dot", "general" or "concat".
      memory: `[S, M]`, such as the outputs of an encoder; None for an empty one.
      mask: `[S]` bool, or None if all entries are valid. What the memory holds where it
        is False is never read. If it is False everywhere the context is zero.
      weights: whether the output is `Attended(output, weights)` and not `y` alone. No
        other layer reads that; `trace` shows the weights wherever the attention stands.
      dtype: of the params; the layer computes in the params' dtype.

    Returns:
      A cell from a query `[Q]` to `[Q]`, with `AttentionParams` and carry `()`.

    Raises:
      ValueError: if a size is below 1, `score` is none of the three, the sizes differ
        for "dot", or the memory or its mask does not fit; later, if an argument does
        not fit the cell.

    References:
      Luong, Pham and Manning, "Effective approaches to attention-based neural machine
      translation", EMNLP 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> def decoder(memory=None):
      ...     attention = rnn.luong(5, 7, memory=memory)
      ...     return rnn.chain(rnn.gru(3, 5), attention, rnn.linear(5, 11))
      >>> params = decoder().init(jax.random.key(0))
      >>> reader = decoder(jnp.ones((13, 7)))
      >>> reader.unroll(params, reader.initial_carry(params), jnp.ones((2, 3)))[1].shape
      (2, 11)
    """
    query_size = check_size("luong: query_size", query_size)
    memory_size = check_size("luong: memory_size", memory_size)
    check_floating("luong: dtype", dtype)
    if score not in ("dot", "general", "concat"):
        raise ValueError(
            f"luong: score: expected one of dot, general, concat, got {score!r}"
        )
    if score == "dot" and query_size != memory_size:
        raise ValueError(
            f"luong: score='dot': expected a memory_size of query_size {query_size}, "
            f"got {memory_size}"
        )
    return _attention(
        f"luong({query_size}, {memory_size})",
        (query_size, memory_size, None if score == "dot" else query_size),
        _check_memory("luong", memory, mask, memory_size),
        check_flag("luong: weights", weights),
        additive=score == "concat",
        dtype=dtype,
        again=partial(luong, query_size, memory_size, score=score, dtype=dtype),
    )


@recorded
def bahdanau(
    query_size: int,
    memory_size: int,
    size: int,
    *,
    memory: jax.Array | None = None,
    mask: jax.Array | None = None,
    weights: bool = False,
    dtype: Any = jnp.float32,
) -> Cell:
    """Attention that adds the query to the memory.

        score(q, m_s) = v . tanh(q w_q + m_s w_k)
        context = sum over s of softmax(score)_s m_s
        y = tanh([context, q] w)

    In the paper the context that the state h_{t-1} asks for is an input of the next
    step: use `input_feeding`. The product of the memory with w_k is made once for a
    sequence.

    Args:
      query_size: Q, also that of the output.
      memory_size: M.
      size: A, of the space in which the two are added.
      memory, mask, weights, dtype: as in `luong`.

    Returns:
      A cell from a query `[Q]` to `[Q]`, with `AttentionParams` and carry `()`.

    Raises:
      ValueError: if a size is below 1, or the memory or its mask does not fit; later,
        if an argument does not fit the cell.

    References:
      Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to
      align and translate", ICLR 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> mask = jnp.array([True, True, False])
      >>> cell = rnn.bahdanau(5, 7, 3, memory=jnp.ones((3, 7)), mask=mask, weights=True)
      >>> params = cell.init(jax.random.key(0))
      >>> cell.step(params, (), jnp.ones(5))[1].weights
      Array([0.5, 0.5, 0. ], dtype=float32)
    """
    query_size = check_size("bahdanau: query_size", query_size)
    memory_size = check_size("bahdanau: memory_size", memory_size)
    size = check_size("bahdanau: size", size)
    check_floating("bahdanau: dtype", dtype)
    return _attention(
        f"bahdanau({query_size}, {memory_size}, {size})",
        (query_size, memory_size, size),
        _check_memory("bahdanau", memory, mask, memory_size),
        check_flag("bahdanau: weights", weights),
        additive=True,
        dtype=dtype,
        again=partial(bahdanau, query_size, memory_size, size, dtype=dtype),
    )


def _check_memory(name: str, memory: Any, mask: Any, size: int) -> Any:
    """The memory, zero where it is masked, and its mask; or None."""
    if memory is None:
        if mask is not None:
            raise ValueError(f"{name}: memory: expected one beside the mask, got None")
        return None
    memory = check_input(f"{name}: memory", memory, Input((size,)), ("S",))
    mask = check_mask(name, mask, memory.shape[0], axis="S")
    if mask is None:
        mask = jnp.ones(memory.shape[0], bool)
    return blank(mask, memory), mask


def _attention(
    name: str,
    sizes: tuple[int, int, int | None],
    given: tuple[jax.Array, jax.Array] | None,
    weights: bool,
    *,
    additive: bool,
    dtype: Any,
    again: Any,
) -> Cell:
    """Builds the layer.

    `sizes` are Q, M and A, which is None for keys that are the memory itself; `given`
    is the memory and its mask; `again` builds the same layer with another memory.
    """
    query_size, memory_size, size = sizes

    def init(key):
        w_key, w_k_key, w_q_key, v_key = jax.random.split(key, 4)
        w = LECUN_NORMAL(w_key, (memory_size + query_size, query_size), dtype)
        if size is None:
            return AttentionParams(w)
        w_k = LECUN_NORMAL(w_k_key, (memory_size, size), dtype)
        if not additive:
            return AttentionParams(w, w_k)
        w_q = LECUN_NORMAL(w_q_key, (query_size, size), dtype)
        v = LECUN_NORMAL(v_key, (size, 1), dtype)[:, 0]
        return AttentionParams(w, w_k, w_q, v)

    def prepare(params):
        empty = jnp.zeros((1, memory_size)), jnp.zeros(1, bool)
        memory, mask = empty if given is None else given
        memory = memory.astype(params.w.dtype)
        keys = memory if params.w_k is None else rows_product(memory, params.w_k)
        return _Keys(params, keys, memory, mask)

    def layer(show):
        def step(keys, carry, query):
            return carry, show(_read(keys, query.astype(keys.params.w.dtype)))

        return leaf(
            name,
            Input((query_size,)),
            init,
            lambda params, key=None: (),
            step,
            stateless=True,
            prepare=prepare,
        )

    shown, cell = layer(lambda read: read), layer(lambda read: read.output)

    def trace(params, carry, xs, *, mask=None, reverse=False, starts=None):
        options = {"mask": mask, "reverse": reverse, "starts": starts}
        carry, read = shown.unroll(params, carry, xs, **options)
        return carry, read if weights else read.output, read

    def bind(params, memory, mask):
        return again(memory=memory, mask=mask).about.prepare(params)

    about = cell.about._replace(trace=trace, bind=bind if given is None else None)
    return (shown if weights else cell)._replace(about=about)


def _read(prepared: _Keys, query: jax.Array) -> Attended:
    """The equations of `luong` and `bahdanau`."""
    params, keys, memory, mask = prepared
    if params.w_q is None or params.v is None:
        scores = dot(keys, query)
    else:
        asked = rows_product(query[None], params.w_q)
        scores = dot(jnp.tanh(plus(asked, keys)), params.v)
    context, weights = weigh(scores, memory, mask)
    both = jnp.concatenate([context, query])
    return Attended(jnp.tanh(rows_product(both[None], params.w)[0]), weights)


@recorded
def attend(cell: Cell, memory: jax.Array, memory_mask: jax.Array | None = None) -> Cell:
    """Gives a memory to every attention in a cell that has none.

    Args:
      cell: a `luong` or a `bahdanau` that was built without a memory, or a combination
        with one or more of them in it.
      memory: `[S, M]`, such as the outputs of an encoder.
      memory_mask: `[S]` bool, or None if all entries are valid.

    Returns:
      A cell with the params and the carry of `cell`.

    Raises:
      ValueError: if there is no attention without a memory in the cell; from `step`
        and `unroll`, if the memory or its mask does not fit.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.chain(rnn.gru(3, 5), rnn.luong(5, 7))
      >>> params = cell.init(jax.random.key(0))
      >>> reader = rnn.attend(cell, jnp.ones((13, 7)))
      >>> reader.unroll(params, reader.initial_carry(params), jnp.ones((2, 3)))[1].shape
      (2, 5)
    """
    bind = check_cell("attend: cell", cell).about.bind
    if bind is None:
        raise ValueError(
            "attend: cell: expected one that contains a luong or a bahdanau without a "
            f"memory, got {cell.about.name}"
        )

    def bound(params):
        return bind(params, memory, memory_mask)

    def run(at, params, carry, x):
        return at.run(cell, bound(params), carry, x)

    name = f"attend({cell.about.name})"
    reader = around(name, cell, run, split=lambda params: (bound(params),))
    return reader._replace(about=reader.about._replace(bind=None))
