"""What is drawn: initial params, initial carries and dropout masks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import CASES, RECURRENT, D, H, T, V, step_of

import jaxrnn as rnn

KEY = jax.random.key(3)
GATES = {"elman": (rnn.elman, 1), "gru": (rnn.gru, 3), "lstm": (rnn.lstm, 4)}
constant = jax.nn.initializers.constant


def by_gate(w, gates):
    return np.split(np.asarray(w), gates, axis=1)


@pytest.mark.parametrize("name", GATES)
def test_each_gate_is_drawn_by_itself(name):
    """Orthogonal from the hidden state, of variance 1 / D from the input."""
    make, gates = GATES[name]
    params = make(150, 97).init(KEY)
    recurrent, feeding = by_gate(params.w_h, gates), by_gate(params.w_x, gates)
    for w_h, w_x in zip(recurrent, feeding, strict=True):
        np.testing.assert_allclose(w_h.T @ w_h, np.eye(97), atol=1e-5)
        assert np.std(w_x) == pytest.approx(150**-0.5, rel=0.05)
    for weights in (recurrent, feeding):
        assert len({w.tobytes() for w in weights}) == gates


@pytest.mark.parametrize("name", GATES)
def test_initializers_are_used(name):
    make, gates = GATES[name]
    inits = {"w_x_init": 2.0, "w_h_init": 3.0, "b_init": 4.0}
    options = {"forget_bias": 0.0} if name == "lstm" else {}
    cell = make(D, H, **{k: constant(v) for k, v in inits.items()}, **options)
    params = cell.init(KEY)
    for weights, shape, value in (
        (params.w_x, (D, gates * H), 2),
        (params.w_h, (H, gates * H), 3),
        (params.b, (gates * H,), 4),
    ):
        np.testing.assert_array_equal(weights, np.full(shape, value, np.float32))
    if name == "gru":
        np.testing.assert_array_equal(params.b_h, np.full(H, 4, np.float32))


@pytest.mark.parametrize("forget_bias", [0.0, 1.0, 2.5])
def test_forget_bias(forget_bias):
    b = rnn.lstm(D, H, forget_bias=forget_bias).init(KEY).b
    np.testing.assert_array_equal(b, np.repeat([0, forget_bias, 0, 0], H))


def test_no_bias():
    for make, _ in GATES.values():
        assert make(D, H, bias=False).init(KEY).b is None
    assert rnn.gru(D, H, bias=False).init(KEY).b_h is None
    assert rnn.gru(D, H, reset_after=False).init(KEY).b_h is None
    assert rnn.linear(D, H, bias=False).init(KEY).b is None


def test_initial_carry_is_zero_or_learned():
    zeros = CASES["lstm"].cell.initial_carry(CASES["lstm"].cell.init(KEY))
    assert not any(a.any() for a in zeros)
    cell = CASES["lstm learned carry"].cell
    params = cell.init(KEY)
    chex.assert_trees_all_equal(cell.initial_carry(params), params.carry)
    assert (params.carry.h != params.carry.c).any()

    def loss(params):
        return cell.unroll(params, cell.initial_carry(params), jnp.ones((T, D)))[
            1
        ].sum()

    assert all(a.any() for a in jax.grad(loss)(params).carry)


@pytest.mark.parametrize("name", [*RECURRENT, "linear", "embedding", "layer_norm"])
def test_computes_in_the_dtype_of_the_params(name):
    case = CASES[name]
    params, carry, xs = case.arguments(jnp.bfloat16)
    if case.size is not None:
        xs = xs.astype(jnp.float32)
    for output in (
        case.unroll(None)(params, carry, xs),
        step_of(case.cell)(params, carry, xs[0]),
    ):
        assert {a.dtype for a in jax.tree.leaves(output)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("make", [rnn.lstm, rnn.gru, rnn.elman, rnn.linear])
def test_dtype_of_the_params(make):
    params = make(D, H, dtype=jnp.bfloat16).init(KEY)
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}


def test_parts_are_drawn_apart():
    chain = rnn.chain(rnn.lstm(D, D), rnn.lstm(D, D))
    both = rnn.bidirectional(rnn.lstm(D, D), rnn.lstm(D, D))
    for first, second in (chain.init(KEY), both.init(KEY)):
        assert (first.w_x != second.w_x).all()
    assert (chain.init(KEY)[0].w_x == chain.init(KEY)[0].w_x).all()
    assert (chain.init(KEY)[0].w_x != chain.init(jax.random.key(4))[0].w_x).all()


def test_many_seeds_never_draw_orthogonal_weights_in_one_batch():
    # jaxlib's batched QR factorization can wait for ever where two run at once.
    keys = jax.random.split(KEY, 13)
    init = jax.vmap(rnn.lstm(D, H).init)
    lines = jax.jit(init).lower(keys).as_text().splitlines()
    factorizations = [line for line in lines if "geqrf" in line]
    assert factorizations
    assert not any("13x" in line for line in factorizations)
    alone = [rnn.lstm(D, H).init(key) for key in keys]
    chex.assert_trees_all_close(
        init(keys), jax.tree.map(lambda *a: jnp.stack(a), *alone), rtol=1e-5
    )


def test_embedding_draws_vectors_of_length_one():
    w = rnn.embedding(V, 1000).init(KEY).w
    np.testing.assert_allclose(np.linalg.norm(w, axis=1), np.ones(V), rtol=0.2)


@pytest.mark.parametrize("token", [-1, V, 1000])
def test_embedding_of_no_token_is_nan(token):
    case = CASES["embedding"]
    params, _, _ = case.arguments()
    ys = case.unroll(None)(params, (), jnp.array([1, token]))[1]
    assert jnp.isnan(ys[1]).all()
    np.testing.assert_array_equal(ys[0], params.w[1])


# Dropout

LONG, BROAD, RATE = 40, 50, 0.3
ONES = jnp.ones((LONG, BROAD))
DROPOUTS = {
    "one mask": rnn.dropout(RATE),
    "mask of each step": rnn.dropout(RATE, per_step=True),
}


def dropped(cell, key: jax.Array | None = KEY):
    return cell.unroll((), cell.initial_carry((), key), ONES)[1]


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_keeps_and_scales(name):
    kept = dropped(DROPOUTS[name]) != 0
    np.testing.assert_allclose(
        dropped(DROPOUTS[name]), np.where(kept, 1 / (1 - RATE), 0), rtol=1e-6
    )
    draws = BROAD if name == "one mask" else LONG * BROAD
    deviation = (RATE * (1 - RATE) / draws) ** 0.5
    assert kept.mean() == pytest.approx(1 - RATE, abs=4 * deviation)


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_without_key_is_the_identity(name):
    np.testing.assert_array_equal(dropped(DROPOUTS[name], None), ONES)


def test_dropout_of_nothing():
    np.testing.assert_array_equal(dropped(rnn.dropout(0.0)), ONES)


def test_dropout_draws_one_mask_or_one_for_each_step():
    assert len(np.unique(dropped(DROPOUTS["one mask"]), axis=0)) == 1
    each = np.unique(dropped(DROPOUTS["mask of each step"]), axis=0)
    assert len(each) == LONG


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_depends_on_its_key_only(name):
    cell = DROPOUTS[name]
    assert (dropped(cell) == dropped(cell)).all()
    assert (dropped(cell) != dropped(cell, jax.random.key(4))).any()
    twice = rnn.chain(cell, cell)
    carry = twice.initial_carry(twice.init(KEY), KEY)
    assert (dropped(cell, carry[0].key) != dropped(cell, carry[1].key)).any()
    both = rnn.bidirectional(cell, cell).initial_carry(rnn.Directions((), ()), KEY)
    forward, backward = both.forward.key, both.backward.key
    assert (dropped(cell, forward) != dropped(cell, backward)).any()


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_goes_on_where_it_stopped(name):
    cell = DROPOUTS[name]
    carry, first = cell.unroll((), cell.initial_carry((), KEY), ONES[:13])
    _, second = cell.unroll((), carry, ONES[13:])
    np.testing.assert_array_equal(jnp.concatenate([first, second]), dropped(cell))
