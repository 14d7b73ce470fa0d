"""Batches of like length: nothing is lost, nothing is cut, and every seed is alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data import DataError
from experiments.lab import bucketed, make_buckets, pad

few = settings(deadline=None, derandomize=True, max_examples=50)
lengths_of_some = st.lists(st.integers(1, 23), min_size=7, max_size=61).map(np.array)
sizes = {"batch_size": st.integers(1, 7), "most": st.integers(1, 5)}


@few
@given(lengths=lengths_of_some, together=st.booleans(), **sizes)
def test_every_example_has_one_bucket_that_is_long_enough(
    lengths, batch_size, most, together
):
    buckets = make_buckets(lengths, batch_size, most=most, together=together)
    assert 1 <= len(buckets.sizes) <= most
    assert list(buckets.sizes) == sorted(set(buckets.sizes))
    assert buckets.sizes[-1] == lengths.max()
    assert sorted(np.concatenate(buckets.members)) == list(range(len(lengths)))
    for size, members in zip(buckets.sizes, buckets.members, strict=True):
        assert lengths[members].max() <= size
        assert not together or len(members) >= batch_size

    counted = Counter()
    for size, index, count in buckets.every():
        assert index.shape == (batch_size,)
        assert lengths[index].max() <= size
        counted.update(index[:count].tolist())
    assert counted == Counter(range(len(lengths)))


@few
@given(lengths=lengths_of_some, epoch=st.integers(0, 3), **sizes)
def test_an_epoch_has_full_batches_without_repeats(lengths, batch_size, most, epoch):
    buckets = make_buckets(lengths, batch_size, most=most)
    batches = bucketed(buckets, lambda numbers, size: (lengths[numbers],))
    assert batches.sizes is not None
    sizes = batches.sizes(epoch)
    for seed in (5, 11):  # each reads the same whichever seeds are beside it
        numbers = batches.plan(epoch, seed)
        assert numbers.shape == (batches.steps, batch_size)
        assert len(np.unique(numbers)) == numbers.size
        for row, size in zip(numbers, sizes, strict=True):
            assert batches.read(row, size)[0].max() <= size


def test_epochs_mix_the_examples_anew():
    buckets = make_buckets(np.full(61, 3), 7)
    first, second = (
        {frozenset(row.tolist()) for row in buckets.epoch(epoch, 0)[0]}
        for epoch in (0, 1)
    )
    assert not first & second


def test_too_few_examples_for_a_batch():
    with pytest.raises(DataError, match="fewer than a batch of 3"):
        make_buckets(np.array([1, 2]), 3)


@pytest.mark.parametrize("rest", [(), (5,)])
def test_padding(rest):
    rng = np.random.default_rng(0)
    sequences = [rng.integers(1, 9, (n, *rest)) for n in (2, 3, 7, 11)]
    values, mask = pad(sequences, np.array([[3, 0], [1, 2]]), 7)
    assert values.shape == (2, 2, 7, *rest)
    np.testing.assert_array_equal(mask.sum(axis=-1), [[7, 2], [3, 7]])
    np.testing.assert_array_equal(values[0, 0], sequences[3][:7])  # cut
    np.testing.assert_array_equal(values[1, 0][:3], sequences[1])
    assert not values[~mask].any()
