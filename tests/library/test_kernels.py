"""Kernels: where one is in the table it replaces the loop, and nothing else changes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import B, D, H, T, assert_close, assert_refused, gradient, scalar
from jax import export
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from kernel_law import examples, hold, installed
from test_gated import matrix_cell

import jaxrnn as rnn
from jaxrnn.loops import gated
from jaxrnn.loops.substitute import Kernel

ELMAN = rnn.elman(D, H)
FORWARD, BACKWARD = ("forward_loop", "cpu"), ("backward_loop", "cpu")


# A kernel of `elman` in NumPy, which JAX can neither differentiate nor vmap.


def steps(loop, length):
    return range(length)[::-1] if loop.reverse else range(length)


def column(flags, t):
    return flags[t][:, None]


def numpy_forward(loop, inputs):
    (w_x, w_h, b), _, (h,), initial, xs, mask, starts = inputs
    ones = np.ones_like(h[:, :1])
    rows, ys, hs = {}, {}, {}
    for t in steps(loop, len(xs)):
        if starts is not None:
            h = np.where(column(starts, t), initial.h, h)
        rows[t] = np.concatenate([h, ones, xs[t]], axis=1)
        ys[t] = np.tanh(xs[t] @ w_x + h @ w_h + b)
        h = ys[t] if mask is None else np.where(column(mask, t), ys[t], h)
        hs[t] = h
    stacked: Any = [np.stack([a[t] for t in sorted(a)]) for a in (rows, ys, hs)]
    rows, ys, hs = stacked
    return rnn.ElmanCarry(h), hs, gated.Kept(rows, ys) if loop.keep else None


def numpy_backward(loop, coefficients, ct):
    (_, w_h, _), _, (_, ys), mask, starts = coefficients
    ct_h: Any
    (ct_h,), ct_hs = ct
    ct_initial, ct_zs = np.zeros_like(ct_h), np.zeros_like(ct_hs)
    for t in reversed(steps(loop, len(ys))):
        ct_h = ct_h + ct_hs[t]
        valid = True if mask is None else column(mask, t)
        ct_zs[t] = np.where(valid, ct_h, 0) * (1 - ys[t] * ys[t])
        ct_h = np.where(valid, ct_zs[t] @ w_h.T, ct_h)
        if starts is not None:
            ct_initial = ct_initial + np.where(column(starts, t), ct_h, 0)
            ct_h = np.where(column(starts, t), 0, ct_h)
    initial = None if starts is None else rnn.ElmanCarry(ct_initial)
    return [ct_zs], (), rnn.ElmanCarry(ct_h), initial


class InNumpy:
    """A kernel that calls a function of NumPy arrays, and counts its runs."""

    def __init__(self, loop, fun, why_not=lambda *shapes: ""):
        self.runs, self.shapes = 0, []
        self.kernel = Kernel(partial(self._call, loop, fun), why_not)

    def _call(self, loop, fun, static, *operands):
        self.shapes += [jax.tree.map(jnp.shape, operands)]
        shapes = of_batch(loop, static, *operands)

        def run(*operands):
            self.runs += 1
            return fun(static, *jax.tree.map(np.asarray, operands))

        return jax.pure_callback(run, shapes, *operands)


AXES = {
    "forward_loop": ((gated.Inputs(None, None, 0, 0, 1, 1, 1),), (0, 1, 1)),
    "backward_loop": (
        (gated.Coefficients(None, None, 1, 1, 1), (0, 1)),
        (1, 0, 0, 0),
    ),
}


def vmapped(loop, static, *operands):
    """The loop itself under `vmap`: the simplest kernel."""
    axes, out = AXES[loop.__name__]
    with installed({}):
        return jax.vmap(partial(loop, static), axes, out)(*operands)


def of_batch(loop, static, *operands):
    return jax.eval_shape(partial(vmapped, loop, static), *operands)


def in_numpy(**options):
    forward = InNumpy(gated.forward_loop, numpy_forward, **options)
    backward = InNumpy(gated.backward_loop, numpy_backward, **options)
    return forward, backward


@pytest.mark.parametrize("which", ["forward", "backward", "both"])
def test_a_kernel_equals_its_loop(which):
    forward, backward = in_numpy()
    kernels = {FORWARD: forward.kernel, BACKWARD: backward.kernel}
    if which != "both":
        kernels = {key: k for key, k in kernels.items() if key[0].startswith(which)}
    hold(kernels, ELMAN)
    assert (forward.runs > 0, backward.runs > 0) == (
        which != "backward",
        which != "forward",
    )


def test_a_kernel_that_errs_is_found():
    def wrong(loop, coefficients, ct):
        zs, theta, carry, initial = numpy_backward(loop, coefficients, ct)
        return [zs[0] * 1.01], theta, carry, initial

    kernel = InNumpy(gated.backward_loop, wrong).kernel
    with pytest.raises(AssertionError):
        hold({BACKWARD: kernel}, ELMAN)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "matrix"])
def test_any_cell_may_have_a_kernel(name):
    """One whose carry holds integers and keys too."""
    kernels = {
        (loop.__name__, "cpu"): Kernel(partial(vmapped, loop))
        for loop in (gated.forward_loop, gated.backward_loop)
    }
    cell = {"lstm": rnn.lstm(D, H), "matrix": matrix_cell()}[name]
    hold(kernels, cell, tolerance=1e-4)  # the sums of the matrix cell grow to 2,000


def ys_of(cell, params, carry, xs, **options):
    return cell.unroll(params, carry, xs, **options)[1]


PARAMS, CARRIES, XS = examples(ELMAN, T, B, jnp.float32)
CARRY = jax.tree.map(lambda a: a[0], CARRIES)


def test_it_is_reached_by_every_transformation():
    """Eager, jit, vmap, grad; the kernel sees [T, B, ...] and weights without B."""
    forward, backward = in_numpy()

    def runs(fun, *args):
        before = forward.runs, backward.runs
        jax.block_until_ready(fun(*args))
        return forward.runs - before[0], backward.runs - before[1]

    one, ys = (PARAMS, CARRY, XS[0]), partial(ys_of, ELMAN)
    loss = gradient(lambda *args: ys(*args).sum())
    batch = PARAMS, CARRIES, XS
    with installed({FORWARD: forward.kernel, BACKWARD: backward.kernel}):
        assert runs(ys, *one) == (1, 0)
        assert runs(jax.jit(lambda *args: ys(*args)), *one) == (1, 0)
        assert forward.shapes[-1][0].xs == (T, 1, D)
        assert runs(jax.jit(loss), *one) == (1, 1)
        assert runs(jax.jit(jax.vmap(ys, (None, 0, 0))), *batch) == (1, 0)
        assert forward.shapes[-1][0].xs == (T, B, D)
        assert forward.shapes[-1][0].carry.h == (B, H)
        assert forward.shapes[-1][0].weights.w_h == (H, H)
        assert runs(jax.jit(jax.vmap(loss, (None, 0, 0))), *batch) == (1, 1)
        assert backward.shapes[-1][0].kept.residuals == (T, B, H)
        twice = jax.vmap(jax.vmap(ys, (None, None, 0)), (None, 0, None))
        assert runs(jax.jit(twice), *batch) == (1, 0)
        assert forward.shapes[-1][0].xs == (T, B * B, D)


def test_batches_of_batches_come_back_in_order():
    def both(*args):
        inner = jax.vmap(partial(ys_of, ELMAN), (None, None, 0), 1)
        return jax.vmap(inner, (None, 0, None), 2)(*args)

    forward, _ = in_numpy()
    xs = examples(ELMAN, T, 3, jnp.float32)[2]
    expected = both(PARAMS, CARRIES, xs)
    with installed({FORWARD: forward.kernel}):
        assert_close(jax.jit(both)(PARAMS, CARRIES, xs), expected, 1e-6)
    assert forward.runs == 1


def test_many_models_have_no_kernel():
    """Weights with a batch of their own: the loop runs."""
    params = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), PARAMS)
    ys = jax.vmap(partial(ys_of, ELMAN))
    expected = ys(params, CARRIES, XS)
    forward, _ = in_numpy()
    with installed({FORWARD: forward.kernel}):
        assert_close(jax.jit(ys)(params, CARRIES, XS), expected, 1e-6)
    assert forward.runs == 0


def test_a_kernel_may_refuse():
    """It is asked with the batch axis; what it does not take, the loop runs."""
    asked = []

    def why_not(loop, inputs):
        asked.append((inputs.xs.shape, inputs.mask is not None, loop.reverse))
        odd = inputs.xs.shape[1] % 2
        return "an odd batch" if odd else "it runs back" if loop.reverse else ""

    forward, _ = in_numpy(why_not=why_not)
    ys = jax.vmap(partial(ys_of, ELMAN), (None, None, 0))
    back = jax.vmap(partial(ys_of, ELMAN, reverse=True), (None, None, 0))
    odd = jnp.concatenate([XS, XS[:1]])
    expected = [f(PARAMS, CARRY, x) for f, x in ((ys, XS), (ys, odd), (back, XS))]
    with installed({FORWARD: forward.kernel}):
        for fun, xs, want, runs in zip(
            (ys, ys, back), (XS, odd, XS), expected, (1, 1, 1), strict=True
        ):
            got = jax.jit(lambda *args: fun(*args))(PARAMS, CARRY, xs)
            assert_close(got, want, 1e-6)
            assert forward.runs == runs
    assert asked == [
        ((T, 2, D), False, False),
        ((T, 3, D), False, False),
        ((T, 2, D), False, True),
    ]


def shifted(by):
    """A kernel that adds a number to the outputs, by which it is recognized."""

    def run(loop, inputs):
        carry, hs, kept = vmapped(gated.forward_loop, loop, inputs)
        return carry, hs + by, kept

    return Kernel(run)


def test_an_exported_program_chooses_on_each_platform():
    kernels = {FORWARD: shifted(100.0), ("forward_loop", "tpu"): shifted(200.0)}
    args, expected = (PARAMS, CARRY, XS[0]), ys_of(ELMAN, PARAMS, CARRY, XS[0])

    def exported(platforms, *shapes):
        program = jax.jit(lambda *leaves: ys_of(ELMAN, *tree.unflatten(leaves)))
        with installed(kernels):
            return export.export(program, platforms=platforms)(*shapes)

    leaves, tree = jax.tree.flatten(args)
    both = exported(["cpu", "tpu", "cuda"], *leaves)
    assert_close(both.call(*leaves), expected + 100, 1e-5)
    text = both.mlir_module()
    assert "1.000000e+02" in text
    assert "2.000000e+02" in text
    assert "2.000000e+02" not in exported(["cpu", "cuda"], *leaves).mlir_module()
    alone = exported(["cuda"], *leaves).mlir_module()
    assert "e+02" not in alone

    # With a symbol for T no kernel can know whether it takes the sizes.
    any_length = jax.ShapeDtypeStruct(export.symbolic_shape(f"T, {D}"), jnp.float32)
    symbolic = exported(["cpu"], *leaves[:-1], any_length)
    assert_close(symbolic.call(*leaves), expected, 1e-6)


def test_under_shard_map():
    """Each device runs the kernel on its share; gradients of the params add up."""

    def slope(params, carries, xs):
        losses = jax.vmap(scalar(ELMAN.unroll), (None, 0, 0))
        return jax.grad(lambda params: losses(params, carries, xs).sum())(params)

    expected = slope(PARAMS, CARRIES, XS)
    split = PartitionSpec("batch")
    sharded = jax.shard_map(
        slope,
        mesh=Mesh(np.array(jax.devices()[:B]), ("batch",)),
        in_specs=(PartitionSpec(), split, split),
        out_specs=PartitionSpec(),
    )
    kernels = {
        (loop.__name__, "cpu"): Kernel(partial(vmapped, loop))
        for loop in (gated.forward_loop, gated.backward_loop)
    }
    with installed(kernels):
        assert_close(jax.jit(sharded)(PARAMS, CARRIES, XS), expected, 1e-5)


def test_what_xla_divides_runs_the_loop():
    """A kernel that XLA cannot divide would gather the batch on each device."""
    forward, _ = in_numpy()
    mesh = Mesh(np.array(jax.devices()[:B]), ("batch",))
    xs = jax.device_put(XS, NamedSharding(mesh, PartitionSpec("batch")))

    def ys(xs):
        return jax.vmap(partial(ys_of, ELMAN, PARAMS, CARRY))(xs)

    expected = ys(XS)
    with installed({FORWARD: forward.kernel}):
        assert_close(jax.jit(lambda xs: ys(xs))(xs), expected, 1e-6)
        assert forward.runs == 0
        assert_close(jax.jit(lambda xs: ys(xs))(XS), expected, 1e-6)
        assert forward.runs == 1


def test_equal_calls_outside_jit_are_compiled_once():
    forward, _ = in_numpy()
    with installed({FORWARD: forward.kernel}):
        for _ in range(3):
            ELMAN.unroll(PARAMS, CARRY, XS[0])
        assert forward.runs == 3
        assert len(forward.shapes) == 1  # one call of the kernel was traced


def test_the_transpose_of_a_gradient():
    """The backward loop is linear in its cotangents, and JAX may transpose it."""
    forward, backward = in_numpy()
    ys, pull = jax.vjp(lambda xs: ys_of(ELMAN, PARAMS, CARRY, xs), XS[0])
    (expected,) = jax.linear_transpose(pull, ys)((XS[0],))
    with installed({FORWARD: forward.kernel, BACKWARD: backward.kernel}):
        ys, pull = jax.vjp(lambda xs: ys_of(ELMAN, PARAMS, CARRY, xs), XS[0])
        (got,) = jax.linear_transpose(pull, ys)((XS[0],))
    assert_close(got, expected, 1e-5)


@pytest.mark.parametrize(
    ("run", "parts"),
    [
        (lambda loop, inputs: inputs.xs, ["expected outputs of the structure", "got"]),
        (
            lambda loop, inputs: (inputs.carry, inputs.xs, None),
            [f"expected an output float32 {(T, 1, H)}, got float32 {(T, 1, D)}"],
        ),
    ],
)
def test_a_kernel_of_the_wrong_outputs(run, parts):
    with installed({FORWARD: Kernel(run)}):
        assert_refused(
            lambda: ys_of(ELMAN, PARAMS, CARRY, XS[0]),
            "kernel of forward_loop on cpu: ",
            *parts,
        )


def test_a_platform_that_does_not_exist():
    with installed({("forward_loop", "gpu"): Kernel(numpy_forward)}):
        assert_refused(
            lambda: ys_of(ELMAN, PARAMS, CARRY, XS[0]),
            "KERNELS: forward_loop: expected a platform among cpu, cuda, rocm, tpu",
            "got 'gpu'",
        )


def test_without_a_kernel_the_program_is_that_of_the_loop():
    with installed({}):
        program = jax.make_jaxpr(partial(ys_of, ELMAN))(PARAMS, CARRY, XS[0])
    assert "substituted" not in str(program)
    with installed({("another_loop", "cpu"): Kernel(numpy_forward)}):
        other = jax.make_jaxpr(partial(ys_of, ELMAN))(PARAMS, CARRY, XS[0])
    assert str(other) == str(program)
