"""Attention: a cell reads a memory, such as all outputs of an encoder.

`luong` and `bahdanau` are layers: from a query `[Q]`, such as the output of a recurrent
cell, to an output `[Q]` that knows what the memory holds. Like every cell they are
built and initialized without a memory. `attend(cell, memory, memory_mask)` gives it to
all of them that a cell contains, wherever they stand. Before that they read an empty
memory, and their context is zero.

Sizes: `S` entries in the memory, `M` size of an entry, `Q` of the query, `A` of the
space in which the two are compared.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxrnn.build import leaf, step_of
from jaxrnn.checks import (
    Input,
    check_flag,
    check_floating,
    check_input,
    check_mask,
    check_size,
)
from jaxrnn.core import About, Cell, blank, scan_unroll
from jaxrnn.loops.primitives import rows_product

LECUN_NORMAL = initializers.lecun_normal()


class Attended(NamedTuple):
    """What was read from a memory, and from where."""

    output: jax.Array  # [Q], or [H] from `attention_pool`
    weights: jax.Array  # [S], zero where the memory is masked, else of sum 1

    def __jax_array__(self):
        """What a layer calls that expects an array; else it would try to stack both."""
        raise ValueError(
            "attend: weights: expected False where other layers follow the attention, "
            "got True: they cannot read Attended(output, weights)"
        )


class AttentionParams(NamedTuple):
    """Weights of `luong` and `bahdanau`."""

    w: jax.Array  # [M + Q, Q], of the output
    w_k: jax.Array | None = None  # [M, A], of the memory
    w_q: jax.Array | None = None  # [Q, A], of the query
    v: jax.Array | None = None  # [A]


class FeedingCarry(NamedTuple):
    """Carry of `input_feeding`."""

    cell: Any
    y: jax.Array  # [size], the output of the step before


class _Bound(NamedTuple):
    """Params with a memory beside them: what `attend` puts in the place of params."""

    params: AttentionParams
    keys: jax.Array  # [S, A], the memory as it is compared with a query
    memory: jax.Array  # [S, M]
    mask: jax.Array  # [S]

    @classmethod
    def of(cls, params: AttentionParams, memory: jax.Array, mask: jax.Array):
        """Makes the keys; the memory is zero where it is masked."""
        w_k = params.w_k
        keys = memory if w_k is None else rows_product(memory, w_k)
        return cls(params, keys, memory, mask)


class _Shown(_Bound):
    """The same, where the weights are asked for."""


def luong(
    query_size: int,
    memory_size: int,
    *,
    score: Literal["dot", "general", "concat"] = "general",
    dtype: Any = jnp.float32,
) -> Cell:
    """Attention that multiplies the query with the memory.

        score(q, m_s) = q . m_s                       "dot"
        score(q, m_s) = q . (m_s w_k)                 "general"
        score(q, m_s) = v . tanh(q w_q + m_s w_k)     "concat", A = Q
        context = sum over s of softmax(score)_s m_s
        y = tanh([context, q] w)

    Args:
      query_size: Q, also that of the output.
      memory_size: M.
      score: "dot", "general" or "concat".
      dtype: of the params; the layer computes in the params' dtype.

    Returns:
      A cell from a query `[Q]` to `[Q]`, with `AttentionParams` and carry `()`. Give
      it a memory by `attend`.

    Raises:
      ValueError: if a size is below 1, `score` is none of the three, or the sizes
        differ for "dot"; later, if an argument does not fit the cell.

    References:
      Luong, Pham and Manning, "Effective approaches to attention-based neural machine
      translation", EMNLP 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.chain(rnn.gru(3, 5), rnn.luong(5, 7), rnn.linear(5, 11))
      >>> params = cell.init(jax.random.key(0))
      >>> reader = rnn.attend(cell, jnp.ones((13, 7)))
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
    name = f"luong({query_size}, {memory_size})"
    size = None if score == "dot" else query_size
    return _attention(name, query_size, memory_size, size, score == "concat", dtype)


def bahdanau(
    query_size: int, memory_size: int, size: int, *, dtype: Any = jnp.float32
) -> Cell:
    """Attention that adds the query to the memory.

        score(q, m_s) = v . tanh(q w_q + m_s w_k)
        context = sum over s of softmax(score)_s m_s
        y = tanh([context, q] w)

    In the paper the context that the state h_{t-1} asks for is an input of the next
    step: use `input_feeding`.

    Args:
      query_size: Q, also that of the output.
      memory_size: M.
      size: A, of the space in which the two are added.
      dtype: of the params; the layer computes in the params' dtype.

    Returns:
      A cell from a query `[Q]` to `[Q]`, with `AttentionParams` and carry `()`. Give
      it a memory by `attend`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to
      align and translate", ICLR 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.bahdanau(5, 7, 3)
      >>> params = cell.init(jax.random.key(0))
      >>> rnn.attend(cell, jnp.ones((13, 7))).step(params, (), jnp.ones(5))[1].shape
      (5,)
    """
    query_size = check_size("bahdanau: query_size", query_size)
    memory_size = check_size("bahdanau: memory_size", memory_size)
    size = check_size("bahdanau: size", size)
    check_floating("bahdanau: dtype", dtype)
    name = f"bahdanau({query_size}, {memory_size}, {size})"
    return _attention(name, query_size, memory_size, size, True, dtype)


def _attention(
    name: str,
    query_size: int,
    memory_size: int,
    size: int | None,
    additive: bool,
    dtype: Any,
) -> Cell:
    """The layer: `size` is None for keys that are the memory itself."""

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

    def reading(bound: _Bound | None) -> Cell:
        def step(params, carry, query):
            query = query.astype(params.w.dtype)
            empty = jnp.zeros((1, memory_size), query.dtype), jnp.zeros(1, bool)
            y = _read(bound or _Bound.of(params, *empty), query)
            return carry, y if isinstance(bound, _Shown) else y.output

        return leaf(name, Input((query_size,)), init, _no_carry, step, stateless=True)

    alone = reading(None)

    def split(params):
        if isinstance(params, _Bound):
            return reading(params), params.params
        return alone, params

    def step(params, carry, x):
        cell, params = split(params)
        assert cell.step is not None  # for the type checker
        return cell.step(params, carry, x)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        cell, params = split(params)
        return cell.unroll(params, carry, xs, mask=mask, reverse=reverse, starts=starts)

    return alone._replace(step=step, unroll=unroll)


def _no_carry(params, key=None):
    del params, key
    return ()


def _read(bound: _Bound, query: jax.Array) -> Attended:
    """The equations of `luong` and `bahdanau`."""
    params, keys, memory, mask = bound
    if params.w_q is None or params.v is None:
        scores = keys @ query
    else:
        scores = jnp.tanh(rows_product(query[None], params.w_q) + keys) @ params.v
    context, weights = _weigh(scores, memory, mask)
    both = jnp.concatenate([context, query])
    return Attended(jnp.tanh(rows_product(both[None], params.w)[0]), weights)


def _weigh(
    scores: jax.Array, memory: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The weighted sum `[M]` of a memory that is zero where it is masked; weights."""
    lowest = jnp.finfo(scores.dtype).min
    weights = jax.nn.softmax(jnp.where(mask, scores, lowest))
    weights = jnp.where(mask, weights, 0)
    return weights @ memory, weights


def attend(
    cell: Cell,
    memory: jax.Array,
    memory_mask: jax.Array | None = None,
    *,
    weights: bool = False,
) -> Cell:
    """Gives a memory to every `luong` and `bahdanau` that a cell contains.

    The product of the memory with w_k is made once for a sequence.

    Args:
      cell: an attention, or a combination with one or more in it. One that already
        has a memory of its own keeps it.
      memory: `[S, M]`, such as the outputs of an encoder.
      memory_mask: `[S]` bool, or None if all entries are valid. What the memory holds
        where it is False is never read. If it is False everywhere the context is zero.
      weights: whether an attention gives `Attended(output, weights)` and not the
        output alone; for a cell that ends with it, to draw the weights.

    Returns:
      A cell with the params and the carry of `cell`.

    Raises:
      ValueError: from `step` and `unroll`, if there is no attention in the cell, or
        the memory or its mask does not fit.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.chain(rnn.gru(3, 5), rnn.luong(5, 7))
      >>> params = cell.init(jax.random.key(0))
      >>> memory_mask = jnp.array([True, True, False])
      >>> reader = rnn.attend(cell, jnp.ones((3, 7)), memory_mask, weights=True)
      >>> carry = reader.initial_carry(params)
      >>> reader.step(params, carry, jnp.ones(3))[1].weights
      Array([0.5, 0.5, 0. ], dtype=float32)
    """
    if not isinstance(cell, Cell):
        raise ValueError(f"attend: cell: expected a Cell, got {cell!r}")
    bound_type = _Shown if check_flag("attend: weights", weights) else _Bound

    def is_attention(node):
        return isinstance(node, AttentionParams | _Bound)

    def bind_one(params):
        if not is_attention(params):
            return params
        if isinstance(params, _Bound):  # by an `attend` around this one
            params = params.params
        size = params.w.shape[0] - params.w.shape[1]
        entries = check_input("attend: memory", memory, Input((size,)), ("S",))
        mask = check_mask("attend: memory_mask", memory_mask, len(entries))
        if mask is None:
            mask = jnp.ones(len(entries), bool)
        return bound_type.of(params, blank(mask, entries).astype(params.w.dtype), mask)

    def bind(params):
        nodes = jax.tree.leaves(params, is_leaf=is_attention)
        if not any(map(is_attention, nodes)):
            raise ValueError(
                "attend: cell: expected one that contains a luong or a bahdanau, "
                f"got {cell.about.name} with params {jax.tree.structure(params)}"
            )
        return jax.tree.map(bind_one, params, is_leaf=is_attention)

    def step(params, carry, x):
        assert cell.step is not None  # for the type checker: see the last line
        return cell.step(bind(params), carry, x)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        return cell.unroll(
            bind(params), carry, xs, mask=mask, reverse=reverse, starts=starts
        )

    streams = cell.step is not None
    return cell._replace(
        step=step if streams else None,
        unroll=unroll,
        about=About(f"attend({cell.about.name})", cell.about.reads),
    )


def input_feeding(cell: Cell, size: int) -> Cell:
    """Each step reads, after its own input, the output of the step before.

        y_t = cell([x_t, y_{t-1}]),    y_0 = 0

    Around a recurrent cell and an attention, so that a step knows what the one before
    has read from the memory.

    Args:
      cell: reads vectors `[D + size]`.
      size: of its output.

    Returns:
      A cell from `x` `[D]` to `y` `[size]`, with the params of `cell` and
      `FeedingCarry`.

    Raises:
      ValueError: if the size is below 1 or the cell has no step; from `step` and
        `unroll`, if the output is not of that size.

    References:
      Luong, Pham and Manning, "Effective approaches to attention-based neural machine
      translation", EMNLP 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.input_feeding(rnn.chain(rnn.gru(3 + 5, 5), rnn.luong(5, 7)), 5)
      >>> params = cell.init(jax.random.key(0))
      >>> reader = rnn.attend(cell, jnp.ones((13, 7)))
      >>> reader.unroll(params, reader.initial_carry(params), jnp.ones((2, 3)))[1].shape
      (2, 5)
    """
    inner_step = step_of("input_feeding", cell)
    size = check_size("input_feeding: size", size)
    name = f"input_feeding({cell.about.name}, {size})"
    inner = cell.about.reads
    reads = Input(None)
    if inner is not None and inner.shape is not None:
        if len(inner.shape) != 1 or inner.shape[0] <= size:
            raise ValueError(
                f"input_feeding: cell: expected one that reads more than size {size} "
                f"numbers, got {cell.about.name}, which reads {inner}"
            )
        reads = Input((inner.shape[0] - size,))

    def initial_carry(params, key=None):
        dtypes = [getattr(a, "dtype", None) for a in jax.tree.leaves(params)]
        floats = [d for d in dtypes if d and jnp.issubdtype(d, jnp.floating)]
        y = jnp.zeros(size, floats[0] if floats else jnp.float32)
        return FeedingCarry(cell.initial_carry(params, key), y)

    def check_carry(carry):
        if not isinstance(carry, FeedingCarry):
            raise ValueError(
                f"{name}: carry: expected FeedingCarry, got {type(carry).__name__}"
            )

    def step(params, carry, x):
        check_carry(carry)
        x = check_input(f"{name}: x", x, reads, ())
        inputs = jnp.concatenate([x.astype(carry.y.dtype), carry.y])
        inner_carry, y = inner_step(params, carry.cell, inputs)
        output = y.output if isinstance(y, Attended) else y
        if output.shape != (size,):
            raise ValueError(
                f"{name}: size: expected that of the output, {output.shape}, got {size}"
            )
        return FeedingCarry(inner_carry, output.astype(carry.y.dtype)), y

    unroll_by_scan = scan_unroll(step, initial_carry)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        check_carry(carry)
        xs = check_input(f"{name}: xs", xs, reads, ("T",))
        return unroll_by_scan(
            params, carry, xs, mask=mask, reverse=reverse, starts=starts
        )

    return Cell(cell.init, initial_carry, step, unroll, About(name, reads))


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
    mask = check_mask("attention_pool", mask, len(ys))
    if mask is None:
        mask = jnp.ones(len(ys), bool)
    ys = blank(mask, ys).astype(query.dtype)
    return Attended(*_weigh(ys @ query, ys, mask))
