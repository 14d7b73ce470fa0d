"""Cells by their names, in the stacks of the studies."""

import jax
import jax.numpy as jnp
import pytest

import jaxrnn as rnn
from experiments.models.stack import cell_named, stack


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
