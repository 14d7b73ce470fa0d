"""Gated cells against NumPy, and what only one of them has."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references_gated as references
from battery import (
    SOME_VALID,
    STARTS,
    Case,
    T,
    assert_refused,
    quick_jit,
    step_of,
    total,
    with_gradient,
)

import jaxrnn as rnn
from jaxrnn import interop

D, H = 3, 6


class Held(NamedTuple):
    """A cell and its step in NumPy."""

    cell: rnn.Cell
    step: Any
    shape: tuple[int, ...] = (D,)


def heads(factory, **options):
    return factory(D, H, heads=2, **options)


HELD = {
    "indrnn": Held(rnn.indrnn(D, H), references.indrnn),
    "mgu": Held(rnn.mgu(D, H), references.mgu),
    "mgu reset after": Held(rnn.mgu(D, H, reset_after=True), references.mgu_after),
    "peephole_lstm": Held(rnn.peephole_lstm(D, H), references.peephole_lstm),
    "coupled_lstm": Held(rnn.coupled_lstm(D, H), references.coupled_lstm),
    "layer_norm_lstm": Held(rnn.layer_norm_lstm(D, H), references.layer_norm_lstm),
    "layer_norm_gru": Held(rnn.layer_norm_gru(D, H), references.layer_norm_gru),
    "conv_lstm": Held(
        rnn.conv_lstm((4, 3, 2), 2, (3, 2), peepholes=True),
        references.conv_lstm,
        (4, 3, 2),
    ),
    "slstm": Held(heads(rnn.slstm), references.slstm),
    "slstm_layer": Held(rnn.slstm_layer(H, 2), references.slstm_layer, (H,)),
    "gru heads": Held(heads(rnn.gru), references.gru),
    "gru reset before heads": Held(
        heads(rnn.gru, reset_after=False), references.gru_before
    ),
}
MORE = {
    "irnn": Held(rnn.irnn(D, H), references.irnn),
    "slstm of one head": Held(rnn.slstm(D, H), references.slstm),
    "conv_lstm 1-D": Held(rnn.conv_lstm((5, 2), 3), references.conv_lstm, (5, 2)),
    "conv_lstm 3-D": Held(
        rnn.conv_lstm((2, 3, 2, 1), 2, 2), references.conv_lstm, (2, 3, 2, 1)
    ),
    "elman heads": Held(heads(rnn.elman), references.elman),
    "lstm heads": Held(heads(rnn.lstm), references.lstm),
    "lstm of H heads": Held(rnn.lstm(D, H, heads=H), references.lstm),
    "mgu heads": Held(heads(rnn.mgu), references.mgu),
    "mgu reset after heads": Held(
        heads(rnn.mgu, reset_after=True), references.mgu_after
    ),
    "peephole_lstm heads": Held(heads(rnn.peephole_lstm), references.peephole_lstm),
    "coupled_lstm heads": Held(heads(rnn.coupled_lstm), references.coupled_lstm),
    "layer_norm_lstm heads": Held(
        heads(rnn.layer_norm_lstm), references.layer_norm_lstm
    ),
    "layer_norm_gru heads": Held(heads(rnn.layer_norm_gru), references.layer_norm_gru),
    "gru reset before of other functions, heads": Held(
        heads(rnn.gru, reset_after=False, activation=lambda a: jnp.tanh(a)),
        references.gru_before,
    ),
}
FAST = [*HELD, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


def arguments(held, dtype=jnp.float64):
    """Params with nothing left at a zero, a carry that the cell comes to, and xs."""
    case = Case(held.cell)
    params, _, _ = case.arguments(dtype)
    noise = np.random.default_rng(3)
    xs, before = (
        jnp.asarray(noise.normal(size=(T, *held.shape)), dtype) for _ in range(2)
    )
    carry = held.cell.initial_carry(params)
    for x in before[:2]:
        carry, _ = step_of(held.cell)(params, carry, x)
    return params, carry, xs


def in_numpy(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def by_reference(held, params, carry, xs, initial, **options):
    """The total of what the cell in NumPy gives, and that: a final carry and ys."""
    carry, initial = (tuple(jax.tree.leaves(tree)) for tree in (carry, initial))
    outputs = references.unroll(held.step, params, carry, xs, initial, **options)
    return float(total(outputs)), outputs


@pytest.mark.parametrize("name", FAST)
def test_values_and_gradients_are_those_of_numpy(name):
    """With a mask and starts, in reverse; the gradients along one direction."""
    held = (HELD | MORE)[name]
    with jax.enable_x64(True):
        args = arguments(held)
        options = {"mask": SOME_VALID, "starts": STARTS, "reverse": True}
        run = quick_jit(with_gradient(partial(held.cell.unroll, **options)))
        outputs, gradients = in_numpy(run(*args))
        initial = in_numpy(held.cell.initial_carry(args[0]))
        options = {k: np.asarray(a) for k, a in options.items()}
        params, carry, xs = in_numpy(args)
        _, expected = by_reference(held, params, carry, xs, initial, **options)
        pairs = zip(jax.tree.leaves(outputs), jax.tree.leaves(expected), strict=True)
        for got, want in pairs:
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)

        noise = np.random.default_rng(5)
        leaves, tree = jax.tree.flatten((params, carry, xs))
        along = [noise.normal(size=leaf.shape) for leaf in leaves]

        def moved(step):
            new = [a + step * b for a, b in zip(leaves, along, strict=True)]
            params, carry, xs = tree.unflatten(new)
            return by_reference(held, params, carry, xs, initial, **options)[0]

        slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
        found = sum((a * b).sum() for a, b in zip(gradients, along, strict=True))
        assert abs(found - slope) < 1e-6 * (1 + abs(slope))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*HELD, *MORE])
def test_laws(name):
    rnn.testing.check((HELD | MORE)[name].cell)


# Heads


def test_blocks_are_drawn_by_head_and_by_gate():
    w = rnn.lstm(D, H, heads=2).init(jax.random.key(0)).w_h
    assert w.shape == (2, 3, 4 * 3)
    blocks = w.reshape(2, 3, 4, 3).swapaxes(1, 2).reshape(8, 3, 3)
    eye = jnp.broadcast_to(jnp.eye(3), blocks.shape)
    np.testing.assert_allclose(blocks @ blocks.swapaxes(1, 2), eye, atol=1e-6)
    assert len({float(block[0, 0]) for block in blocks}) == 8


@pytest.mark.parametrize("options", [{}, {"reset_after": False}])
def test_kernels_leave_heads_to_the_loop(options):
    """They know the name of a pointwise part, and ask for its mix too."""

    def loops(**more):
        paths = rnn.kernels.explain(rnn.gru(D, H, **options, **more), time=T, batch=2)
        found = [path for path in paths if path.loop.endswith("_loop")]
        assert {path.loop for path in found} == {"forward_loop", "backward_loop"}
        return found

    assert not any(path.kernel for path in loops(heads=2))
    if any(path.kernel for path in loops()):
        assert all("full w_h" in path.why_not for path in loops(heads=2))


def test_what_heads_divide():
    expected = "heads: expected a divisor of"
    assert_refused(lambda: rnn.lstm(D, H, heads=4), f"lstm: {expected} 6, got 4")
    assert_refused(
        lambda: rnn.projected_lstm(D, H, 4, heads=3),
        f"projected_lstm: {expected} 6 and of 4, got 3",
    )
    assert_refused(lambda: rnn.indrnn(D, H, heads=2), f"indrnn: {expected} 1, got 2")
    assert_refused(lambda: rnn.gru(D, H, heads=0), "gru: heads: expected an integer")
    assert_refused(lambda: rnn.slstm_layer(H, 4), f"slstm_layer: {expected} 6, got 4")


def test_a_framework_is_told_of_heads():
    params = rnn.lstm(D, H, heads=2).init(jax.random.key(0))
    assert_refused(
        lambda: interop.to_torch("lstm", params), "params.w_h: expected shape"
    )


# Initial weights


def test_irnn_begins_at_the_identity():
    params = rnn.irnn(400, H, scale=0.01).init(jax.random.key(0))
    np.testing.assert_allclose(params.w_h, 0.01 * np.eye(H), rtol=1e-6)
    assert params.w_x.std() == pytest.approx(0.001, rel=0.05)
    assert not params.b.any()


def test_indrnn_draws_as_the_authors_do():
    def drawn(**options):
        return rnn.indrnn(D, 2000, **options).init(jax.random.key(0)).w_h

    limit = 2 ** (1 / 20)
    ranges = [
        ({}, 0, 1),
        ({"length": 20}, 0, limit),
        ({"length": 20, "last_layer": True}, 1 / limit, limit),
        ({"length": 20, "magnitude": 5.0}, 0, 5 ** (1 / 20)),
    ]
    for options, low, high in ranges:
        w = drawn(**options)
        assert low <= w.min() < low + 0.002 * (high - low) + 1e-6
        assert high - 0.002 * (high - low) - 1e-6 < w.max() <= high * (1 + 1e-6)
    assert (drawn(w_h_init=jax.nn.initializers.ones) == 1).all()


def test_slstm_forgets_as_the_authors_have_it():
    """b_f = -(-5 + 12 (k / (d - 1))^(0.3 + 1.3 depth)) for unit k of d in a head."""
    place = np.arange(4) / 3
    for depth in (0.0, 0.5, 1.0):
        b = rnn.slstm(D, 8, heads=2, depth=depth).init(jax.random.key(0)).b
        expected = np.tile(-(-5 + 12 * place ** (0.3 + 1.3 * depth)), 2)
        np.testing.assert_allclose(b[8:16], expected, rtol=1e-6)
        assert not b[:8].any()
        assert not b[16:].any()
    params = rnn.slstm(D, 8, heads=2).init(jax.random.key(0))
    assert not params.w_h.any()
    # The authors' formula is 0 / 0 for heads of one unit.
    b = rnn.slstm(D, 4, heads=4).init(jax.random.key(0)).b
    np.testing.assert_array_equal(b[4:8], np.full(4, 5.0))


# The bound on what an independent unit keeps


def test_clip_indrnn_clips_the_recurrent_weights_alone():
    model = rnn.chain(rnn.indrnn(D, H), rnn.residual(rnn.indrnn(H, H)))
    params = jax.tree.map(lambda a: 3 * jnp.ones_like(a), model.init(jax.random.key(0)))
    params = (params[0]._replace(w_h=-params[0].w_h), params[1])
    clipped = rnn.cells.clip_indrnn(params, 1.5)
    assert (clipped[0].w_h == -1.5).all()
    assert (clipped[1].w_h == 1.5).all()
    assert (clipped[0].w_x == 3).all()
    assert (clipped[1].b == 3).all()
    assert_refused(
        lambda: rnn.cells.clip_indrnn(rnn.gru(D, H).init(jax.random.key(0)), 1.0),
        "clip_indrnn: params: expected IndRNNParams",
    )
    assert_refused(lambda: rnn.cells.clip_indrnn(params, 0), "clip_indrnn: limit")


def test_an_optimizer_keeps_the_bound():
    """Its params are those of the optimizer, clipped after each step."""
    cell, limit = rnn.indrnn(1, 4), 0.6
    clip = partial(rnn.cells.clip_indrnn, limit=limit)
    plain = optax.sgd(0.1, momentum=0.9)
    kept = rnn.train.projected(plain, clip)
    params: Any = clip(cell.init(jax.random.key(0)))
    gradients = jax.tree.map(lambda a: -jnp.ones_like(a), params)
    by_hand: Any = params
    expected = plain.init(params)
    state = kept.init(params)
    for _ in range(3):
        updates, state = kept.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        updates, expected = plain.update(gradients, expected, by_hand)
        by_hand = clip(optax.apply_updates(by_hand, updates))
    for got, want in zip(params, by_hand, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert params.w_h.max() == pytest.approx(limit, rel=1e-6)
    assert_refused(
        lambda: kept.update(gradients, state), "projected: params: expected those"
    )


# Against another library


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "kernel"), [((6,), 3), ((5, 4), (3, 2)), ((3, 4, 2), (2, 3, 1))]
)
def test_conv_lstm_is_that_of_keras(space, kernel):
    keras = pytest.importorskip("keras", reason="keras is not installed")
    layer = getattr(keras.layers, f"ConvLSTM{len(space)}D")(
        4, kernel, padding="same", return_sequences=True
    )
    noise = np.random.default_rng(0)
    xs = noise.normal(size=(2, T, *space, 3)).astype("f")
    layer(xs)
    layer.set_weights([noise.normal(size=w.shape) / 3 for w in layer.get_weights()])
    expected = np.asarray(layer(xs))
    # keras has the order i, f, c, o
    w_x, w_h, b = (jnp.asarray(w) for w in layer.get_weights())
    cell = rnn.conv_lstm((*space, 3), 4, kernel)
    params = rnn.cells.ConvLSTMParams(w_x, w_h, b)
    carry = cell.initial_carry(params)
    got = jax.vmap(lambda xs: cell.unroll(params, carry, xs)[1])(jnp.asarray(xs))
    np.testing.assert_allclose(got, expected, atol=2e-6)
