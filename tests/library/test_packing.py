"""Packing: every sequence stands in a row once, and a model reads it as if alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import V, assert_refused, quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxrnn as rnn


def sequences_of(lengths, shape=()):
    noise = np.random.default_rng(0)
    return [noise.integers(1, V, (n, *shape)) for n in lengths]


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    more=st.integers(0, 7),
    shape=st.sampled_from([(), (2,)]),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_every_sequence_stands_in_a_row_once(lengths, more, shape):
    sequences, row_length = sequences_of(lengths, shape), max(lengths) + more
    packed = rnn.pack(lengths, row_length)
    rows = packed.rows(sequences)

    assert rows.shape[1] == row_length
    assert packed.mask.sum() == sum(lengths)
    assert packed.starts.sum() == len(lengths)
    assert packed.mask.any(1).all()
    np.testing.assert_array_equal(packed.mask, packed.sequence >= 0)
    np.testing.assert_array_equal(rows[~packed.mask], 0)
    for i, sequence in enumerate(sequences):
        row, columns = np.nonzero(packed.sequence == i)
        assert len(set(row)) == 1
        np.testing.assert_array_equal(columns, columns[0] + np.arange(len(sequence)))
        np.testing.assert_array_equal(packed.position[row, columns], range(len(row)))
        assert packed.starts[row[0], columns[0]]
        np.testing.assert_array_equal(rows[row, columns], sequence)
    for got, sequence in zip(packed.sequences(rows), sequences, strict=True):
        np.testing.assert_array_equal(got, sequence)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=60))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_few_rows_are_needed(lengths):
    filled = np.sort(rnn.pack(lengths, 20).mask.sum(1))
    assert len(filled) == 1 or filled[0] + filled[1] > 20  # no two would fit into one


def test_rows_are_filled_as_well_as_can_be():
    assert len(rnn.pack([6, 4, 5, 5, 7, 3, 8, 2], 10).mask) == 4
    np.testing.assert_array_equal(
        rnn.pack([1, 2, 3], 3).sequence, [[2, 2, 2], [1, 1, 0]]
    )


MODELS = {
    "language model": rnn.chain(
        rnn.embedding(V, 3), rnn.lstm(3, 5), rnn.gru(5, 5), rnn.linear(5, V)
    ),
    "tagger": rnn.chain(
        rnn.embedding(V, 3),
        rnn.bidirectional(rnn.lstm(3, 5), rnn.gru(3, 5)),
        rnn.linear(10, V),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_are_those_of_the_sequences_apart(name):
    model = MODELS[name]
    lengths = [4, 1, 7, 2, 3, 1]
    texts, labels = sequences_of(lengths), sequences_of(lengths)
    packed = rnn.pack(lengths, 8)

    def losses(params, tokens, labels, mask, starts):
        carry = model.initial_carry(params)
        _, logits = model.unroll(params, carry, tokens, mask=mask, starts=starts)
        p = jax.nn.log_softmax(logits)
        losses = -jnp.take_along_axis(p, labels[:, None], axis=1)[:, 0]
        return jnp.where(mask, losses, 0)

    def summed(params, *batch):
        found = jax.vmap(losses, (None, 0, 0, 0, 0))(params, *batch)
        return found.sum(), found

    run = quick_jit(jax.value_and_grad(summed, has_aux=True))
    rows = packed.rows(texts), packed.rows(labels), packed.mask, packed.starts
    length = np.arange(max(lengths))
    mask = length < np.array(lengths)[:, None]
    padded = [
        np.stack([np.resize([*s, 0, 0, 0, 0, 0, 0], max(lengths)) for s in some])
        for some in (texts, labels)
    ]
    with jax.enable_x64(True):
        params = jax.tree.map(
            lambda a: a.astype(jnp.float64), model.init(jax.random.key(0))
        )
        (got, by_step), slopes = run(params, *rows)
        apart = run(params, *padded, mask, np.zeros_like(mask))
    (expected, expected_by_step), expected_slopes = apart
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    pairs = zip(packed.sequences(by_step), expected_by_step, lengths, strict=True)
    for a, b, n in pairs:
        np.testing.assert_allclose(a, b[:n], rtol=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        slopes,
        expected_slopes,
    )


def test_mistakes():
    packed = rnn.pack([2, 3], 4)
    mistakes: list[tuple[Any, int, str]] = [
        ([2, 5], 4, "lengths: expected 1 to row_length 4, got 5 for sequence 1"),
        ([2, 0], 4, "lengths: expected 1 to row_length 4, got 0 for sequence 1"),
        ([], 4, "lengths: expected at least one sequence, got none"),
        ([2.5], 4, "lengths: expected integers"),
        (3, 4, "lengths: expected integers"),
        ([2], 0, "row_length: expected an integer of at least 1, got 0"),
    ]
    for lengths, row_length, words in mistakes:
        assert_refused(lambda: rnn.pack(lengths, row_length), "pack: ", words)
    for sequences, words in (
        ([[1, 2]], "expected 2 sequences, got 1"),
        ([[1, 2], [3, 4]], "expected sequence 1 of length 3, got 2"),
        ([1, [3, 4, 5]], "expected sequence 0 of length 2, got 0"),
    ):
        assert_refused(lambda: packed.rows(sequences), "Packed.rows: sequences", words)
    assert_refused(
        lambda: packed.sequences(np.zeros((2, 5))),
        "Packed.sequences: rows: expected shape [N, T, ...] with N, T = (2, 4)",
    )
