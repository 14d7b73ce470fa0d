"""Attention, against a reference in numpy that goes entry by entry."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from battery import (
    MEMORY,
    MEMORY_MASK,
    SOME_VALID,
    A,
    B,
    D,
    H,
    M,
    S,
    T,
    V,
    assert_close,
    assert_refused,
    inexact,
    jitter,
    law,
    quick_jit,
    scalar,
    step_of,
    with_gradient,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.test_util import check_grads

import jaxrnn as rnn

KEY = jax.random.key(0)
few = partial(settings, deadline=None, derandomize=True)
masks = st.lists(st.booleans(), min_size=S, max_size=S)
NONE, ALL = [False] * S, [True] * S

LAYERS: dict[str, Any] = {
    "dot": partial(rnn.luong, M, M, score="dot"),
    "general": partial(rnn.luong, H, M),
    "concat": partial(rnn.luong, H, M, score="concat"),
    "bahdanau": partial(rnn.bahdanau, H, M, A),
}


def attending(name, memory, mask, params, queries):
    """Outputs and weights of a layer, as `Attended` of arrays with an axis T."""
    cell = LAYERS[name](memory=memory, mask=mask, weights=True)
    return cell.unroll(params, (), queries)[1]


@cache
def jitted(name):
    return quick_jit(partial(attending, name))


@cache
def jitted_gradient(name):
    return quick_jit(with_gradient(partial(attending, name)))


def double(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


@cache
def arguments(name):
    """Memory, params and queries."""
    noise = np.random.default_rng(1)
    params = jitter(LAYERS[name]().init(KEY), noise)
    size = M if name == "dot" else H
    queries = jnp.asarray(noise.normal(size=(T, size)), jnp.float32)
    return MEMORY, params, queries


def by_hand(name, memory, mask, params, query):
    """One query; nothing is precomputed and nothing masked is touched."""
    weights = np.zeros(len(memory))
    for s in np.flatnonzero(mask):
        if name == "dot":
            score = query @ memory[s]
        elif name == "general":
            score = query @ params.w_k.T @ memory[s]
        else:  # v . tanh(W [q; m]), where W is two matrices
            w = np.concatenate([params.w_q, params.w_k])
            score = np.tanh(np.concatenate([query, memory[s]]) @ w) @ params.v
        weights[s] = np.exp(score)
    if any(mask):
        weights /= weights.sum()
    context = np.zeros(memory.shape[1])
    for s in np.flatnonzero(mask):
        context += weights[s] * memory[s]
    return np.tanh(np.concatenate([context, query]) @ params.w), weights


@pytest.mark.parametrize("name", LAYERS)
@given(mask=masks)
@example(mask=NONE)
@example(mask=ALL)
@few(max_examples=10)
def test_layer(name, mask):
    memory, params, queries = arguments(name)
    got = jitted(name)(memory, jnp.array(mask), params, queries)
    expected = [
        by_hand(name, double(memory), mask, double(params), q) for q in double(queries)
    ]
    outputs, weights = map(np.stack, zip(*expected, strict=True))
    np.testing.assert_allclose(got.output, outputs, atol=1e-5)
    np.testing.assert_allclose(got.weights, weights, atol=1e-5)
    assert not got.weights[:, ~np.array(mask)].any()
    np.testing.assert_allclose(got.weights.sum(1), float(any(mask)), rtol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_no_mask_is_all_valid(name):
    memory, params, queries = arguments(name)
    got = quick_jit(partial(attending, name, memory, None))
    expected = jitted(name)(memory, jnp.array(ALL), params, queries)
    assert_close(got(params, queries), expected, 1e-6)


@pytest.mark.parametrize("name", LAYERS)
@given(mask=masks, fill=st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
@example(mask=NONE, fill=np.nan)
@few(max_examples=10)
def test_a_masked_memory_is_never_read(name, mask, fill):
    """Not even by a gradient."""
    memory, params, queries = arguments(name)
    mask = jnp.array(mask)
    got, expected = (
        jitted_gradient(name)(
            jnp.where(mask[:, None], memory, value), mask, params, queries
        )
        for value in (fill, 0)
    )
    assert_close(got, expected, 0)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(got))
    d_memory = got[1][0]
    assert not d_memory[~mask].any()
    assert d_memory[mask].any() == mask.any()


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_memory_is_as_no_memory(name):
    """The context is zero."""
    memory, params, queries = arguments(name)
    got = jitted(name)(memory, jnp.array(NONE), params, queries)
    _, alone = LAYERS[name]().unroll(params, (), queries)
    assert_close(got.output, alone, 1e-6)
    query_size = queries.shape[1]
    np.testing.assert_allclose(
        alone, np.tanh(queries @ params.w[-query_size:]), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    memory, params, queries = arguments(name)
    with jax.enable_x64(True):
        floats, put = inexact(
            jax.tree.map(lambda a: a.astype(jnp.float64), (memory, params, queries))
        )

        def loss(*floats):
            memory, params, queries = put(floats)
            return scalar(partial(attending, name))(
                memory, MEMORY_MASK, params, queries
            )

        check_grads(jax.jit(loss), floats, order=1, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_jit_and_vmap(name):
    """Each example has a memory, a mask and queries of its own."""
    memory, params, queries = arguments(name)
    memories = jnp.stack([memory, memory[::-1]])
    batch_masks = jnp.stack([MEMORY_MASK, ~MEMORY_MASK])
    batch = jnp.stack([queries, -queries])

    def run(memory, mask, queries):
        return with_gradient(partial(attending, name))(memory, mask, params, queries)

    got = quick_jit(jax.vmap(run))(memories, batch_masks, batch)
    alone = [run(*args) for args in zip(memories, batch_masks, batch, strict=True)]
    assert_close(got, jax.tree.map(lambda *a: jnp.stack(a), *alone), 1e-4)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", LAYERS)
def test_unroll_with_weights_is_scan_of_step(name, reverse):
    memory, params, queries = arguments(name)
    cell = LAYERS[name](memory=memory, mask=MEMORY_MASK, weights=True)

    def body(carry, inputs):
        keep, x = inputs
        y = step_of(cell)(params, carry, x)[1]
        return carry, jax.tree.map(lambda a: jnp.where(keep, a, jnp.zeros_like(a)), y)

    _, expected = jax.lax.scan(body, (), (SOME_VALID, queries), reverse=reverse)
    _, got = cell.unroll(params, (), queries, mask=SOME_VALID, reverse=reverse)
    assert_close(got, expected, 1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_shown_on_the_way_or_at_the_end(name):
    memory, params, queries = arguments(name)
    expected = jitted(name)(memory, MEMORY_MASK, params, queries)
    plain = LAYERS[name](memory=memory, mask=MEMORY_MASK)
    assert_close(plain.unroll(params, (), queries)[1], expected.output, 1e-6)
    for cell in (plain, rnn.attend(LAYERS[name](), memory, MEMORY_MASK)):
        assert_close(rnn.trace(cell, params, (), queries), expected, 1e-6)
    blanked = rnn.trace(plain, params, (), queries, mask=SOME_VALID)
    assert not blanked.weights[~SOME_VALID].any()


def test_concat_is_additive():
    """With params in common; the space has the size of the query."""
    memory, params, queries = arguments("concat")
    cell = rnn.bahdanau(H, M, H, memory=memory, mask=MEMORY_MASK, weights=True)
    got = cell.unroll(params, (), queries)[1]
    assert_close(got, jitted("concat")(memory, MEMORY_MASK, params, queries), 1e-6)


# What an attention may stand in.


def core(**given):
    return rnn.input_feeding(
        rnn.chain(rnn.elman(D + H, H), rnn.luong(H, M, **given)), H
    )


CORE = core()
WITHIN = {
    "chain": rnn.chain(rnn.gru(D, H), rnn.luong(H, M), rnn.linear(H, V)),
    "residual": rnn.chain(rnn.gru(D, H), rnn.residual(rnn.luong(H, M))),
    "remat": rnn.remat(rnn.chain(rnn.gru(D, H), rnn.luong(H, M))),
    "starting": rnn.starting(
        rnn.chain(rnn.gru(D, H), rnn.luong(H, M)), (rnn.GRUCarry(jnp.ones(H)), ())
    ),
    "learned carry": rnn.learned_carry(rnn.chain(rnn.gru(D, H), rnn.luong(H, M))),
    "input feeding": CORE,
    "bidirectional": rnn.bidirectional(
        rnn.chain(rnn.gru(D, H), rnn.luong(H, M)), rnn.luong(D, M)
    ),
}
XS = jnp.asarray(np.random.default_rng(2).normal(size=(T, D)), jnp.float32)


def outputs(cell, params, memory, mask, xs):
    reader = rnn.attend(cell, memory, mask)
    return reader.unroll(params, reader.initial_carry(params), xs)[1]


@pytest.mark.parametrize("within", WITHIN)
def test_attend_reaches_every_attention(within):
    cell = WITHIN[within]
    params = jitter(cell.init(KEY), np.random.default_rng(0))
    slopes = jax.jit(jax.jacrev(partial(outputs, cell, params)))(
        MEMORY, MEMORY_MASK, XS
    )
    reads = np.abs(slopes).max(axis=(1, 3)) > 0  # [T, S]
    np.testing.assert_array_equal(reads, np.tile(MEMORY_MASK, (T, 1)))


def test_two_attentions_read_one_memory():
    cell = rnn.chain(rnn.luong(D, M), rnn.gru(D, H), rnn.bahdanau(H, M, A))
    params = jitter(cell.init(KEY), np.random.default_rng(0))
    first = rnn.luong(D, M, memory=MEMORY).unroll(params[0], (), XS)[1]
    zeros = rnn.GRUCarry(jnp.zeros(H))
    second = rnn.gru(D, H).unroll(params[1], zeros, first)[1]
    third = rnn.bahdanau(H, M, A, memory=MEMORY).unroll(params[2], (), second)[1]
    assert_close(outputs(cell, params, MEMORY, None, XS), third, 1e-6)


def test_each_attention_may_have_a_memory_of_its_own():
    """Which `attend` leaves as it is."""
    given, other = rnn.luong(D, M, memory=MEMORY), rnn.luong(D, M, memory=-MEMORY[:D])
    params = jitter(
        rnn.chain(rnn.luong(D, M), rnn.luong(D, M)).init(KEY), np.random.default_rng(0)
    )
    first = other.unroll(params[0], (), XS)[1]
    second = given.unroll(params[1], (), first)[1]
    both = rnn.chain(other, given)
    assert_close(both.unroll(params, ((), ()), XS)[1], second, 1e-6)
    for inner in (other, rnn.attend(rnn.luong(D, M), -MEMORY[:D])):
        cell = rnn.chain(inner, rnn.luong(D, M))
        assert_close(outputs(cell, params, MEMORY, None, XS), second, 1e-6)


@pytest.mark.parametrize("within", [w for w in WITHIN if w != "bidirectional"])
def test_no_output_depends_on_the_future(within):
    cell = WITHIN[within]
    params = jitter(cell.init(KEY), np.random.default_rng(0))
    run = partial(outputs, cell, params, MEMORY, MEMORY_MASK)
    slopes = np.abs(jax.jit(jax.jacrev(run))(XS)).max(axis=(1, 3))
    np.testing.assert_array_equal(slopes > 0, np.tril(np.ones((T, T), bool)))


def test_params_are_those_of_the_cell():
    reader = rnn.attend(CORE, MEMORY)
    assert_close(reader.init(KEY), CORE.init(KEY), 0)
    params = CORE.init(KEY)
    assert_close(reader.initial_carry(params), CORE.initial_carry(params), 0)


def test_input_feeding():
    """Against a loop in numpy."""
    params = jitter(CORE.init(KEY), np.random.default_rng(0))
    reader = core(memory=MEMORY, mask=MEMORY_MASK, weights=True)
    start = reader.initial_carry(params)
    carry, ys = reader.unroll(params, start, XS)
    hs, read = rnn.trace(core(memory=MEMORY, mask=MEMORY_MASK), params, start, XS)
    assert_close(read, ys, 1e-6)
    np.testing.assert_allclose(hs[-1], carry.cell[0].h, rtol=1e-6)

    elman, luong = double(params)
    h = y = np.zeros(H)
    for t, x in enumerate(double(XS)):
        h = np.tanh(np.concatenate([x, y]) @ elman.w_x + h @ elman.w_h + elman.b)
        y, weights = by_hand("general", double(MEMORY), MEMORY_MASK, luong, h)
        np.testing.assert_allclose(ys.output[t], y, atol=1e-5)
        np.testing.assert_allclose(ys.weights[t], weights, atol=1e-5)
    np.testing.assert_allclose(carry.y, y, atol=1e-5)
    np.testing.assert_allclose(carry.cell[0].h, h, atol=1e-5)


def test_input_feeding_of_any_cell():
    """A Jordan network; the cell does not say how much it reads."""
    cell = rnn.input_feeding(rnn.chain(rnn.dropout(0.2), rnn.elman(D + H, H)), H)
    params = cell.init(KEY)
    carry = cell.initial_carry(params, KEY)
    got = cell.unroll(params, carry, XS, mask=SOME_VALID)
    assert_close(got, law(cell, params, carry, XS, mask=SOME_VALID), 1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtype(dtype):
    cell = rnn.input_feeding(
        rnn.chain(rnn.gru(D + H, H, dtype=dtype), rnn.luong(H, M, dtype=dtype)), H
    )
    params = cell.init(KEY)
    assert all(a.dtype == dtype for a in jax.tree.leaves(params))
    assert outputs(cell, params, MEMORY, MEMORY_MASK, XS).dtype == dtype


LOOPS = ("scan", "while")


def products(jaxpr, inside=False):
    """Shapes of the operands of every product, and whether it stands in a loop."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("dot_general", "rows_product"):
            yield tuple(v.aval.shape for v in eqn.invars), inside
        for sub in jax.tree.leaves(
            eqn.params, is_leaf=lambda p: isinstance(p, Jaxpr | ClosedJaxpr)
        ):
            if isinstance(sub, Jaxpr | ClosedJaxpr):
                body = sub.jaxpr if isinstance(sub, ClosedJaxpr) else sub
                yield from products(body, inside or eqn.primitive.name in LOOPS)


FED = rnn.chain(rnn.embedding(V, D), CORE, rnn.linear(H, V))


def generating(params, memory, mask, xs):
    reader, start = rnn.attend(FED, memory, mask), jnp.int32(0)
    carry = reader.initial_carry(params)
    return rnn.generate(reader, params, carry, start, len(xs), rnn.greedy).tokens


def searching(params, memory, mask, xs):
    reader, start = rnn.attend(FED, memory, mask), jnp.int32(0)
    carry = reader.initial_carry(params)
    options = {"beam_size": 2, "stop_token": 0}
    return rnn.beam_search(reader, params, carry, start, len(xs), **options).tokens


def sampled(params, memory, mask, xs):
    reader = rnn.scheduled_sampling(rnn.attend(FED, memory, mask), 0.5)
    carry = reader.initial_carry(params, KEY)
    return reader.unroll(params, carry, jnp.zeros(len(xs), int))[1]


SCANNED = {
    "input feeding": (CORE, partial(outputs, CORE)),
    "remat": (WITHIN["remat"], partial(outputs, WITHIN["remat"])),
    "generate": (FED, generating),
    "beam search": (FED, searching),
    "scheduled sampling": (FED, sampled),
}


@pytest.mark.parametrize("how", SCANNED)
def test_the_memory_is_multiplied_once_for_a_sequence(how):
    """Outside the loop, by whatever scans a step."""
    cell, run = SCANNED[how]
    params = cell.init(KEY)
    program = jax.make_jaxpr(run)(params, MEMORY, MEMORY_MASK, XS)
    found = list(products(program.jaxpr))
    keys = [inside for shapes, inside in found if shapes == ((S, M), (M, H))]
    assert keys
    assert not any(keys)
    assert any(inside for _, inside in found)


# An encoder and a decoder.

START, STOP = 0, 1
ENCODER = rnn.chain(
    rnn.embedding(V, D), rnn.bidirectional(rnn.gru(D, H), rnn.gru(D, H))
)
DECODER = rnn.chain(
    rnn.embedding(V, D),
    rnn.input_feeding(rnn.chain(rnn.gru(D + H, H), rnn.luong(H, 2 * H)), H),
    rnn.linear(H, V),
)
PAIR = ENCODER.init(KEY), DECODER.init(jax.random.key(1))
SOURCES = np.random.default_rng(0).integers(2, V, (31, T))
SOURCE_MASKS = np.arange(T) < np.random.default_rng(1).integers(2, T + 1, (31, 1))


def reader_of(params, source, mask):
    carry = ENCODER.initial_carry(params)
    _, memory = ENCODER.unroll(params, carry, source, mask=mask)
    return rnn.attend(DECODER, memory, mask)


def loss_fn(params, source, mask, key):
    """To write down what was read."""
    cell = reader_of(params[0], source, mask)
    target = jnp.where(mask, source, STOP)
    tokens = jnp.concatenate([jnp.array([START]), target[:-1]])
    _, logits = cell.unroll(params[1], cell.initial_carry(params[1], key), tokens)
    return rnn.cross_entropy(logits, target)


def test_an_encoder_and_a_decoder_learn():
    optimizer = optax.adam(3e-2)
    update = rnn.make_update(loss_fn, optimizer)
    state = rnn.train_state(PAIR, optimizer, KEY)
    losses = []
    for _ in range(40):
        state, metrics = update(state, SOURCES, SOURCE_MASKS)
        losses.append(metrics.loss.item())
    assert losses[-1] < 0.6 * losses[0]


def translate(params, source, mask):
    cell = reader_of(params[0], source, mask)
    carry = cell.initial_carry(params[1])
    out = rnn.generate(cell, params[1], carry, START, T, rnn.greedy, stop_token=STOP)
    best = rnn.beam_search(
        cell, params[1], carry, START, T, beam_size=3, stop_token=STOP
    )
    return out.tokens, best


def test_padding_of_the_source_changes_no_translation():
    """Greedy and by beams, in a batch and alone."""
    padded = np.where(SOURCE_MASKS, SOURCES, -1)[:B]
    batched = quick_jit(jax.vmap(translate, (None, 0, 0)))
    got = batched(PAIR, padded, SOURCE_MASKS[:B])
    for i in range(B):
        source = SOURCES[i][SOURCE_MASKS[i]]
        everywhere = np.ones(len(source), bool)
        tokens, best = quick_jit(translate)(PAIR, source, everywhere)
        np.testing.assert_array_equal(got[0][i], tokens)
        np.testing.assert_array_equal(got[1].tokens[i], best.tokens)
        np.testing.assert_allclose(got[1].scores[i], best.scores, rtol=1e-4)


def test_a_stream_of_what_is_read():
    params, source, mask = PAIR, SOURCES[0], SOURCE_MASKS[0]
    cell = reader_of(params[0], source, mask)
    carry = cell.initial_carry(params[1])
    tokens = [int(t) for t in rnn.stream(cell, params[1], carry, START, T, rnn.greedy)]
    out = rnn.generate(cell, params[1], carry, START, T, rnn.greedy)
    assert tokens == out.tokens.tolist()


# Pooling.

YS = jnp.asarray(np.random.default_rng(3).normal(size=(T, H)), jnp.float32)
QUERY = jnp.asarray(np.random.default_rng(4).normal(size=H), jnp.float32)
pool = quick_jit(rnn.attention_pool)
pool_gradient = quick_jit(with_gradient(rnn.attention_pool))
time_masks = st.lists(st.booleans(), min_size=T, max_size=T)


@given(mask=time_masks)
@example(mask=[False] * T)
@few(max_examples=20)
def test_attention_pool(mask):
    got = pool(QUERY, YS, jnp.array(mask))
    valid = np.flatnonzero(mask)
    weights, output = np.zeros(T), np.zeros(H)
    for t in valid:
        weights[t] = np.exp(double(YS)[t] @ double(QUERY))
    weights /= weights.sum() if len(valid) else 1
    for t in valid:
        output += weights[t] * double(YS)[t]
    np.testing.assert_allclose(got.output, output, atol=1e-6)
    np.testing.assert_allclose(got.weights, weights, atol=1e-6)
    assert not got.weights[~np.array(mask)].any()


@given(mask=time_masks, fill=st.sampled_from([np.nan, np.inf, -np.inf]))
@example(mask=[False] * T, fill=np.nan)
@few(max_examples=10)
def test_pooling_never_reads_padding(mask, fill):
    mask = jnp.array(mask)
    got, expected = (
        pool_gradient(QUERY, jnp.where(mask[:, None], YS, value), mask)
        for value in (fill, 0)
    )
    assert_close(got, expected, 0)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(got))
    assert not got[1][1][~mask].any()


def test_pooling_by_zero_is_the_mean_and_can_learn():
    pooled = rnn.attention_pool(jnp.zeros(H), YS)
    np.testing.assert_allclose(pooled.output, YS.mean(0), rtol=1e-5, atol=1e-6)
    slope = jax.grad(lambda q: rnn.attention_pool(q, YS).output.sum())(jnp.zeros(H))
    assert slope.all()
    with jax.enable_x64(True):
        args = [a.astype(jnp.float64) for a in (QUERY, YS)]
        check_grads(
            lambda q, ys: rnn.attention_pool(q, ys, SOME_VALID),
            args,
            order=1,
            rtol=1e-6,
        )


def test_pooling_of_a_batch():
    batch = jnp.stack([YS, -YS])
    batch_masks = jnp.stack([SOME_VALID, ~SOME_VALID])
    got = jax.vmap(rnn.attention_pool, (None, 0, 0))(QUERY, batch, batch_masks)
    alone = [pool(QUERY, ys, mask) for ys, mask in zip(batch, batch_masks, strict=True)]
    assert_close(got, jax.tree.map(lambda *a: jnp.stack(a), *alone), 1e-6)


# Mistakes.

GENERAL = LAYERS["general"](memory=MEMORY)
GENERAL_PARAMS = GENERAL.init(KEY)
CORE_PARAMS = CORE.init(KEY)
LSTM = rnn.lstm(D, H)


def read(memory=MEMORY, mask=None, params=GENERAL_PARAMS, x=QUERY):
    return step_of(rnn.luong(H, M, memory=memory, mask=mask))(params, (), x)


def unrolled(cell):
    params = cell.init(KEY)
    return cell.unroll(params, cell.initial_carry(params), XS)


SHOWN = rnn.luong(D, M, weights=True)


MISTAKES = {
    "score": (
        lambda: rnn.luong(H, M, score="cosine"),  # pyright: ignore
        "luong: score: expected one of dot, general, concat",
        "got 'cosine'",
    ),
    "dot of two sizes": (
        lambda: rnn.luong(H, M, score="dot"),
        "luong: score='dot': expected a memory_size of query_size 5",
        "got 17",
    ),
    "attend of no cell": (
        lambda: rnn.attend(jnp.tanh, MEMORY),  # pyright: ignore
        "attend: cell: expected a Cell",
        "got ",
    ),
    "attend of no attention": (
        lambda: rnn.attend(LSTM, MEMORY),
        "attend: cell: expected one that contains a luong or a bahdanau without a mem",
        "got lstm(3, 5)",
    ),
    "attend of what has a memory": (
        lambda: rnn.attend(rnn.attend(CORE, MEMORY), MEMORY),
        "attend: cell: expected one that contains a luong or a bahdanau without a mem",
        "got attend(input_feeding(chain(elman(8, 5), luong(5, 17)), 5))",
    ),
    "attend with a memory of another size": (
        lambda: unrolled(rnn.attend(CORE, MEMORY[:, :D])),
        "luong: memory: expected size 17 on the last axis",
        "got shape (13, 3)",
    ),
    "mask without a memory": (
        lambda: rnn.bahdanau(H, M, A, mask=MEMORY_MASK),
        "bahdanau: memory: expected one beside the mask",
        "got None",
    ),
    "memory of another size": (
        lambda: read(MEMORY[:, :D]),
        "luong: memory: expected size 17 on the last axis",
        "got shape (13, 3)",
    ),
    "memory of a batch": (
        lambda: read(jnp.ones((B, S, M))),
        "luong: memory: expected one sequence of shape [S, 17]",
        "got shape (2, 13, 17); for a batch use jax.vmap",
    ),
    "memory of one entry": (
        lambda: read(MEMORY[0]),
        "luong: memory: expected one sequence of shape [S, 17]",
        "got shape (17,)",
    ),
    "memory of nothing": (
        lambda: read(MEMORY[:0]),
        "luong: memory: expected at least one",
        "got shape (0, 17)",
    ),
    "memory of integers": (
        lambda: read(jnp.ones((S, M), int)),
        "luong: memory: expected floating numbers",
        "got dtype int32",
    ),
    "memory mask": (
        lambda: read(mask=jnp.ones(T, bool)),
        "luong: mask: ",
        "expected shape [S] = (13,)",
        "got (7,)",
    ),
    "memory mask of floats": (
        lambda: read(mask=jnp.ones(S)),
        "luong: mask: ",
        "expected dtype bool",
        "got float32",
    ),
    "weights in the middle": (
        lambda: rnn.chain(SHOWN, rnn.linear(D, V)).init(KEY),
        "linear(3, 11): xs: expected an array",
        "got Attended(output, weights)",
    ),
    "weights before dropout": (
        lambda: unrolled(rnn.chain(SHOWN, rnn.dropout(0.5))),
        "dropout(0.5): xs: expected an array",
        "got Attended(output, weights)",
    ),
    "weights in a residual": (
        lambda: unrolled(rnn.residual(SHOWN)),
        "residual(luong(3, 17)): output: expected an array",
        "got Attended(output, weights)",
    ),
    "weights in both directions": (
        lambda: unrolled(rnn.bidirectional(LSTM, SHOWN)),
        "output backward: expected an array",
        "got Attended(output, weights)",
    ),
    "weights": (
        lambda: rnn.luong(H, M, weights=1),  # pyright: ignore
        "luong: weights: expected a bool",
        "got 1",
    ),
    "query of another size": (
        lambda: read(x=XS[0]),
        "luong(5, 17): x: expected size 5 on the last axis",
        "got shape (3,)",
    ),
    "query of another size, no memory": (
        lambda: GENERAL.unroll(GENERAL_PARAMS, (), XS),
        "luong(5, 17): xs: expected size 5 on the last axis",
        "got shape (7, 3)",
    ),
    "params of another cell": (
        lambda: GENERAL.unroll(LSTM.init(KEY), (), YS),
        "luong(5, 17): params: expected AttentionParams",
        "got LSTMParams",
    ),
    "params of another attention": (
        lambda: read(params=LAYERS["bahdanau"]().init(KEY)),
        "luong(5, 17): params: expected the structure",
        "got PyTreeDef",
    ),
    "mask of a sequence": (
        lambda: GENERAL.unroll(GENERAL_PARAMS, (), YS, mask=jnp.ones(S, bool)),
        "luong(5, 17): mask: expected shape [T] = (7,)",
        "got (13,)",
    ),
    "input feeding of no cell": (
        lambda: rnn.input_feeding(jnp.tanh, H),  # pyright: ignore
        "input_feeding: cell: expected a Cell",
        "got ",
    ),
    "input feeding of the future": (
        lambda: rnn.input_feeding(rnn.bidirectional(LSTM, LSTM), 2 * H),
        "input_feeding: cell: expected one with a step",
        "got bidirectional",
    ),
    "input feeding without input": (
        lambda: rnn.input_feeding(rnn.lstm(H, H), H),
        "input_feeding: cell: expected one that reads more than size 5",
        "got lstm(5, 5), which reads floating [5]",
    ),
    "input feeding of tokens": (
        lambda: rnn.input_feeding(rnn.embedding(V, D), D),
        "input_feeding: cell: expected one that reads more than size 3",
        "got embedding(11, 3), which reads integer []",
    ),
    "input feeding of another size": (
        lambda: rnn.input_feeding(rnn.lstm(D + 2, H), 2).unroll(
            (params := rnn.lstm(D + 2, H).init(KEY)),
            rnn.input_feeding(rnn.lstm(D + 2, H), 2).initial_carry(params),
            XS,
        ),
        "input_feeding(lstm(5, 5), 2): size: expected that of the output, (5,)",
        "got 2",
    ),
    "input feeding, x": (
        lambda: CORE.unroll(CORE_PARAMS, CORE.initial_carry(CORE_PARAMS), YS),
        "x: expected size 3 on the last axis",
        "got shape (5,)",
    ),
    "input feeding, carry": (
        lambda: CORE.unroll(CORE_PARAMS, (), XS),
        "carry: expected FeedingCarry",
        "got tuple",
    ),
    "query of a pool": (
        lambda: rnn.attention_pool(YS, YS),
        "attention_pool: query: expected shape [H]",
        "got (7, 5)",
    ),
    "pool of another size": (
        lambda: rnn.attention_pool(QUERY, XS),
        "attention_pool: ys: expected size 5 on the last axis",
        "got shape (7, 3)",
    ),
    "mask of a pool": (
        lambda: rnn.attention_pool(QUERY, YS, jnp.ones(S, bool)),
        "attention_pool: mask: expected shape [T] = (7,)",
        "got (13,)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    assert_refused(*MISTAKES[name])


SIZES = {
    "luong": (rnn.luong, ("query_size", "memory_size")),
    "bahdanau": (rnn.bahdanau, ("query_size", "memory_size", "size")),
    "input_feeding": (lambda size: rnn.input_feeding(LSTM, size), ("size",)),
}


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "3", None])
@pytest.mark.parametrize("factory", SIZES)
def test_size(factory, size):
    make, names = SIZES[factory]
    for i, name in enumerate(names):
        sizes = [3] * len(names)
        sizes[i] = size
        message = f"{factory}: {name}: expected an integer of at least 1"
        assert_refused(lambda: make(*sizes), message, f"got {size!r}")


@pytest.mark.parametrize("dtype", [int, bool, jnp.complex64])
def test_dtype_of_params(dtype):
    for name, make in {
        "luong": partial(rnn.luong, H, M),
        "bahdanau": partial(rnn.bahdanau, H, M, A),
    }.items():
        message = f"{name}: dtype: expected a floating dtype"
        assert_refused(lambda: make(dtype=dtype), message, f"got {dtype!r}")
