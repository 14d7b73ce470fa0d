"""The fast recurrence: starts, other mixes, and carries of any shape and dtype.

That it obeys the law is in the tests of the law; here is what only gated cells have.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import (
    MASKS,
    RECURRENT,
    SOME_VALID,
    STARTS,
    B,
    Case,
    D,
    H,
    T,
    assert_close,
    gradient,
    inexact,
    quick_jit,
    scalar,
    step_of,
    total,
    with_gradient,
)
from jax.sharding import Mesh, PartitionSpec
from kernel_law import installed

import jaxrnn as rnn
from jaxrnn.cells.gated import dense, gated
from jaxrnn.cells.options import DEFAULTS
from jaxrnn.loops.dense import DENSE, Dense
from jaxrnn.loops.mix import DIAGONAL, HEADS, additive
from jaxrnn.loops.pointwise import Pointwise

OTHER_STARTS = jnp.array([True, False, False, True, False, False, True])
BOTH_STARTS = jnp.stack([STARTS, OTHER_STARTS])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


class Learned(NamedTuple):
    """Params of a cell whose initial carry is learned."""

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array
    carry: Any


def learned_start():
    """An LSTM that begins with a carry among its params."""
    lstm = rnn.lstm(D, H)

    def init(key):
        params = lstm.init(key)
        start = rnn.LSTMCarry(jnp.ones(H), jnp.ones(H))
        return Learned(params.w_x, params.w_h, params.b, start)

    def initial_carry(params, key=None):
        return params.carry

    def by_lstm(theta, z, carry):
        i, f, g, o = jnp.split(z, 4)
        c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return rnn.LSTMCarry(jax.nn.sigmoid(o) * jnp.tanh(c), c)

    return gated(
        "learned",
        rnn.Input((D,)),
        init,
        initial_carry,
        lambda params: (dense(params), ()),
        Pointwise(by_lstm),
    )


class MatrixCarry(NamedTuple):
    """A state of a matrix, of complex numbers, a counter and a key."""

    h: jax.Array  # [H]
    matrix: jax.Array  # [H, D]
    wave: jax.Array  # [H], complex
    steps: jax.Array  # []
    key: jax.Array


def matrix_cell():
    """A cell whose carry has leaves of many shapes and dtypes."""

    def apply(theta, z, carry):
        steps = carry.steps + 1
        matrix = 0.5 * carry.matrix + z[:, None] * theta[None]
        wave = carry.wave * jax.lax.complex(jnp.cos(z), z) * 0.9
        noise = jax.random.normal(jax.random.fold_in(carry.key, steps), (H,), z.dtype)
        h = jnp.tanh(z + matrix.sum(1) + wave.real * wave.imag + 0.1 * noise)
        h = h + 0.1 * jnp.sin(steps.astype(h.dtype))
        return MatrixCarry(h, matrix, wave, steps, carry.key)

    def init(key):
        return rnn.RecurrentParams(*rnn.elman(D, H).init(key), theta=jnp.ones(D))

    def initial_carry(params, key=None):
        dtype = params.w_h.dtype
        wave = jax.lax.complex(*2 * [jnp.ones(H, dtype)])
        zeros = jnp.zeros(H, dtype), jnp.zeros((H, D), dtype)
        key = jax.random.key(7) if key is None else key
        return MatrixCarry(*zeros, wave, jnp.int32(0), key)

    return gated(
        "matrix",
        rnn.Input((D,)),
        init,
        initial_carry,
        lambda params: (dense(params), params.theta),
        Pointwise(apply),
    )


OWN = {"learned": Case(learned_start()), "matrix": Case(matrix_cell())}
CASES = RECURRENT | OWN


@cache
def arguments(name):
    return CASES[name].arguments(jnp.float64)


def by_law(cell, mask=None, starts=None, reverse=False):
    """The scan of the step, which begins anew at the starts."""
    unroll = rnn.scan_unroll(step_of(cell), cell.initial_carry)
    return partial(unroll, mask=mask, starts=starts, reverse=reverse)


WAYS = {
    "starts": (None, STARTS, False),
    "reverse": (None, STARTS, True),
    "masked": (SOME_VALID, STARTS, False),
    "masked reverse": (SOME_VALID, STARTS, True),
    "everywhere": (None, jnp.ones(T, bool), False),
    "nowhere": (None, jnp.zeros(T, bool), False),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OWN)
def test_starts_begin_with_the_initial_carry(name, way):
    mask, starts, reverse = WAYS[way]
    cell, args = CASES[name].cell, arguments(name)
    options = {"mask": mask, "starts": starts, "reverse": reverse}
    got = quick_jit(with_gradient(partial(cell.unroll, **options)))(*args)
    assert_close(got, quick_jit(with_gradient(by_law(cell, **options)))(*args))


def test_no_start_is_as_without_starts():
    args = arguments("lstm")
    unroll = CASES["lstm"].cell.unroll
    got = with_gradient(partial(unroll, starts=jnp.zeros(T, bool)))(*args)
    assert_close(got, with_gradient(unroll)(*args))


def batch_of(unroll):
    """`with_gradient` of examples that have masks and starts of their own."""

    def run(mask, starts, *args):
        return with_gradient(partial(unroll, mask=mask, starts=starts))(*args)

    return quick_jit(jax.vmap(run, (0, 0, None, 0, 0)))


@pytest.mark.parametrize("name", ["gru", "lstm", "learned", "matrix"])
def test_starts_of_a_batch(name):
    cell, args = CASES[name].cell, CASES[name].batch(jnp.float64)
    expected = batch_of(lambda *a, **k: by_law(cell, **k)(*a))
    got = batch_of(cell.unroll)(MASKS, BOTH_STARTS, *args)
    assert_close(got, expected(MASKS, BOTH_STARTS, *args))


@pytest.mark.parametrize("name", ["gru", "learned", "matrix"])
def test_derivatives_with_starts(name):
    """Forward mode, and the derivative of the gradient."""
    floats, put = inexact(arguments(name))
    tangents = [jnp.cos(7 * a) for a in floats]
    cell = CASES[name].cell

    def derivatives(unroll):
        def loss(floats):
            return scalar(unroll)(*put(floats))

        @quick_jit
        def run(floats):
            by_jvp = jax.jvp(loss, [floats], [tangents])
            return by_jvp, jax.jvp(jax.grad(loss), [floats], [tangents])[1]

        return run(floats)

    got = derivatives(partial(cell.unroll, mask=SOME_VALID, starts=STARTS))
    assert_close(got, derivatives(by_law(cell, SOME_VALID, STARTS)), 1e-10)


def test_starts_under_shard_map():
    cell, (params, carries, xs) = (
        CASES["learned"].cell,
        CASES["learned"].batch(jnp.float64),
    )

    def slope(unroll, params, starts, carries, xs):
        def loss(params):
            def one(starts, *args):
                return scalar(partial(unroll, starts=starts))(params, *args)

            return jax.vmap(one)(starts, carries, xs).sum()

        return jax.grad(loss)(params)

    split, everywhere = PartitionSpec("batch"), PartitionSpec()
    sharded = jax.shard_map(
        partial(slope, cell.unroll),
        mesh=Mesh(np.array(jax.devices()[:B]), ("batch",)),
        in_specs=(everywhere, split, split, split),
        out_specs=everywhere,
    )
    got = quick_jit(sharded)(params, BOTH_STARTS, carries, xs)
    by_scan = lambda *a, starts: by_law(cell, starts=starts)(*a)  # noqa: E731
    assert_close(got, slope(by_scan, params, BOTH_STARTS, carries, xs))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_before_a_start_reaches_what_is_after(name, reverse):
    """Not even NaN, neither the outputs nor the gradients of what comes after."""
    cell, (params, carry, xs) = CASES[name].cell, arguments(name)
    start = 3
    before = np.arange(T) > start if reverse else np.arange(T) < start
    starts = jnp.arange(T) == start

    def loss(carry, xs):
        carry, ys = cell.unroll(params, carry, xs, starts=starts, reverse=reverse)
        return total((carry, ys[~before])), ys

    run = jax.value_and_grad(loss, argnums=1, has_aux=True)
    floats, put = inexact(carry)
    spoiled = put([a * jnp.nan for a in floats])
    nans = jnp.where(before[:, None], jnp.nan, xs)
    (value, ys), slopes = run(spoiled, nans)
    (expected, expected_ys), expected_slopes = run(carry, xs)
    assert jnp.isnan(ys[before]).all()
    assert_close((value, ys[~before]), (expected, expected_ys[~before]), 0)
    assert_close(slopes[~before], expected_slopes[~before], 0)


def test_the_gradient_of_a_learned_start_is_free_of_nan():
    cell, (params, carry, xs) = CASES["learned"].cell, arguments("learned")
    starts, before = jnp.arange(T) == 3, np.arange(T) < 3

    def loss(start, xs):
        new = params._replace(carry=start)
        return cell.unroll(new, carry, xs, starts=starts)[1][3:].sum()

    got = jax.grad(loss)(params.carry, jnp.where(before[:, None], jnp.nan, xs))
    expected = jax.grad(loss)(params.carry, xs)
    assert_close(got, expected, 0)
    assert all(a.all() for a in got)


# Other mixes


def normal(*shape) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape)


SIZE = 6  # hidden, of two heads, and two gates
GATES = 2 * SIZE
WEIGHTS = {
    "dense": Dense(normal(D, GATES), normal(SIZE, GATES), normal(GATES)),
    "diagonal": Dense(normal(D, GATES), normal(GATES), normal(GATES)),
    "heads": Dense(normal(D, GATES), normal(2, 3, 2 * 3), normal(GATES)),
}
MIXES = {
    "dense": additive(
        lambda product, w, x: product(x, w.w_x) + w.b,
        lambda product, w, h: product(h, w.w_h),
    ),
    "diagonal": DIAGONAL,
    "heads": HEADS,
}


def full(name):
    """The weights as those of a dense mix."""
    weights = WEIGHTS[name]
    if name == "diagonal":
        blocks = [np.diag(w) for w in np.split(weights.w_h, 2)]
        return weights._replace(w_h=np.concatenate(blocks, axis=1))
    if name == "heads":
        w_h = np.zeros((SIZE, 2, SIZE))
        for head in range(2):
            units = slice(3 * head, 3 * head + 3)
            for gate in range(2):
                block = weights.w_h[head, :, 3 * gate : 3 * gate + 3]
                w_h[units, gate, units] = block
        return weights._replace(w_h=w_h.reshape(SIZE, GATES))
    return weights


def forgetting(theta, z, carry):
    f, g = jnp.split(z, 2)
    f = jax.nn.sigmoid(f)
    return rnn.ElmanCarry(f * carry.h + (1 - f) * jnp.tanh(g))


def mixed(mix, weights, settings=DEFAULTS):
    """A cell with this mix, whose params are its weights."""
    return gated(
        "mixed",
        rnn.Input((D,)),
        lambda key: jax.tree.map(jnp.asarray, weights),
        lambda params, key=None: rnn.ElmanCarry(jnp.zeros(SIZE, params.w_h.dtype)),
        lambda params: (params, ()),
        Pointwise(forgetting),
        mix,
        settings=settings,
    )


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_obeys_the_law(name):
    case = Case(mixed(MIXES[name], WEIGHTS[name]))
    args = case.batch(jnp.float64)

    def run(unroll):
        def one(mask, starts, *args):
            floats, put = inexact(args)

            def loss(floats):
                return scalar(partial(unroll, mask=mask, starts=starts))(*put(floats))

            slope = jax.grad(loss)(floats)
            return slope, jax.jvp(jax.grad(loss), [floats], [slope])[1]

        return quick_jit(jax.vmap(one, (0, 0, None, 0, 0)))(MASKS, BOTH_STARTS, *args)

    expected = run(lambda *a, **k: by_law(case.cell, **k)(*a))
    assert_close(run(case.cell.unroll), expected, 1e-11)


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_is_a_dense_one_with_zeros(name):
    case = Case(mixed(MIXES[name], WEIGHTS[name]))
    same = mixed(DENSE, full(name))
    _, carry, xs = case.arguments(jnp.float64)

    def run(cell):
        params = cell.init(jax.random.key(0))
        unroll = partial(cell.unroll, mask=SOME_VALID, reverse=True)
        gradients = gradient(scalar(unroll))(params, carry, xs)
        w_x, _, b, *others = gradients
        return unroll(params, carry, xs), (w_x, b, *others)

    assert_close(run(case.cell), run(same))


@pytest.mark.parametrize("name", MIXES)
def test_products_of_a_mix_in_low_precision(name):
    """The gradients of the weights are added up in the dtype of the params."""
    settings = DEFAULTS._replace(compute_dtype=jnp.bfloat16)
    low = mixed(MIXES[name], WEIGHTS[name], settings)
    cell = mixed(MIXES[name], WEIGHTS[name])
    args = Case(cell).arguments(jnp.float32)
    got, expected = (gradient(scalar(c.unroll))(*args) for c in (low, cell))
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype == jnp.float32
        assert 0 < np.abs(a - b).max() < 0.05 * np.abs(b).max()
        assert (a.astype(jnp.bfloat16).astype(jnp.float32) != a).any()


@pytest.mark.parametrize("name", MIXES)
def test_no_gradient_of_a_weight_inside_the_loop(name):
    """Each is one product after it: no step writes an array of a weight's shape."""
    case = Case(mixed(MIXES[name], WEIGHTS[name]))
    args = case.arguments(jnp.float64)
    with installed({}):
        program = jax.make_jaxpr(gradient(scalar(case.cell.unroll)))(*args)
    loops = [e for e in program.eqns if e.primitive.name == "scan"]
    assert len(loops) == 2
    shape = WEIGHTS[name].w_h.shape
    carries = [v.aval.shape for loop in loops for v in loop.outvars]
    assert shape not in carries
