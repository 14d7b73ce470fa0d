"""Decoding, against plain loops, and beam search against all sequences there are."""

import itertools
from functools import cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import (
    LANGUAGE_MODEL,
    B,
    D,
    H,
    T,
    V,
    assert_close,
    assert_refused,
    jitter,
    quick_jit,
    step_of,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

import jaxrnn as rnn

KEY = jax.random.key(7)
few = partial(settings, deadline=None, derandomize=True)

MODEL = rnn.chain(rnn.embedding(V, D), rnn.lstm(D, H), rnn.linear(H, V))
PARAMS = jitter(MODEL.init(jax.random.key(0)), np.random.default_rng(3))
CARRY = MODEL.initial_carry(PARAMS)
CHOOSERS = {
    "greedy": rnn.greedy,
    "sample": rnn.sample(1.5),
    "of some": rnn.sample(2.0, top_k=7, top_p=0.9),
}
STOP = 9  # not the next token at once, but soon

generate = jax.jit(rnn.generate, static_argnames=("cell", "length", "choose"))
prefill = jax.jit(rnn.prefill, static_argnames="cell")
model_step = quick_jit(step_of(MODEL))


def by_hand(carry, token, length, choose, key):
    """The loop of `generate`, written out."""
    tokens = []
    for _ in range(length):
        carry, logits = model_step(PARAMS, carry, token)
        key, choice_key = jax.random.split(key)
        token = choose(logits, choice_key)
        tokens.append(int(token))
    return tokens, carry, key


@pytest.mark.parametrize("name", CHOOSERS)
def test_generate_is_a_loop(name):
    choose = CHOOSERS[name]
    out = generate(MODEL, PARAMS, CARRY, 2, T, choose, KEY)
    tokens, carry, key = by_hand(CARRY, jnp.array(2), T, choose, KEY)
    np.testing.assert_array_equal(out.tokens, tokens)
    assert_close((out.carry, out.key), (carry, key), 1e-5)
    assert (out.tokens.dtype, out.length) == (jnp.int32, T)
    assert len(set(tokens)) > 1


def test_generate_without_a_key():
    out = generate(MODEL, PARAMS, CARRY, 2, T, rnn.greedy)
    expected = generate(MODEL, PARAMS, CARRY, 2, T, rnn.greedy, KEY)
    np.testing.assert_array_equal(out.tokens, expected.tokens)
    assert out.key is None


@pytest.mark.parametrize("first", [2, np.int64(2), np.uint8(2), jnp.array(2)])
def test_first_may_be_any_integer(first):
    out = rnn.generate(MODEL, PARAMS, CARRY, first, T, rnn.greedy)
    expected = generate(MODEL, PARAMS, CARRY, 2, T, rnn.greedy)
    np.testing.assert_array_equal(out.tokens, expected.tokens)
    assert out.tokens.dtype == jnp.int32


@pytest.mark.parametrize("stop_token", [None, STOP])
@pytest.mark.parametrize("name", CHOOSERS)
@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(1, marks=pytest.mark.slow),
        4,
        pytest.param(10, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_generation_equals_an_unbroken_one(cut, name, stop_token):
    """In a batch, of which some have come to their end."""
    length, choose = 13, CHOOSERS[name]

    def unbroken(first, key):
        return rnn.generate(
            MODEL, PARAMS, CARRY, first, length, choose, key, stop_token=stop_token
        )

    def resumed(first, key):
        make = partial(rnn.generate, MODEL, PARAMS, stop_token=stop_token)
        a = make(CARRY, first, cut, choose, key)
        more = {} if stop_token is None else {"stopped": a.tokens[-1] == stop_token}
        b = make(a.carry, a.tokens[-1], length - cut, choose, a.key, **more)
        tokens = jnp.concatenate([a.tokens, b.tokens])
        return rnn.Generated(tokens, b.carry, b.key, a.length + b.length)

    batch = jnp.arange(V), jax.random.split(KEY, V)
    got, expected = (quick_jit(jax.vmap(f))(*batch) for f in (resumed, unbroken))
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    assert_close(got, expected, 1e-5)
    if stop_token is None:
        assert (got.length == length).all()
    else:
        assert (got.length < length).any()


@pytest.mark.parametrize("name", CHOOSERS)
@given(first=st.integers(0, V - 1), seed=st.integers(0, 2**31))
@example(first=STOP, seed=0)
@few(max_examples=20)
def test_after_the_stop_token_there_is_nothing_else(name, first, seed):
    key = jax.random.key(seed)
    free = generate(MODEL, PARAMS, CARRY, first, 13, CHOOSERS[name], key)
    out = generate(
        MODEL, PARAMS, CARRY, first, 13, CHOOSERS[name], key, stop_token=STOP
    )
    tokens = free.tokens.tolist()
    n = tokens.index(STOP) + 1 if STOP in tokens else len(tokens)
    assert out.length == n
    assert out.tokens.tolist() == tokens[:n] + [STOP] * (13 - n)
    carry = by_hand(CARRY, jnp.array(first), n, CHOOSERS[name], key)[1]
    assert_close(out.carry, carry, 1e-5)


def test_a_stopped_generation_makes_nothing():
    out = rnn.generate(
        MODEL, PARAMS, CARRY, STOP, T, rnn.greedy, stop_token=STOP, stopped=True
    )
    assert out.tokens.tolist() == [STOP] * T
    assert out.length == 0
    assert_close(out.carry, CARRY, 0)


PADDED = 6
masks = st.lists(st.booleans(), min_size=PADDED, max_size=PADDED).filter(any)


@given(mask=masks, seed=st.integers(0, 2**31))
@example(mask=[True] * PADDED, seed=0)
@example(mask=[True] + [False] * (PADDED - 1), seed=0)
@few(max_examples=20)
def test_prompt(mask, seed):
    """Padded anywhere, with what is no token, it is as its tokens one by one."""
    prompt = np.random.default_rng(seed).integers(0, V, PADDED, np.int32)
    padded = jnp.array(np.where(mask, prompt, -1))
    choose = CHOOSERS["sample"]
    begun = prefill(MODEL, PARAMS, CARRY, padded, jnp.array(mask))
    out = generate(MODEL, PARAMS, *begun, T, choose, KEY)

    carry, (*before, token) = CARRY, prompt[np.array(mask)]
    for x in before:
        carry, _ = model_step(PARAMS, carry, x)
    expected = generate(MODEL, PARAMS, carry, token, T, choose, KEY)
    np.testing.assert_array_equal(out.tokens, expected.tokens)
    assert_close(out, expected, 1e-5)


def test_a_prompt_needs_no_mask():
    prompt = jnp.array([3, 1, 4, 1])
    got = rnn.prefill(MODEL, PARAMS, CARRY, prompt)
    everywhere = jnp.ones(4, bool)
    assert_close(got, rnn.prefill(MODEL, PARAMS, CARRY, prompt, everywhere), 0)
    assert got[1] == 1


def test_an_empty_prompt_is_a_zero():
    nothing = jnp.zeros(4, bool)
    got = rnn.prefill(MODEL, PARAMS, CARRY, jnp.array([3, 1, 4, 1]), mask=nothing)
    assert_close(got, (CARRY, jnp.array(0)), 0)


def test_a_prompt_of_one_token_is_the_token():
    assert_close(
        rnn.prefill(MODEL, PARAMS, CARRY, jnp.array([3])), (CARRY, jnp.array(3)), 0
    )


def test_prompts_of_all_lengths_share_one_program():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(prompt, prompt_length, key):
        mask = jnp.arange(PADDED) < prompt_length
        begun = rnn.prefill(MODEL, PARAMS, CARRY, prompt, mask)
        return rnn.generate(MODEL, PARAMS, *begun, T, rnn.sample(), key)

    for length in range(1, PADDED + 1):
        run(jnp.arange(PADDED), length, KEY)


def test_equal_choosers_share_one_program():
    trace = chex.assert_max_traces(rnn.generate, n=1)
    run = jax.jit(trace, static_argnames=("cell", "length", "choose"))
    for key in jax.random.split(KEY, 3):
        run(MODEL, PARAMS, CARRY, 2, T, rnn.sample(0.7, top_k=5, top_p=0.5), key)


def test_vmap_is_a_loop():
    prompts = jnp.arange(B * PADDED).reshape(B, PADDED) % V
    prompt_masks = jnp.arange(PADDED)[None] < jnp.array([[2], [5]])
    keys = jax.random.split(KEY, B)

    def run(prompt, mask, key):
        begun = rnn.prefill(MODEL, PARAMS, CARRY, prompt, mask)
        return rnn.generate(MODEL, PARAMS, *begun, T, rnn.sample(), key, stop_token=5)

    got = quick_jit(jax.vmap(run))(prompts, prompt_masks, keys)
    one = quick_jit(run)
    alone = [one(*args) for args in zip(prompts, prompt_masks, keys, strict=True)]
    expected = jax.tree.map(lambda *a: jnp.stack(a), *alone)
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    assert_close(got, expected, 1e-5)


def test_dropout_goes_on_where_it_was():
    """Its carry holds a key and a counter."""
    carry = LANGUAGE_MODEL.initial_carry(params := LANGUAGE_MODEL.init(KEY), KEY)
    out = generate(LANGUAGE_MODEL, params, carry, 2, T, rnn.greedy)
    assert out.carry[2].step == T


def test_forecast():
    """Outputs that are no tokens."""
    cell = rnn.chain(rnn.gru(D, H), rnn.linear(H, D))
    params = cell.init(KEY)
    carry = start = cell.initial_carry(params)
    xs = jax.random.normal(KEY, (PADDED, D))
    begun = rnn.prefill(cell, params, start, xs)
    out = generate(cell, params, *begun, T, lambda y, key: y)

    carry, ys = cell.unroll(params, carry, xs)
    made = [ys[-1]]
    for _ in range(T - 1):
        carry, y = step_of(cell)(params, carry, made[-1])
        made.append(y)
    assert_close(out.tokens, jnp.stack(made), 1e-5)
    assert_close(out.carry, carry, 1e-5)


def test_a_cell_of_ones_own():
    """Whose inputs and outputs are pytrees, and whose step says nothing of them."""

    def step(params, carry, x):
        y = {"a": params * x["a"], "b": x["b"] + carry}
        return carry + 1, y

    own = rnn.Cell(
        lambda key: jnp.float32(2),
        lambda params, key=None: jnp.zeros((), jnp.int32),
        step,
        rnn.scan_unroll(step),
    )
    first = {"a": jnp.ones(D), "b": jnp.array(0, jnp.int32)}
    carry = jnp.array(1, jnp.int32)
    out = rnn.generate(own, jnp.float32(2), carry, first, 4, lambda y, key: y)
    np.testing.assert_array_equal(out.tokens["b"], [1, 3, 6, 10])
    np.testing.assert_array_equal(out.tokens["a"][:, 0], [2, 4, 8, 16])
    prompt = jax.tree.map(lambda a: jnp.stack([a, a]), first)
    mask = jnp.array([True, False])
    begun = rnn.prefill(own, jnp.float32(2), carry, prompt, mask)
    got = rnn.generate(own, jnp.float32(2), *begun, 4, lambda y, key: y)
    assert_close(got, out, 0)


@pytest.mark.parametrize("stop_token", [None, STOP])
@pytest.mark.parametrize("name", CHOOSERS)
def test_stream_equals_generate(name, stop_token):
    begun = rnn.prefill(MODEL, PARAMS, CARRY, jnp.array([4, 2]))
    args = MODEL, PARAMS, *begun, 13, CHOOSERS[name]
    for key in jax.random.split(KEY, 3):
        expected = generate(*args, key, stop_token=stop_token)
        tokens = [int(t) for t in rnn.stream(*args, key, stop_token=stop_token)]
        assert tokens == expected.tokens[: expected.length].tolist()
    assert_close(CARRY, MODEL.initial_carry(PARAMS), 0)  # still there


def test_a_stream_may_have_no_end():
    endless = rnn.stream(MODEL, PARAMS, CARRY, 2, None, rnn.sample(), KEY)
    tokens = [int(token) for token in itertools.islice(endless, 20)]
    out = generate(MODEL, PARAMS, CARRY, 2, 20, rnn.sample(), KEY)
    assert tokens == out.tokens.tolist()


def test_streams_share_one_program():
    traces = []

    def step(params, carry, x):
        traces.append(x)
        return step_of(MODEL)(params, carry, x)

    cell = MODEL._replace(step=step)
    counts = []
    for first in (1, 2, 3):
        list(rnn.stream(cell, PARAMS, CARRY, first, T, rnn.sample(), KEY))
        counts.append(len(traces))
    assert counts[0] == counts[1] == counts[2]


# Choosers.


def distribution(logits, temperature=1.0, top_k=None, top_p=None):
    """Of the tokens, in double precision, one token at a time."""
    p = np.exp((logits - np.max(logits)) / temperature)
    order = sorted(range(len(p)), key=lambda token: (-p[token], token))
    kept = order[:top_k]
    if top_p is not None:
        share, total, fewest = sum(p[token] for token in kept), 0.0, []
        for token in kept:
            if fewest and total >= top_p * (1 - 1e-9):
                break
            fewest.append(token)
            total += p[token] / share
        kept = fewest
    q = np.zeros(len(p))
    q[kept] = p[kept]
    return q / q.sum()


@cache
def drawn(choose):
    return quick_jit(jax.vmap(choose, (None, 0)))


OPTIONS = [
    {},
    {"temperature": 0.5},
    {"temperature": 3.0},
    {"top_k": 1},
    {"top_k": 4},
    {"top_k": 99},
    {"top_p": 0.6},
    {"top_p": 1e-9},
    {"top_p": 1.0},
    {"temperature": 2.0, "top_k": 6, "top_p": 0.8},
]
DRAWS = 20_000


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_sample_draws_from_the_distribution(options, seed):
    logits = np.random.default_rng(seed).normal(0, 1.5, V).astype(np.float32)
    p = distribution(logits.astype(np.float64), **options)
    tokens = drawn(rnn.sample(**options))(logits, jax.random.split(KEY, DRAWS))
    assert tokens.dtype == jnp.int32
    count = np.bincount(tokens, minlength=V)
    assert not count[p == 0].any()
    np.testing.assert_allclose(count / DRAWS, p, atol=5 * 0.5 / DRAWS**0.5)


@pytest.mark.parametrize(
    ("p", "top_p", "kept"),
    [
        ([0.5, 0.3, 0.2], 0.5, {0}),
        ([0.5, 0.3, 0.2], 0.8, {0, 1}),
        ([0.5, 0.3, 0.2], 0.81, {0, 1, 2}),
        ([0.2, 0.3, 0.5], 0.8, {1, 2}),
        ([0.3, 0.25, 0.25, 0.2], 0.8, {0, 1, 2}),  # but for rounding
        ([0.25, 0.25, 0.25, 0.25], 0.5, {0, 1}),
        ([0.1, 0.45, 0.45], 0.2, {1}),
        ([0.1, 0.2, 0.7], 1e-12, {2}),
        ([1e-4, 1 - 1e-4], 1.0, {0, 1}),
    ],
)
def test_top_p_is_the_smallest_set(p, top_p, kept):
    logits = jnp.log(jnp.array(p)) + 3
    tokens = drawn(rnn.sample(top_p=top_p))(logits, jax.random.split(KEY, DRAWS))
    assert set(tokens.tolist()) == kept


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_of_equal_tokens_the_first_are_kept(top_k):
    logits = jnp.array([0.0, 1.0, 1.0, 1.0, -1.0])
    tokens = drawn(rnn.sample(top_k=top_k))(logits, jax.random.split(KEY, 1000))
    assert set(tokens.tolist()) == set(range(1, top_k + 1))
    assert rnn.greedy(logits) == 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_sample_at_the_edge(options):
    """Forbidden tokens, large logits, one token, few bits."""
    choose, keys = drawn(rnn.sample(**options)), jax.random.split(KEY, 200)
    forbidden = jnp.array([-jnp.inf, 2.0, -jnp.inf, 1.0])
    assert set(choose(forbidden, keys).tolist()) <= {1, 3}
    large = jnp.array([3e38, -3e38, 3e38])
    assert set(choose(large, keys).tolist()) <= {0, 2}
    assert set(choose(jnp.zeros(1), keys).tolist()) == {0}
    low = jnp.array([1.0, 2.0], jnp.bfloat16)
    assert set(choose(low, keys).tolist()) <= {0, 1}


def test_a_low_temperature_is_greedy():
    logits = jax.random.normal(KEY, (V,))
    tokens = drawn(rnn.sample(1e-30))(logits, jax.random.split(KEY, 100))
    assert set(tokens.tolist()) == {rnn.greedy(logits).item()}


# Beam search.


class Net:
    """An Elman network over tokens in numpy, in double precision."""

    def __init__(self, vocab_size, seed):
        self.vocab_size = vocab_size
        params = network(vocab_size).init(jax.random.key(seed))
        floats = jax.tree.map(lambda a: a.astype(jnp.float64), params)
        self.params = jitter(floats, np.random.default_rng(seed))
        embedding, (self.w_x, self.w_h, self.b), (self.w, self.c) = jax.tree.map(
            np.asarray, self.params
        )
        self.embedding = embedding.w

    def log_p(self, tokens):
        """Of each next token after these, `[V]`."""
        h = np.zeros(H)
        for token in tokens:
            h = np.tanh(self.embedding[token] @ self.w_x + h @ self.w_h + self.b)
        logits = h @ self.w + self.c
        return logits - np.log(np.exp(logits).sum())

    def score(self, first, tokens, penalty):
        history = [first, *tokens]
        log_p = sum(
            self.log_p(history[: i + 1])[token] for i, token in enumerate(tokens)
        )
        return log_p / len(tokens) ** penalty


@cache
def network(vocab_size):
    return rnn.chain(
        rnn.embedding(vocab_size, D), rnn.elman(D, H), rnn.linear(H, vocab_size)
    )


@cache
def beams(vocab_size, length, beam_size, penalty):
    cell = network(vocab_size)

    def run(params, first, stop):
        return rnn.beam_search(
            cell,
            params,
            cell.initial_carry(params),
            first,
            length,
            beam_size=beam_size,
            stop_token=stop,
            length_penalty=penalty,
        )

    return quick_jit(run)


def every_outcome(vocab_size, length, stop):
    """All that a generation can make, each cut after its first stop token."""
    every = itertools.product(range(vocab_size), repeat=length)
    return {s[: s.index(stop) + 1] if stop in s else s for s in every}


def ranked(net, first, outcomes, penalty):
    scores = [(net.score(first, tokens, penalty), tokens) for tokens in outcomes]
    return sorted(scores, reverse=True)


def searched(net, first, length, stop, beam_size, penalty):
    """The same search in plain Python, never ended early."""
    going, ended = [()], []
    for _ in range(length):
        longer = [(*tokens, v) for tokens in going for v in range(net.vocab_size)]
        ended += [tokens for tokens in longer if tokens[-1] == stop]
        ended = [t for _, t in ranked(net, first, ended, penalty)[:beam_size]]
        longer = [tokens for tokens in longer if tokens[-1] != stop]
        going = [t for _, t in ranked(net, first, longer, 0)[:beam_size]]
    return ranked(net, first, ended + going, penalty)[:beam_size]


def check_hypotheses(got, expected, length, stop):
    n = len(expected)
    assert [tuple(t[:k]) for t, k in zip(*listed(got, n), strict=True)] == [
        tokens for _, tokens in expected
    ]
    scores = [score for score, _ in expected]
    np.testing.assert_allclose(got.scores[:n], scores, rtol=1e-9)
    after = np.arange(length) >= np.asarray(got.lengths)[:, None]
    assert (np.asarray(got.tokens)[after] == stop).all()
    assert np.isneginf(got.scores[n:]).all()
    assert not got.lengths[n:].any()


def listed(got, n):
    return got.tokens[:n].tolist(), got.lengths[:n].tolist()


seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("vocab_size", "length"), [(2, 5), (3, 4), (5, 2), (7, 1)])
@given(seed=seeds, data=st.data())
@few(max_examples=5)
def test_beam_search_with_many_beams_is_exhaustive(
    vocab_size, length, penalty, seed, data
):
    first, stop = (data.draw(st.integers(0, vocab_size - 1)) for _ in range(2))
    outcomes = every_outcome(vocab_size, length, stop)
    with jax.enable_x64(True):
        net = Net(vocab_size, seed)
        run = beams(vocab_size, length, len(outcomes) + 2, penalty)
        got = run(net.params, first, stop)
        expected = ranked(net, first, outcomes, penalty)
        check_hypotheses(got, expected, length, stop)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("beam_size", [1, 2, 3])
@given(seed=seeds, data=st.data())
@few(max_examples=5)
def test_beam_search_with_few_beams(beam_size, penalty, seed, data):
    vocab_size, length = 5, 7
    first, stop = (data.draw(st.integers(0, vocab_size - 1)) for _ in range(2))
    with jax.enable_x64(True):
        net = Net(vocab_size, seed)
        got = beams(vocab_size, length, beam_size, penalty)(net.params, first, stop)
        expected = searched(net, first, length, stop, beam_size, penalty)
        check_hypotheses(got, expected, length, stop)


def test_a_vocabulary_of_the_stop_token_alone():
    cell = network(1)
    params = cell.init(KEY)
    carry = cell.initial_carry(params)
    got = rnn.beam_search(cell, params, carry, 0, T, beam_size=2, stop_token=0)
    assert got.lengths.tolist() == [1, 0]
    assert got.scores.tolist() == [0, -np.inf]


def search(prompt, mask, cell=MODEL, params=PARAMS, carry=CARRY):
    begun = rnn.prefill(cell, params, carry, prompt, mask)
    return rnn.beam_search(cell, params, *begun, T, beam_size=4, stop_token=STOP)


def test_beams_take_their_carries_along():
    """Scores are log probabilities of the tokens by unroll; the carry is a tree."""
    prompt = jnp.array([4, 2, 9])
    params = jitter(LANGUAGE_MODEL.init(KEY), np.random.default_rng(0))
    carry = LANGUAGE_MODEL.initial_carry(params, KEY)  # with the key of a dropout
    got = quick_jit(partial(search, cell=LANGUAGE_MODEL))(
        prompt, None, params=params, carry=carry
    )
    for tokens, score, n in zip(*got[:2], got.lengths, strict=True):
        xs = jnp.concatenate([prompt, tokens])
        _, logits = LANGUAGE_MODEL.unroll(params, carry, xs[:-1])
        log_p = jax.nn.log_softmax(logits)[jnp.arange(len(xs) - 1), xs[1:]]
        np.testing.assert_allclose(log_p[2 : 2 + n].sum(), score, rtol=1e-4)
    assert (got.scores[:-1] >= got.scores[1:]).all()
    assert len({tuple(tokens) for tokens in got.tokens.tolist()}) == 4


def test_beam_search_under_vmap_is_a_loop():
    prompts = jnp.arange(B * PADDED).reshape(B, PADDED) % V
    prompt_masks = jnp.arange(PADDED)[None] < jnp.array([[2], [5]])
    got = quick_jit(jax.vmap(search))(prompts, prompt_masks)
    one = quick_jit(search)
    alone = [one(*args) for args in zip(prompts, prompt_masks, strict=True)]
    expected = jax.tree.map(lambda *a: jnp.stack(a), *alone)
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    assert_close(got, expected, 1e-5)


def test_beam_search_of_few_bits():
    """Scores are added up in single precision."""
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), PARAMS)
    got = search(jnp.array([2]), None, params=low, carry=MODEL.initial_carry(low))
    assert got.scores.dtype == jnp.float32


# Mistakes.

READER = rnn.bidirectional(rnn.gru(D, H), rnn.gru(D, H))
VECTORS = rnn.chain(rnn.gru(D, H), rnn.linear(H, D))
VECTOR_PARAMS = VECTORS.init(KEY)
VECTOR_CARRY = VECTORS.initial_carry(VECTOR_PARAMS)
START = MODEL, PARAMS, CARRY
PROMPT = jnp.zeros(D, int)
HIDDEN, XS = rnn.chain(rnn.dropout(0.5), VECTORS), jnp.ones((T, D))


def forecast(choose, **options):
    first = jnp.zeros(D)
    args = VECTORS, VECTOR_PARAMS, VECTOR_CARRY, first, T, choose
    return rnn.generate(*args, **options)


def beam(
    cell=MODEL, params: Any = PARAMS, carry: Any = CARRY, first: Any = 2, **more: Any
):
    options: Any = {"beam_size": 2, "stop_token": 0} | more
    return rnn.beam_search(cell, params, carry, first, T, **options)


MISTAKES = {
    "cell without a step": (
        lambda: rnn.generate(READER, (), (), jnp.zeros(D), T, rnn.greedy),
        "generate: cell: expected one with a step",
        "got bidirectional(gru(3, 5), gru(3, 5)), which reads the future",
    ),
    "stream of a cell without a step": (
        lambda: rnn.stream(READER, (), (), jnp.zeros(D), T, rnn.greedy),
        "stream: cell: expected one with a step",
        "got bidirectional",
    ),
    "beams of a cell without a step": (
        lambda: beam(READER),
        "beam_search: cell: expected one with a step",
        "got bidirectional",
    ),
    "no cell": (
        lambda: rnn.generate(MODEL.step, PARAMS, CARRY, 2, T, rnn.greedy),  # pyright: ignore
        "generate: cell: expected a Cell",
        "got <function",
    ),
    "no chooser": (
        lambda: rnn.generate(*START, 2, T, 0.8),  # pyright: ignore
        "generate: choose: expected a function",
        "got 0.8",
    ),
    "length": (
        lambda: rnn.generate(*START, 2, 0, rnn.greedy),
        "generate: length: expected an integer of at least 1",
        "got 0",
    ),
    "length of a stream": (
        lambda: rnn.stream(*START, 2, 2.0, rnn.greedy),  # pyright: ignore
        "stream: length: expected an integer of at least 1",
        "got 2.0",
    ),
    "no key": (
        lambda: rnn.generate(*START, 2, T, rnn.sample()),
        "sample: key: expected one key",
        "got NoneType",
    ),
    "choice of no input": (
        lambda: rnn.generate(*START, 2, T, lambda y, key: y),
        "generate: choose: expected it to return what the cell reads",
        "got ShapeDtypeStruct(shape=(11,), dtype=float32)",
    ),
    "choice of a float": (
        lambda: rnn.generate(*START, 2, T, lambda y, key: y[0]),
        "generate: choose: expected it to return what the cell reads",
        "got ShapeDtypeStruct(shape=(), dtype=float32)",
    ),
    "greedy choice of a vector": (
        lambda: forecast(rnn.greedy),
        "generate: choose: expected it to return what the cell reads",
        "got ShapeDtypeStruct(shape=(), dtype=int32)",
    ),
    "first of a batch": (
        lambda: rnn.generate(*START, jnp.zeros((B, T), int), T, rnn.greedy),
        "embedding(11, 3): x: expected one step of shape []",
        "got shape (2, 7); for a batch use jax.vmap",
    ),
    "a prompt in the place of a token": (
        lambda: rnn.generate(*START, PROMPT, T, rnn.greedy),
        "generate: first: expected one input, integer []",
        "got shape (3,)",
        "carry, first = prefill(cell, params, carry, prompt)",
    ),
    "a stream from a prompt": (
        lambda: rnn.stream(*START, PROMPT, T, rnn.greedy),
        "stream: first: expected one input, integer []",
        "prefill",
    ),
    "beams from a prompt": (
        lambda: beam(first=PROMPT),
        "beam_search: first: expected one input, integer []",
        "prefill",
    ),
    "a prompt for a cell that does not say what it reads": (
        lambda: rnn.generate(
            HIDDEN, ((), VECTOR_PARAMS), ((), VECTOR_CARRY), XS, T, lambda y, key: y
        ),
        "gru(3, 5): x: expected one step of shape [3]",
        "got shape (7, 3)",
    ),
    "prompt mask": (
        lambda: rnn.prefill(*START, jnp.zeros(D, int), jnp.ones(T)),
        "prefill: mask: expected dtype bool",
        "got float32",
    ),
    "prompt mask of another length": (
        lambda: rnn.prefill(*START, PROMPT, jnp.ones(T, bool)),
        "prefill: mask: expected shape [P] = (3,)",
        "got (7,)",
    ),
    "prompt of one token": (
        lambda: rnn.prefill(*START, 2),
        "prefill: prompt: expected arrays with one common, non-empty leading axis",
        "got shapes [()]",
    ),
    "prompt for a cell without a step": (
        lambda: rnn.prefill(READER, (), (), jnp.zeros((T, D))),
        "prefill: cell: expected one with a step",
        "got bidirectional",
    ),
    "stop token of floats": (
        lambda: rnn.generate(*START, 2, T, rnn.greedy, stop_token=1.0),  # pyright: ignore
        "generate: stop_token: expected integer numbers",
        "got dtype float32",
    ),
    "stop token of a forecast": (
        lambda: forecast(lambda y, key: y, stop_token=1),
        "generate: stop_token: expected None",
        "got 1",
    ),
    "stopped without a stop token": (
        lambda: rnn.generate(*START, 2, T, rnn.greedy, stopped=True),
        "generate: stopped: expected a stop_token",
        "got None",
    ),
    "stopped of an integer": (
        lambda: rnn.generate(
            *START,
            2,
            T,
            rnn.greedy,
            stop_token=1,
            stopped=1,  # pyright: ignore
        ),
        "generate: stopped: expected a bool of shape []",
        "got int32 ()",
    ),
    "logits of a batch": (
        lambda: rnn.greedy(jnp.ones((B, V))),
        "greedy: logits: expected floating numbers of shape [V]",
        "got float32 (2, 11); for a batch use jax.vmap",
    ),
    "logits of integers": (
        lambda: rnn.sample()(jnp.ones(V, int), KEY),
        "sample: logits: expected floating numbers of shape [V]",
        "got int32 (11,)",
    ),
    "no logits": (
        lambda: rnn.greedy(jnp.ones(0)),
        "greedy: logits: expected floating numbers of shape [V]",
        "got float32 (0,)",
    ),
    "beams": (
        lambda: beam(beam_size=0),
        "beam_search: beam_size: expected an integer of at least 1",
        "got 0",
    ),
    "stop token outside the vocabulary": (
        lambda: beam(stop_token=V),
        "beam_search: stop_token: expected 0 to 10",
        "got 11",
    ),
    "negative stop token": (
        lambda: beam(stop_token=-1),
        "beam_search: stop_token: expected 0 to 10",
        "got -1",
    ),
    "beams of vectors": (
        lambda: beam(VECTORS, VECTOR_PARAMS, VECTOR_CARRY, jnp.zeros(D)),
        "beam_search: first: expected integer numbers",
        "got dtype float32",
    ),
    "beams of a cell without logits": (
        lambda: beam(rnn.chain(rnn.activation(lambda x: x)), ((),), ((),)),
        "beam_search: logits: expected floating numbers of shape [V]",
        "got int32 ()",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    assert_refused(*MISTAKES[name])


@pytest.mark.parametrize(
    ("option", "expected", "values"),
    [
        ("temperature", "a positive number", (0, -1, np.nan, np.inf, "1", None, True)),
        ("top_k", "an integer of at least 1", (0, -1, 2.0, True, "2")),
        ("top_p", "a number in (0, 1]", (0, -0.1, 1.1, np.nan, "1", True)),
    ],
)
def test_options_of_sample(option, expected, values):
    message = f"sample: {option}: expected {expected}"
    for value in values:
        assert_refused(lambda: rnn.sample(**{option: value}), message, f"got {value!r}")


@pytest.mark.parametrize("value", [-0.1, 10.1, np.nan, np.inf, "1", None, True])
def test_length_penalty(value):
    assert_refused(
        lambda: beam(length_penalty=value),
        "beam_search: length_penalty: expected a number in [0, 10]",
        f"got {value!r}",
    )


def test_scheduled_sampling_reads_its_own_draws():
    tokens = jnp.arange(T) % V
    steps, seen = T, []

    def spy_step(params, carry, x):
        jax.debug.callback(lambda x: seen.append(int(x)), x, ordered=True)
        return step_of(MODEL)(params, carry, x)

    spy = MODEL._replace(step=spy_step)
    cell = rnn.scheduled_sampling(spy, 1.0)
    carry = cell.initial_carry(PARAMS, KEY)
    _, logits = cell.unroll(PARAMS, carry, tokens)
    jax.effects_barrier()
    read = jnp.array(seen)
    assert len(seen) == steps
    assert read[0] == tokens[0]
    assert (read[1:] != tokens[1:]).any()
    # What it gave is what the plain model gives for what it read.
    expected = MODEL.unroll(PARAMS, MODEL.initial_carry(PARAMS), read)[1]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_scheduled_sampling_at_rate_zero_or_without_a_key_is_the_cell():
    tokens = jnp.arange(T) % V
    expected = MODEL.unroll(PARAMS, CARRY, tokens)
    never = rnn.scheduled_sampling(MODEL, 0.0)
    carry, logits = never.unroll(PARAMS, never.initial_carry(PARAMS, KEY), tokens)
    assert_close((carry.cell, logits), expected, 1e-5)
    always = rnn.scheduled_sampling(MODEL, 1.0)
    start = always.initial_carry(PARAMS)
    carry, logits = always.unroll(PARAMS, start, tokens)
    assert_close((carry.cell, logits), expected, 1e-6)
    assert (carry.key, int(carry.steps)) == (None, 0)
    _, logits = step_of(always)(PARAMS, start, tokens[0])
    assert_close(logits, expected[1][0], 1e-5)


def test_scheduled_sampling_begins_anew_at_a_start():
    """The key stays, so what is drawn is what another run from there would draw."""
    tokens, starts = jnp.arange(T) % V, jnp.arange(T) == 4
    cell = rnn.scheduled_sampling(LANGUAGE_MODEL, 0.7)
    params = jitter(cell.init(KEY), np.random.default_rng(0))
    start = cell.initial_carry(params, KEY)
    run = quick_jit(cell.unroll)
    carry, logits = run(params, start, tokens, starts=starts)
    assert_close(logits[:4], run(params, start, tokens[:4])[1], 1e-5)
    assert_close((carry, logits[4:]), run(params, start, tokens[4:]), 1e-5)
    assert int(carry.steps) == T - 4


def test_scheduled_sampling_draws_at_its_rate_from_the_outputs():
    """Over many keys: how often a token is replaced, and by what."""
    first, second = 3, 5
    _, logits = model_step(PARAMS, CARRY, first)
    p = np.asarray(jax.nn.softmax(logits), np.float64)

    def token_read(key):
        def step(params, carry, x):  # gives what it has read, beside what it gives
            carry, y = step_of(MODEL)(params, carry[0], x)
            return (carry, jnp.asarray(x)), y

        cell = rnn.scheduled_sampling(
            MODEL._replace(
                initial_carry=lambda params, key=None: (CARRY, jnp.int32(0)), step=step
            ),
            jnp.float32(0.4),  # as a traced rate would be
        )
        carry = cell.initial_carry(PARAMS, key)
        return cell.unroll(PARAMS, carry, jnp.array([first, second]))[0].cell[1]

    n = 4001
    read = jax.jit(jax.vmap(token_read))(jax.random.split(KEY, n))
    shares = np.bincount(read, minlength=V) / n
    expected = 0.4 * p + 0.6 * np.eye(V)[second]
    error = 5 * np.sqrt(expected * (1 - expected) / n) + 1e-9
    assert (np.abs(shares - expected) < error).all()
