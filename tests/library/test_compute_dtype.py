"""Products in bfloat16, everything else in float32."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import SOME_VALID, B, D, H, T, janet, law, quick_jit, step_of

import jaxrnn as rnn

MAKE = {
    "elman": partial(rnn.elman, D, H),
    "gru": partial(rnn.gru, D, H),
    "gru reset before": partial(rnn.gru, D, H, reset_after=False),
    "lstm": partial(rnn.lstm, D, H),
    "janet": partial(rnn.recurrent, D, H, janet, gates=2),
}
LOW = {name: make(compute_dtype=jnp.bfloat16) for name, make in MAKE.items()}
XS = jax.random.normal(jax.random.key(1), (B, T, D))


def loss(cell, params, xs):
    _, ys = jax.vmap(
        lambda xs: cell.unroll(params, cell.initial_carry(params), xs, mask=SOME_VALID)
    )(xs)
    return jnp.sum(ys**2)


def products(fun, *args):
    """Operands and result of every product in the program, as it is lowered."""
    lines = jax.jit(fun).lower(*args).as_text().splitlines()
    found = [line.split(" : ")[-1].split("->") for line in lines if "dot_gen" in line]
    return [(a.count("bf16>"), a.count("f32>"), "f32>" in b) for a, b in found]


@pytest.mark.parametrize("name", MAKE)
def test_params_carry_outputs_and_gradients_stay_float32(name):
    cell = LOW[name]
    params = cell.init(jax.random.key(0))
    carry = cell.initial_carry(params)
    outputs = (
        params,
        step_of(cell)(params, carry, XS[0, 0]),
        cell.unroll(params, carry, XS[0]),
        jax.grad(partial(loss, cell), (0, 1))(params, XS),
    )
    assert {a.dtype.name for a in jax.tree.leaves(outputs)} == {"float32"}


@pytest.mark.parametrize("name", MAKE)
def test_every_product_has_low_operands_and_a_float32_sum(name):
    cell = LOW[name]
    params = cell.init(jax.random.key(0))
    found = products(cell.step, params, cell.initial_carry(params), XS[0, 0])
    assert set(found) == {(2, 0, True)}
    found = products(jax.grad(partial(loss, cell), (0, 1)), params, XS)
    assert len(found) >= 4
    assert set(found) == {(2, 0, True)}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("reverse", [False, True])
def test_obeys_the_law(name, reverse):
    cell = LOW[name]
    params = cell.init(jax.random.key(0))
    args = params, cell.initial_carry(params), XS[0]
    expected = quick_jit(partial(law, cell, mask=SOME_VALID, reverse=reverse))(*args)
    got = quick_jit(partial(cell.unroll, mask=SOME_VALID, reverse=reverse))(*args)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        # Rounding to bfloat16 is not continuous, so that a last bit can grow.
        np.testing.assert_allclose(a, b, atol=2e-2)
        assert np.abs(a - b).mean() < 2e-3


@pytest.mark.parametrize("name", MAKE)
def test_gradients_are_those_of_float32_to_rounding(name):
    full = MAKE[name]()
    params = full.init(jax.random.key(0))

    def gradient(cell):
        return quick_jit(jax.grad(partial(loss, cell), (0, 1)))(params, XS)

    got, expected = gradient(LOW[name]), gradient(full)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        error = np.abs(a - b).max() / np.abs(b).max()
        assert error < 0.05
        assert error > 1e-6  # the option does something
