"""What a cell ends with, as one vector."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn as rnn

T, D, H = 6, 3, 4
TWO = rnn.bidirectional(rnn.gru(D, H), rnn.lstm(D, 5))
XS = jax.random.normal(jax.random.key(1), (T, D))


def ends(cell, xs, mask=None):
    params = cell.init(jax.random.key(0))
    return cell.unroll(params, cell.initial_carry(params), xs, mask=mask)


@pytest.mark.parametrize("length", [1, 4, T])
def test_both_halves_have_read_all(length):
    """Each alone, over the sequence without its padding, ends there."""
    params = TWO.init(jax.random.key(0))
    mask = jnp.arange(T) < length
    carry, _ = ends(TWO, XS.at[length:].set(jnp.nan), mask)
    halves = (
        (rnn.gru(D, H), params.forward, False),
        (rnn.lstm(D, 5), params.backward, True),
    )
    alone = [
        cell.unroll(p, cell.initial_carry(p), XS[:length], reverse=back)[0].h
        for cell, p, back in halves
    ]
    np.testing.assert_allclose(rnn.summary(carry), jnp.concatenate(alone), atol=1e-6)


def test_every_weight_of_both_halves_has_a_gradient():
    def loss(params):
        carry, _ = TWO.unroll(params, TWO.initial_carry(params), XS)
        return rnn.summary(carry).sum()

    for gradient in jax.tree.leaves(jax.grad(loss)(TWO.init(jax.random.key(0)))):
        assert jnp.abs(gradient).max() > 0


def test_of_one_direction_it_is_the_last_valid_output():
    cell = rnn.chain(rnn.gru(D, H), rnn.dropout(0.5), rnn.remat(rnn.lstm(H, 5)))
    params, mask = cell.init(jax.random.key(0)), jnp.arange(T) < 4
    carry = cell.initial_carry(params, jax.random.key(2))
    carry, ys = cell.unroll(params, carry, XS, mask=mask)
    np.testing.assert_array_equal(rnn.summary(carry), rnn.last(ys, mask))


def test_of_nothing_it_is_the_initial_state():
    cell = rnn.bidirectional(*[rnn.gru(D, H, carry_init=jax.nn.initializers.ones)] * 2)
    carry, _ = ends(cell, XS, jnp.zeros(T, bool))
    np.testing.assert_array_equal(rnn.summary(carry), jnp.ones(2 * H))


def test_of_a_stack_of_two_directions_and_of_cells_in_cells():
    two = rnn.bidirectional(rnn.gru(8, H), rnn.gru(8, H))
    stack = rnn.chain(rnn.linear(D, 8), two, two, rnn.layer_norm(8))
    carry, _ = ends(stack, XS)
    assert rnn.summary(carry).shape == (8,)
    fed, _ = ends(rnn.input_feeding(rnn.gru(D + H, H), H), XS)
    np.testing.assert_array_equal(rnn.summary(fed), fed.cell.h)


def test_of_a_batch_it_is_that_of_each():
    params = TWO.init(jax.random.key(0))
    batch = jnp.stack([XS, -XS])
    carries, _ = jax.vmap(partial(TWO.unroll, params, TWO.initial_carry(params)))(batch)
    np.testing.assert_array_equal(rnn.summary(carries), jax.vmap(rnn.summary)(carries))


@pytest.mark.parametrize("cell", [rnn.linear(D, 2), rnn.dropout(0.5)], ids=str)
def test_without_a_state_it_is_refused(cell):
    with pytest.raises(ValueError, match="summary: carry: expected one with a state h"):
        rnn.summary(cell.initial_carry(cell.init(jax.random.key(0)), jax.random.key(1)))
