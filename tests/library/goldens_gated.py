"""What the authors' IndRNN and sLSTM gave: checks by the name of a file."""

import jax
import jax.numpy as jnp
import numpy as np
from battery import step_of

import jaxrnn as rnn
from jaxrnn.interop import load_published


def params_of(arrays):
    """The authors' params, by their own names."""
    prefix = "param/"
    return {
        k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)
    }


def both_ways(cell, params, carry, xs):
    """Final carries and outputs of a batch `[B, T, ...]`, by `unroll` and by steps."""

    def by_steps(carry, xs):
        return jax.lax.scan(lambda carry, x: step_of(cell)(params, carry, x), carry, xs)

    def by_unroll(carry, xs):
        return cell.unroll(params, carry, xs)

    for run in (by_unroll, by_steps):
        yield jax.jit(jax.vmap(run))(carry, xs)


def same(got, want):
    """1e-10 in double precision, and 2e-6 of the largest value in single."""
    want = np.asarray(want)
    double = want.dtype == np.float64
    scale = max(1.0, float(np.abs(want).max()))
    tolerance = (1e-10 if double else 2e-6) * scale
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


def _batch(cell, params, size):
    carry = cell.initial_carry(params)
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (size, *a.shape)), carry)


def indrnn(arrays):
    """x and y are `[T, B, H]`."""
    with jax.enable_x64(True):
        cell, params = load_published("indrnn", params_of(arrays))
        xs = jnp.asarray(arrays["x"]).swapaxes(0, 1)
        carry = _batch(cell, params, len(xs))
        if "h0" in arrays:
            carry = rnn.ElmanCarry(jnp.asarray(arrays["h0"]))
        for last, ys in both_ways(cell, params, carry, xs):
            same(ys.swapaxes(0, 1), arrays["y"])
            same(last.h, arrays["y"][-1])


def slstm_cell(arrays):
    """The states y, c, n and m, after each step and at the end."""
    with jax.enable_x64(True):
        heads = int(arrays["num_heads"]) if "num_heads" in arrays else None
        options = {"num_heads": heads}
        cell, params = load_published("xlstm.slstm_cell", params_of(arrays), **options)
        xs = jnp.asarray(arrays["x"])
        carry = _batch(cell, params, len(xs))
        for last, ys in both_ways(cell, params, carry, xs):
            same(ys, arrays["y"])
            if "final_state_ycnm" in arrays:
                same(
                    jnp.stack([last.h, last.c, last.n, last.m]),
                    arrays["final_state_ycnm"],
                )

        def states(carry, xs):
            def body(carry, x):
                return (step_of(cell)(params, carry, x)[0],) * 2

            return jax.lax.scan(body, carry, xs)[1]

        found = jax.jit(jax.vmap(states))(carry, xs)
        for name in {"c", "n", "m"} & arrays.keys():
            same(getattr(found, name), arrays[name])


def slstm_layer(arrays):
    with jax.enable_x64(True):
        heads = int(arrays["num_heads"]) if "num_heads" in arrays else None
        options = {"num_heads": heads}
        cell, params = load_published("xlstm.slstm_layer", params_of(arrays), **options)
        xs = jnp.asarray(arrays["x"])
        for _, ys in both_ways(cell, params, _batch(cell, params, len(xs)), xs):
            same(ys, arrays["y"])


GOLDENS = {
    "indrnn_onlyrecurrent": indrnn,
    "xlstm_slstm_cell": slstm_cell,
    "xlstm_slstm_layer": slstm_layer,
}
