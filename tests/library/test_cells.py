"""What all recurrent cells share: options, names, and cells as values that travel."""

import inspect
from typing import Any, get_type_hints

import chex
import jax
import jax.numpy as jnp
import pytest
from battery import RECURRENT, D, H, T, assert_close, assert_refused, janet, step_of

import jaxrnn as rnn
from jaxrnn.cells.options import DEFAULTS

KEY = jax.random.key(5)
XS = jax.random.normal(KEY, (T, D))
FACTORIES: dict[str, Any] = {
    "elman": rnn.elman,
    "gru": rnn.gru,
    "lstm": rnn.lstm,
    "recurrent": lambda input_size, hidden_size, **options: rnn.recurrent(
        input_size, hidden_size, janet, gates=2, **options
    ),
}
MODEL = rnn.chain(
    rnn.residual(rnn.gru(D, D)),
    rnn.dropout(0.1),
    rnn.bidirectional(rnn.lstm(D, H), rnn.elman(D, H)),
    rnn.linear(2 * H, 2),
)
CELLS = {name: case.cell for name, case in RECURRENT.items()} | {"model": MODEL}


@pytest.mark.parametrize("name", ["elman", "gru", "lstm"])
def test_by_name(name):
    assert rnn.cells.by_name(name) is getattr(rnn, name) is getattr(rnn.cells, name)


@pytest.mark.parametrize("name", ["rnn", "LSTM", "by_name", "", None, ["gru"]])
def test_by_name_of_no_cell(name):
    assert_refused(
        lambda: rnn.cells.by_name(name),
        "by_name: name: expected one of elman, gru, lstm",
        f"got {name!r}",
    )


@pytest.mark.parametrize("name", FACTORIES)
def test_carry_init_is_short_for_learned_carry(name):
    short = FACTORIES[name](D, H, carry_init=jax.nn.initializers.ones)
    learned = rnn.learned_carry(
        FACTORIES[name](D, H), carry_init=jax.nn.initializers.ones
    )
    key = jax.random.key(0)
    assert_close(short.init(key), learned.init(key), 0)
    assert all((a == 1).all() for a in short.initial_carry(short.init(key)))


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("option", ["carry", "biass", "gatez"])
def test_an_option_that_does_not_exist(name, option):
    with pytest.raises(TypeError, match=f"{name}: {option}: there is no such option"):
        FACTORIES[name](D, H, **{option: None})


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("bias", 1, "expected a bool"),
        ("w_x_init", None, "expected a function"),
        ("w_h_init", 0.1, "expected a function"),
        ("b_init", "zeros", "expected a function"),
        ("dtype", jnp.int32, "expected a floating dtype"),
        ("compute_dtype", "int8", "expected a floating dtype"),
        ("unroll", 0, "expected an integer of at least 1"),
    ],
)
def test_an_option_of_the_wrong_kind(name, option, value, expected):
    assert_refused(
        lambda: FACTORIES[name](D, H, **{option: value}),
        f"{name}: {option}: {expected}",
    )


def test_options_are_typed_and_documented_once():
    options = get_type_hints(rnn.cells.Options)
    assert tuple(options) == DEFAULTS._fields
    text = inspect.getdoc(rnn.cells.Options) or ""
    for option in options:
        assert f"\n  {option}: " in text
    for name in FACTORIES:
        text = inspect.getdoc(getattr(rnn, name)) or ""
        assert "`jaxrnn.cells.Options`" in text
        for option in options:
            assert option in text


@pytest.mark.parametrize("name", CELLS)
def test_no_tracer_leaks(name):
    """JAX's own check stays usable in a user's program."""
    cell = CELLS[name]

    def loss(params, xs, mask, starts):
        carry = cell.initial_carry(params, KEY)
        return (cell.unroll(params, carry, xs, mask=mask, starts=starts)[1] ** 2).sum()

    with jax.checking_leaks():
        params = jax.jit(cell.init)(KEY)
        mask, starts = jnp.arange(T) < 5, jnp.arange(T) == 2
        for args in ((XS, None, None), (XS, mask, starts)):
            jax.jit(loss)(params, *args)
            jax.jit(jax.grad(loss))(params, *args)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_carry_may_be_donated(name):
    """Its fields are arrays of their own, none of them one of the params."""
    cell = CELLS[name]
    params = cell.init(KEY)
    tick = jax.jit(step_of(cell), donate_argnums=1)
    carry = cell.initial_carry(params)
    expected = step_of(cell)(params, carry, XS[0])
    chex.assert_trees_all_close(tick(params, carry, XS[0]), expected, rtol=1e-6)
    assert all(a.is_deleted() for a in jax.tree.leaves(carry))
    assert not any(a.is_deleted() for a in jax.tree.leaves(params))


@pytest.mark.parametrize("name", FACTORIES)
def test_params_are_weights_alone(name):
    fields = set(FACTORIES[name](D, H).init(KEY)._fields)
    assert {"w_x", "w_h", "b"} <= fields <= {"w_x", "w_h", "b", "b_h", "theta"}
