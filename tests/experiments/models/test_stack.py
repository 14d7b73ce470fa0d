"""Stacked cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn as rnn
from experiments.models.stack import cell_named, stack


def test_a_stack_is_its_cells_one_after_the_other():
    cells = stack(rnn.lstm, 3, 5, layers=2, dropout=0.4, bias=False)
    model = rnn.chain(*cells)
    params = model.init(jax.random.key(0))
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    assert shapes == [(3, 20), (5, 20), (5, 20), (5, 20)]
    xs = jax.random.normal(jax.random.key(1), (7, 3))
    _, states = model.unroll(params, model.initial_carry(params), xs)
    expected = xs
    for cell, own in zip(cells[::2], params[::2], strict=True):
        _, expected = cell.unroll(own, cell.initial_carry(own), expected)
    np.testing.assert_allclose(states, expected, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_each_layer_has_one_mask_of_dropout_for_a_sequence(layers):
    model = rnn.chain(*stack(rnn.elman, 3, 50, layers=layers, dropout=0.5))
    params = model.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (7, 3))
    carry = model.initial_carry(params, jax.random.key(2))
    _, states = jax.jit(model.unroll)(params, carry, xs)
    left_out = np.asarray(states) == 0
    assert (left_out == left_out[0]).all()
    assert 10 < left_out[0].sum() < 40


@pytest.mark.parametrize("name", rnn.cells.NAMES)
def test_any_cell_stands_in_a_stack_of_any_sizes(name):
    net = rnn.chain(*stack(cell_named(name), 3, 4, layers=2, dropout=0.5))
    params = jax.eval_shape(net.init, jax.random.key(0))

    def outputs(params, xs):
        return net.unroll(params, net.initial_carry(params), xs)[1]

    assert jax.eval_shape(outputs, params, jnp.ones((7, 3))).shape == (7, 4)
    same = cell_named(name)(4, 4)
    assert same.about.name == rnn.cells.by_name(name)(4, 4).about.name


@pytest.mark.parametrize("name", rnn.cells.OF_ONE_SIZE)
def test_a_cell_of_one_size_says_so(name):
    with pytest.raises(ValueError, match="as many numbers as it reads, got 3"):
        rnn.cells.by_name(name)(3, 4)
