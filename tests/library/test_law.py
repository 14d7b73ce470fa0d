"""The law: every unroll equals `lax.scan` of the step, under every transformation.

In double precision, so that a missing term cannot hide behind rounding.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import (
    ALL_VALID,
    CASES,
    LAYERS,
    MASKS,
    RECURRENT,
    SOME_VALID,
    STARTS,
    B,
    Case,
    D,
    H,
    assert_close,
    gradient,
    inexact,
    quick_jit,
    scalar,
    with_gradient,
)
from jax.sharding import Mesh, PartitionSpec
from jax.test_util import check_grads

import jaxrnn as rnn

TRANSFORMED = [*RECURRENT, "nested", "tagger"]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@cache
def arguments(name):
    return CASES[name].arguments(jnp.float64)


@cache
def by_law(name, reverse=False):
    """What `with_gradient` is to give, as a function of the mask and the arguments."""

    def run(mask, starts, *args):
        expected = CASES[name].expected(mask, reverse=reverse, starts=starts)
        return with_gradient(expected)(*args)

    return quick_jit(run)


NEVER = ~ALL_VALID
WAYS = {  # the mask, the starts and whether it is in reverse
    "masked": (SOME_VALID, None, False),
    "starts reverse": (None, STARTS, True),
    "whole reverse": (None, None, True),
    "starts masked": (SOME_VALID, STARTS, False),
    "whole": (None, None, False),
    "masked reverse": (SOME_VALID, None, True),
    "starts": (None, STARTS, False),
    "starts masked reverse": (SOME_VALID, STARTS, True),
}
QUICK = "whole", "starts masked", "starts masked reverse"


@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param(name, way, marks=() if way in QUICK else pytest.mark.slow)
        for name in CASES
        for way in (WAYS if name in RECURRENT | LAYERS else [*WAYS][-4:])
    ],
)
def test_unroll_is_scan_of_step(name, way):
    mask, starts, reverse = WAYS[way]
    case, args = CASES[name], arguments(name)
    unroll = case.unroll(mask, reverse=reverse, starts=starts)
    got = quick_jit(with_gradient(unroll))(*args)
    mask = ALL_VALID if mask is None else mask
    starts = NEVER if starts is None else starts
    assert_close(got, by_law(name, reverse)(mask, starts, *args))


@pytest.mark.parametrize(
    ("name", "unroll"), [("lstm unrolled", 3), ("gru reset before unrolled", 2)]
)
def test_unroll_option_reaches_the_loop(name, unroll):
    program = jax.make_jaxpr(CASES[name].unroll(None))(*arguments(name))
    assert f"unroll={unroll}" in str(program)


# All below compares with the plain scan, example by example.


@cache
def scanned(name):
    """Outputs and gradients of each example in the batch, by the law."""
    params, carries, xs = CASES[name].batch(jnp.float64)
    examples = [
        by_law(name)(mask, NEVER, params, jax.tree.map(lambda c: c[i], carries), xs[i])
        for i, mask in enumerate(MASKS)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *examples)


def first(tree):
    return jax.tree.map(lambda a: a[0], tree)


@pytest.mark.parametrize("name", TRANSFORMED)
def test_eager(name):
    outputs = CASES[name].unroll(SOME_VALID)(*arguments(name))
    assert_close(outputs, first(scanned(name)[0]))


@pytest.mark.parametrize("name", TRANSFORMED)
def test_vmap_of_grad(name):
    params, carries, xs = CASES[name].batch(jnp.float64)

    def run(mask, *args):
        return with_gradient(CASES[name].unroll(mask))(*args)

    batched = quick_jit(jax.vmap(run, (0, None, 0, 0)))
    assert_close(batched(MASKS, params, carries, xs), scanned(name))


@pytest.mark.parametrize("name", TRANSFORMED)
def test_many_models(name):
    """Other params for each example; and the batch of xs stands on a later axis."""
    unroll = CASES[name].unroll(SOME_VALID)
    models = [CASES[name].arguments(jnp.float64, seed) for seed in range(B)]
    params, carries, xs = jax.tree.map(lambda *a: jnp.stack(a), *models)
    alone = [by_law(name)(SOME_VALID, NEVER, *model) for model in models]
    expected = jax.tree.map(lambda *a: jnp.stack(a), *alone)

    vmap_of_grad = quick_jit(jax.vmap(with_gradient(unroll), (0, 0, 1)))
    assert_close(vmap_of_grad(params, carries, jnp.swapaxes(xs, 0, 1)), expected)
    grad_of_vmap = quick_jit(gradient(lambda *a: jax.vmap(scalar(unroll))(*a).sum()))
    assert_close(grad_of_vmap(params, carries, xs), expected[1])


def batch_scalar(case):
    """The sum of the losses of a batch, (masks, params, carries, xs) -> loss."""

    def loss(mask, *args):
        return scalar(case.unroll(mask))(*args)

    return lambda *args: jax.vmap(loss, (0, None, 0, 0))(*args).sum()


def summed_over_params(name):
    """`scanned` gradients as of a batch: one for the params, the others for each."""
    gradients = scanned(name)[1]
    num_params = len(jax.tree.leaves(CASES[name].batch()[0]))
    return [g.sum(0) for g in gradients[:num_params]] + gradients[num_params:]


@pytest.mark.parametrize("name", TRANSFORMED)
def test_grad_of_vmap(name):
    loss = partial(batch_scalar(CASES[name]), MASKS)
    got = quick_jit(gradient(loss))(*CASES[name].batch(jnp.float64))
    assert_close(got, summed_over_params(name))


@pytest.mark.parametrize("check_vma", [True, False], ids=["vma", "no vma"])
@pytest.mark.parametrize("name", ["gru reset before", "lstm", "peephole", "nested"])
def test_shard_map(name, check_vma):
    """A batch split over two devices: the gradients of the params add up."""
    case = CASES[name]
    params, *batch = case.batch(jnp.float64)
    everywhere, split = PartitionSpec(), PartitionSpec("batch")

    def local(params, masks, carries, xs):
        def batch_loss(params):
            return batch_scalar(case)(masks, params, carries, xs)

        gradients = jax.grad(batch_loss)(params)
        # With check_vma JAX knows by itself that it has to add them up.
        return gradients if check_vma else jax.lax.psum(gradients, "batch")

    sharded = jax.shard_map(
        local,
        mesh=Mesh(np.array(jax.devices()[:2]), ("batch",)),
        in_specs=(everywhere, split, split, split),
        out_specs=everywhere,
        check_vma=check_vma,
    )
    gradients = jax.tree.leaves(quick_jit(sharded)(params, MASKS, *batch))
    assert_close(gradients, summed_over_params(name)[: len(gradients)])


@pytest.mark.parametrize("name", TRANSFORMED)
def test_forward_mode(name):
    floats, put = inexact(arguments(name))
    tangents = [jnp.cos(7 * a) for a in floats]

    def loss(floats):
        return scalar(CASES[name].unroll(SOME_VALID))(*put(floats))

    @quick_jit
    def run(floats, tangents):
        by_jvp = jax.jvp(loss, [floats], [tangents])[1]
        return by_jvp, jax.linearize(loss, floats)[1](tangents)

    expected = sum(map(jnp.vdot, first(scanned(name)[1]), tangents))
    assert_close(run(floats, tangents), (expected, expected), 1e-11)


@pytest.mark.parametrize("name", RECURRENT)
def test_check_grads(name):
    floats, put = inexact(arguments(name))
    unroll_loss = scalar(CASES[name].unroll(SOME_VALID))
    loss = jax.jit(lambda *floats: unroll_loss(*put(floats)))
    check_grads(loss, floats, order=1, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMED)
def test_checkpoint(name):
    unroll = jax.checkpoint(CASES[name].unroll(SOME_VALID))
    got = quick_jit(gradient(scalar(unroll)))(*arguments(name))
    assert_close(got, first(scanned(name)[1]))


@pytest.mark.parametrize("name", RECURRENT)
def test_gradient_of_each_argument_alone(name):
    """What has no tangent is left out of the derivative and must not be missed."""
    floats, put = inexact(arguments(name))
    loss = scalar(CASES[name].unroll(SOME_VALID))

    def alone(i, value):
        return loss(*put([*floats[:i], value, *floats[i + 1 :]]))

    @quick_jit
    def run(floats):
        return [jax.grad(alone, 1)(i, value) for i, value in enumerate(floats)]

    assert_close(run(floats), first(scanned(name)[1]))


def leaky(slope):
    """An activation that closes over a value."""
    return lambda z: jnp.where(z > 0, z, slope * z)


def test_activation_may_close_over_what_is_differentiated():
    params, carry, xs = arguments("elman")

    def slope_gradient(unroll_of):
        def loss(slope):
            case = Case(rnn.elman(D, H, activation=leaky(slope)))
            return scalar(unroll_of(case)(SOME_VALID))(params, carry, xs)

        return quick_jit(jax.grad(loss))(0.3)

    got = slope_gradient(lambda case: case.unroll)
    assert_close(got, slope_gradient(lambda case: case.expected))


def test_theta_may_hold_integers():
    def wired(theta, z, carry):
        return rnn.ElmanCarry(jnp.tanh(z) + theta["scale"] * carry.h[theta["from"]])

    def theta_init(key):
        order = jax.random.permutation(key, H).astype(jnp.int32)
        return {"from": order, "scale": jnp.ones(H)}

    case = Case(rnn.recurrent(D, H, wired, theta_init=theta_init))
    args = case.arguments(jnp.float64)
    got = quick_jit(with_gradient(case.unroll(SOME_VALID)))(*args)
    expected = quick_jit(with_gradient(case.expected(SOME_VALID)))(*args)
    assert_close(got, expected)


@pytest.mark.parametrize("name", TRANSFORMED)
def test_gradient_of_the_last_output(name):
    def last(unroll):
        return quick_jit(gradient(scalar(lambda *args: unroll(*args)[1][-1])))

    case, args = CASES[name], arguments(name)
    assert_close(last(case.unroll(None))(*args), last(case.expected(None))(*args))


def forward_over_reverse(loss, floats, tangents):
    return jax.jvp(jax.grad(loss), [floats], [tangents])[1]


def reverse_over_forward(loss, floats, tangents):
    return jax.grad(lambda floats: jax.jvp(loss, [floats], [tangents])[1])(floats)


def reverse_over_reverse(loss, floats, tangents):
    def slope(floats):
        return sum(map(jnp.vdot, jax.grad(loss)(floats), tangents))

    return jax.grad(slope)(floats)


@cache
def hessian_vector_product(name, order, *, expected):
    case = CASES[name]
    floats, put = inexact(arguments(name))
    unroll = (case.expected if expected else case.unroll)(SOME_VALID)

    def loss(floats):
        return scalar(unroll)(*put(floats))

    tangents = [jnp.cos(7 * a) for a in floats]
    return quick_jit(order, static_argnums=0)(loss, floats, tangents)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        *((name, forward_over_reverse) for name in [*RECURRENT, "nested"]),
        *((name, reverse_over_forward) for name in ("lstm", "peephole")),
        *(
            pytest.param(name, reverse_over_reverse, marks=pytest.mark.slow)
            for name in ("lstm", "peephole")
        ),
    ],
)
def test_hessian_vector_product(name, order):
    got = hessian_vector_product(name, order, expected=False)
    expected = hessian_vector_product(name, forward_over_reverse, expected=True)
    assert_close(got, expected, 1e-10)
