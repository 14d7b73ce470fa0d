"""Oscillators, continuous time, orthogonal and multi-rate recurrence, and the SRU."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_ode
from battery import D, H, assert_close, assert_refused, step_of

import jaxrnn as rnn
from jaxrnn import interop
from jaxrnn.cells.cfc import lecun_tanh
from jaxrnn.testing.trees import as_dtype, jitter, quick_jit
from jaxrnn.testing.trial import Trial

reference: Any = references_ode
ANY: Any = rnn  # for arguments of wrong kinds
T = 9
KEY = jax.random.key(3)
WIRING = np.random.default_rng(5).integers(-1, 2, (H, H))
SENSORY = np.random.default_rng(6).integers(-1, 2, (D, H))
CORNN: dict[str, Any] = {"dt": 0.3, "gamma": 1.7, "epsilon": 0.9}
PERIODS = (1, 3)
CLOSE = 1e-11, 1e-12  # relative and absolute

CELLS = {
    "cornn": rnn.cornn(D, H, **CORNN),
    "lem": rnn.lem(D, H, dt=0.7),
    "cfc": rnn.cfc(D, H, backbone_units=7, backbone_layers=2, timed=True),
    "cfc no gate": rnn.cfc(D, H, mode="no_gate", backbone_units=7),
    "cfc pure": rnn.cfc(D, H, mode="pure", backbone_layers=0, timed=True),
    "ltc": rnn.ltc(D, H, motor_size=2, unfolds=3, timed=True),
    "ltc wired": rnn.ltc(
        *(D, H), wiring=WIRING, sensory_wiring=SENSORY, unfolds=2, constrained=False
    ),
    "orthogonal": rnn.orthogonal(D, H),
    "orthogonal cayley": rnn.orthogonal(D, H, matrix="cayley", a_init="cayley"),
    "clockwork": rnn.clockwork(D, 4, periods=PERIODS),
    "sru": rnn.sru(D, D, rescale=True, highway_bias=-1.0),
    "sru projected": rnn.sru(
        *(D, H), projection_size=2, use_tanh=True, layer_norm=True
    ),
    "dilated": rnn.dilated(rnn.elman(D, H), 4),
}
MAIN = ["cornn", "lem", "cfc", "ltc", "orthogonal", "clockwork", "sru", "dilated"]
OPTIONS = {
    "cornn relaxed": rnn.cornn(
        D, H, bias=False, gamma=0, carry_init=jax.nn.initializers.ones
    ),
    "lem of heads": rnn.lem(D, 6, heads=2),
    "lem unrolled": rnn.lem(D, H, bias=False, unroll=2),
    "cfc relu": rnn.cfc(D, H, backbone_units=7, activation=jax.nn.relu),
    "ltc unmapped": rnn.ltc(D, H, input_mapping=None, output_mapping="linear"),
    "orthogonal of one": rnn.orthogonal(D, 1),
    "orthogonal learned": rnn.orthogonal(D, H, carry_init=jax.nn.initializers.ones),
    "clockwork relu": rnn.clockwork(D, 6, periods=(1, 2, 4), activation=jax.nn.relu),
    "sru without x": rnn.sru(D, H, skip=False, rescale=False),
    "dilated by one": rnn.dilated(rnn.lstm(D, H), 1),
    "dilated and random": rnn.dilated(
        rnn.chain(rnn.lstm(D, H), rnn.dropout(0.3, per_step=True)), 3
    ),
    "dilated twice": rnn.dilated(rnn.dilated(rnn.cornn(D, H), 2), 2),
    "dilated oscillators in a chain": rnn.chain(
        rnn.dilated(rnn.orthogonal(D, H), 1), rnn.dilated(rnn.sru(H, H), 2)
    ),
    "timed and dilated": rnn.dilated(CELLS["cfc"], 2),
}


class Drawn(NamedTuple):
    """What one test runs a cell on."""

    params: Any
    carry: Any
    xs: Any

    def numbers(self) -> "Drawn":
        """In NumPy, for a reference."""
        return jax.tree.map(np.asarray, self)


def drawn(cell, length=T, seed=0) -> Drawn:
    """In double precision, with nothing left at a zero or a one."""
    noise = np.random.default_rng(seed)
    params = jitter(as_dtype(cell.init(KEY), jnp.float64), noise)
    carry = jitter(cell.initial_carry(params), noise)
    return Drawn(params, carry, inputs(cell, length, noise))


def inputs(cell, length, noise):
    """Normal, with spans from 0 on where they are read."""
    xs = jnp.asarray(noise.normal(size=(length, D)))
    if not isinstance(cell.about.reads, rnn.Timed):
        return xs
    return rnn.Timed(xs, jnp.asarray(noise.uniform(0.1, 2, length)))


def expected(name, cell, params, carry, xs) -> list[Any]:
    """(y, ...) of each step, by the reference."""
    spans = np.ones(T)
    if isinstance(xs, rnn.Timed):
        xs, spans = xs
    match name.split():
        case ["cornn"]:
            return list(reference.cornn(params, *carry, xs, **CORNN))
        case ["lem"]:
            return list(reference.lem(params, *carry, xs, 0.7))
        case ["cfc", *mode]:
            mode = "_".join(mode) or "default"
            activation = lambda a: 1.7159 * np.tanh(0.666 * a)  # noqa: E731
            args = params, carry.h, xs, spans, mode, activation
            return [(h, h) for h in reference.cfc(*args)]
        case ["ltc", *wired]:
            masks = (abs(WIRING), abs(SENSORY)) if wired else (1, 1)
            unfolds, constrained = (2, False) if wired else (3, True)
            args = params, carry.v, xs, spans, masks, unfolds, 1e-8, constrained
            return list(reference.ltc(*args))
        case ["orthogonal", *cayley]:
            a = reference.skew(params.a, H)
            w_h = reference.exponential(a)
            if cayley:
                w_h = np.linalg.inv(np.eye(H) + a) @ (np.eye(H) - a)
            args = params.w_x, w_h, params.b, carry.h, xs
            return [(h, h) for h in reference.modrelu_rnn(*args)]
        case ["clockwork"]:
            args = params, carry.h, int(carry.clock), xs, PERIODS
            return [(h, h) for h in reference.clockwork(*args)]
        case ["sru", *projected]:
            scale = np.sqrt(1 + 2 * np.exp(-1.0))
            return list(reference.sru(params, carry.c, xs, bool(projected), scale))
        case _:

            def step(h, x):
                h = np.tanh(x @ params.w_x + h @ params.w_h + params.b)
                return h, h

            return [(h, h) for h in reference.dilated(step, carry.h, xs)]


@pytest.mark.parametrize("name", CELLS)
def test_equations(name):
    with jax.enable_x64(True):
        cell = CELLS[name]
        args = drawn(cell)
        carry, ys = quick_jit(cell.unroll)(*args)
        outputs = expected(name, cell, *args.numbers())
        np.testing.assert_allclose(ys, [y for y, *_ in outputs], *CLOSE)
        last = jax.tree.leaves(carry)
        final = (
            last[-1][-1]
            if name == "dilated"
            else last[0 if name == "clockwork" else -1]
        )
        np.testing.assert_allclose(final, outputs[-1][-1], *CLOSE)


def held_to_the_law(cell):
    """Values and gradients in reverse, with a mask and starts, against the steps."""
    with jax.enable_x64(True):
        xs = inputs(cell, T, np.random.default_rng(2))
        trial = Trial(cell, None, xs, None, True, jnp.float64, 1e-9)
        ways = {"mask": trial.mask, "starts": trial.starts}
        assert not list(trial.against_law("", reverse=True, **ways))


@pytest.mark.parametrize("name", MAIN)
def test_unroll_is_the_scan_of_the_step(name):
    held_to_the_law(CELLS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS | OPTIONS)
def test_all_laws(name):
    cell = (CELLS | OPTIONS)[name]
    with jax.enable_x64(True):
        xs = inputs(cell, T, np.random.default_rng(1))
    rnn.testing.check(cell, xs)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in MAIN else pytest.mark.slow) for n in CELLS],
)
def test_finite_gradients_at_nothing(name):
    """Zero params, states, inputs and spans."""
    cell = CELLS[name]
    zeros = partial(jax.tree.map, jnp.zeros_like)
    params = zeros(jax.eval_shape(cell.init, KEY))
    xs = zeros(inputs(cell, 2, np.random.default_rng(0)))
    xs = jax.tree.map(lambda a: a.astype(jnp.float32), xs)
    if name.startswith("ltc"):
        params = params._replace(cm=params.cm + 0.5)  # a neuron has a capacitance

    @quick_jit
    @jax.grad
    def gradient(params):
        carry, ys = cell.unroll(params, cell.initial_carry(params), xs)
        return sum(a.sum().astype(jnp.float32) for a in jax.tree.leaves((carry, ys)))

    assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(gradient(params)))


# Start values: those of the authors.


def within(a, bound, above=0.9):
    """Whether draws come near to a bound, and never beyond it."""
    return above * bound < abs(a).max() <= bound


def test_start_of_cornn():
    params = rnn.cornn(11, 64).init(KEY)
    assert all(within(a, 1 / np.sqrt(11 + 2 * 64)) for a in params)


def test_start_of_lem():
    params = rnn.lem(400, 64).init(KEY)
    bound = 1 / np.sqrt(64)  # of w_x too, whatever the number of inputs
    assert within(params.w_x, bound)
    assert within(params.w_h, bound)
    assert within(params.b, 2 * bound, 0.8)  # the sum of the authors' two
    np.testing.assert_allclose(params.b.std(), bound * np.sqrt(2 / 3), rtol=0.1)


def test_start_of_cfc_is_that_of_ncps_and_not_what_it_writes_first():
    params = rnn.cfc(7, 50, mode="pure", backbone_units=90).init(KEY)
    backbone, heads = params.layers
    assert within(backbone.w, np.sqrt(6 / (57 + 90)))
    assert within(backbone.b, 1 / np.sqrt(57))
    assert within(heads.w, np.sqrt(6 / (90 + 50)))
    assert within(heads.b, 1 / np.sqrt(90))
    # ncps sets w_tau to 0 and A to 1, and then draws both as matrices of one row.
    for a in (params.w_tau, params.a):
        assert a.shape == (50,)
        assert within(a, np.sqrt(6 / 51))
    assert float(params.a.max()) < 0.5
    assert float(abs(params.w_tau).min()) > 0


def test_start_of_ltc():
    params = rnn.ltc(40, 30, wiring=np.eye(30)).init(KEY)
    for a, (low, high) in (
        (params.cm, (0.4, 0.6)),
        (params.gleak, (0.001, 1)),
        (params.vleak, (-0.2, 0.2)),
        (params.sensory.w, (0.001, 1)),
        (params.sensory.mu, (0.3, 0.8)),
        (params.inner.sigma, (3, 8)),
    ):
        assert low <= a.min() < a.max() <= high
        assert a.max() - a.min() > 0.8 * (high - low)
    assert_close(params.inner.erev, jnp.eye(30))
    assert set(np.unique(params.sensory.erev)) == {-1, 1}
    np.testing.assert_allclose((params.sensory.erev > 0).mean(), 2 / 3, atol=0.05)
    assert_close(params.input_w, jnp.ones(40))
    assert_close(params.output_b, jnp.zeros(30))


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("matrix", ["exponential", "cayley"])
def test_the_recurrent_matrix_is_orthogonal_whatever_the_weights(size, matrix):
    with jax.enable_x64(True):
        cell = rnn.orthogonal(D, size, matrix=matrix, dtype=jnp.float64)
        params = cell.init(KEY)
        params = params._replace(a=3 * params.a + 1)
        w_h = np.asarray(cell.about.prepare(params).made.w_h)
    np.testing.assert_allclose(w_h @ w_h.T, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(w_h), 1)


def test_start_of_orthogonal():
    """The angles of the eigenvalues of w_h, for both maps and both starts."""

    def angles(matrix, a_init):
        cell = rnn.orthogonal(D, 100, matrix=matrix, a_init=a_init)
        w_h = quick_jit(lambda: cell.about.prepare(cell.init(KEY)).made.w_h)()
        return abs(np.angle(np.linalg.eigvals(np.asarray(w_h, np.float64))))

    assert 0.9 * np.pi < angles("exponential", "henaff").max()
    # Made for the Cayley map; the authors' code gives it to the exponential too.
    assert 1.45 < angles("cayley", "cayley").max() <= np.pi / 2
    assert 0.9 < angles("exponential", "cayley").max() < 1
    params = rnn.orthogonal(300, 64).init(KEY)
    np.testing.assert_allclose(params.w_x.std(), np.sqrt(2 / 300), rtol=0.05)
    assert within(params.b, 0.01)


def test_start_of_sru_and_its_two_scalings():
    scale = np.sqrt(1 + 2 * np.exp(-1.5))
    params = rnn.sru(90, 50, highway_bias=-1.5).init(KEY)
    u, f, r, past = np.split(params.w_x, 4, axis=1)
    bound = np.sqrt(3 / 90)
    assert within(u, bound, 0.99)
    assert within(f, bound * np.sqrt(0.5), 0.99)
    assert within(r, bound * np.sqrt(0.5), 0.99)
    assert within(past, bound * scale, 0.99)  # in the weights, where it may change
    assert within(params.w_c, np.sqrt(1.5))
    assert_close(params.b, jnp.repeat(jnp.array([0, -1.5]), 50))
    # Where x is added as it is the scale is a constant: r = 0 shows it.
    cell = rnn.sru(3, 3, highway_bias=-1.5)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY))
    params = params._replace(b=params.b.at[3:].set(-1e9))
    x = jnp.array([1.0, -2.0, 3.0])
    _, y = step_of(cell)(params, cell.initial_carry(params), x)
    np.testing.assert_allclose(y, scale * x, rtol=1e-6)
    smaller = rnn.sru(90, 50, layer_norm=True).init(KEY)
    assert within(smaller.w_x[:, :50], 0.1 * bound, 0.99)


# Where the paper and the authors' code part.


def test_cornn_damps_with_the_old_velocity():
    cell = rnn.cornn(1, 1, dt=0.5, gamma=0.25, epsilon=1.0)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY))
    carry, y = step_of(cell)(params, rnn.CoRNNCarry(*jnp.ones((2, 1))), jnp.zeros(1))
    old = 1 + 0.5 * (0 - 0.25 * 1 - 1.0 * 1)  # the authors' code
    new = (1 + 0.5 * (0 - 0.25 * 1)) / (1 + 0.5 * 1.0)  # the paper's other choice
    assert old == 0.375
    assert round(new, 4) == 0.5833
    assert_close((carry.z, y), (jnp.array([old]), jnp.array([1 + 0.5 * old])))


def test_heads_of_lem_are_cells_side_by_side():
    with jax.enable_x64(True):
        cell, one = rnn.lem(D, 6, heads=2), rnn.lem(D, 3)
        params, _, xs = drawn(cell)
        _, ys = quick_jit(cell.unroll)(params, cell.initial_carry(params), xs)
        run = quick_jit(one.unroll)
        for i in range(2):

            def own(a, i=i):  # the units of a head, gate after gate
                gates = a.reshape(*a.shape[:-1], -1, 2, 3)[..., i, :]
                return gates.reshape(*a.shape[:-1], -1)

            alone = rnn.LEMParams(own(params.w_x), params.w_h[i], own(params.b))
            _, expected = run(alone, one.initial_carry(alone), xs)
            assert_close(ys[:, 3 * i : 3 * i + 3], expected)


def test_lem_reads_the_new_z():
    cell = rnn.lem(1, 1)
    params = jax.tree.map(jnp.zeros_like, cell.init(KEY))
    params = params._replace(
        w_h=params.w_h.at[0, 3].set(1.0), b=jnp.array([9.0, 9, 1, 0])
    )
    carry, y = step_of(cell)(params, cell.initial_carry(params), jnp.zeros(1))
    open_gate = 1 / (1 + np.exp(-9))
    z = open_gate * np.tanh(1)
    np.testing.assert_allclose(carry.z, [z], rtol=1e-6)
    np.testing.assert_allclose(y, [open_gate * np.tanh(z)], rtol=1e-6)  # of z_{t-1}: 0


def test_pure_cfc_of_the_code_and_of_the_paper():
    cell = rnn.cfc(1, 1, mode="pure", backbone_layers=0, timed=True)
    f, w_tau, a, h, span = -0.5, 0.25, 2.0, 0.75, 3.0
    params = cell.init(KEY)
    params = params._replace(
        layers=(rnn.LinearParams(jnp.zeros((2, 1)), jnp.array([f])),),
        **{"w_tau": jnp.array([w_tau]), "a": jnp.array([a])},
    )
    x = rnn.Timed(jnp.zeros(1), jnp.float32(span))
    _, y = step_of(cell)(params, rnn.cells.CfCCarry(jnp.array([h])), x)
    code = a - a * np.exp(-span * (abs(w_tau) + abs(f))) * f
    paper = (h - a) * np.exp(-span * (w_tau + f)) * f + a  # f(-x) by the same f here
    np.testing.assert_allclose(y, [code], rtol=1e-6)
    assert abs(code - paper) > 0.5
    # LeCun's 2/3 is 0.666 in ncps.
    np.testing.assert_allclose(
        lecun_tanh(jnp.float32(2.0)), 1.7159 * np.tanh(1.332), rtol=1e-6
    )
    assert abs(lecun_tanh(jnp.float32(2.0)) - 1.7159 * np.tanh(4 / 3)) > 5e-4


def test_a_span_of_zero_leaves_a_neuron_as_it_is():
    """ncps divides by the span."""
    with jax.enable_x64(True):
        cell = rnn.ltc(D, H, unfolds=3, timed=True)
        args = drawn(cell)
        xs = args.xs._replace(span=args.xs.span.at[4].set(0))
        ones = quick_jit(cell.unroll)(*args[:2], jax.tree.map(lambda a: a[:4], xs))
        more = quick_jit(cell.unroll)(*args[:2], jax.tree.map(lambda a: a[:5], xs))
        assert_close(more[0], ones[0])
        params, carry, xs = Drawn(*args[:2], xs).numbers()
        masks = 1, 1
        with np.errstate(all="ignore"):
            theirs = list(reference.ltc(params, carry.v, *xs, masks, 3, 1e-8, True))
        assert not np.isnan(theirs[3][0]).any()
        assert np.isnan(theirs[4][0]).all()


def test_spans_add_up():
    """One long span of an LTC is as many short ones, in the limit of many unfolds."""
    with jax.enable_x64(True):
        short = rnn.ltc(D, H, unfolds=40, timed=True)
        args = drawn(short, length=1)
        long = rnn.ltc(D, H, unfolds=80, timed=True)
        twice = jax.tree.map(lambda a: jnp.concatenate([a, a]), args.xs)
        halves = twice._replace(span=twice.span / 2)
        got = quick_jit(short.unroll)(*args[:2], halves)[0]
        assert_close(got, quick_jit(long.unroll)(*args)[0], 1e-12)


def test_a_neuron_without_synapses_hears_nothing():
    cell = rnn.ltc(D, H, wiring=np.zeros((H, H)), sensory_wiring=np.eye(D, H))
    params = cell.init(KEY)
    run = quick_jit(cell.unroll)
    carry = cell.initial_carry(params)
    xs = jnp.ones((3, D))
    got, other = (run(params, carry, a)[0].v for a in (xs, xs.at[:, 1].set(5.0)))
    changed = np.asarray(got != other)
    assert changed.tolist() == [False, True, False, False, False]


def test_unconstrained_params_are_what_they_say():
    free, constrained = (rnn.ltc(D, H, constrained=c) for c in (False, True))
    params = constrained.init(KEY)
    soft = jax.nn.softplus
    opened = params._replace(
        cm=soft(params.cm),
        gleak=soft(params.gleak),
        inner=params.inner._replace(w=soft(params.inner.w)),
        sensory=params.sensory._replace(w=soft(params.sensory.w)),
    )
    x = jnp.ones(D)
    got = step_of(free)(opened, free.initial_carry(opened), x)
    assert_close(got, step_of(constrained)(params, free.initial_carry(params), x), 1e-6)


# Clocks and queues.


def test_modules_run_when_their_period_divides_the_clock():
    cell = rnn.clockwork(D, 6, periods=(1, 2, 4))
    params = cell.init(KEY)
    xs = jax.random.normal(KEY, (9, D))
    mask = jnp.arange(9) != 3  # the clock stands still there
    run = quick_jit(cell.unroll)
    carry, hs = run(params, cell.initial_carry(params), xs, mask=mask)
    hs = np.asarray(hs[mask]).reshape(8, 3, 2)
    moved = (hs[1:] != hs[:-1]).any(-1)
    steps = np.arange(1, 8)
    assert (moved == (steps[:, None] % [1, 2, 4] == 0)).all()
    assert carry.clock == 8 % 4  # a multiple of all periods is as good as 0
    starts = jnp.arange(9) == 5
    carry, hs = run(params, cell.initial_carry(params), xs, starts=starts)
    assert carry.clock == 0
    assert_close(hs[5:], run(params, cell.initial_carry(params), xs[5:])[1], 1e-6)


def test_a_clockwork_has_no_weights_that_it_does_not_use():
    params = rnn.clockwork(D, 6, periods=(1, 2, 4)).init(KEY)
    assert [w.shape for w in params.w_h] == [(6, 2), (4, 2), (2, 2)]


@pytest.mark.parametrize(("length", "reverse"), [(3, False), (8, False), (9, True)])
def test_dilated_is_as_many_sequences(length, reverse):
    inner = rnn.gru(D, H)
    cell = rnn.dilated(inner, 4)
    params = cell.init(KEY)
    xs = jax.random.normal(KEY, (length, D))
    run = quick_jit(partial(cell.unroll, reverse=reverse))
    _, ys = run(params, cell.initial_carry(params), xs)
    alone = quick_jit(inner.unroll)
    flip = slice(None, None, -1 if reverse else 1)
    for i in range(min(4, length)):
        own = xs[flip][i::4]
        _, expected = alone(params, inner.initial_carry(params), own)
        assert_close(ys[flip][i::4], expected, 1e-6)


def test_dilated_goes_on_where_it_ended():
    cell = rnn.dilated(rnn.gru(D, H), 4)
    params = cell.init(KEY)
    first = cell.initial_carry(params)
    xs = jax.random.normal(KEY, (9, D))
    mask = jnp.arange(9) % 4 != 1
    run = quick_jit(cell.unroll)
    whole = run(params, first, xs, mask=mask)
    carry, ys = run(params, first, xs[:6], mask=mask[:6])
    carry, more = run(params, carry, xs[6:], mask=mask[6:])
    assert_close((carry, jnp.concatenate([ys, more])), whole, 1e-6)


def test_each_dilated_recurrence_has_randomness_of_its_own():
    cell = rnn.dilated(rnn.dropout(0.5), 3)
    carry = cell.initial_carry((), KEY)
    assert carry.key.shape == (3,)
    _, ys = cell.unroll((), carry, jnp.ones((6, 64)))
    assert (ys[:3] == ys[3:]).all()
    assert (ys[0] != ys[1]).any()
    _, ys = cell.unroll((), carry, jnp.ones((6, 64)), starts=jnp.arange(6) == 3)
    assert (ys[:3] == ys[3:]).all()


# Matrices made once.


def test_a_matrix_is_made_once_for_a_sequence():
    cell = rnn.orthogonal(D, H)
    params = cell.init(KEY)
    prepared = cell.about.prepare(params)
    carry = cell.initial_carry(params)
    x = jnp.ones(D)
    step = step_of(cell)
    assert_close(step(prepared, carry, x), step(params, carry, x), 1e-6)
    program = str(jax.make_jaxpr(step)(prepared, carry, x))
    assert "cond" not in program  # of the matrix exponential
    assert "cond" in str(jax.make_jaxpr(step)(params, carry, x))


# Bad input.


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: ANY.cornn(0, H), ("cornn: input_size", "at least 1")),
        (lambda: ANY.cornn(D, 6, heads=2), ("cornn: heads", "got 2")),
        (lambda: ANY.clockwork(D, 4, heads=2), ("clockwork: heads", "got 2")),
        (lambda: ANY.cornn(D, H, dt=0), ("cornn: dt", "positive", "got 0")),
        (lambda: ANY.cornn(D, H, gamma=-1), ("cornn: gamma", "at least 0")),
        (lambda: ANY.cornn(D, H, epsilon="a"), ("cornn: epsilon", "got 'a'")),
        (lambda: ANY.lem(D, H, dt=float("nan")), ("lem: dt", "got nan")),
        (lambda: ANY.cfc(D, H, mode="gate"), ("cfc: mode", "no_gate", "got 'gate'")),
        (lambda: ANY.cfc(D, H, backbone_layers=-1), ("cfc: backbone_layers",)),
        (lambda: ANY.cfc(D, H, activation="tanh"), ("cfc: activation", "function")),
        (lambda: ANY.cfc(D, H, timed=1), ("cfc: timed", "bool")),
        (lambda: ANY.ltc(D, H, motor_size=H + 1), ("ltc: motor_size", "at most")),
        (lambda: ANY.ltc(D, H, wiring=np.ones((H, D))), ("ltc: wiring", "[5, 5]")),
        (lambda: ANY.ltc(D, H, wiring=2 * np.ones((H, H))), ("ltc: wiring", "-1, 0")),
        (lambda: ANY.ltc(D, H, sensory_wiring="all"), ("ltc: sensory_wiring", "'all'")),
        (lambda: ANY.ltc(D, H, input_mapping="no"), ("ltc: input_mapping", "'no'")),
        (lambda: ANY.ltc(D, H, unfolds=0), ("ltc: unfolds", "at least 1")),
        (lambda: ANY.ltc(D, H, epsilon=-1), ("ltc: epsilon", "at least 0")),
        (lambda: ANY.orthogonal(D, H, matrix="qr"), ("orthogonal: matrix", "'qr'")),
        (lambda: ANY.orthogonal(D, H, a_init=None), ("orthogonal: a_init", "None")),
        (lambda: ANY.clockwork(D, 6), ("clockwork: hidden_size", "multiple of 4")),
        (lambda: ANY.clockwork(D, 4, periods=(2, 1)), ("periods", "(2, 1)")),
        (lambda: ANY.clockwork(D, 4, periods=()), ("clockwork: periods", "()")),
        (lambda: ANY.clockwork(D, 4, periods=(0, 1)), ("clockwork: periods",)),
        (lambda: ANY.clockwork(D, 4, periods=3), ("clockwork: periods", "got 3")),
        (
            lambda: ANY.clockwork(D, 4, carry_init=jax.nn.initializers.ones),
            ("clockwork: carry_init", "expected None"),
        ),
        (lambda: ANY.sru(D, H, projection_size=0), ("sru: projection_size",)),
        (lambda: ANY.sru(D, H, highway_bias=np.inf), ("sru: highway_bias", "finite")),
        (lambda: ANY.sru(D, H, rescale=None), ("sru: rescale", "bool")),
        (lambda: ANY.dilated(rnn.gru(D, H), 0), ("dilated: dilation", "at least 1")),
        (lambda: ANY.dilated("gru", 2), ("dilated: cell", "expected a Cell")),
        (
            lambda: ANY.dilated(rnn.bidirectional(rnn.gru(D, H), rnn.gru(D, H)), 2),
            ("dilated: cell", "reads the future"),
        ),
    ],
)
def test_bad_arguments(make, parts):
    assert_refused(make, *parts)


def test_an_option_that_the_cell_does_not_have():
    for make in (ANY.cornn, ANY.lem, ANY.clockwork):
        with pytest.raises(TypeError, match="periodz: there is no such option"):
            make(D, 4, periodz=1)


def test_bad_inputs():
    timed, plain = (rnn.cfc(D, H, backbone_units=7, timed=t) for t in (True, False))
    params = timed.init(KEY)
    carry = timed.initial_carry(params)
    xs = jnp.ones((T, D))
    assert_refused(lambda: timed.unroll(params, carry, xs), "cfc(3, 5): xs", "Timed")
    wrong = rnn.Timed(xs, jnp.ones(T - 1))
    assert_refused(lambda: timed.unroll(params, carry, wrong), "cfc(3, 5): xs")
    both = rnn.Timed(xs, jnp.ones(T))
    assert_refused(lambda: plain.unroll(params, carry, both), "cfc(3, 5): xs", "Timed")
    cell = rnn.dilated(plain, 3)
    assert_refused(
        lambda: cell.unroll(params, cell.initial_carry(params), xs, mask=jnp.ones(T)),
        "dilated(cfc(3, 5), 3): mask: expected dtype bool",
    )
    assert_refused(
        lambda: cell.unroll(params, cell.initial_carry(params), xs[:, 1:]),
        "dilated(cfc(3, 5), 3): xs: expected size 3",
    )


def test_published_arrays_that_do_not_fit():
    def arrays(**changes):
        shapes = {"i2h.weight": (5, 13), "i2h.bias": (5,)} | changes
        return {k: np.zeros(s, np.float32) for k, s in shapes.items() if s}

    read = partial(interop.load_published, "cornn")
    assert repr(read(arrays())[0]) == "cornn(3, 5)"
    layer = {f"cell.{k}": a for k, a in arrays().items()}
    assert repr(read(layer, prefix="cell")[0]) == "cornn(3, 5)"
    bias = {"i2h.bias": None}
    assert_refused(lambda: read(arrays(**bias)), "['i2h.bias']: expected an array")
    narrow = {"i2h.weight": (5, 10)}
    assert_refused(lambda: read(arrays(**narrow)), "expected shape [H, D+2H]")
    more = {"h2h.weight": (5, 5)}
    assert_refused(lambda: read(arrays(**more)), "['h2h.weight']", "expected only")
    assert_refused(lambda: read(arrays(), dt=-1), "cornn: dt", "got -1")
    of_sru = {
        "weight": np.zeros((6, 18)),
        "bias": np.zeros(12),
        "weight_c": np.zeros(12),
    }
    of_sru = {k: a.astype(np.float32) for k, a in of_sru.items()}
    scaled = of_sru | {"scale_x": np.full(1, 0.5, np.float32)}
    assert_refused(
        lambda: interop.load_published("sru.cell", scaled), "at least 1, got 0.5"
    )
    assert_refused(
        lambda: interop.load_published("ncps.cfc", {}, mode="gate"), "mode", "no_gate"
    )
