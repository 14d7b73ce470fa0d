"""The cells with a diagonal linear recurrence, against loops in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_diag as references
from battery import assert_close, assert_refused, law, quick_jit, step_of, with_gradient

import jaxrnn as rnn
from jaxrnn.testing.trees import as_dtype, jitter

T, D, H, N = 7, 4, 6, 3
SOME_VALID = jnp.array([False, True, True, False, True, True, False])
STARTS = jnp.array([False, False, True, True, False, True, False])  # one is masked

CELLS = {
    "lru": rnn.lru(D, H),
    "lru of other sizes": rnn.lru(D, H, output_size=N),
    "s5": rnn.s5(D, H, blocks=2),
    "s5 bilinear": rnn.s5(D, H, discretization="bilinear", step_rescale=2.0),
    "s5 of all eigenvalues": rnn.s5(
        D, H, conj_sym=False, clip_eigs=True, output_size=N, c_init="complex_normal"
    ),
    "rg_lru": rnn.rg_lru(H, heads=2),
    "rg_lru complex": rnn.rg_lru(H, heads=3, only_real=False),
    "mingru": rnn.mingru(D, H),
    "mingru with all": rnn.mingru(D, H, output_size=N, bias=True),
    "minlstm": rnn.minlstm(D, H),
    "minlstm with all": rnn.minlstm(D, H, output_size=N, bias=True),
    "qrnn": rnn.qrnn(D, H),
    "qrnn window": rnn.qrnn(D, H, window=3),
    "qrnn f": rnn.qrnn(D, H, pooling="f", window=2),
    "qrnn ifo": rnn.qrnn(D, H, pooling="ifo"),
    "selective_scan": rnn.selective_scan(D, N),
    "selective_scan complex": rnn.selective_scan(D, N, complex_states=True),
    "selective_scan bare": rnn.selective_scan(
        D, N, skip=False, gate=False, delta_bias=False, delta_softplus=False
    ),
    "mamba": rnn.mamba(D, state_size=N),
    "mamba with biases": rnn.mamba(
        D, state_size=N, inner_size=H, width=2, delta_rank=2, bias=True, conv_bias=False
    ),
}
BOTH_WAYS = rnn.s5(D, H, bidirectional=True)


def bare_scan(p, xs):
    return references.selective_scan(p, xs, softplus_of=lambda delta: delta)


def mamba(p, xs):
    types = rnn.SelectiveScanParams, rnn.SelectiveScanInput
    return references.mamba(p, xs, *types)


REFERENCES: dict[str, Any] = {
    "s5 bilinear": lambda p, xs: references.s5(p, xs, bilinear=True, rescale=2.0),
    "s5 of all eigenvalues": lambda p, xs: references.s5(
        p, xs, conj_sym=False, clip_eigs=True
    ),
    "qrnn f": lambda p, xs: references.qrnn(p, xs, "f"),
    "qrnn ifo": lambda p, xs: references.qrnn(p, xs, "ifo"),
    "selective_scan bare": bare_scan,
    "mamba": mamba,
    "mamba with biases": mamba,
}


def inputs(cell, length=T, seed=0):
    noise = np.random.default_rng(seed)
    return jax.tree.map(
        lambda one: jnp.asarray(noise.normal(size=(length, *one.shape))),
        cell.about.reads,
        is_leaf=lambda one: isinstance(one, rnn.Input),
    )


def noisy(cell):
    """Params in double precision, with nothing left at a zero or a one."""
    params = as_dtype(cell.init(jax.random.key(0)), jnp.float64)
    return jitter(params, np.random.default_rng(1), 0.1)


def on_host(tree):
    return jax.tree.map(np.asarray, tree)


@pytest.mark.parametrize("name", CELLS)
def test_values_are_those_of_the_equations(name):
    cell, reference = CELLS[name], REFERENCES.get(name)
    reference = reference or getattr(references, name.split()[0])
    with jax.enable_x64(True):
        params, xs = noisy(cell), inputs(cell)
        h, expected = reference(on_host(params), on_host(xs))
        carry, ys = quick_jit(cell.unroll)(params, cell.initial_carry(params), xs)
        np.testing.assert_allclose(ys, expected, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(carry.h, h, rtol=1e-11, atol=1e-12)


def test_two_directions_are_those_of_the_equations():
    with jax.enable_x64(True):
        params, xs = noisy(BOTH_WAYS), inputs(BOTH_WAYS)
        (ahead, back), expected = references.s5(on_host(params), on_host(xs))
        carry = BOTH_WAYS.initial_carry(params)
        carry, ys = quick_jit(BOTH_WAYS.unroll)(params, carry, xs)
        np.testing.assert_allclose(ys, expected, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(carry.forward.h, ahead, rtol=1e-11)
        np.testing.assert_allclose(carry.backward.h, back, rtol=1e-11)
    assert BOTH_WAYS.step is None
    assert BOTH_WAYS.init(jax.random.key(0)).c_re.shape == (2 * H, D)


LAWFUL = ["rg_lru", "qrnn window", "qrnn", "mamba", "lru"]


@pytest.mark.parametrize("name", LAWFUL)
def test_the_law_with_a_mask_and_starts_in_reverse(name):
    cell = CELLS[name]
    with jax.enable_x64(True):
        params, xs = noisy(cell), inputs(cell)
        initial = cell.initial_carry(params)
        carry = jitter(initial, np.random.default_rng(2))

        def both(params, carry, xs):
            options: Any = {"mask": SOME_VALID, "reverse": True}

            def unroll(params, carry, xs):
                return cell.unroll(params, carry, xs, starts=STARTS, **options)

            def expected(params, carry, xs):
                initial = cell.initial_carry(params)
                return law(cell, params, carry, xs, initial, starts=STARTS, **options)

            run, by_the_law = with_gradient(unroll), with_gradient(expected)
            return run(params, carry, xs), by_the_law(params, carry, xs)

        got, expected = quick_jit(both)(params, carry, xs)
        assert_close(got, expected, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_keeps_all_laws(name):
    rnn.testing.check(CELLS[name])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["in turn", "associative", "chunks"])
def test_a_cell_keeps_all_laws_by_every_method(method):
    for cell in (
        rnn.lru(D, H, method=method),
        rnn.rg_lru(H, heads=2, method=method),
        rnn.qrnn(D, H, window=2, method=method),
        rnn.selective_scan(D, N, method=method),
    ):
        rnn.testing.check(cell)


@pytest.mark.slow
def test_two_directions_keep_the_laws():
    rnn.testing.check(BOTH_WAYS)
    rnn.testing.check(rnn.s5(D, H, bidirectional=True, c_init="complex_normal"))


def test_the_first_step_of_an_rg_lru_reads_its_input_whole():
    """In the paper every step has the root; the authors' code resets it to one."""
    cell = CELLS["rg_lru"]
    params = cell.init(jax.random.key(0))
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(2, H)), jnp.float32)
    fresh = cell.initial_carry(params)
    begun = fresh._replace(fresh=jnp.zeros(()))
    unroll = quick_jit(cell.unroll)
    first, later = unroll(params, fresh, xs)[1], unroll(params, begun, xs)[1]
    p = on_host(params)
    i = references.sigmoid(np.einsum("hi,hij->hj", xs[0].reshape(2, -1), p.w_input))
    r = references.sigmoid(np.einsum("hi,hij->hj", xs[0].reshape(2, -1), p.w_a))
    log_a = -8 * r.reshape(-1) * references.softplus(p.a_param)
    whole = i.reshape(-1) * np.asarray(xs[0])
    np.testing.assert_allclose(first[0], whole, rtol=1e-6)
    root = np.sqrt(-np.expm1(2 * log_a))
    np.testing.assert_allclose(later[0], root * whole, rtol=1e-5)
    assert abs(first[0] - later[0]).max() > 0.05
    starts = jnp.array([False, True])
    again = unroll(params, begun, xs, starts=starts)[1][1]
    np.testing.assert_allclose(again, unroll(params, fresh, xs[1:])[1][0], rtol=1e-6)


def test_the_ring_of_an_rg_lru_is_that_of_the_code_and_not_of_the_paper():
    params = rnn.rg_lru(4096).init(jax.random.key(0))
    a = np.exp(-references.softplus(np.asarray(params.a_param, np.float64)))
    assert 0.9 <= a.min() < 0.901
    assert 0.998 < a.max() <= 0.9991
    assert (a**8).min() < 0.44  # which the paper has from 0.9
    assert abs((a**2).mean() - (0.9**2 + 0.999**2) / 2) < 0.003  # uniform in the ring


def test_the_f_of_a_qrnn_is_one_minus_that_of_the_paper():
    cell = rnn.qrnn(1, 1)
    params = rnn.QRNNParams(jnp.zeros((1, 3)), jnp.array([0.5, 20.0, 50.0]))
    carry = cell.initial_carry(params)._replace(h=jnp.array([0.25]))
    _, y = quick_jit(step_of(cell))(params, carry, jnp.ones(1))
    assert abs(y[0] - np.tanh(0.5)) < 1e-6  # of the code: the gate lets z in
    assert abs(y[0] - 0.25) > 0.2  # of the paper: the gate keeps c


def test_gamma_of_an_lru_begins_with_the_ring_and_then_is_free():
    params = rnn.lru(3, 4096, r_min=0.4, r_max=0.8).init(jax.random.key(0))
    radius = np.exp(-np.exp(np.asarray(params.nu_log, np.float64)))
    assert 0.4 <= radius.min() < 0.41
    assert 0.79 < radius.max() <= 0.8
    expected = np.sqrt(1 - radius**2)
    np.testing.assert_allclose(np.exp(params.gamma_log), expected, rtol=1e-5)
    assert "gamma_log" in params._fields
    assert all(
        jnp.isfinite(a).all() for a in rnn.lru(3, 100_000).init(jax.random.key(1))
    )


def test_s5_begins_as_hippo():
    params = rnn.s5(5, 8, blocks=2, dt_min=0.01, dt_max=0.02).init(jax.random.key(0))
    n = np.arange(8)
    root = np.sqrt(n + 0.5)
    hippo = -np.tril(np.sqrt(np.outer(2 * n + 1, 2 * n + 1))) + np.diag(n)
    eigenvalues = np.linalg.eigvals(hippo + np.outer(root, root))
    lower = np.sort(eigenvalues.imag)[:4]
    np.testing.assert_allclose(params.lambda_re, -0.5 * np.ones(8), rtol=1e-6)
    np.testing.assert_allclose(params.lambda_im, np.tile(lower, 2), rtol=1e-5)
    step = np.exp(params.log_step)
    assert 0.0099 < step.min() <= step.max() < 0.0201


def test_the_c_of_s5_that_is_called_normal_is_that_of_lecun():
    """The authors' "trunc_standard_normal" has the variance 1 / 2P, not 1."""
    init = rnn.s5(64, 32).init(jax.random.key(0))
    other = rnn.s5(64, 32, c_init="lecun_normal").init(jax.random.key(0))
    for params, factor in ((init, 1), (other, 1 / 64)):
        power = float((params.c_re**2 + params.c_im**2).mean())
        assert abs(power / (2 * factor / 64) - 1) < 0.1


def test_s5_at_an_eigenvalue_of_zero():
    """(exp(z) - 1) / z is 1, where (exp(z) - 1) / lambda would be NaN."""
    cell = rnn.s5(1, 1, conj_sym=False)
    zero, one = jnp.zeros(1), jnp.ones((1, 1))
    params = rnn.S5Params(
        zero, zero, jnp.log(zero + 0.5), one, 0 * one, one, 0 * one, zero
    )

    def total(params):
        carry = cell.initial_carry(params)
        return cell.unroll(params, carry, jnp.ones((4, 1)))[1].sum()

    value, slopes = quick_jit(jax.value_and_grad(total))(params)
    assert abs(value - 0.5 * (1 + 2 + 3 + 4)) < 1e-6
    assert all(jnp.isfinite(a).all() for a in slopes)
    # d/dlambda of sum_{k<n} a^k g: g = 1/2 + lambda/8, a = 1 + lambda/2.
    expected = sum(n * 0.125 + 0.5 * 0.5 * n * (n - 1) / 2 for n in range(1, 5))
    assert abs(slopes.lambda_re[0] - expected) < 1e-5


def test_gates_that_are_closed_have_finite_gradients():
    """At zero states, and where every gate is at its end, in single precision."""
    for cell, params in (
        (rnn.mingru(1, 1), rnn.MinGRUParams(jnp.array([[-1.0, -200.0]]))),
        (rnn.minlstm(1, 1), rnn.MinLSTMParams(jnp.array([[-1.0, -200.0, -200.0]]))),
        (
            rnn.rg_lru(1),
            rnn.RGLRUParams(
                *(jnp.full(shape, -200.0) for shape in ((1, 1, 1), (1, 1)) * 2),
                a_param=jnp.full(1, -3.0),
            ),
        ),
    ):

        def total(params, carry, xs, cell=cell):
            return cell.unroll(params, carry, xs)[1].sum()

        grad = quick_jit(jax.grad(total, (0, 1, 2)))
        slopes = grad(params, cell.initial_carry(params), jnp.ones((3, 1)))
        assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(slopes))


def test_the_slope_of_the_root_is_bounded():
    """As in the authors' code: 1000 at most, where it would be infinite."""
    from jaxrnn.cells.rg_lru import _bounded_sqrt

    x = jnp.array([0.0, 1e-8, 1e-6, 0.25])
    slopes = jax.vmap(jax.grad(_bounded_sqrt))(x)
    np.testing.assert_allclose(slopes, [1000.0, 1000.0, 500.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(_bounded_sqrt(x), np.sqrt(x), rtol=1e-6)


def test_mamba_begins_as_the_authors_code():
    params = rnn.mamba(64, state_size=4).init(jax.random.key(0))
    np.testing.assert_allclose(
        np.exp(params.a_log), np.tile(np.arange(1, 5), (128, 1)), rtol=1e-6
    )
    assert (params.d == 1).all()
    delta = references.softplus(np.asarray(params.delta_bias, np.float64))
    assert 0.00099 < delta.min() < 0.002
    assert 0.05 < delta.max() < 0.101
    assert params.w_delta.shape == (4, 128)
    assert 0.45 < abs(params.w_delta).max() <= 0.5
    assert abs(params.conv.w).max() <= 0.5


def test_the_state_is_single_where_the_params_are_of_half_precision():
    for cell in (
        CELLS["lru"],
        CELLS["s5"],
        CELLS["rg_lru"],
        CELLS["mingru"],
        CELLS["mamba"],
    ):
        params = jax.tree.map(
            lambda a: a.astype(jnp.bfloat16), cell.init(jax.random.key(0))
        )
        xs = inputs(cell).astype(jnp.bfloat16)
        carry = cell.initial_carry(params)
        shapes = jax.eval_shape(cell.unroll, params, carry, xs)
        assert carry.h.dtype in (jnp.float32, jnp.complex64)
        assert (shapes[0].h.dtype, shapes[1].dtype) == (carry.h.dtype, jnp.bfloat16)


def test_bad_arguments():
    for mistake, *parts in (
        (lambda: rnn.lru(0, 3), "lru: input_size: expected an integer of at least 1"),
        (lambda: rnn.lru(3, 3, r_min=0.5, r_max=0.4), "lru: r_max", "got 0.4"),
        (lambda: rnn.lru(3, 3, max_phase=-1), "lru: max_phase: expected a positive"),
        (lambda: rnn.s5(3, 4, blocks=3), "s5: blocks: expected a divisor of", "got 3"),
        (lambda: rnn.s5(3, 4, discretization="euler"), "zoh, bilinear", "'euler'"),  # type: ignore
        (lambda: rnn.s5(3, 4, c_init="normal"), "s5: c_init: expected one of"),
        (lambda: rnn.s5(3, 4, dt_min=0.0), "s5: dt_min: expected a positive number"),
        (lambda: rnn.rg_lru(6, heads=4), "rg_lru: heads: expected a divisor of size"),
        (lambda: rnn.rg_lru(6, heads=2, only_real=False), "a divisor of size / 2"),
        (lambda: rnn.mingru(3, 4, activation=1), "mingru: activation: expected a"),  # type: ignore
        (lambda: rnn.minlstm(3, 4, bias=1), "minlstm: bias: expected a bool"),  # type: ignore
        (lambda: rnn.qrnn(3, 4, pooling="of"), "qrnn: pooling: expected one of f, fo"),  # type: ignore
        (lambda: rnn.qrnn(3, 4, window=0), "qrnn: window: expected an integer"),
        (lambda: rnn.selective_scan(3, 0), "selective_scan: state_size: expected"),
        (lambda: rnn.mamba(3, delta_rank=0), "mamba: delta_rank: expected an integer"),
        (lambda: rnn.mingru(3, 4, method="fast"), "method: expected one of", "'fast'"),
    ):
        assert_refused(mistake, *parts)


def test_mamba_multiplies_b_by_delta_alone():
    """As the authors' code; the paper writes the zero-order hold."""
    options: Any = {"skip": False, "gate": False, "delta_bias": False}
    cell = rnn.selective_scan(1, 1, delta_softplus=False, **options)
    params = rnn.SelectiveScanParams(jnp.array([[-3.0]]))
    one, delta = jnp.ones(1), jnp.array([0.5])
    x = rnn.SelectiveScanInput(2 * one, delta, one, one)
    y = quick_jit(step_of(cell))(params, cell.initial_carry(params), x)[1][0]
    paper = 2 * (np.exp(-3 * 0.5) - 1) / -3
    assert abs(y - 2 * 0.5) < 1e-6
    assert abs(y - paper) > 0.4


def test_a_minlstm_goes_on_from_the_state_itself():
    """In parallel the authors' code reads g of it: 0.75 for a state of 0.25."""
    cell = rnn.minlstm(1, 1)
    params = rnn.MinLSTMParams(jnp.array([[-200.0, 200.0, -200.0]]))  # keeps all
    carry = rnn.MinLSTMCarry(jnp.array([0.25]))
    last, ys = quick_jit(cell.unroll)(params, carry, jnp.ones((3, 1)))
    np.testing.assert_allclose(ys[:, 0], [0.25] * 3)
    assert abs(last.h[0] - references.g(0.25)) == 0.5


def test_an_input_without_its_gate_is_refused():
    cell = CELLS["selective_scan"]
    params = cell.init(jax.random.key(0))
    xs = inputs(cell)._replace(z=None)
    carry = cell.initial_carry(params)
    assert_refused(lambda: cell.unroll(params, carry, xs), "selective_scan(4, 3): xs")


LENGTHS = [100, 1_000, 10_000, 65_536]
SLOW = {"lru of long memory": 1e-3}  # whose decays are rounded
PARALLEL = {
    "lru": lambda method: rnn.lru(2, 8, r_min=0.9, r_max=0.999, method=method),
    "lru of long memory": lambda method: rnn.lru(
        2, 8, r_min=0.9999, r_max=0.99999, method=method
    ),
    "s5": lambda method: rnn.s5(2, 8, method=method),
    "rg_lru": lambda method: rnn.rg_lru(8, method=method),
    "mingru": lambda method: rnn.mingru(2, 8, method=method),
    "minlstm": lambda method: rnn.minlstm(2, 8, method=method),
    "qrnn": lambda method: rnn.qrnn(2, 8, window=2, method=method),
    "selective_scan": lambda method: rnn.selective_scan(4, 4, method=method),
    "mamba": lambda method: rnn.mamba(4, state_size=4, method=method),
}


def float32_errors(name, method):
    """The largest difference from double precision, relative to the largest output."""
    cell = PARALLEL[name](method)
    errors = []
    with jax.enable_x64(True):
        params = cell.init(jax.random.key(0))
        double = as_dtype(params, jnp.float64)
        for length in LENGTHS:
            xs = inputs(cell, length)
            single = as_dtype(xs, jnp.float32)
            xs = as_dtype(single, jnp.float64)
            exact = PARALLEL[name]("in turn").unroll
            expected = jax.jit(exact)(double, cell.initial_carry(double), xs)[1]
            run = jax.jit(cell.unroll)
            got = run(params, cell.initial_carry(params), single)[1]
            got, expected = np.asarray(got, np.float64), np.asarray(expected)
            errors.append(float(abs(got - expected).max() / abs(expected).max()))
    return errors


@pytest.mark.slow
@pytest.mark.parametrize("method", ["in turn", "associative", "chunks"])
@pytest.mark.parametrize("name", PARALLEL)
def test_single_precision_stays_near_double_at_every_length(name, method):
    errors = float32_errors(name, method)
    print(name, method, *(f"{error:.1e}" for error in errors))
    assert max(errors) < SLOW.get(name, 1e-6)


def sums_of_logarithms(w_x, xs):
    """The parallel mingru of the paper and of the authors' code, from no state."""
    v, k = jnp.split(xs @ w_x, 2, axis=1)
    log_g = jnp.where(v >= 0, jnp.log(jax.nn.relu(v) + 0.5), -jax.nn.softplus(-v))
    decays = jnp.cumsum(-jax.nn.softplus(k), axis=0)
    return jnp.exp(
        decays + jax.lax.cumlogsumexp(log_g - jax.nn.softplus(-k) - decays, axis=0)
    )


@pytest.mark.slow
def test_a_mingru_keeps_the_digits_that_sums_of_logarithms_lose():
    cell = rnn.mingru(2, 8, method="associative")
    params = cell.init(jax.random.key(0))
    noise = np.random.default_rng(0)
    xs = jnp.asarray(noise.normal(size=(20_000, 2)), jnp.float32)
    double = type(params)(np.asarray(params.w_x, np.float64))
    _, exact = references.mingru(double, np.asarray(xs, np.float64))
    ours = jax.jit(cell.unroll)(params, cell.initial_carry(params), xs)[1]
    theirs = jax.jit(sums_of_logarithms)(params.w_x, xs)
    assert abs(ours - exact).max() / exact.max() < 1e-6
    assert abs(theirs - exact).max() / exact.max() > 1e-4
