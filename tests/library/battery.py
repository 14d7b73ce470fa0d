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

T, D, H, V, B = 7, 3, 5, 11, 2
S, M, A = 13, 17, 19  # of the memory that an attention reads
SOME_VALID = jnp.array([False, True, True, False, True, True, False])
MASKS = jnp.stack([SOME_VALID, ~SOME_VALID])  # of a batch
ALL_VALID = jnp.ones(T, bool)
MEMORY = jnp.asarray(np.random.default_rng(0).normal(size=(S, M)), jnp.float32)
MEMORY_MASK = jnp.arange(S) % 3 != 1

NORMAL = jax.nn.initializers.normal(1.0)


def known(options):
    """Those compiler options that the installed version of XLA knows."""
    trial = jax.jit(lambda: 0).lower()

    def is_known(name, value):
        try:
            return bool(trial.compile(compiler_options={name: value}))
        except jax.errors.JaxRuntimeError:
            return False

    return {name: value for name, value in options.items() if is_known(name, value)}


# For programs that run only once: half the time to compile, or less.
quick_jit = partial(
    jax.jit,
    compiler_options=known(
        {
            "xla_backend_optimization_level": 0,
            "xla_llvm_disable_expensive_passes": True,
            "xla_cpu_use_fusion_emitters": False,
        }
    ),
)


class Case(NamedTuple):
    """A cell under test.

    `reference` has the signature of `unroll`, with a mask that is never None. For a
    cell with a step it is the law itself.
    """

    cell: rnn.Cell
    size: int | None = D  # of one input; None for a token
    reference: Callable | None = None
    key: jax.Array | None = None  # of the dropout

    def unroll(self, mask, *, reverse=False):
        """The cell's unroll as a function of (params, carry, xs)."""
        return partial(self.cell.unroll, mask=mask, reverse=reverse)

    def expected(self, mask, *, reverse=False):
        """What `unroll` is to be equal to."""
        reference = self.reference or partial(law, self.cell)
        mask = ALL_VALID if mask is None else mask
        return partial(reference, mask=mask, reverse=reverse)

    def arguments(self, dtype=jnp.float32, seed=0, length=T):
        """Random params, carry and xs, with nothing left at its initial zero or one."""
        noise = np.random.default_rng(seed)
        params = self.cell.init(jax.random.key(0))
        floats, put = floating(params)
        params = jitter(put([a.astype(dtype) for a in floats]), noise)
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


def law(cell, params, carry, xs, *, mask, reverse=False):
    """`lax.scan` of the step; the mask freezes the carry and blanks x and y."""
    step = step_of(cell)

    def body(carry, inputs):
        keep, x = inputs
        new, y = step(params, carry, jnp.where(keep, x, jnp.zeros_like(x)))
        carry = jax.tree.map(partial(jnp.where, keep), new, carry)
        return carry, jnp.where(keep, y, jnp.zeros_like(y))

    return lax.scan(body, carry, (mask, xs), reverse=reverse)


def both_ways(merge, forward, backward):
    """The reference for `bidirectional`."""

    def reference(params, carry, xs, *, mask, reverse=False):
        ahead, ys = law(
            forward, params.forward, carry.forward, xs, mask=mask, reverse=reverse
        )
        back, zs = law(
            backward,
            params.backward,
            carry.backward,
            xs,
            mask=mask,
            reverse=not reverse,
        )
        return rnn.Directions(ahead, back), merge(ys, zs)

    return reference


def in_turn(*references):
    """The reference for `chain`."""

    def reference(params, carry, xs, *, mask, reverse=False):
        carries = []
        for one, p, c in zip(references, params, carry, strict=True):
            c, xs = one(p, c, xs, mask=mask, reverse=reverse)
            carries.append(c)
        return tuple(carries), xs

    return reference


def jitter(tree, noise):
    """Adds noise to every floating leaf."""
    floats, put = floating(tree)
    return put(
        [a + jnp.asarray(noise.normal(0, 0.5, a.shape), a.dtype) for a in floats]
    )


def floating(tree):
    """The floating leaves of a tree, and the function that puts others in their place.

    What is left out: tokens, keys and counters.
    """
    leaves, structure = jax.tree.flatten(tree)
    indices = [
        i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]

    def put(floats):
        new = dict(zip(indices, floats, strict=True))
        return structure.unflatten(new.get(i, leaf) for i, leaf in enumerate(leaves))

    return [leaves[i] for i in indices], put


def total(outputs) -> Any:
    """One number that depends on every entry of the outputs and of the final carry."""
    weights = np.random.default_rng(0)
    return sum(
        (a * weights.normal(size=a.shape).astype(a.dtype)).sum()
        for a in floating(outputs)[0]
    )


def scalar(unroll):
    """A loss of the params, carry and xs."""
    return lambda *args: total(unroll(*args))


def gradient(loss):
    """`jax.grad` with respect to whatever is floating in the params, carry and xs."""

    def gradients(*args):
        floats, put = floating(args)
        return jax.grad(lambda floats: loss(*put(floats)))(floats)

    return gradients


def with_gradient(unroll):
    """The outputs, and the gradients of their total."""

    def run(*args):
        floats, put = floating(args)

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


KEY = jax.random.key(42)

RECURRENT = {
    "elman": Case(rnn.elman(D, H)),
    "elman relu": Case(rnn.elman(D, H, activation=jax.nn.relu)),
    "gru": Case(rnn.gru(D, H)),
    "gru reset before": Case(rnn.gru(D, H, reset_after=False)),
    "lstm": Case(rnn.lstm(D, H)),
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

OPTIONS = {
    "elman softsign": Case(rnn.elman(D, H, activation=softsign)),
    "elman without bias": Case(rnn.elman(D, H, bias=False)),
    "gru without bias": Case(rnn.gru(D, H, bias=False)),
    "gru reset before without bias": Case(rnn.gru(D, H, bias=False, reset_after=False)),
    "lstm without bias": Case(rnn.lstm(D, H, bias=False)),
    "lstm learned carry": Case(rnn.learned_carry(rnn.lstm(D, H), carry_init=NORMAL)),
    "gru learned carry": Case(rnn.learned_carry(rnn.gru(D, H), carry_init=NORMAL)),
    "lstm unrolled": Case(rnn.lstm(D, H, unroll=3)),
    "gru reset before unrolled": Case(rnn.gru(D, H, reset_after=False, unroll=2)),
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
    "luong": Case(rnn.attend(rnn.luong(D, M), MEMORY, MEMORY_MASK)),
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

CASES: dict[str, Case] = RECURRENT | OPTIONS | LAYERS | COMBINATIONS
STREAMS = {name: case for name, case in CASES.items() if case.cell.step is not None}
