"""The causal convolution against a loop in NumPy, and under the laws."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import MASKS, STARTS, D, T, assert_close, assert_refused, quick_jit

import jaxrnn as rnn

W = 4
CELL = rnn.causal_conv(D, W)


def reference(w, b, window, xs, mask, starts):
    """One step after the other, on a list of the last valid inputs."""
    window, ys = [row.copy() for row in window], []
    for x, valid, start in zip(xs, mask, starts, strict=True):
        if start:
            window = [np.zeros_like(row) for row in window]
        if not valid:
            ys.append(np.zeros(xs.shape[1]))
            continue
        window.append(x)
        ys.append(sum(one * row for one, row in zip(w, window, strict=True)) + b)
        window.pop(0)
    return np.array(window), np.array(ys)


@pytest.mark.parametrize("reverse", [False, True])
def test_it_is_the_loop(reverse):
    noise = np.random.default_rng(0)
    w, b, window, xs = (
        noise.normal(size=size) for size in ((W, D), D, (W - 1, D), (T, D))
    )
    with jax.enable_x64(True):
        params = rnn.ConvolutionParams(jnp.array(w), jnp.array(b))
        run = quick_jit(
            lambda window, xs, mask, starts: CELL.unroll(
                params,
                rnn.ConvolutionCarry(window),
                xs,
                mask=mask,
                starts=starts,
                reverse=reverse,
            )
        )
        for mask in np.asarray(MASKS):
            for starts in (np.asarray(STARTS), np.zeros(T, bool)):
                flip = slice(None, None, -1 if reverse else 1)
                last, ys = reference(w, b, window, xs[flip], mask[flip], starts[flip])
                carry, got = run(
                    window, np.where(mask[:, None], xs, np.nan), mask, starts
                )
                assert_close((carry.window, got), (last, ys[flip]), 1e-12)


def test_the_first_weights_have_the_range_of_torch():
    params = rnn.causal_conv(500, W).init(jax.random.key(0))
    for a in params:
        assert 0.49 < jnp.abs(a).max() <= 0.5
        assert abs(float(a.std()) - 0.5 / 3**0.5) < 0.02


def test_bad_arguments():
    conv: Any = rnn.causal_conv
    assert_refused(lambda: conv(0), "causal_conv: size: expected an integer")
    assert_refused(lambda: conv(3, 0), "causal_conv: width: expected")
    assert_refused(lambda: conv(3, bias=1), "causal_conv: bias: expected")
    assert_refused(
        lambda: conv(3, w_init=1), "causal_conv: w_init: expected a function"
    )
    params = CELL.init(jax.random.key(0))
    assert_refused(
        lambda: CELL.unroll(params, CELL.initial_carry(params), jnp.ones((T, D + 1))),
        f"causal_conv({D}, {W}): xs: expected size {D}",
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2, W, T + 2])
@pytest.mark.parametrize("bias", [True, False])
def test_the_laws(width, bias):
    rnn.testing.check(rnn.causal_conv(D, width, bias=bias))
