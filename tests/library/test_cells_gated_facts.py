"""Gated cells: where papers and programs part, published weights, what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_gated as references
from battery import T, assert_refused, quick_jit, step_of
from test_cells_gated import HELD, D, H, Held, arguments, in_numpy

import jaxrnn as rnn
from jaxrnn.interop import load_published

# Where papers, programs and cells part


def test_a_gate_negated_is_the_other_order_of_the_update():
    """memax: (1 - z) h + z n, with no bias for h and the reset before the product."""
    held = Held(rnn.gru(D, H, reset_after=False), references.gru_before)
    with jax.enable_x64(True):
        params, carry, xs = arguments(held)
        p, (h,), x = in_numpy((params, carry, xs[0]))
        r, z = (references.sigmoid(references.affine(p, h, x, k)) for k in (0, 1))
        n = np.tanh(references.affine(p, r * h, x, 2))
        theirs = (1 - z) * h + z * n
        sign = np.repeat([1.0, -1.0, 1.0], H)
        negated = rnn.GRUParams(*(jnp.array(a * sign) for a in p[:3]))
        step = step_of(held.cell)
        assert np.abs(step(params, carry, xs[0])[1] - theirs).max() > 0.01
        got = step(negated, carry, xs[0])[1]
        np.testing.assert_allclose(got, theirs, rtol=1e-12)


def test_layer_norm_of_the_paper_and_of_its_code():
    """The paper adds b after both norms, the code before the one of x and after."""
    held = HELD["layer_norm_lstm"]
    with jax.enable_x64(True):
        params, carry, xs = arguments(held)
        step = step_of(held.cell)
        p, (h, c), x = in_numpy(params), in_numpy(carry), in_numpy(xs)[0]

        def output(inside, after):
            u, v = x @ p.w_x + inside, h @ p.w_h
            z = references.norm(p.norm_x, u) + references.norm(p.norm_h, v) + after
            i, f, g, o = np.split(z, 4)
            new = references.sigmoid(f) * c + references.sigmoid(i) * np.tanh(g)
            return references.sigmoid(o) * np.tanh(references.norm(p.norm_c, new))

        def ours(b, offset):
            norm_x = params.norm_x._replace(offset=offset)
            return step(params._replace(b=b, norm_x=norm_x), carry, xs[0])[1]

        offset, zeros = params.norm_x.offset, jnp.zeros_like(params.b)
        paper, code = output(0, p.b), output(p.b, p.b)
        assert np.abs(paper - code).max() > 0.01
        np.testing.assert_allclose(ours(zeros, offset + params.b), paper, rtol=1e-12)
        np.testing.assert_allclose(ours(params.b, offset + params.b), code, rtol=1e-12)


def test_a_coupled_gate_negated_is_an_input_gate():
    """ONNX and the paper: i is computed, and f = 1 - i."""
    held = HELD["coupled_lstm"]
    with jax.enable_x64(True):
        params, carry, xs = arguments(held)
        p, (h, c), x = in_numpy((params, carry, xs[0]))
        i, g = (references.affine(p, h, x, gate) for gate in (0, 1))
        i = references.sigmoid(i)
        theirs = (1 - i) * c + i * np.tanh(g)
        sign = np.repeat([-1.0, 1.0, 1.0], H)
        negated = rnn.CoupledLSTMParams(*(jnp.array(a * sign) for a in p))
        step = step_of(held.cell)
        assert np.abs(step(params, carry, xs[0])[0].c - theirs).max() > 0.01
        got = step(negated, carry, xs[0])[0].c
        np.testing.assert_allclose(got, theirs, rtol=1e-12)


def test_a_sequence_of_slstm_may_begin_with_closed_gates():
    """Also where the authors' code divides 0 by 0, and its gradients are finite."""
    cell = rnn.slstm(4 * 2, 2)
    params = cell.init(jax.random.key(0))
    params = params._replace(w_x=jnp.eye(8), b=jnp.zeros(8))
    closed = jnp.array([-300.0, -200, 5, 5, 0.5, 0.5, 0, 0])
    xs = jnp.stack([closed, -closed, closed])
    starts = jnp.array([False, False, True])

    def loss(params, carry, xs):
        carry, ys = cell.unroll(params, carry, xs, starts=starts)
        return ys.sum() + sum(a.sum() for a in carry), ys

    zeros = cell.initial_carry(params)
    run = quick_jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, ys), gradients = run(params, zeros, xs)
    half = np.tanh(0.5) / 2  # one input, so that h = sigmoid(o) tanh(z)
    np.testing.assert_allclose(ys[0], [half, half], rtol=1e-6)
    np.testing.assert_allclose(ys[2], ys[0], rtol=1e-6)
    assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(gradients))
    # i - m of the authors, whose m is max(log sigmoid(f) + 0, i) beside other rows
    i, f = closed[:2], closed[2:4]
    assert (jnp.exp(i - jnp.maximum(jax.nn.log_sigmoid(f), i)) == 0).all()


def test_the_gates_of_the_slstm_layer_are_crossed_over():
    """`fgate` of the authors computes i, `igate` f."""
    noise = np.random.default_rng(0)
    names = "fgate", "igate", "zgate", "ogate"
    arrays = {
        f"{name}.weight": noise.normal(size=(2, 3, 3)).astype("f") for name in names
    }
    arrays |= {
        "slstm_cell._recurrent_kernel_": np.zeros((2, 12, 3), "f"),
        "slstm_cell._bias_": np.zeros(24, "f"),
    }
    _, params = load_published("xlstm.slstm_layer", arrays)
    i, f = params.cell.w_x[:2]
    np.testing.assert_array_equal(i, arrays["fgate.weight"].swapaxes(1, 2))
    np.testing.assert_array_equal(f, arrays["igate.weight"].swapaxes(1, 2))


# What is refused


FREE: Any = rnn  # in calls that no checker of types is to look at


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FREE.irnn(D, H, scale="1"), "irnn: scale: expected a finite number"),
        (lambda: FREE.indrnn(D, H, length=0), "length: expected an integer"),
        (lambda: FREE.indrnn(D, H, length=9, magnitude=0.5), "magnitude: expected a"),
        (lambda: FREE.indrnn(D, H, last_layer=True), "length: expected one with last"),
        (lambda: FREE.indrnn(D, H, activation=3), "activation: expected a function"),
        (lambda: FREE.mgu(D, H, reset_after=1), "mgu: reset_after: expected a bool"),
        (lambda: FREE.peephole_lstm(D, H, w_c_init=0), "w_c_init: expected a function"),
        (lambda: FREE.coupled_lstm(D, H, forget_bias="1"), "forget_bias: expected a"),
        (lambda: FREE.layer_norm_lstm(D, H, epsilon=0), "epsilon: expected a positive"),
        (lambda: FREE.layer_norm_lstm(D, H, forget_bias=None), "forget_bias: expected"),
        (lambda: FREE.layer_norm_gru(0, H), "layer_norm_gru: input_size: expected"),
        (lambda: FREE.conv_lstm((3,), H), "conv_lstm: input_shape: expected one to"),
        (
            lambda: FREE.conv_lstm((2, 2, 2, 2, 2), H),
            "conv_lstm: input_shape: expected",
        ),
        (
            lambda: FREE.conv_lstm((4, 4, 3), H, (3,)),
            "kernel_size: expected one size",
        ),
        (lambda: FREE.conv_lstm((4, 4, 3), H, 0), "kernel_size: expected an integer"),
        (lambda: FREE.conv_lstm((4, 0, 3), H), "input_shape: expected an integer"),
        (lambda: FREE.conv_lstm((4, 3), H, heads=2), "heads: expected a divisor of 1"),
        (lambda: FREE.slstm(D, H, depth=1.5), "slstm: depth: expected a number from 0"),
        (lambda: FREE.slstm_layer(H, 2, width=-1), "slstm_layer: width: expected an"),
        (lambda: FREE.slstm_layer(H, 2, width=False), "slstm_layer: width: expected"),
        (lambda: FREE.slstm_layer(H, 2, width=np.ones(3)), "slstm_layer: width: exp"),
        (
            lambda: FREE.slstm_layer(H, 2, scale=1),
            "slstm_layer: scale: expected a bool",
        ),
    ],
)
def test_a_mistake_is_named(make, message):
    assert_refused(make, message)


def test_an_input_of_another_shape_is_refused():
    cell = rnn.conv_lstm((4, 3, 2), 2)
    params = cell.init(jax.random.key(0))
    carry = cell.initial_carry(params)
    assert_refused(
        lambda: cell.unroll(params, carry, jnp.ones((T, 3, 4, 2))),
        "conv_lstm([4, 3, 2], 2): xs: expected size 4 on axis 1",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_bias_": np.zeros(9)}, "_bias_: expected shape [24]"),
        ({"_bias_": None}, "_bias_: expected an array of shape [24]"),
        ({"more": np.zeros(3)}, "_more_: expected only the entries"),
        ({"_recurrent_kernel_": np.zeros((2, 5, 3))}, "expected shape [heads, 4d, d]"),
        ({"_recurrent_kernel_": np.zeros(3)}, "expected shape [heads, 4d, d]"),
    ],
)
def test_published_arrays_that_do_not_fit(change, message):
    arrays = {"_recurrent_kernel_": np.zeros((2, 12, 3)), "_bias_": np.zeros(24)}
    arrays = {k: a for k, a in (arrays | change).items() if a is not None}
    with jax.enable_x64(True):
        assert_refused(
            lambda: load_published("xlstm.slstm_cell", arrays),
            "load_published: arrays: ",
            message,
        )


def test_published_options_that_do_not_fit():
    arrays = {
        "_recurrent_kernel_": np.zeros((2, 12, 3), "f"),
        "_bias_": np.zeros(24, "f"),
    }
    u = np.zeros(3, "f")
    assert_refused(
        lambda: load_published("xlstm.slstm_cell", arrays, num_heads=3),
        "load_published: num_heads: expected 2",
    )
    assert_refused(
        lambda: load_published("indrnn", {"weight_hh": u}, activation="elu"),
        "load_published: activation: expected one of relu, tanh",
    )
    assert_refused(
        lambda: load_published("indrnn", {"u": u}),
        "expected only the entries",
    )
