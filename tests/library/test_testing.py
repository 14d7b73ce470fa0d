"""`rnn.testing.check`: right cells pass, and of a wrong one it says what is wrong."""

import subprocess
import sys
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import CASES, D, H, assert_refused
from jax import lax
from jax.core import Tracer

import jaxrnn as rnn
from jaxrnn.core import select, zero_where_not
from jaxrnn.testing import LawError, check

XS = np.random.default_rng(0).normal(size=(7, D)).astype(np.float32)


class Params(NamedTuple):
    w_x: Any
    w_h: Any


class Carry(NamedTuple):
    h: Any
    total: Any


def init(key):
    noise = jax.random.normal(key, (D + H, H))
    return Params(noise[:D], noise[D:])


def initial_carry(params, key=None):
    del key
    return Carry(jnp.full(H, 0.5, params.w_h.dtype), jnp.zeros(H, params.w_h.dtype))


def step(params, carry, x):
    h = jnp.tanh(x @ params.w_x + carry.h @ params.w_h)
    return Carry(h, carry.total + h), 2 * h + carry.total


unroll = rnn.scan_unroll(step, initial_carry)
RIGHT = rnn.Cell(init, initial_carry, step, unroll, rnn.About("toy"))


def loop(turn, params, carry, xs, *, mask=None, reverse=False, starts=None, unroll=1):
    """A scan of `turn`: (carry, x, keep, start) -> (carry, y)."""
    length = len(xs)
    mask = jnp.ones(length, bool) if mask is None else mask
    starts = jnp.zeros(length, bool) if starts is None else starts

    def body(carry, inputs):
        return turn(params, carry, *inputs)

    inputs = xs, mask, starts
    return lax.scan(body, carry, inputs, reverse=reverse, unroll=unroll)


def read(x, keep):
    return jnp.where(keep, x, 0)


def begin(params, carry, start):
    return select(start, initial_carry(params), carry)


def right_turn(params, carry, x, keep, start):
    carry = begin(params, carry, start)
    new, y = step(params, carry, read(x, keep))
    return select(keep, new, carry), zero_where_not(keep, y)


def mutant(turn):
    return RIGHT._replace(unroll=partial(loop, turn))


def test_right_cells_pass():
    check(RIGHT, XS)
    check(mutant(right_turn), XS)


@pytest.mark.parametrize(
    "name",
    [
        "gru",
        "embedding",
        "gru learned carry",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                *("complex", "complex in parallel", "dropout per step"),
                *("remat by two", "summed"),
            )
        ),
    ],
)
def test_cells_of_the_library_pass(name):
    check(CASES[name].cell, XS if name == "dropout per step" else None)


def test_a_carry_that_is_always_single_is_checked_in_single():
    def initial_carry(params, key=None):
        return jnp.zeros(3, jnp.float32)

    def step(params, carry, x):
        carry = params * carry + x
        return carry, carry

    def init(key):
        return jnp.full(3, 0.5)

    unroll = rnn.scan_unroll(step, initial_carry)
    check(rnn.Cell(init, initial_carry, step, unroll), jnp.ones((7, 3)))


def test_inputs_may_be_any_tree():
    def step(params, carry, x):
        carry = carry + x["value"] * jnp.where(x["token"] > 0, 1.0, -1.0)
        return carry, {"y": carry, "token": x["token"]}

    def start(params, key=None):
        return jnp.zeros(())

    cell = rnn.Cell(lambda key: (), start, step, rnn.scan_unroll(step, start))
    check(cell, {"value": XS[:, 0], "token": np.arange(7)})


def test_a_cell_may_be_of_the_default_dtype():
    def step(params, carry, x):
        return carry + x, carry + x

    def start(params, key=None):
        return jnp.zeros(D)

    check(rnn.leaf("total", rnn.Input((D,)), lambda key: (), start, step))


# Each of these has one mistake in it.


def carry_goes_on(params, carry, x, keep, start):
    carry = begin(params, carry, start)
    new, y = step(params, carry, read(x, keep))
    return new, zero_where_not(keep, y)


def reads_padding(params, carry, xs, *, mask=None, **options):
    carry, ys = unroll(params, carry, xs, mask=mask, **options)
    if mask is None:
        return carry, ys
    keep = mask[:, None]
    return carry, jnp.where(keep, ys + jnp.where(keep, 0, xs).sum(), 0)


def nan_in_gradients(params, carry, x, keep, start):
    carry = begin(params, carry, start)
    new, y = step(params, carry, x)
    return select(keep, new, carry), zero_where_not(keep, y)


def output_stays(params, carry, x, keep, start):
    carry = begin(params, carry, start)
    new, y = step(params, carry, read(x, keep))
    return select(keep, new, carry), y


def no_starts(params, carry, x, keep, start):
    return right_turn(params, carry, x, keep, jnp.zeros_like(start))


def starts_of_zero(params, carry, x, keep, start):
    carry = select(start, jax.tree.map(jnp.zeros_like, carry), carry)
    return right_turn(params, carry, x, keep, jnp.zeros_like(start))


def starts_reset_outputs(params, carry, x, keep, start):
    new, _ = right_turn(params, carry, x, keep, jnp.zeros_like(start))
    return new, right_turn(params, carry, x, keep, start)[1]


def starts_by_product(params, carry, x, keep, start):
    kept = jax.tree.map(lambda a: a * (1 - start.astype(a.dtype)), carry)
    initial = jax.tree.map(lambda a: a * start.astype(a.dtype), initial_carry(params))
    carry = jax.tree.map(jnp.add, kept, initial)
    return right_turn(params, carry, x, keep, jnp.zeros_like(start))


def starts_of_valid_steps(params, carry, x, keep, start):
    return right_turn(params, carry, x, keep, start & keep)


def never_reverse(params, carry, xs, *, reverse=False, **options):
    del reverse
    return unroll(params, carry, xs, **options)


def reverse_of_inputs(params, carry, xs, *, reverse=False, **options):
    xs = xs[::-1] if reverse else xs
    return unroll(params, carry, xs, **options)


def drops_the_last_carry(params, carry, xs, **options):
    _, ys = unroll(params, carry, xs, **options)
    return loop(right_turn, params, carry, xs[:-1])[0], ys


def wrong_gradient(params, carry, xs, **options):
    params = params._replace(w_h=half_gradient(params.w_h))
    return unroll(params, carry, xs, **options)


@jax.custom_jvp
def half_gradient(x):
    return x


half_gradient.defjvp(lambda x, dx: (x[0], 0.5 * dx[0]))


def step_with_wrong_gradient(params, carry, x):
    carry, y = step(params, carry, x)
    return carry, half_gradient(y)


def python_loop(params, carry, xs, *, mask=None, reverse=False, starts=None):
    length = len(xs)
    mask = jnp.ones(length, bool) if mask is None else mask
    starts = jnp.zeros(length, bool) if starts is None else starts
    ys: list[Any] = [None] * length
    for t in reversed(range(length)) if reverse else range(length):
        carry, ys[t] = right_turn(params, carry, xs[t], mask[t], starts[t])
    return carry, jnp.stack(ys)


def to_double_precision(params, carry, x):
    carry, y = step(params, carry, x)
    return carry, y.astype(jnp.float64)


@jax.custom_batching.custom_vmap
def alone(x):
    return x


@alone.def_vmap
def _(size, in_batched, x):
    del size, in_batched
    return x - x.mean(0, keepdims=True), True


def over_the_batch(params, carry, xs, **options):
    carry, ys = unroll(params, carry, xs, **options)
    constant = lax.stop_gradient(ys)
    return carry, ys + (alone(constant) - constant)


def eager_is_another(params, carry, xs, **options):
    carry, ys = unroll(params, carry, xs, **options)
    return carry, ys if isinstance(ys, Tracer) else ys + 1


def noisy_carry(params, key=None):
    carry = initial_carry(params)
    noise = 0 if key is None else jax.random.normal(key, carry.h.shape, carry.h.dtype)
    return carry._replace(total=carry.total + noise)


def one_buffer(params, key=None):
    zeros = jnp.zeros(H, params.w_h.dtype)
    return Carry(zeros, zeros)


def buffer_of_params(params, key=None):
    return initial_carry(params)._replace(h=params.w_h)


ZEROS = jnp.zeros(H)


def buffer_of_all(params, key=None):
    return Carry(ZEROS, jnp.zeros(H, params.w_h.dtype))


def number_in_the_carry(params, key=None):
    return Carry(jnp.zeros(H), 0.0)


@partial(jax.tree_util.register_dataclass, data_fields=["w"], meta_fields=["size"])
class Static:
    def __init__(self, w, size=5):
        self.w, self.size = w, size


def weak_carry(params, key=None):
    return Carry(jnp.full(H, 0.5), jnp.zeros(H))


def carry_of_one_dtype(params, key=None):
    return Carry(jnp.zeros(H, jnp.float32), jnp.zeros(H, jnp.float32))


def prepared_twice(params):
    return params._replace(w_x=2 * params.w_x)


def without_starts(params, carry, xs, *, mask=None, reverse=False):
    return unroll(params, carry, xs, mask=mask, reverse=reverse)


def by_step(step, **others):
    return RIGHT._replace(
        step=step, unroll=rnn.scan_unroll(step, initial_carry), **others
    )


def infinite(params, carry, x):
    carry, y = step(params, carry, x)
    return carry, jnp.log(-jnp.abs(y))


def output_without_time(params, carry, xs, **options):
    carry, ys = unroll(params, carry, xs, **options)
    return carry, ys[-1]


MISTAKES = {
    "carry goes on": (
        mutant(carry_goes_on),
        "masks: the final carry.h is changed by steps that are all masked",
    ),
    "reads padding": (
        RIGHT._replace(unroll=reads_padding),
        "masks: the output of step 1 depends on what xs holds at masked steps (largest",
    ),
    "NaN in gradients": (
        mutant(nan_in_gradients),
        "masks: the gradient at params.w_x is reached by NaN",
    ),
    "output stays": (
        mutant(output_stays),
        "masks: the output of step 0 is not zero, though the step is masked",
    ),
    "no starts": (
        mutant(no_starts),
        "starts: the output of step 3 depends on what stands before the start at "
        "step 3 (largest difference",
    ),
    "starts of zero": (
        mutant(starts_of_zero),
        "starts: the output of step 2 is not that of lax.scan of the step, with starts",
    ),
    "starts reset outputs": (
        mutant(starts_reset_outputs),
        "starts: the output of step 4 depends on what stands before the start at step",
    ),
    "starts by a product": (
        mutant(starts_by_product),
        "starts: the output of step 3 is reached by NaN (or a token -1) before the "
        "start at step 3",
    ),
    "starts of valid steps": (
        mutant(starts_of_valid_steps),
        "before the start at step 3, which is masked",
    ),
    "no starts at all": (
        RIGHT._replace(unroll=without_starts),
        "TypeError: without_starts() got an unexpected keyword argument 'starts'",
    ),
    "never reverse": (
        RIGHT._replace(unroll=never_reverse),
        "reverse: the output of step 0 is not that of lax.scan of the step, in reverse",
    ),
    "reverse of the inputs alone": (
        RIGHT._replace(unroll=reverse_of_inputs),
        "reverse: the output of step 0 is not that of lax.scan of the step, in reverse",
    ),
    "drops the last carry": (
        RIGHT._replace(unroll=drops_the_last_carry),
        "law: the final carry.h is not that of lax.scan of the step (largest",
    ),
    "wrong gradient of unroll": (
        RIGHT._replace(unroll=wrong_gradient),
        "law: the gradient at params.w_h is not that of lax.scan of the step",
    ),
    "wrong gradient of step": (
        by_step(step_with_wrong_gradient),
        "derivatives: along a random direction of params.w_x the slope of the results",
    ),
    "Python loop": (
        RIGHT._replace(unroll=python_loop),
        "program: the program grows with the number of steps",
    ),
    "float64 constant": (
        by_step(to_double_precision),
        "dtypes: of params, carry and inputs in float32, unroll makes the output in "
        "float64",
    ),
    "normalizes over the batch": (
        RIGHT._replace(unroll=over_the_batch),
        "vmap: the output of step",
    ),
    "eager is another": (
        RIGHT._replace(unroll=eager_is_another),
        "jit: the output of step 0 changes under jax.jit (largest difference 1)",
    ),
    "noise in the carry": (
        RIGHT._replace(initial_carry=noisy_carry),
        "keys: the initial carry.total depends on the key: expected it to be a typed",
    ),
    "one buffer": (
        RIGHT._replace(initial_carry=one_buffer),
        "pytrees: the initial carry.total shares its buffer with the initial carry.h",
    ),
    "buffer of the params": (
        RIGHT._replace(initial_carry=buffer_of_params),
        "pytrees: the initial carry.h shares its buffer with params.w_h",
    ),
    "buffer of all calls": (
        RIGHT._replace(initial_carry=buffer_of_all),
        "pytrees: the initial carry.h shares its buffer with that of another call",
    ),
    "number in the carry": (
        RIGHT._replace(initial_carry=number_in_the_carry),
        "pytrees: the initial carry.total is no array, but float",
    ),
    "static params": (
        RIGHT._replace(init=lambda key: Static(jnp.zeros(3))),
        "pytrees: expected nothing but arrays in params, got 5 in Static",
    ),
    "weak carry": (
        RIGHT._replace(initial_carry=weak_carry),
        "program: a compiled unroll is traced again for the carry that it returned",
    ),
    "prepared is another": (
        RIGHT._replace(about=rnn.About("toy", prepare=prepared_twice)),
        "preparing: the output of step 0 is another if about.prepare(params) stands",
    ),
    "not finite": (by_step(infinite), "finite: the output is not finite"),
    "no time axis": (
        RIGHT._replace(unroll=output_without_time),
        "shapes: the output of unroll is float64 [5], expected float64 [7, 5]",
    ),
}


def some_slow(names, fast: int):
    """The first of every few names in each run, the others in the slow tests."""
    step = -(-len(names) // fast)
    return [
        name if i % step == 0 else pytest.param(name, marks=pytest.mark.slow)
        for i, name in enumerate(names)
    ]


@pytest.mark.parametrize("name", some_slow(MISTAKES, 10))
def test_a_mistake_is_told(name):
    cell, words = MISTAKES[name]
    with pytest.raises(LawError) as error:
        check(cell, XS)
    message = str(error.value)
    assert message.startswith("toy: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.slow
def test_a_cell_of_one_dtype():
    cell = RIGHT._replace(initial_carry=carry_of_one_dtype)
    cell = cell._replace(unroll=rnn.scan_unroll(step, carry_of_one_dtype))
    words = r"toy: shapes: .* is float64 \[5\], expected float32 \[5\]"
    with jax.numpy_dtype_promotion("standard"), pytest.raises(LawError, match=words):
        check(cell, XS, dtype=jnp.float64)
    check(cell, XS)
    check(cell, XS, dtype=jnp.float32)


def test_a_derivative_may_be_another_on_purpose():
    check(by_step(step_with_wrong_gradient), XS, smooth=False)


@pytest.mark.slow
def test_params_and_tolerance_may_be_given():
    cell = by_step(lambda params, carry, x: (carry, x * jnp.sqrt(params.w_x[0, 0] - 3)))
    with pytest.raises(LawError, match="finite: the output is not finite"):
        check(cell, XS)
    check(cell, XS, params=Params(jnp.full((D, H), 5.0), jnp.ones((H, H))))
    rough = RIGHT._replace(unroll=nearly)
    with pytest.raises(LawError, match=r"law: the output of step 0 .* 1e-05"):
        check(rough, XS)
    check(rough, XS, tolerance=1e-3)


def nearly(params, carry, xs, *, mask=None, **options):
    carry, ys = unroll(params, carry, xs, mask=mask, **options)
    return carry, ys + (1e-5 if mask is None else jnp.where(mask[:, None], 1e-5, 0))


def test_bad_arguments():
    lstm: Any = CASES["lstm"].cell
    no_cell: Any = 3
    for mistake, *parts in (
        (lambda: check(no_cell), "check: cell: expected a Cell, got 3"),
        (lambda: check(RIGHT), "check: xs: expected the inputs", "toy does not say"),
        (lambda: check(lstm, XS[:3]), "check: xs: expected at least 4 steps, got 3"),
        (lambda: check(lstm, dtype=int), "check: dtype: expected a floating dtype"),
        (lambda: check(lstm, smooth=no_cell), "check: smooth: expected a bool, got 3"),
        (lambda: check(lstm, tolerance=0), "check: tolerance: expected a positive"),
    ):
        assert_refused(mistake, *parts)


def test_the_library_imports_nothing_for_it():
    heavy = {"pytest", "hypothesis", "jax.test_util"}
    code = f"import jaxrnn, sys; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
