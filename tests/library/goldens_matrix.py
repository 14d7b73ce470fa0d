"""What flash-linear-attention and xlstm gave for cells with a matrix for a state.

In a file of fla arrays are [B, T, heads, K] and states [B, heads, K, V]; its functions
compute in float32 whatever they are given. Those of xlstm are [B, T, D].
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from jaxrnn.interop import load_published


def assert_near(got, expected, single=False):
    """To 1e-10, or to 2e-6 of the largest value where they computed in float32."""
    expected = np.asarray(expected)
    assert np.shape(got) == expected.shape
    if single or expected.dtype == np.float32:
        far = 2e-6 * max(np.abs(expected).max(), 1e-30)
        np.testing.assert_allclose(got, expected, rtol=0, atol=far)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


def in_turn(cell, params, carries, xs):
    """The steps of a batch, one after the other."""

    def one(carry, xs):
        return jax.lax.scan(lambda carry, x: cell.step(params, carry, x), carry, xs)

    return jax.vmap(one)(carries, xs)


def in_every_way(kind, arrays, options, carries, xs, check):
    """Runs the cell of a kind as it unrolls by itself, in chunks and by steps."""
    ways = {"best": {}, "chunks": {"method": "chunks", "chunk_size": 8}}
    for more in ways.values():
        cell, params = load_published(kind, arrays, **options, **more)
        run = partial(cell.unroll, params)
        check(*jax.jit(jax.vmap(run))(carries, xs))
    cell, params = load_published(kind, arrays, **options)
    check(*jax.jit(partial(in_turn, cell, params))(carries, xs))


def of_fla(kind, inputs, **names):
    """What holds a function of fla; `names` are its own for fields of the inputs."""

    def check(arrays):
        with jax.enable_x64(True):
            fields = {field: names.get(field, field) for field in inputs._fields}
            given = {name: arrays[name] for name in fields.values()}
            xs = inputs(
                **{field: jnp.array(given[name]) for field, name in fields.items()}
            )
            heads, size = xs.q.shape[-2:]
            shape = len(xs.q), heads, size, xs.v.shape[-1]
            dtype = xs.q.dtype
            first = jnp.asarray(arrays.get("initial_state", np.zeros(shape)), dtype)

            def hold(carries, ys):
                assert_near(ys, arrays["o"], single=True)
                if "final_state" in arrays:
                    assert_near(carries.s, arrays["final_state"], single=True)

            in_every_way(kind, given, {}, rnn.MatrixCarry(first), xs, hold)

    return check


def of_mlstm_cell(arrays):
    """The authors' steps, and their parallel form, which has no m before the first."""
    with jax.enable_x64(True):
        weights = {
            name.removeprefix("param/"): a
            for name, a in arrays.items()
            if name.startswith("param/")
        }
        kind = "xlstm.mlstm_cell"
        cell, params = load_published(kind, weights)
        xs = rnn.QKV(*(jnp.array(arrays[name]) for name in "qkv"))
        batch, heads = len(xs.q), len(params.b_i)
        assert int(arrays.get("num_heads", heads)) == heads
        first = jax.tree.map(
            lambda a: jnp.broadcast_to(a, (batch, *a.shape)), cell.initial_carry(params)
        )

        def hold_steps(carries, ys):
            assert_near(ys, arrays["y_steps"])
            if "final_C" in arrays:
                assert_near(carries.c, arrays["final_C"])
                assert_near(carries.n[..., None], arrays["final_n"])
                assert_near(carries.m[..., None, None], arrays["final_m"])

        def hold_parallel(carries, ys):
            del carries
            assert_near(ys, arrays["y_parallel"])

        without_m = first._replace(m=jnp.full_like(first.m, -jnp.inf))
        in_every_way(kind, weights, {}, first, xs, hold_steps)
        if "y_parallel" in arrays:
            in_every_way(kind, weights, {}, without_m, xs, hold_parallel)
        _before_the_norm(arrays, params, xs, first, without_m)


def _before_the_norm(arrays, params, xs, first, without_m):
    """h of the recurrence by itself, of gates that NumPy computes."""
    _, heads, size, _ = np.shape(first.c)
    cell = rnn.mlstm_recurrence(heads, size, size, dtype=xs.q.dtype)
    rows = np.concatenate(list(map(np.asarray, xs)), axis=-1)
    p = jax.tree.map(np.asarray, params)
    gates = [rows @ w + b for w, b in ((p.w_i, p.b_i), (p.w_f, p.b_f))]
    by_head = [a.reshape(*a.shape[:2], heads, size) for a in xs]
    inputs = rnn.MLSTMInputs(*map(jnp.asarray, (*by_head, *gates)))
    for name, carries in (("steps", first), ("parallel", without_m)):
        expected = arrays.get(f"h_before_norm_{name}")
        if expected is not None:
            _, hs = jax.jit(jax.vmap(partial(cell.unroll, ())))(carries, inputs)
            assert_near(hs, expected)


GOLDENS = {
    "fla_gla": of_fla("fla.gla", rnn.GLAInputs, g="gk"),
    "fla_delta_rule": of_fla("fla.delta_rule", rnn.DeltaInputs),
    "fla_gated_delta_rule": of_fla("fla.gated_delta_rule", rnn.GatedDeltaInputs),
    "xlstm_mlstm_cell": of_mlstm_cell,
}
