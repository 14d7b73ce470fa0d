"""Every optimizer of optax trains, or is refused with the reason."""

import inspect
import warnings
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from battery import assert_close, assert_refused
from optax import contrib

import jaxrnn as rnn

KEY = jax.random.key(7)
MESH = jax.make_mesh((2,), ("batch",))
SGD = optax.sgd(0.01)
B, D, H = 8, 4, 3
PARAMS = {"w": jnp.linspace(-1, 1, D * H).reshape(D, H), "b": jnp.full(H, 0.3)}
XS, YS = jax.random.normal(KEY, (B, D)), jax.random.normal(KEY, (B, H)) + 1
PLAIN: Any = {"labels": {"all": SGD}, "of": lambda p: jax.tree.map(lambda _: "all", p)}


def even(step, **options):
    return step % 2 == 0


# Of those that are made of more than a learning rate.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "adaptive_grad_clip": (0.1,),
    "add_decayed_weights": (0.1,),
    "add_noise": (0.1, 0.5, KEY),
    "apply_every": (2,),
    "apply_if_finite": (SGD, 3),
    "chain": (SGD,),
    "clip": (1.0,),
    "clip_by_block_rms": (1.0,),
    "clip_by_global_norm": (1.0,),
    "conditionally_mask": (SGD, even),
    "conditionally_transform": (SGD, even),
    "differentially_private_aggregate": (1.0, 0.1, KEY),
    "dpsgd": (0.01, 1.0, 0.1, 0),
    "ema": (0.9,),
    "flatten": (SGD,),
    "freeze": (False,),
    "lookahead": (SGD, 2, 0.5),
    "masked": (SGD, True),
    "measure_with_ema": (optax.tree.norm, 0.9),
    "mechanize": (SGD,),
    "multi_transform": (PLAIN["labels"], PLAIN["of"]),
    "named_chain": (("only", SGD),),
    "noisy_sgd": (0.01, 0.01, 0.55, KEY),
    "partition": (PLAIN["labels"], PLAIN["of"]),
    "sam": (SGD, SGD),
    "scale": (-0.1,),
    "scale_by_backtracking_linesearch": (5,),
    "scale_by_schedule": (lambda step: -0.1,),
    "scale_by_zoom_linesearch": (5,),
    "schedule_free": (SGD, 0.01),
    "snapshot": ("norm", optax.tree.norm),
    "split_real_and_imaginary": (SGD,),
    "stateless": (lambda updates, params: updates,),
    "stateless_with_tree_map": (lambda update, param: update,),
    "trace": (0.9,),
    "with_extra_args_support": (SGD,),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "selective_transform": {"optimizer": SGD, "freeze_mask": False},
}
COMPOSED = {
    "scale_by_muon": lambda: optax.masked(  # of matrices alone
        contrib.scale_by_muon(
            weight_dimension_numbers={
                "w": contrib.MuonDimensionNumbers(),
                "b": optax.MaskedNode(),
            }
        ),
        {"w": True, "b": False},
    ),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(0.01),
    "inject_stateful_hyperparams": lambda: optax.inject_stateful_hyperparams(
        optax.adam
    )(0.01),
    "MultiSteps": lambda: optax.MultiSteps(optax.polyak_sgd(0.01), 2),
    "sam opaque": lambda: contrib.sam(SGD, SGD, opaque_mode=True),
    "sam opaque in a chain": lambda: optax.chain(
        optax.clip(1.0), contrib.sam(SGD, SGD, opaque_mode=True)
    ),
    "sam in a chain": lambda: optax.chain(optax.clip(1.0), contrib.sam(SGD, SGD)),
    "plateau in a chain": lambda: optax.chain(SGD, contrib.reduce_on_plateau()),
    "backtracking": lambda: optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(9, store_grad=True)
    ),
}
REFUSED = {
    "differentially_private_aggregate": "the gradient of each example",
    "dpsgd": "the gradient of each example",
    "measure_with_ema": "update: updates: expected the structure",
}


def made(name, function):
    """What a function of optax makes, if it makes an optimizer; else None."""
    if name in COMPOSED:
        return COMPOSED[name]()
    signature = inspect.signature(function)
    args, options = ARGUMENTS.get(name, ()), OPTIONS.get(name, {})
    if not args and "learning_rate" in signature.parameters:
        options |= {"learning_rate": 0.01}
    declared = "GradientTransformation" in str(signature.return_annotation)
    try:
        signature.bind(*args, **options)
    except TypeError:
        assert not declared, f"{name}: an optimizer that no test can make"
        return None
    if not declared and signature.return_annotation is not signature.empty:
        return None
    try:
        found = function(*args, **options)
    except (TypeError, ValueError, AttributeError):
        assert not declared, name
        return None
    return found if hasattr(found, "init") and hasattr(found, "update") else None


@cache
def optimizers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (DeprecationWarning, UserWarning))
        return {
            name: optimizer
            for module in (optax, contrib)
            for name, function in (vars(module) | dict.fromkeys(COMPOSED)).items()
            if not name.startswith("_")
            and (name in COMPOSED or inspect.isfunction(function))
            and (optimizer := made(name, function)) is not None
        }


NAMES = sorted(optimizers())


def loss_fn(params, x, y, key):
    del key
    out = jnp.tanh(x.astype(params["w"].dtype) @ params["w"] + params["b"])
    return jnp.mean((out - y.astype(out.dtype)) ** 2)


def start(name, dtype=jnp.float32):
    params = jax.tree.map(lambda a: a.astype(dtype), PARAMS)
    if name == "lookahead":
        params = optax.LookaheadParams.init_synced(params)
    return rnn.train_state(params, optimizers()[name], KEY)


def epoch_of(name, **options):
    return rnn.make_epoch(rnn.make_update(loss_fn, optimizers()[name], **options))


def test_there_are_all():
    known = {"adam", "lbfgs", "muon", "sam", "schedule_free_adamw", "polyak_sgd"}
    assert known | {"reduce_on_plateau", "dog", "momo", "sophia"} <= set(NAMES)
    assert len(NAMES) > 100


@pytest.mark.parametrize("name", NAMES)
def test_each_is_traced_or_refused(name):
    """In an epoch of many seeds on a mesh, with one type of its state throughout."""

    def trace():
        states = jax.tree.map(lambda a: jnp.stack([a, a]), start(name, jnp.bfloat16))
        epoch = jax.vmap(epoch_of(name, mesh=MESH), (0, None, 0))
        order = jnp.zeros((2, 3, B), int)
        after, metrics = jax.eval_shape(epoch, states, (XS, YS), order)
        assert metrics.loss.shape == (2, 3)
        assert metrics.loss.dtype == jnp.float32
        assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(
            lambda a: (a.shape, a.dtype), states
        )

    if name in REFUSED:
        assert_refused(trace, REFUSED[name])
    else:
        trace()


# What optax documents that each of these is given, beside the gradient.
VALUE, SEARCH = ("value",), ("value", "grad", "value_fn")
GIVEN = {
    **dict.fromkeys(("polyak_sgd", "scale_by_polyak", "reduce_on_plateau"), VALUE),
    **dict.fromkeys(("momo", "momo_adam", "MultiSteps", "plateau in a chain"), VALUE),
    **dict.fromkeys(("lbfgs", "backtracking"), SEARCH),
    **dict.fromkeys(
        ("scale_by_backtracking_linesearch", "scale_by_zoom_linesearch"), SEARCH
    ),
    **dict.fromkeys(("sophia", "hutchinson_estimator_diag_hessian"), ("obj_fn",)),
    **dict.fromkeys(("sam opaque", "sam opaque in a chain"), ("grad_fn",)),
}


def by_hand(name, updates):
    """A loop as optax's own pages have it, over the whole batch at once."""
    optimizer, params = optimizers()[name], start(name).params
    opt_state = optimizer.init(params)

    def loss(params):
        return jax.vmap(loss_fn, (None, 0, 0, None))(params, XS, YS, KEY).mean()

    @jax.jit
    def step(params, opt_state):
        read = params.fast if name == "lookahead" else params
        value, grad = jax.value_and_grad(loss)(read)
        offered = {"value": value, "grad": grad, "value_fn": loss, "obj_fn": loss}
        offered["grad_fn"] = lambda params, i: jax.grad(loss)(params)
        given = {what: offered[what] for what in GIVEN.get(name, ())}
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            change, opt_state = optimizer.update(grad, opt_state, params, **given)
            return optax.apply_updates(params, change), opt_state

    for _ in range(updates):
        params, opt_state = step(params, opt_state)
    return params


def check_values(name):
    order = jnp.tile(jnp.arange(B), (3, 1))
    expected = by_hand(name, len(order))
    state, _ = epoch_of(name)(start(name), (XS, YS), order)
    assert_close(state.params, expected, 2e-4)
    states = jax.tree.map(lambda a: jnp.stack([a, a]), start(name))
    epoch = jax.vmap(epoch_of(name, mesh=MESH, microbatches=2), (0, None, None))
    state, _ = epoch(states, (XS, YS), order)
    for seed in range(2):
        got = jax.tree.map(lambda a, seed=seed: a[seed], state.params)
        assert_close(got, expected, 2e-4)


@pytest.mark.parametrize("name", ["polyak_sgd", "lookahead", "sam opaque in a chain"])
def test_some_train_as_by_hand(name):
    check_values(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(REFUSED)))
def test_each_trains_as_by_hand(name):
    check_values(name)


def adam_in_numpy(params, gradient, updates, rate):
    """Moments of full precision; the params are rounded after each update."""
    m, v = np.zeros(params.shape), np.zeros(params.shape)
    for n in range(1, updates + 1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        step = rate * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
        rounded = jnp.asarray(np.asarray(params, float) - step, jnp.float32)
        params = rounded.astype(jnp.bfloat16)
    return params, m, v


def test_half_precision_has_moments_in_single_precision():
    params = jnp.linspace(-1, 1, 7).astype(jnp.bfloat16)
    gradient = jnp.linspace(0.5, 2, 7).astype(jnp.bfloat16)
    optimizer = optax.adam(0.03125)
    update = rnn.make_update(lambda p, x, key: jnp.vdot(p, x), optimizer)
    epoch = rnn.make_epoch(update)
    state = rnn.train_state(params, optimizer, KEY)
    data, order = (jnp.stack([gradient] * 2),), jnp.tile(jnp.arange(2), (300, 1))
    state, metrics = epoch(state, data, order)
    adam = state.opt_state[0]
    want, m, v = adam_in_numpy(params, np.asarray(gradient, float), 300, 0.03125)
    assert state.params.dtype == jnp.bfloat16
    assert metrics.grad_norm.dtype == adam.mu.dtype == adam.nu.dtype == jnp.float32
    np.testing.assert_allclose(adam.mu, m, rtol=1e-4)
    np.testing.assert_allclose(adam.nu, v, rtol=1e-4)  # in bfloat16 it is half of that
    np.testing.assert_allclose(
        np.asarray(state.params, float), np.asarray(want, float), rtol=2**-7
    )


def test_a_state_in_half_precision_is_refused():
    optimizer, params = optax.adam(0.1), jnp.ones(3, jnp.bfloat16)
    state = rnn.train_state(params, optimizer, KEY)
    state = state._replace(opt_state=optimizer.init(params))
    update = rnn.make_update(lambda p, x, key: jnp.vdot(p, x), optimizer)
    assert_refused(
        lambda: update(state, jnp.ones((2, 3), jnp.bfloat16)),
        "update: state.opt_state[0].mu: expected float32",
        "got bfloat16; train_state makes it",
    )


def test_microbatches_in_half_precision_add_up_in_single_precision():
    """Of 256 gradients of one, a sum in bfloat16 stays at 256 when one more comes."""
    xs = jnp.ones((1024, 3), jnp.bfloat16)
    params = jnp.zeros(3, jnp.bfloat16)
    optimizer = optax.sgd(1.0)
    update = rnn.make_update(
        lambda p, x, key: jnp.vdot(p, x), optimizer, microbatches=512
    )
    state, metrics = update(rnn.train_state(params, optimizer, KEY), xs)
    assert (state.params == -1).all()
    assert metrics.grad_norm == pytest.approx(3**0.5, rel=1e-6)


def test_complex_params_go_down():
    """The gradient of JAX is the conjugate of what an optimizer subtracts."""
    aim = jnp.array([1 + 2j, -3 - 1j])
    update = rnn.make_update(lambda p, x, key: jnp.sum(jnp.abs(p - x) ** 2), SGD_HALF)
    state, _ = update(rnn.train_state(jnp.zeros(2, complex), SGD_HALF, KEY), aim[None])
    assert_close(state.params, aim, 1e-6)


SGD_HALF = optax.sgd(0.5)  # one update of it is at the minimum of a square


def test_what_no_update_can_give_is_refused():
    def needs(updates, state, params=None, *, labels, **more):
        return updates, state

    update: Any = needs
    identity = optax.GradientTransformationExtraArgs(lambda params: (), update)
    both = optax.chain(
        contrib.sam(SGD, SGD, opaque_mode=True), contrib.reduce_on_plateau()
    )
    over_an_axis = contrib.sam(SGD, SGD, opaque_mode=True, batch_axis_name="devices")
    for optimizer, said in (
        (identity, "'labels'"),
        (both, "asks for nothing but"),
        (over_an_axis, "takes no means over an axis"),
    ):
        update = rnn.make_update(loss_fn, optimizer)
        state = rnn.train_state(PARAMS, optimizer, KEY)
        assert_refused(partial(update, state, XS, YS), "update: optimizer", said)


@pytest.mark.filterwarnings("ignore")
def test_lookahead_asks_for_a_pair():
    assert_refused(
        lambda: rnn.train_state(PARAMS, optimizers()["lookahead"], KEY),
        "train_state: params: expected optax.LookaheadParams.init_synced(params)",
    )


def test_schedule_free_evaluates_other_params():
    """The mean of the points that gradient descent visits, as in its paper."""
    optimizer = contrib.schedule_free(SGD_HALF, 0.5, b1=0.9, weight_lr_power=0.0)
    update = rnn.make_update(lambda p, x, key: jnp.sum((p - x) ** 2) / 2, optimizer)
    state = rnn.train_state(jnp.zeros(1), optimizer, KEY)
    x = z = np.zeros(1)
    for n in range(1, 5):
        state, _ = update(state, jnp.ones((2, 1)))
        y = 0.1 * z + 0.9 * x
        z = z - 0.5 * (y - 1)
        x = (1 - 1 / n) * x + z / n
    evaluated = contrib.schedule_free_eval_params(state.opt_state, state.params)
    np.testing.assert_allclose(evaluated, x, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "sam", "lookahead", "noisy_sgd"])
def test_a_state_may_be_donated(name):
    params = PARAMS
    if name == "lookahead":
        params = optax.LookaheadParams.init_synced(params)
    key, carry = jax.random.key(3), jnp.zeros(B)
    optimizer = optimizers()[name]

    def loss(params, carry, x, y, key):
        return loss_fn(params, x, y, key), carry

    update = rnn.make_update(loss, optimizer, has_carry=True)
    state = rnn.train_state(params, optimizer, key, carry)
    again = rnn.train_state(params, optimizer, key, carry)
    after, _ = jax.jit(update, donate_argnums=0)(state, XS, YS)
    assert all(a.is_deleted() for a in jax.tree.leaves(state.params))
    assert not any(a.is_deleted() for a in jax.tree.leaves((params, key, carry, again)))
    jax.block_until_ready(after)
