"""Values and gradients against NumPy in double precision, from the equations.

The references are loops over steps and gates, and their gradients are central
differences: slow, and with nothing in common with the code under test.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from battery import (
    CASES,
    SOME_VALID,
    B,
    D,
    H,
    T,
    V,
    assert_close,
    inexact,
    softsign,
    total,
    with_gradient,
)

import jaxrnn as rnn


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def bias(params):
    return np.zeros(params.w_h.shape[1]) if params.b is None else params.b


def elman(activation):
    def reference(params, carry, xs):
        (h,) = carry
        hs = []
        for x in xs:
            h = activation(x @ params.w_x + h @ params.w_h + bias(params))
            hs.append(h)
        return rnn.ElmanCarry(h), np.stack(hs)

    return reference


def gru(*, reset_after):
    def reference(params, carry, xs):
        (h,) = carry
        x_r, x_z, x_n = np.split(params.w_x, 3, axis=1)
        h_r, h_z, h_n = np.split(params.w_h, 3, axis=1)
        b_r, b_z, b_n = np.split(bias(params), 3)
        b_h = 0.0 if params.b_h is None else params.b_h
        hs = []
        for x in xs:
            r = sigmoid(x @ x_r + h @ h_r + b_r)
            z = sigmoid(x @ x_z + h @ h_z + b_z)
            if reset_after:
                n = np.tanh(x @ x_n + b_n + r * (h @ h_n + b_h))
            else:
                n = np.tanh(x @ x_n + b_n + (r * h) @ h_n)
            h = (1 - z) * n + z * h
            hs.append(h)
        return rnn.GRUCarry(h), np.stack(hs)

    return reference


def lstm(params, carry, xs):
    h, c = carry
    x_i, x_f, x_g, x_o = np.split(params.w_x, 4, axis=1)
    h_i, h_f, h_g, h_o = np.split(params.w_h, 4, axis=1)
    b_i, b_f, b_g, b_o = np.split(bias(params), 4)
    hs = []
    for x in xs:
        i = sigmoid(x @ x_i + h @ h_i + b_i)
        f = sigmoid(x @ x_f + h @ h_f + b_f)
        g = np.tanh(x @ x_g + h @ h_g + b_g)
        o = sigmoid(x @ x_o + h @ h_o + b_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
    return rnn.LSTMCarry(h, c), np.stack(hs)


def projected_lstm(params, carry, xs):
    h, c = carry
    hs = []
    for x in xs:
        z = x @ params.w_x + h @ params.w_h + bias(params)
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ params.w_p
        hs.append(h)
    return rnn.LSTMCarry(h, c), np.stack(hs)


def janet(params, carry, xs):
    (h,) = carry
    hs = []
    for x in xs:
        f, g = np.split(x @ params.w_x + h @ params.w_h + params.b, 2)
        h = sigmoid(f) * h + (1 - sigmoid(f)) * np.tanh(g)
        hs.append(h)
    return rnn.ElmanCarry(h), np.stack(hs)


def peephole(params, carry, xs):
    h, c = carry
    theta, hs = params.theta, []
    for x in xs:
        i, f, g, o = np.split(x @ params.w_x + h @ params.w_h + params.b, 4)
        i, f = sigmoid(i + theta["i"] * c), sigmoid(f + theta["f"] * c)
        c = f * c + i * np.tanh(g)
        h = sigmoid(o + theta["o"] * c) * np.tanh(c)
        hs.append(h)
    return rnn.LSTMCarry(h, c), np.stack(hs)


def linear(params, carry, xs):
    b = 0.0 if params.b is None else params.b
    return carry, np.stack([x @ params.w + b for x in xs])


def embedding(params, carry, xs):
    return carry, np.stack([params.w[x] for x in xs])


def layer_norm(params, carry, xs):
    ys = []
    for x in xs:
        variance = sum((x - x.mean()) ** 2) / len(x)
        normal = (x - x.mean()) / np.sqrt(variance + 1e-6)
        ys.append(params.scale * normal + params.offset)
    return carry, np.stack(ys)


def residual(params, carry, xs):
    carry, ys = gru(reset_after=True)(params, carry, xs)
    return carry, xs + ys


def bidirectional(forward, backward, merge):
    def reference(params, carry, xs):
        ahead, ys = forward(params.forward, carry.forward, xs)
        back, zs = backward(params.backward, carry.backward, xs[::-1])
        return rnn.Directions(ahead, back), merge(ys, zs[::-1])

    return reference


def tagger(params, carry, xs):
    both = bidirectional(
        gru(reset_after=True),
        elman(np.tanh),
        lambda ys, zs: np.concatenate([ys, zs], axis=1),
    )
    _, vectors = embedding(params[0], (), xs)
    carry, ys = both(params[1], carry[1], vectors)
    return ((), carry, ()), linear(params[2], (), ys)[1]


def relu(z):
    return np.maximum(z, 0)


REFERENCES = {
    "elman": elman(np.tanh),
    "elman relu": elman(relu),
    "elman softsign": elman(softsign),
    "elman without bias": elman(np.tanh),
    "gru": gru(reset_after=True),
    "gru without bias": gru(reset_after=True),
    "gru reset before": gru(reset_after=False),
    "gru reset before without bias": gru(reset_after=False),
    "lstm": lstm,
    "lstm without bias": lstm,
    "projected lstm": projected_lstm,
    "projected lstm without bias": projected_lstm,
    "janet": janet,
    "peephole": peephole,
    "linear": linear,
    "linear without bias": linear,
    "embedding": embedding,
    "layer_norm": layer_norm,
    "residual": residual,
    "summed": bidirectional(
        elman(np.tanh), gru(reset_after=True), lambda ys, zs: ys + zs
    ),
    "averaged": bidirectional(
        elman(np.tanh), gru(reset_after=True), lambda ys, zs: (ys + zs) / 2
    ),
    "tagger": tagger,
}


def central_differences(fun, floats, epsilon=1e-6):
    """The gradient of `fun(floats)` with respect to every entry."""
    gradients = []
    for a in floats:
        gradient = np.zeros_like(a)
        for i in np.ndindex(a.shape):
            value = a[i]
            a[i] = value + epsilon
            above = fun(floats)
            a[i] = value - epsilon
            below = fun(floats)
            a[i] = value
            gradient[i] = (above - below) / (2 * epsilon)
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("name", REFERENCES)
def test_cell(name):
    case, reference = CASES[name], REFERENCES[name]
    args = case.arguments(jnp.float64)
    outputs, gradients = jax.jit(with_gradient(case.unroll(None)))(*args)

    floats, put = inexact(jax.tree.map(np.array, args))
    assert_close(outputs, reference(*put(floats)))
    expected = central_differences(
        lambda floats: total(reference(*put(floats))), floats
    )
    # A learned initial carry among the params is not what the run starts from here.
    assert_close(gradients, expected, 1e-7)


def numpy_cross_entropy(logits, labels):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=-1, keepdims=True)
    return -np.log([p[k] for p, k in zip(probabilities, labels, strict=True)])


def numpy_sigmoid_cross_entropy(logits, targets):
    yes = sigmoid(logits)
    return -np.where(targets, np.log(yes), np.log(1 - yes))


def numpy_squared_error(predictions, targets):
    return (predictions - targets) ** 2


def numpy_accuracy(logits, labels):
    return np.array([max(row) == row[k] for row, k in zip(logits, labels, strict=True)])


NOISE = np.random.default_rng(0)
LABELS = NOISE.integers(0, V, T, np.int32)
LOSSES = {
    "cross_entropy": (rnn.cross_entropy, numpy_cross_entropy, (T, V), LABELS),
    "sigmoid_cross_entropy": (
        rnn.sigmoid_cross_entropy,
        numpy_sigmoid_cross_entropy,
        (T, V),
        NOISE.integers(0, 2, (T, V), np.int32),
    ),
    "squared_error": (
        rnn.squared_error,
        numpy_squared_error,
        (T, D, H),
        NOISE.normal(size=(T, D, H)),
    ),
    "squared_error of numbers": (
        rnn.squared_error,
        numpy_squared_error,
        (T,),
        NOISE.normal(size=T),
    ),
    "accuracy": (rnn.accuracy, numpy_accuracy, (T, V), LABELS),
}


@pytest.mark.parametrize("mask", [None, SOME_VALID], ids=["whole", "masked"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, mask):
    loss, reference, shape, targets = LOSSES[name]
    values = np.random.default_rng(1).normal(0, 3, shape)
    if name == "accuracy":
        values[::2] = np.eye(V)[targets[::2]]  # some hits
    valid = slice(None) if mask is None else np.array(mask)

    def expected(floats):
        return reference(floats[0][valid], targets[valid]).mean()

    got, gradient = jax.value_and_grad(loss)(jnp.asarray(values), targets, mask)
    assert_close(got, jnp.asarray(expected([values]), jnp.float64))
    assert_close([gradient], central_differences(expected, [values]), 1e-8)


def test_accuracy_of_some_hits():
    assert 0 < rnn.accuracy(jnp.eye(3), jnp.array([0, 1, 0])) < 1


def test_label_smoothing_mixes_the_label_with_all_classes():
    logits = NOISE.normal(size=(T, V))
    q = 0.9 * np.eye(V)[LABELS] + 0.1 / V
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = -(q * log_p).sum(axis=-1)[[0, 2]].mean()
    mask = np.isin(np.arange(T), [0, 2])
    got = rnn.cross_entropy(
        jnp.asarray(logits),
        jnp.asarray(LABELS),
        jnp.asarray(mask),
        label_smoothing=0.1,
    )
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("loss", [rnn.cross_entropy, rnn.accuracy])
def test_labels_may_be_any_integers(loss, dtype):
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(T, V)))
    assert loss(logits, LABELS.astype(dtype)) == loss(logits, LABELS)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_one_decision(name):
    """Without a time axis: the value of one step."""
    loss, reference, shape, targets = LOSSES[name]
    values = np.random.default_rng(1).normal(0, 3, shape)
    got = loss(jnp.asarray(values[0]), targets[0])
    expected = reference(values[:1], targets[:1]).mean()
    assert_close(got, jnp.asarray(expected, jnp.float64))


def test_losses_stay_finite():
    """Where the naive formula overflows."""
    far = jnp.array([[1e4, -1e4]])
    assert rnn.cross_entropy(far, jnp.array([1])) == 2e4
    assert rnn.sigmoid_cross_entropy(far, jnp.array([[0, 1]])) == 1e4


def test_one_update():
    """Plain SGD on the mean squared error of a linear map, by hand."""
    noise = np.random.default_rng(0)
    w, b = noise.normal(size=(D, H)), noise.normal(size=H)
    xs, targets = noise.normal(size=(B, T, D)), noise.normal(size=(B, T, H))
    model = rnn.linear(D, H)

    def loss_fn(params, xs, targets, key):
        return rnn.squared_error(model.unroll(params, (), xs)[1], targets)

    optimizer = optax.sgd(0.1)
    params = rnn.LinearParams(jnp.asarray(w), jnp.asarray(b))
    state = rnn.train_state(params, optimizer, jax.random.key(0))
    state, metrics = rnn.make_update(loss_fn, optimizer)(state, xs, targets)

    errors = xs @ w + b - targets
    d_w = 2 * np.einsum("btd,bth->dh", xs, errors) / errors.size
    d_b = 2 * errors.sum(axis=(0, 1)) / errors.size
    norm = np.sqrt((d_w**2).sum() + (d_b**2).sum())
    assert_close(state.params, rnn.LinearParams(w - 0.1 * d_w, b - 0.1 * d_b))
    assert_close(metrics.loss, jnp.asarray((errors**2).mean()))
    assert_close(metrics.grad_norm, jnp.asarray(norm))
    assert state.step == 1
