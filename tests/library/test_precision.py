"""Long sums in half precision, and indices that are out of range."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import quick_jit

import jaxrnn as rnn

T, D, H, V = 2048, 3, 4, 5  # 256 ones is where a sum in bfloat16 stops
HALF = {"bfloat16": 0.01, "float16": 0.002}  # allowed errors


def make(name, dtype):
    cells = {
        "gru": lambda: rnn.gru(D, H, dtype=dtype),
        "gru reset before": lambda: rnn.gru(D, H, reset_after=False, dtype=dtype),
        "theta": lambda: rnn.recurrent(
            *(D, H, lambda theta, z, carry: rnn.ElmanCarry(jnp.tanh(z * theta))),
            theta_init=lambda key: jnp.ones(H, dtype),
            dtype=dtype,
        ),
        "remat": lambda: rnn.remat(rnn.lstm(D, H, dtype=dtype)),
        "linear": lambda: rnn.linear(D, H, dtype=dtype),
        "layer_norm": lambda: rnn.layer_norm(D, dtype=dtype),
        "embedding": lambda: rnn.embedding(V, H, dtype=dtype),
        "tied_embedding": lambda: rnn.tied_embedding(
            V, H, rnn.elman(H, H, dtype=dtype), dtype=dtype
        ),
        "bahdanau": lambda: rnn.bahdanau(
            D, 2, 3, memory=jnp.linspace(0, 1, 2 * T).reshape(T, 2), dtype=dtype
        ),
    }
    return cells[name]()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    "name",
    [
        *("gru", "gru reset before", "theta", "remat", "linear", "layer_norm"),
        *("embedding", "tied_embedding", "bahdanau"),
    ],
)
def test_gradients_over_long_sequences_are_summed_in_float32(name, dtype):
    reads_tokens = "embedding" in name
    rng = np.random.default_rng(0)
    xs = rng.integers(0, V, T) if reads_tokens else rng.normal(0.5, 0.3, (T, D))

    def gradient(dtype, params, xs):
        cell = make(name, dtype)

        def loss(params):
            _, ys = cell.unroll(params, cell.initial_carry(params), xs)
            return ys.sum()

        return quick_jit(jax.grad(loss))(params)

    params = make(name, dtype).init(jax.random.key(0))
    xs = jnp.asarray(xs) if reads_tokens else jnp.asarray(xs, dtype)
    got = gradient(dtype, params, xs)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda a: a.astype(jnp.float64), params)
        expected = gradient(
            jnp.float64, exact, xs if reads_tokens else xs.astype(jnp.float64)
        )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == dtype
        a, b = np.asarray(a, np.float64), np.asarray(b)
        assert np.abs(a - b).max() < HALF[dtype] * np.abs(b).max()


@pytest.mark.parametrize(
    ("dtype", "offset", "scale", "allowed"),
    [
        *[("float32", offset, 1, 1e-5) for offset in (0, 1e3, 1e5)],
        *[("float16", 0, 5e3, 2e-3), ("float16", 1e4, 64, 2e-3)],
        ("bfloat16", 0, 1e10, 1e-2),
    ],
)
def test_layer_norm_of_large_numbers(dtype, offset, scale, allowed):
    x = jnp.asarray(offset + scale * np.random.default_rng(5).normal(size=640), dtype)
    layer = rnn.layer_norm(640, dtype=dtype)
    y = rnn.apply(layer, layer.init(jax.random.key(0)), x)
    exact = np.asarray(x, np.float64)
    expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-6)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, atol=4 * allowed)


@pytest.mark.parametrize("dtype", HALF)
def test_losses_of_long_sequences_in_half_precision(dtype):
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(T, V)), dtype)
    labels, mask = jnp.asarray(rng.integers(0, V, T)), jnp.arange(T) < T - 5
    exact = np.asarray(logits, np.float64)
    nats = np.log(np.exp(exact).sum(1)) - exact[np.arange(T), labels]
    got = rnn.cross_entropy(logits, labels, mask)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, nats[mask].mean(), rtol=1e-5)
    hits = exact.argmax(1) == labels
    got = rnn.accuracy(logits, labels, mask)
    np.testing.assert_allclose(got, hits[mask].mean(), rtol=1e-5)
    errors = jnp.full(T, 300, dtype)  # whose square is too large for float16
    assert rnn.squared_error(errors, jnp.zeros(T), mask) == 9e4


LOGITS = jnp.array([[0.1, 2.0, -1.0], [1.0, 0.0, 0.5]])
WRONG = [-1, 3, -100, 2**31 - 1]
BOTH = pytest.mark.parametrize("jit", [lambda fun: fun, jax.jit])


@BOTH
@pytest.mark.parametrize("wrong", WRONG)
def test_a_label_out_of_range_is_nan_in_the_loss_and_its_gradient(wrong, jit):
    labels = jnp.array([0, wrong])
    loss, grads = jit(jax.value_and_grad(rnn.cross_entropy))(LOGITS, labels)
    assert np.isnan(loss)
    assert np.isnan(grads).any()
    assert np.isnan(jit(rnn.accuracy)(LOGITS, labels))
    mask = jnp.array([True, False])
    expected = rnn.cross_entropy(LOGITS[:1], labels[:1])
    masked = jit(rnn.cross_entropy)(LOGITS, labels, mask)
    ignored = jit(partial(rnn.cross_entropy, ignore_label=wrong))(LOGITS, labels)
    np.testing.assert_allclose([masked, ignored], [expected] * 2, rtol=1e-6)


def test_labels_of_other_integers():
    for dtype in (np.uint8, np.uint32, np.int64):
        labels: Any = np.array([0, np.iinfo(dtype).max], dtype)
        if dtype == np.int64:
            with pytest.raises(ValueError, match="labels: expected integers that fit"):
                rnn.cross_entropy(LOGITS, labels)
        else:
            assert np.isnan(rnn.cross_entropy(LOGITS, labels))
    with jax.enable_x64(True):  # 2^32 + 1 would be 1 in 32 bits
        assert np.isnan(rnn.cross_entropy(LOGITS, jnp.array([0, 2**32 + 1])))


def test_a_target_outside_of_0_to_1():
    for target in (-1, 2, 1.5, float("nan")):
        targets = jnp.array([[0.0, 1.0, target]] * 2)
        assert np.isnan(rnn.sigmoid_cross_entropy(LOGITS, targets))
    some = rnn.sigmoid_cross_entropy(
        LOGITS, jnp.array([[0, 1, -100], [1, -100, 0]]), ignore_label=-100
    )
    values, yes = np.array([0.1, 2.0, 1.0, 0.5]), np.array([0, 1, 1, 0])
    expected = np.log1p(np.exp(np.where(yes, -values, values))).mean()
    np.testing.assert_allclose(some, expected, rtol=1e-6)


def test_all_labels_ignored():
    loss = partial(rnn.cross_entropy, ignore_label=-100)
    value, grads = jax.value_and_grad(loss)(LOGITS, jnp.array([-100, -100]))
    assert value == 0
    assert not grads.any()
    assert loss(LOGITS[0], jnp.array(-100)) == 0
    weighted = loss(LOGITS, jnp.array([-100, -100]), weighted=True)
    assert weighted == (0, 0)


@pytest.mark.parametrize("label", [True, 1.0, "x", 2**31])
def test_an_ignore_label_that_is_none(label):
    with pytest.raises(ValueError, match="ignore_label: expected"):
        rnn.cross_entropy(LOGITS, jnp.array([0, 1]), ignore_label=label)


MODEL = rnn.chain(rnn.embedding(V, D), rnn.gru(D, H), rnn.linear(H, V))
PARAMS = MODEL.init(jax.random.key(0))
CARRY = MODEL.initial_carry(PARAMS)


@pytest.mark.parametrize("wrong", [-1, V])
def test_a_first_token_out_of_range(wrong):
    def greedy(first):
        return rnn.generate(MODEL, PARAMS, CARRY, first, 3, rnn.greedy).tokens

    def drawn(first):
        key, choose = jax.random.key(0), rnn.sample(top_k=2)
        return rnn.generate(MODEL, PARAMS, CARRY, first, 3, choose, key).tokens

    for fun in (greedy, drawn):
        with pytest.raises(ValueError, match=f"first: expected 0 to {V - 1}, got"):
            fun(wrong)
        assert (jax.jit(fun)(wrong) == -1).all()
        assert (jax.jit(fun)(0) >= 0).all()


@pytest.mark.parametrize("wrong", [-1, V])
def test_beam_search_out_of_range(wrong):
    def search(first, stop):
        return rnn.beam_search(
            *(MODEL, PARAMS, CARRY, first, 3), beam_size=2, stop_token=stop
        )

    with pytest.raises(ValueError, match="first: expected"):
        search(wrong, 0)
    with pytest.raises(ValueError, match="stop_token: expected"):
        search(1, jnp.array(wrong))
    assert (jax.jit(search)(wrong, 0).lengths == 0).all()
    assert np.isnan(jax.jit(search)(1, wrong).scores).all()
