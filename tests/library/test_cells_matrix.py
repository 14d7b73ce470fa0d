"""Cells with a matrix for a state: gated linear attention, delta rules, mLSTM."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_matrix as reference
from battery import D, assert_close, assert_refused, quick_jit, step_of
from jax import export, lax

import jaxrnn as rnn
from jaxrnn import interop
from jaxrnn.testing.trees import as_dtype, jitter, results

HEADS, K, V, T = 2, 3, 5, 11
CHUNKS = {"method": "chunks", "chunk_size": 4}
MASK = np.arange(T) % 4 != 1
STARTS = np.isin(np.arange(T), [2, 3, 5, 9])  # of which one is masked

INPUTS = {
    "gla_recurrence": rnn.GLAInputs,
    "delta_rule": rnn.DeltaInputs,
    "gated_delta_rule": rnn.GatedDeltaInputs,
    "mlstm_recurrence": rnn.MLSTMInputs,
}
LAYERS = {
    "gla": partial(rnn.gla, heads=HEADS, key_size=K, value_size=V, rank=2),
    "gla with more": partial(
        rnn.gla,
        heads=HEADS,
        conv_size=3,
        conv_bias=True,
        feature_map=jax.nn.softplus,
        output_gate=False,
        least_log_decay=-0.02,
    ),
    "delta_net": partial(rnn.delta_net, heads=HEADS, key_size=K, value_size=V),
    "delta_net with more": partial(
        rnn.delta_net,
        heads=HEADS,
        beta=False,
        activation="elu",
        norm="sum",
        output_gate=True,
        conv_size=None,
    ),
    "gated_delta_net": partial(
        rnn.gated_delta_net, heads=HEADS, negative_eigenvalues=True
    ),
    "gated_delta_net with less": partial(
        rnn.gated_delta_net, heads=HEADS, output_gate=False, conv_size=None
    ),
    "mlstm": partial(rnn.mlstm, heads=HEADS, inner_size=8, block_size=2),
}


def make(name, **options):
    return getattr(rnn, name)(HEADS, K, V, **options)


def draw(name, length=T, dtype: Any = np.float64, seed=0, sizes=(HEADS, K, V)):
    """Inputs of a recurrence, with keys of length one and gates of every kind."""
    noise = np.random.default_rng(seed)
    heads, key_size, value_size = sizes
    q, k = noise.normal(size=(2, length, heads, key_size))
    k /= np.sqrt((k * k).sum(-1, keepdims=True))
    v = noise.normal(size=(length, heads, value_size))
    one = noise.normal(size=(2, length, heads))
    gates = {
        "gla_recurrence": {"g": -noise.uniform(0, 0.2, (length, heads, key_size))},
        "delta_rule": {"beta": 2 / (1 + np.exp(one[0]))},
        "gated_delta_rule": {
            "beta": 2 / (1 + np.exp(one[0])),
            "g": -0.1 * np.abs(one[1]),
        },
        "mlstm_recurrence": {"i": 2 * one[0], "f": 3 + one[1]},
    }
    inputs = INPUTS[name](q, k, v, **gates[name])
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), inputs)


def drawn_carry(cell, seed=1):
    noise = np.random.default_rng(seed)
    return jitter(cell.initial_carry(()), noise)


@pytest.mark.parametrize("name", INPUTS)
def test_a_recurrence_is_its_equations(name):
    """By steps, and in chunks of which the last one is not full."""
    with jax.enable_x64(True):
        cell = make(name, dtype=jnp.float64, **CHUNKS)
        carry, xs = drawn_carry(cell), draw(name)
        mine = jax.tree.map(np.asarray, (carry, xs))
        if name == "mlstm_recurrence":
            last, ys = reference.mlstm(*mine[0][:3], *mine[1])
        else:
            name = name.removesuffix("_recurrence")
            last, ys = getattr(reference, name)(mine[0].s, *mine[1])
        last = jax.tree.leaves(last)
        by_steps = quick_jit(partial(lax.scan, partial(cell.step, ())))(carry, xs)
        in_chunks = quick_jit(partial(cell.unroll, ()))(carry, xs)
        for got, got_ys in (by_steps, in_chunks):
            assert_close((jax.tree.leaves(got), got_ys), (last, ys))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("reverse", [False, True])
def test_chunks_are_the_law(name, reverse):
    """With a mask and with starts, values and gradients, and NaN before a start."""
    with jax.enable_x64(True):
        cell = make(name, dtype=jnp.float64, **CHUNKS)
        carry, xs = drawn_carry(cell), draw(name)
        law = rnn.scan_unroll(cell.step, cell.initial_carry)
        args = MASK, STARTS, np.ones(T, bool), True
        got = quick_jit(results(cell.unroll, reverse))
        expected = quick_jit(results(law, reverse))((), carry, xs, *args)
        assert_close(got((), carry, xs, *args), expected, 1e-10)
        # What stands before the last of the starts, in the order of the steps.
        after = np.arange(T) <= 2 if reverse else np.arange(T) >= 9
        lost = jax.tree.map(
            lambda a: jnp.where(after.reshape(T, *(1,) * (a.ndim - 1)), a, jnp.nan), xs
        )
        nan = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), carry)
        found = got((), nan, lost, MASK, STARTS, after, True)
        whole = got((), carry, xs, MASK, STARTS, after, True)
        kept = jax.tree.map(lambda a: a[after], (found.ys, found.d_xs))
        assert_close(kept, jax.tree.map(lambda a: a[after], (whole.ys, whole.d_xs)))
        assert_close(found.carry, whole.carry)


def test_nan_reaches_no_earlier_step_of_a_chunk():
    for name in INPUTS:
        cell, xs = make(name, **CHUNKS), draw(name, dtype=np.float32)
        lost = jax.tree.map(lambda a: a.at[6].set(jnp.nan), xs)
        args = None, None, np.ones(T, bool), True
        carry, ys, *_ = _results(name)((), cell.initial_carry(()), lost, *args)
        _, expected, *_ = _results(name)((), cell.initial_carry(()), xs, *args)
        assert_close(ys[:6], expected[:6], 1e-6)
        assert jnp.isnan(ys[6:]).all()
        assert all(jnp.isnan(a).all() for a in jax.tree.leaves(carry))


@pytest.mark.parametrize(
    "name", ["gla_recurrence", "gated_delta_rule", "mlstm_recurrence"]
)
@pytest.mark.parametrize("gate", [-jnp.inf, -1e4, -50.0, 0.0])
def test_extreme_gates(name, gate):
    """Closed and open gates, queries and keys of zero: finite, and the law."""
    cell, xs = make(name, **CHUNKS), draw(name, dtype=np.float32)
    if name == "mlstm_recurrence":
        gates = {"f": xs.f.at[::2].set(gate), "i": xs.i.at[1::3].set(-100)}
    else:
        gates = {"g": xs.g.at[::2].set(gate)}
    xs = xs._replace(q=xs.q.at[4].set(0), k=xs.k.at[3:5].set(0), **gates)
    floats, others = (cell.initial_carry(()), xs), (None, None, np.ones(T, bool), True)
    got = _results(name)((), *floats, *others)
    assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(got))
    with jax.enable_x64(True):
        args = (), *as_dtype(floats, jnp.float64), *others
        got, expected = (_results(name, law)(*args) for law in (False, True))
        assert_close(got, expected, 1e-9)


def _results(name, law=False):
    dtype = str(jnp.result_type(float))
    return _compiled(name, law, dtype)


@cache
def _compiled(name, law, dtype):
    cell = make(name, dtype=dtype, **CHUNKS)
    run = rnn.scan_unroll(cell.step, cell.initial_carry) if law else cell.unroll
    return quick_jit(results(run))


def test_keys_that_are_too_long_explode():
    """The state is multiplied by 1 - beta |k|^2 along a key: here -2 and -1/2."""
    xs = draw("delta_rule", dtype=np.float32)
    xs = xs._replace(k=jnp.ones_like(xs.k) / K**0.5, beta=jnp.ones_like(xs.beta))
    cell = make("delta_rule", **CHUNKS)
    carry = rnn.MatrixCarry(jnp.ones((HEADS, K, V)))
    still = xs._replace(v=jnp.zeros_like(xs.v))
    for length, factor in ((3.0, -2.0), (1.5, -0.5)):
        longer = still._replace(k=still.k * length**0.5)
        s = cell.unroll((), carry, longer)[0].s
        np.testing.assert_allclose(s, factor**T * jnp.ones_like(s), rtol=1e-4)


def test_the_parallel_form_of_the_authors_has_no_first_m():
    """Both facts: with m_0 = 0, and without, y differs by the 1e-6 alone."""
    with jax.enable_x64(True):
        cell, xs = make("mlstm_recurrence", dtype=jnp.float64), draw("mlstm_recurrence")
        xs = xs._replace(i=xs.i - 3)
        q, k, v, i, f = map(np.asarray, xs)
        decay = np.cumsum(reference.log_sigmoid(f), axis=0)
        logs = decay[:, None] - decay[None, :] + i[None, :]
        logs = np.where(np.tri(T, dtype=bool)[:, :, None], logs, -np.inf)
        top = logs.max(axis=1)
        scores = np.einsum("thk,shk->tsh", q, k) / K**0.5 * np.exp(logs - top[:, None])
        below = np.maximum(abs(scores.sum(1)), np.exp(-top)) + 1e-6
        parallel = np.einsum("tsh,shv->thv", scores, v) / below[..., None]
        carry = cell.initial_carry(())
        without = carry._replace(m=jnp.full_like(carry.m, -jnp.inf))
        assert_close(cell.unroll((), without, xs)[1], parallel)
        ys = cell.unroll((), carry, xs)[1]
        assert 1e-12 < abs(ys - parallel).max() < 1e-5
        c, n, m = (np.asarray(a) for a in carry[:3])
        assert_close(ys, reference.mlstm(c, n, m, q, k, v, i, f)[1])


@pytest.mark.parametrize(
    "name", ["gla", "gla with more", "delta_net", "gated_delta_net", "mlstm"]
)
def test_a_layer_is_its_equations(name):
    with jax.enable_x64(True):
        cell = LAYERS[name](D, 6, **CHUNKS)
        noise = np.random.default_rng(2)
        params = jitter(as_dtype(cell.init(jax.random.key(0)), jnp.float64), noise)
        xs = noise.normal(size=(T, D))
        p = jax.tree.map(np.asarray, params)
        expected = {
            "gla": lambda: reference.gla_layer(p, xs, HEADS),
            "gla with more": lambda: _gla_with_more(p, xs),
            "delta_net": lambda: reference.delta_net_layer(p, xs, HEADS),
            "gated_delta_net": lambda: reference.delta_net_layer(p, xs, HEADS, 2.0),
            "mlstm": lambda: reference.mlstm_layer(p, xs, HEADS),
        }[name]()
        carry = cell.initial_carry(params)
        _, ys = quick_jit(cell.unroll)(params, carry, jnp.asarray(xs))
        assert_close(ys, expected, 1e-11)
        _, y = step_of(cell)(params, carry, jnp.asarray(xs[0]))
        assert_close(y, expected[0], 1e-11)


def _gla_with_more(p, xs):
    softplus = partial(np.logaddexp, 0)
    q, k, v = reference._qkv(p, xs, HEADS)
    g = reference.log_sigmoid(xs @ p.w_g @ p.w_gk + p.b_g).reshape(k.shape) / 16
    zeros = np.zeros((HEADS, k.shape[-1], v.shape[-1]))
    ys = reference.gla(zeros, softplus(q), softplus(k), v, np.maximum(g, -0.02))[1]
    return reference._written(p, xs, ys)


def test_first_weights():
    decay = rnn.gated_delta_net(3, 400, heads=400).init(jax.random.key(0)).decay
    rate, step = jnp.exp(decay.a_log), jax.nn.softplus(decay.b)
    assert 0 < rate.min() < 0.2
    assert 15.8 < rate.max() <= 16
    assert 0.00099 < step.min() < 0.0012
    assert 0.085 < step.max() < 0.1001
    assert abs(jnp.log(step).mean() - jnp.log(0.01)) < 0.2
    cell = rnn.mlstm(16, 16).init(jax.random.key(0)).cell
    assert not any(a.any() for a in (cell.w_i, cell.w_f, cell.norm))
    np.testing.assert_allclose(cell.b_f, [3, 4, 5, 6])
    w_q = rnn.gla(16, 64).init(jax.random.key(0)).w_q
    assert w_q.shape == (16, 32)
    assert 0.24 < jnp.abs(w_q).max() <= 0.25


def test_sizes_that_heads_share_are_rounded_up():
    for factory, sizes in (
        (rnn.gla, (4, 2, 3)),
        (rnn.delta_net, (4, 3, 3)),
        (rnn.gated_delta_net, (4, 2, 4)),
    ):
        cell = factory(3, 10)
        assert cell.initial_carry(cell.init(jax.random.key(0))).s.shape == sizes


def test_bad_arguments():
    for name in INPUTS:
        assert_refused(
            lambda: make(name, method="fast"), f"{name}: method: expected one of best"
        )
        assert_refused(
            lambda: make(name, chunk_size=12),
            f"{name}: chunk_size: expected a power of two, got 12",
        )
        assert_refused(lambda: getattr(rnn, name)(0, 1, 1), f"{name}: heads: expected")
        assert_refused(lambda: make(name, dtype=int), f"{name}: dtype: expected")
        cell, xs = make(name), draw(name, dtype=np.float32)
        wrong = xs._replace(v=xs.v[:, :, :-1])
        assert_refused(
            lambda: cell.unroll((), cell.initial_carry(()), wrong),
            f"{name}({HEADS}, {K}, {V}): xs",
            f"expected size {V}",
        )
        assert_refused(
            lambda: cell.unroll((), cell.initial_carry(()), xs.q), "expected"
        )
    factories: Any = rnn.gla, rnn.delta_net, rnn.gated_delta_net
    for factory in factories:
        name = factory.__name__
        for option in ("heads", "key_size", "value_size", "conv_size"):
            assert_refused(lambda: factory(3, 8, **{option: 0}), f"{name}: {option}: ")
        assert_refused(lambda: factory(3, 8, conv_bias=1), f"{name}: conv_bias: ")
        assert_refused(lambda: factory(0, 8), f"{name}: input_size: ")
    assert_refused(lambda: rnn.gla(3, 8, gate_divisor=0), "gla: gate_divisor: ")
    assert_refused(lambda: rnn.gla(3, 8, least_log_decay=1), "gla: least_log_decay: ")
    assert_refused(lambda: rnn.delta_net(3, 8, norm="l1"), "delta_net: norm: expected")
    assert_refused(
        lambda: rnn.delta_net(3, 8, activation="gelu"), "delta_net: activation"
    )
    assert_refused(
        lambda: rnn.mlstm_cell(9, heads=2),
        "mlstm_cell: size: expected a multiple of heads = 2, got 9",
    )
    assert_refused(
        lambda: rnn.mlstm(3, 8, heads=3),
        "mlstm: inner_size: expected a multiple of heads = 3",
    )
    assert_refused(
        lambda: rnn.mlstm(3, 8, block_size=3),
        "mlstm: inner_size: expected a multiple of block_size",
    )


def test_bad_arrays_of_the_authors():
    load, q = interop.load_published, np.ones((4, HEADS, K), np.float32)
    kind = "fla.gla"
    assert_refused(
        lambda: load(kind, {}), f"load_published: {kind}: heads: expected one value"
    )
    assert_refused(
        lambda: load(kind, {"w": q}), "expected none but q, k, v, gk, got 'w'"
    )
    assert_refused(
        lambda: load(kind, {"q": q, "k": q[:, :1]}, value_size=2),
        "heads: expected one value",
        "got 1, 2",
    )
    assert_refused(
        lambda: load(kind, {"q": q[0, 0]}),
        "arrays['q']: expected shape [..., heads, key_size]",
    )
    assert (
        load(kind, {"q": q}, value_size=V)[0].about.name
        == f"gla_recurrence({HEADS}, {K}, {V})"
    )
    assert load("fla.delta_rule", {}, heads=1, key_size=2, value_size=3)[1] == ()
    cell = rnn.mlstm_cell(8, heads=2)
    p = jax.tree.map(np.asarray, cell.init(jax.random.key(0)))
    state = {
        "igate.weight": p.w_i.T,
        "igate.bias": p.b_i,
        "fgate.weight": p.w_f.T,
        "fgate.bias": p.b_f,
        "outnorm.weight": p.norm,
    }
    kind = "xlstm.mlstm_cell"
    assert_close(load(kind, state)[1], jax.tree.map(jnp.asarray, p), 0)
    for name, a in state.items():
        others = {n: a for n, a in state.items() if n != name}
        assert_refused(lambda: load(kind, others), name, "expected an array")
        assert_refused(lambda: load(kind, others | {name: a[:-1]}), "expected shape")
    assert_refused(
        lambda: load(kind, state | {"bias": p.b_f}), "bias", "got this one too"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("options", [CHUNKS, {"method": "in turn"}, {}], ids=str)
def test_the_laws_of_recurrences(name, options):
    """In double precision, as the dtype of the carry has it."""
    with jax.enable_x64(True):
        cell, xs = make(name, dtype=jnp.float64, **options), draw(name)
    rnn.testing.check(cell, xs)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_the_laws_of_layers(name):
    rnn.testing.check(LAYERS[name](D, 6, **CHUNKS))


@pytest.mark.slow
def test_the_laws_of_the_cell():
    rnn.testing.check(rnn.mlstm_cell(6, heads=HEADS, **CHUNKS))


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("length", [100, 1000, 10_000, 65_536])
def test_rounding_in_single_precision(name, length):
    """No more than that of the loop, but for a factor."""
    xs = draw(name, length, np.float32, sizes=(HEADS, 16, 16))
    errors = {}
    for method in ("in turn", "chunks"):
        runs = []
        for dtype in (np.float64, np.float32):
            with jax.enable_x64(True):
                cell = getattr(rnn, name)(HEADS, 16, 16, dtype=dtype, method=method)
                typed = jax.tree.map(lambda a: a.astype(dtype), xs)
                run = jax.jit(partial(cell.unroll, ()))
                runs.append(np.asarray(run(cell.initial_carry(()), typed)[1]))
        errors[method] = abs(runs[1] - runs[0]).max() / abs(runs[0]).max()
    print(f"\n{name} T = {length}: {errors}")
    assert errors["chunks"] < 3e-6 + 3 * errors["in turn"]


def test_best_is_in_chunks_where_a_sequence_is_long():
    """And by the loop where it is short, or where its length is a symbol."""

    def loops(length, **options):
        cell = make("delta_rule", **options)
        xs = draw("delta_rule", length, np.float32)
        program = jax.make_jaxpr(partial(cell.unroll, ()))(cell.initial_carry(()), xs)
        return {e.params["length"] for e in program.eqns if e.primitive.name == "scan"}

    assert loops(100) == {100}
    assert loops(1000) == {32}  # chunks of 32
    assert loops(1000, method="in turn") == {1000}
    assert loops(11, method="chunks") == {1}
    assert loops(11, method="chunks", chunk_size=2**40) == {1}
    cell = make("delta_rule", **CHUNKS)
    (t,) = export.symbolic_shape("T")
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((t, *a.shape[1:]), jnp.float32),
        draw("delta_rule", dtype=np.float32),
    )
    run = jax.jit(partial(cell.unroll, (), cell.initial_carry(())))
    _, ys = export.export(run)(like).call(draw("delta_rule", 9, np.float32))
    _, expected = run(draw("delta_rule", 9, np.float32))
    assert_close(ys, expected, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_bfloat16_params_have_a_state_in_single_precision(name):
    layer = {"gla_recurrence": "gla", "delta_rule": "delta_net"}.get(name)
    layer = layer or {"gated_delta_rule": "gated_delta_net"}.get(name, "mlstm")
    cell = LAYERS[layer](D, 6, dtype=jnp.bfloat16)
    params = cell.init(jax.random.key(0))
    xs = jax.random.normal(jax.random.key(1), (T, D))
    carry, ys = cell.unroll(params, cell.initial_carry(params), xs)
    assert ys.dtype == jnp.bfloat16
    assert all(a.dtype == jnp.float32 for a in carry[:-1])
    wide = as_dtype(params, jnp.float32)
    _, expected = cell.unroll(wide, cell.initial_carry(wide), xs)
    np.testing.assert_allclose(ys.astype(jnp.float32), expected, rtol=0.1, atol=0.1)
