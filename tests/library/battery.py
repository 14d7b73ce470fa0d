"""The cells and combinations that the tests hold to the contract, and their helpers.

All sizes are distinct primes, so that a mixed-up axis fails.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxrnn as rnn
from jaxrnn.testing.trees import as_dtype, inexact, jitter, total
from jaxrnn.testing.trees import quick_jit as quick_jit

T, D, H, V, B = 7, 3, 5, 11, 2
S, M, A = 13, 17, 19  # of the memory that an attention reads
SOME_VALID = jnp.array([False, True, True, False, True, True, False])
STARTS = jnp.array([False, False, True, True, False, True, False])  # one is masked
MASKS = jnp.stack([SOME_VALID, ~SOME_VALID])  # of a batch
ALL_VALID = jnp.ones(T, bool)
MEMORY = jnp.asarray(np.random.default_rng(0).normal(size=(S, M)), jnp.float32)
MEMORY_MASK = jnp.arange(S) % 3 != 1

NORMAL = jax.nn.initializers.normal(1.0)


class Case(NamedTuple):
    """A cell under test.

    `reference` is what the cell is to be equal to: `(params, carry, xs, initial, *,
    mask, reverse, starts)`, with the carry with which it begins at a start. For a cell
    with a step it is the law itself.
    """

    cell: rnn.Cell
    size: int | None = D  # of one input; None for a token
    reference: Callable | None = None
    key: jax.Array | None = None  # of the dropout

    def unroll(self, mask, *, reverse=False, starts=None):
        """The cell's unroll as a function of (params, carry, xs)."""
        options = {} if starts is None else {"starts": starts}
        return partial(self.cell.unroll, mask=mask, reverse=reverse, **options)

    def expected(self, mask, *, reverse=False, starts=None):
        """What `unroll` is to be equal to."""
        reference = self.reference or partial(law, self.cell)
        mask = ALL_VALID if mask is None else mask
        starts = ~ALL_VALID if starts is None else starts

        def run(params, carry, xs):
            initial = self.cell.initial_carry(params, self.key)
            options = {"mask": mask, "reverse": reverse, "starts": starts}
            return reference(params, carry, xs, initial, **options)

        return run

    def arguments(self, dtype=jnp.float32, seed=0, length=T):
        """Random params, carry and xs, with nothing left at its initial zero or one."""
        noise = np.random.default_rng(seed)
        params = jitter(as_dtype(self.cell.init(jax.random.key(0)), dtype), noise)
        carry = jitter(self.cell.initial_carry(params, self.key), noise)
        if self.size is None:
            return params, carry, jnp.asarray(noise.integers(0, V, length, np.int32))
        return params, carry, jnp.asarray(noise.normal(size=(length, self.size)), dtype)

    def batch(self, dtype=jnp.float32):
        """Params, and a batch of carries and of xs."""
        examples = [self.arguments(dtype, seed) for seed in range(B)]
        params = examples[0][0]
        carries, xs = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(example[1:] for example in examples)
        )
        return params, carries, xs


def step_of(cell):
    """The step of a cell that has one."""
    assert cell.step is not None
    return cell.step


def law(cell, params, carry, xs, initial=None, *, mask, reverse=False, starts=None):
    """`lax.scan` of the step; the mask freezes the carry and blanks x and y.

    At a start the carry is `initial`.
    """
    step = step_of(cell)
    starts = jnp.zeros_like(mask) if starts is None else starts
    initial = carry if initial is None else initial

    def body(carry, inputs):
        keep, start, x = inputs
        carry = jax.tree.map(partial(jnp.where, start), initial, carry)
        new, y = step(params, carry, jnp.where(keep, x, jnp.zeros_like(x)))
        carry = jax.tree.map(partial(jnp.where, keep), new, carry)
        return carry, jnp.where(keep, y, jnp.zeros_like(y))

    return lax.scan(body, carry, (mask, starts, xs), reverse=reverse)


def both_ways(merge, forward, backward):
    """The reference for `bidirectional`."""

    def reference(params, carry, xs, initial, *, mask, reverse, starts):
        def one(cell, name, reverse, starts):
            args = (getattr(tree, name) for tree in (params, carry, initial))
            params_, carry_, initial_ = args
            options = {"mask": mask, "reverse": reverse, "starts": starts}
            return law(cell, params_, carry_, xs, initial_, **options)

        # One that reads the other way begins a sequence where the next one starts.
        ends = (
            jnp.roll(starts, 1 if reverse else -1).at[0 if reverse else -1].set(False)
        )
        ahead, ys = one(forward, "forward", reverse, starts)
        back, zs = one(backward, "backward", not reverse, ends)
        return rnn.Directions(ahead, back), merge(ys, zs)

    return reference


def in_turn(*references):
    """The reference for `chain`."""

    def reference(params, carry, xs, initial, **options):
        carries = []
        parts = zip(references, params, carry, initial, strict=True)
        for one, params_, carry_, initial_ in parts:
            carry_, xs = one(params_, carry_, xs, initial_, **options)
            carries.append(carry_)
        return tuple(carries), xs

    return reference


def scalar(unroll):
    """A loss of the params, carry and xs."""
    return lambda *args: total(unroll(*args))


def gradient(loss):
    """`jax.grad` with respect to all that has a derivative in params, carry and xs."""

    def gradients(*args):
        floats, put = inexact(args)
        return jax.grad(lambda floats: loss(*put(floats)))(floats)

    return gradients


def with_gradient(unroll):
    """The outputs, and the gradients of their total."""

    def run(*args):
        floats, put = inexact(args)

        def loss(floats):
            outputs = unroll(*put(floats))
            return total(outputs), outputs

        gradients, outputs = jax.grad(loss, has_aux=True)(floats)
        return outputs, gradients

    return run


def assert_refused(mistake, *parts):
    """It raises a ValueError with all of these parts in its message."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        mistake()
    assert type(error.value) is ValueError
    assert all(part in str(error.value) for part in parts), str(error.value)


def assert_close(got, expected, tolerance=1e-12):
    """Same structure, shapes and dtypes, and close values."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def softsign(x):
    """An activation of a user's own."""
    return x / (1 + jnp.abs(x))


def janet(z, carry):
    """The example in the docstring of `recurrent`."""
    f, g = jnp.split(z, 2)
    f = jax.nn.sigmoid(f)
    return rnn.ElmanCarry(f * carry.h + (1 - f) * jnp.tanh(g))


def peephole(theta, z, carry):
    """An LSTM whose gates see the memory, through params of their own."""
    i, f, g, o = jnp.split(z, 4)
    i = jax.nn.sigmoid(i + theta["i"] * carry.c)
    f = jax.nn.sigmoid(f + theta["f"] * carry.c)
    c = f * carry.c + i * jnp.tanh(g)
    return rnn.LSTMCarry(jax.nn.sigmoid(o + theta["o"] * c) * jnp.tanh(c), c)


def peephole_init(key):
    return {k: NORMAL(key, (H,), jnp.float32) for k in "ifo"}


def concatenated(ys, zs):
    return jnp.concatenate([ys, zs], axis=-1)


class OscillatorParams(NamedTuple):
    """Weights of `oscillator`; those that multiply complex numbers are complex."""

    decay: Any  # [H]
    angle: Any  # [H]
    b: Any  # [D, H]
    c: Any  # [H, H]


class OscillatorCarry(NamedTuple):
    """A complex state."""

    s: Any  # [H]


def oscillator(parallel=False):
    """s_t = exp(-exp(decay) + i angle) s_{t-1} + x_t b,    y_t = Re(s_t c)"""

    def init(key):
        noise = np.random.default_rng(0)
        b, c = (
            jnp.asarray(noise.normal(size=(n, H)) + 1j * noise.normal(size=(n, H)))
            for n in (D, H)
        )
        return OscillatorParams(jnp.zeros(H), jnp.arange(H) / H, b, c)

    def initial_carry(params, key=None):
        return OscillatorCarry(jnp.ones(H, params.b.dtype))

    def factors(params):
        return jnp.exp(lax.complex(-jnp.exp(params.decay), params.angle))

    def step(params, carry, x):
        s = factors(params) * carry.s + x.astype(params.b.dtype) @ params.b
        return OscillatorCarry(s), (s @ params.c).real

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        """All steps at once: s_t = a_t s_{t-1} + b_t, where s_{t-1} is not cut off."""
        length = len(xs)
        keep = jnp.ones(length, bool) if mask is None else mask
        cut = jnp.zeros(length, bool) if starts is None else starts
        xs = jnp.where(keep[:, None], xs, jnp.zeros_like(xs)).astype(params.b.dtype)
        one = jnp.ones_like(carry.s)[None]
        a = jnp.where(keep[:, None], factors(params)[None], one)
        b = jnp.where(keep[:, None], xs @ params.b, 0 * one)
        b = b + jnp.where(cut[:, None], a * initial_carry(params).s[None], 0 * one)
        place = -1 if reverse else 0
        b = b.at[place].add(jnp.where(cut[place], 0 * one[0], a[place] * carry.s))

        def joined(first, second):
            (a, b, _), (a2, b2, cut) = first, second
            b = jnp.where(cut[:, None], b2, a2 * b + b2)
            return jnp.where(cut[:, None], a2, a * a2), b, first[2] | cut

        _, ss, _ = lax.associative_scan(joined, (a, b, cut), reverse=reverse)
        ys = (ss @ params.c).real
        ys = jnp.where(keep[:, None], ys, jnp.zeros_like(ys))
        return OscillatorCarry(ss[0 if reverse else -1]), ys

    reads = rnn.Input((D,))
    fast = unroll if parallel else None
    return rnn.leaf("oscillator()", reads, init, initial_carry, step, fast)


KEY = jax.random.key(42)

RECURRENT = {
    "elman": Case(rnn.elman(D, H)),
    "elman relu": Case(rnn.elman(D, H, activation=jax.nn.relu)),
    "gru": Case(rnn.gru(D, H)),
    "gru reset before": Case(rnn.gru(D, H, reset_after=False)),
    "lstm": Case(rnn.lstm(D, H)),
    "projected lstm": Case(rnn.projected_lstm(D, H, 2)),
    "janet": Case(rnn.recurrent(D, H, janet, gates=2)),
    "peephole": Case(
        rnn.recurrent(
            D,
            H,
            peephole,
            gates=4,
            carry_type=rnn.LSTMCarry,
            theta_init=peephole_init,
        )
    ),
}


def half(x):
    """A smooth gate that is no sigmoid."""
    return 0.5 + 0.5 * jnp.sin(x)


SMOOTH: Any = {"activation": softsign, "gate_activation": half}
OPTIONS = {
    "elman softsign": Case(rnn.elman(D, H, activation=softsign)),
    "elman without bias": Case(rnn.elman(D, H, bias=False)),
    "gru without bias": Case(rnn.gru(D, H, bias=False)),
    "gru reset before without bias": Case(rnn.gru(D, H, bias=False, reset_after=False)),
    "lstm without bias": Case(rnn.lstm(D, H, bias=False)),
    "lstm of other functions": Case(rnn.lstm(D, H, **SMOOTH)),
    "gru of other functions": Case(rnn.gru(D, H, **SMOOTH)),
    "gru reset before of other functions": Case(
        rnn.gru(D, H, reset_after=False, **SMOOTH)
    ),
    "projected lstm without bias": Case(rnn.projected_lstm(D, H, 2, bias=False)),
    "lstm unrolled": Case(rnn.lstm(D, H, unroll=3)),
    "gru reset before unrolled": Case(rnn.gru(D, H, reset_after=False, unroll=2)),
}

STATE = jnp.asarray(np.random.default_rng(1).normal(size=H), jnp.float32)

CARRIES = {
    "lstm learned carry": Case(rnn.learned_carry(rnn.lstm(D, H), carry_init=NORMAL)),
    "gru learned carry": Case(rnn.learned_carry(rnn.gru(D, H), carry_init=NORMAL)),
    "starting": Case(rnn.starting(rnn.lstm(D, H), rnn.LSTMCarry(STATE, 2 * STATE))),
    "complex": Case(oscillator()),
    "complex in parallel": Case(oscillator(parallel=True)),
}

LAYERS = {
    "linear": Case(rnn.linear(D, H)),
    "linear without bias": Case(rnn.linear(D, H, bias=False)),
    "embedding": Case(rnn.embedding(V, H), size=None),
    "layer_norm": Case(rnn.layer_norm(D)),
    "activation": Case(rnn.activation(softsign)),
    "dropout": Case(rnn.dropout(0.5), key=KEY),
    "dropout per step": Case(rnn.dropout(0.5, per_step=True), key=KEY),
    "dropout without key": Case(rnn.dropout(0.5)),
    "luong": Case(rnn.luong(D, M, memory=MEMORY, mask=MEMORY_MASK)),
    "bahdanau without memory": Case(rnn.bahdanau(D, M, A)),
}

LANGUAGE_MODEL = rnn.chain(
    rnn.embedding(V, D),
    rnn.lstm(D, H),
    rnn.dropout(0.1),
    rnn.residual(rnn.lstm(H, H)),
    rnn.linear(H, V),
)

ELMAN, GRU = rnn.elman(D, H), rnn.gru(D, H)
DROPPED = rnn.chain(rnn.dropout(0.4, per_step=True), rnn.lstm(D, H))
EMBED, READ = rnn.embedding(V, D), rnn.linear(2 * H, V)

FED = rnn.input_feeding(rnn.chain(rnn.lstm(D + H, H), rnn.bahdanau(H, M, A)), H)

COMBINATIONS = {
    "chain": Case(rnn.chain(rnn.gru(D, H), rnn.linear(H, V))),
    "residual": Case(rnn.residual(rnn.gru(D, D))),
    "residual dropout": Case(rnn.residual(rnn.dropout(0.3)), key=KEY),
    "remat": Case(rnn.remat(rnn.lstm(D, H))),
    "remat by two": Case(rnn.remat(rnn.gru(D, H), segment=2)),
    "remat of dropout": Case(rnn.remat(DROPPED), key=KEY),
    "language model": Case(LANGUAGE_MODEL, size=None, key=KEY),
    "language model without key": Case(LANGUAGE_MODEL, size=None),
    "tied embedding": Case(
        rnn.tied_embedding(V, H, rnn.chain(rnn.dropout(0.1), rnn.gru(H, H))),
        size=None,
        key=KEY,
    ),
    "scheduled sampling": Case(
        rnn.scheduled_sampling(LANGUAGE_MODEL, 0.5), size=None, key=KEY
    ),
    "nested": Case(
        rnn.chain(
            rnn.residual(rnn.chain(rnn.layer_norm(D), rnn.gru(D, H), rnn.linear(H, D))),
            rnn.remat(rnn.chain(rnn.lstm(D, H), rnn.dropout(0.2))),
        ),
        key=KEY,
    ),
    "attention": Case(
        rnn.attend(
            rnn.chain(rnn.gru(D, H), rnn.residual(rnn.luong(H, M)), rnn.linear(H, V)),
            MEMORY,
            MEMORY_MASK,
        )
    ),
    "input feeding": Case(rnn.attend(FED, MEMORY)),
    "concatenated": Case(
        rnn.bidirectional(ELMAN, DROPPED),
        reference=both_ways(concatenated, ELMAN, DROPPED),
        key=KEY,
    ),
    "summed": Case(
        rnn.bidirectional(ELMAN, GRU, merge="sum"),
        reference=both_ways(lambda ys, zs: ys + zs, ELMAN, GRU),
    ),
    "averaged": Case(
        rnn.bidirectional(ELMAN, GRU, merge="mean"),
        reference=both_ways(lambda ys, zs: 0.5 * ys + 0.5 * zs, ELMAN, GRU),
    ),
    "tagger": Case(
        rnn.chain(EMBED, rnn.bidirectional(GRU, ELMAN), READ),
        size=None,
        reference=in_turn(
            partial(law, EMBED), both_ways(concatenated, GRU, ELMAN), partial(law, READ)
        ),
    ),
}

CASES: dict[str, Case] = RECURRENT | OPTIONS | CARRIES | LAYERS | COMBINATIONS
STREAMS = {name: case for name, case in CASES.items() if case.cell.step is not None}
