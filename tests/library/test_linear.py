"""Linear recurrences: each form equals the step, and the step equals NumPy."""

import inspect
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import assert_refused, quick_jit, step_of
from kernel_law import installed
from test_native import needs_compiler

import jaxrnn as rnn
from jaxrnn.kernels import cpu, gpu
from jaxrnn.loops.forms import FORMS
from jaxrnn.loops.linear import Linear, linear_loop, linear_scan

T, N, M = 11, 3, 2


class Both(NamedTuple):
    """A carry with a complex and a real field."""

    s: jax.Array  # [N, M]
    r: jax.Array  # [N]


def both(method="best", **more):
    """s_t = exp(i w - p) s_{t-1} + x_t,    r_t = sigmoid(x_t) r_{t-1} + p x_t."""

    def init(key):
        return jax.random.normal(key, (N, M))

    def initial_carry(params, key=None):
        half = jnp.full((N, M), 0.5, params.dtype)
        return Both(jax.lax.complex(half, half / 2), jnp.ones(N, params.dtype))

    def terms(params, x):
        turn = jnp.exp(jax.lax.complex(-jnp.abs(params), params))
        more = x[:, None].astype(turn.dtype) * jnp.ones_like(turn)
        return Both(turn, jax.nn.sigmoid(x)), Both(more, params[:, 0] * x)

    def output(params, h, x):
        return h.s.real.sum(1) * h.r + x

    parts = init, initial_carry, terms, output
    reads = rnn.Input((N,))
    return rnn.linear_recurrence("both()", reads, *parts, method=method, **more)


def reference(params, xs, mask, starts, reverse):
    """In float64, one element after the other."""
    s, r = np.full((N, M), 0.5 + 0.25j), np.ones(N)
    ys = np.zeros((T, N))
    for t in reversed(range(T)) if reverse else range(T):
        if starts[t]:
            s, r = np.full((N, M), 0.5 + 0.25j), np.ones(N)
        if mask[t]:
            s = np.exp(1j * params - abs(params)) * s + xs[t][:, None]
            r = r / (1 + np.exp(-xs[t])) + params[:, 0] * xs[t]
            ys[t] = s.real.sum(1) * r + xs[t]
    return s, r, ys


def drawn():
    noise: Any = np.random.default_rng(0)
    params, xs = noise.normal(size=(N, M)), noise.normal(size=(T, N))
    return params, xs, noise.random(T) < 0.7, noise.random(T) < 0.3


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", FORMS)
def test_forms_equal_numpy(method, reverse):
    params, xs, mask, starts = drawn()
    with jax.enable_x64(True):
        cell = both(method)
        carry = cell.initial_carry(jnp.asarray(params))
        run = partial(cell.unroll, mask=mask, starts=starts, reverse=reverse)
        (s, r), ys = quick_jit(run)(params, carry, xs)
        expected = reference(params, xs, mask, starts, reverse)
        for got, want in zip((s, r, ys), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def operands(after, constant, flags=True, dtype=jnp.float32):
    noise = np.random.default_rng(1)

    def draw(*shape):
        return jnp.asarray(noise.normal(size=shape) * 0.7, dtype)

    a, b, h = draw(1 if constant else T, N, M), draw(T, N, M), draw(N, M)
    mask, starts = (jnp.asarray(noise.random(T) < p) for p in (0.7, 0.3))
    return a, b, h, *((mask, starts) if flags else (None, None))


@pytest.mark.parametrize("method", FORMS)
def test_the_loop_has_one_meaning(method):
    """In both orders of the sum and the product, with and without flags."""
    for reverse, after, constant, flags in np.ndindex(2, 2, 2, 2):
        args = operands(after, constant, flags)
        loop = Linear(bool(reverse), bool(after), method=method)
        got = inspect.unwrap(linear_loop)(loop, *args)
        arrays: Any = [None if x is None else np.asarray(x) for x in args]
        a, b, h, mask, starts = arrays
        s, outs = h, np.zeros_like(b)
        for t in reversed(range(T)) if reverse else range(T):
            decay = a[0 if constant else t]
            start = starts is not None and starts[t]
            valid = mask is None or mask[t]
            if after:
                outs[t] = s + b[t]
                s = 0 * s if start else decay * outs[t] if valid else outs[t]
            else:
                s = b[t] if start else decay * s + b[t] if valid else s
                outs[t] = s
        for one, want in zip(got, (s, outs), strict=True):
            np.testing.assert_allclose(one, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("method", FORMS)
def test_gradients_are_those_of_the_loop_in_turn(method):
    """Against what JAX finds for the scan, with NaN before a start."""
    with jax.enable_x64(True):
        a, b, h, mask, starts = operands(False, False, dtype=jnp.float64)
        first = jnp.ones_like(h)
        weight = jnp.asarray(np.random.default_rng(2).normal(size=b.shape))

        def loss(loop, scan, a, b, h, first):
            last, hs = scan(loop, a, b, h, first, mask, starts)
            return (weight * hs).sum() + (last**2).sum()

        def plain(loop, a, b, h, first, mask, starts):
            def body(h, x):
                a, b, valid, start = x
                h = jnp.where(start, first, h)
                h = jnp.where(valid, a * h + b, h)
                return h, h

            return jax.lax.scan(body, h, (a, b, mask, starts), reverse=loop.reverse)

        for reverse in (False, True):
            loop = Linear(reverse, method=method)
            args = a, b, h, first
            got = jax.grad(partial(loss, loop, linear_scan), range(4))(*args)
            want = jax.grad(partial(loss, loop, plain), range(4))(*args)
            for one, other in zip(got, want, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", FORMS)
def test_nothing_before_a_start_reaches_what_follows(method):
    with jax.enable_x64(False):
        a, b, h, *_ = operands(False, False)
        starts = jnp.arange(T) == 5
        args = [a.at[2].set(jnp.nan), b, h * jnp.inf]

        def after(a, b, h):
            one = jnp.ones_like(h)
            run = linear_scan(Linear(method=method), a, b, h, one, None, starts)
            return jnp.sum(run[1][5:] ** 2)

        gradients = jax.grad(lambda b: after(args[0], b, args[2]))(b)
        assert not gradients[2:5].any()
        assert np.isfinite(gradients[5:]).all()
        assert gradients[5:].all()


class Reads(NamedTuple):
    """Two arrays a step."""

    x: Any
    gain: Any


def several():
    def initial_carry(params, key=None):
        return jnp.zeros(N, params.dtype)

    def terms(params, x):
        return params, x.gain * x.x

    reads = Reads(rnn.Input((N,)), rnn.Input(()))
    parts = lambda key: jnp.full(N, 0.5), initial_carry, terms, lambda p, h, x: h
    return rnn.linear_recurrence("several()", reads, *parts)


def test_inputs_of_several_arrays():
    cell = several()
    params = cell.init(jax.random.key(0))
    carry = cell.initial_carry(params)
    xs = Reads(jnp.ones((T, N)), jnp.full(T, 2.0))
    assert cell.unroll(params, carry, xs)[1][1, 0] == 3
    assert_refused(
        lambda: cell.unroll(params, carry, tuple(xs)), "xs: expected Reads(x, gain)"
    )
    assert_refused(
        lambda: cell.unroll(params, carry, xs._replace(gain=jnp.ones(T + 1))),
        "expected arrays with one common, non-empty leading axis",
    )
    assert_refused(
        lambda: step_of(cell)(params, carry, Reads(jnp.ones(N + 1), jnp.ones(()))),
        "several(): x.x: expected size 3",
    )


def test_terms_that_do_not_fit_are_refused():
    def cell(terms):
        def initial_carry(params, key=None):
            return jnp.zeros(N)

        parts = lambda key: jnp.zeros(N), initial_carry, terms, lambda p, h, x: h
        return rnn.linear_recurrence("mine", rnn.Input((N,)), *parts)

    for terms, words in (
        (lambda p, x: (x, (x, x)), "expected b of the structure of the carry"),
        (lambda p, x: (x, x[:2]), "b float32 (2,)"),
        (lambda p, x: (x[:2], x), "a float32 (2,)"),
        (lambda p, x: (x.astype(jnp.float16), x), "a float16 (3,)"),
    ):
        mine = cell(terms)
        for run, x in ((step_of(mine), jnp.ones(N)), (mine.unroll, jnp.ones((T, N)))):
            assert_refused(
                lambda run=run, x=x: run(jnp.zeros(N), jnp.zeros(N), x),
                "mine: terms:",
                words,
            )
    assert_refused(lambda: both("fast"), "method: expected one of best, in turn")


def test_the_loop_is_what_is_exported():
    """With a symbolic number of steps, which associative forms refuse."""
    cell = both()
    params = cell.init(jax.random.key(0))
    (time,) = jax.export.symbolic_shape("time")
    xs = jax.ShapeDtypeStruct((time, N), jnp.float32)

    def run(xs):
        return cell.unroll(params, cell.initial_carry(params), xs)[1]

    program = jax.export.export(jax.jit(run))(xs)
    xs = jnp.asarray(drawn()[1], jnp.float32)
    np.testing.assert_allclose(program.call(xs), run(xs), rtol=1e-5, atol=1e-5)


def hold_linear(kernels, tolerance):
    """Values and gradients of a batch, and of a batch of batches."""
    cell = both()
    params, *_ = drawn()
    noise = np.random.default_rng(3)
    batch = jnp.asarray(noise.normal(size=(2, 2, T, N)), jnp.float32)
    masks, starts = (jnp.asarray(noise.random((2, 2, T)) < p) for p in (0.7, 0.3))
    params = jnp.asarray(params, jnp.float32)

    def loss(params, xs, mask, starts, reverse):
        carry = cell.initial_carry(params)
        options = {"mask": mask, "starts": starts, "reverse": reverse}
        carry, ys = cell.unroll(params, carry, xs, **options)
        return (ys**2).sum() + (carry.r * carry.s.imag[:, 0]).sum(), ys

    def whole(params, *arrays, reverse):
        one = partial(loss, reverse=reverse)
        losses, ys = jax.vmap(jax.vmap(one, (None, 0, 0, 0)), (None, 0, 0, 0))(
            params, *arrays
        )
        return losses.sum(), ys

    for reverse, flags in ((False, True), (True, True), (False, False)):
        arrays = batch, masks if flags else None, starts if flags else None
        fun = jax.value_and_grad(partial(whole, reverse=reverse), (0, 1), has_aux=True)
        with installed({}):
            expected = jax.jit(fun)(params, *arrays)
        with installed(kernels):
            got = jax.jit(lambda *args, fun=fun: fun(*args))(params, *arrays)
        for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
            scale = max(1, np.abs(b).max())
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


@needs_compiler
def test_the_native_loop_is_that_of_jax(tmp_path):
    kernels = {(n, "cpu"): k for n, k in cpu.kernels().items() if n == "linear_loop"}
    hold_linear(kernels, 1e-5)


def test_the_fused_loop_is_that_of_jax():
    made = gpu.kernels(interpret=True)
    hold_linear({("linear_loop", "cpu"): made["linear_loop"]}, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["best", *FORMS])
def test_the_laws(method):
    rnn.testing.check(both(method))
    rnn.testing.check(several())


@pytest.mark.slow
@pytest.mark.parametrize("length", [100, 4096, 65536])
@pytest.mark.parametrize("method", FORMS)
def test_rounding_stays_small(method, length):
    """Of decays near one, where a power is taken again and again."""
    noise = np.random.default_rng(0)
    a = noise.uniform(0.99, 0.9999, (length, 4)).astype(np.float32)
    b = noise.normal(size=(length, 4)).astype(np.float32)
    h = np.zeros(4)
    for t in range(length):
        h = np.float64(a[t]) * h + b[t]
    run = jax.jit(partial(linear_scan, Linear(method=method)))
    last, _ = run(jnp.asarray(a), jnp.asarray(b), jnp.zeros(4, jnp.float32))
    assert np.abs(last - h).max() < 3e-5 * np.abs(h).max()
