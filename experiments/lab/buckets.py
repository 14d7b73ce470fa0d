"""Sequences of like length together, padded to a few lengths: few compilations."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.data import DataError
from experiments.lab.batches import Batches


class Buckets(NamedTuple):
    """Which examples are padded to which length."""

    sizes: tuple[int, ...]  # the padded lengths, rising
    members: tuple[np.ndarray, ...]  # for each, the numbers of its examples
    batch_size: int

    @property
    def steps(self) -> int:
        """Full batches in an epoch; what is left over in a bucket is skipped."""
        return sum(len(m) // self.batch_size for m in self.members)

    def epoch(self, epoch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The batches of an epoch in random order: numbers [steps, B], sizes [steps].

        Every seed has its own order of examples, whichever seeds are beside it; the
        sizes come in an order that all seeds share.
        """
        rng, batches, sizes = np.random.default_rng((seed, epoch)), [], []
        for size, members in zip(self.sizes, self.members, strict=True):
            count = len(members) // self.batch_size
            order = rng.permutation(members)[: count * self.batch_size]
            batches.append(order.reshape(count, self.batch_size))
            sizes += [size] * count
        shared = np.random.default_rng(epoch).permutation(len(sizes))
        return np.concatenate(batches)[shared], np.array(sizes)[shared]

    def every(self) -> Iterator[tuple[int, np.ndarray, int]]:
        """All examples once: (size, numbers [B], how many of them count).

        The last batch of a bucket is filled up by repeating its last example.
        """
        for size, members in zip(self.sizes, self.members, strict=True):
            for first in range(0, len(members), self.batch_size):
                index = members[first : first + self.batch_size]
                count = len(index)
                fill = np.full(self.batch_size - count, index[-1])
                yield size, np.concatenate([index, fill]), count


def make_buckets(
    lengths: np.ndarray, batch_size: int, *, most: int = 5, together: bool = True
) -> Buckets:
    """Sorts examples into buckets, each with about as many examples as the others.

    Args:
      lengths: [N], of the sequences; at least 1 each.
      batch_size: B.
      most: how many buckets there may be.
      together: whether buckets with fewer than B examples join the next longer one, so
        that every example can stand in a full batch.

    Returns:
      The buckets.

    Raises:
      DataError: if there are fewer than B examples while `together`.

    Example:
      >>> buckets = make_buckets(np.array([2, 9, 3, 8, 4, 9, 2]), 2, most=2)
      >>> buckets.sizes, [m.tolist() for m in buckets.members], buckets.steps
      ((4, 9), [[0, 2, 4, 6], [1, 3, 5]], 3)
    """
    if together and len(lengths) < batch_size:
        raise DataError(
            f"there are {len(lengths)} examples to train on, fewer than a batch of "
            f"{batch_size} (--batch-size)"
        )
    edges = np.quantile(lengths, np.arange(1, most + 1) / most, method="higher")
    sizes, members, rest = [], [], np.arange(0)
    low = 0
    for size in map(int, np.unique(edges)):
        inside = np.flatnonzero((lengths > low) & (lengths <= size))
        low, rest = size, np.concatenate([rest, inside])
        if not together or len(rest) >= batch_size:
            sizes.append(size)
            members.append(rest)
            rest = np.arange(0)
    if len(rest):  # too few, and nothing longer: the last bucket takes them
        sizes[-1] = low
        members[-1] = np.concatenate([members[-1], rest])
    return Buckets(tuple(sizes), tuple(members), batch_size)


def pad(sequences: Sequence[Any], index: np.ndarray, size: int) -> Any:
    """The chosen sequences [index.shape..., size], and where they are not padding.

    Args:
      sequences: of integers, or of rows [T, D].
      index: which, of any shape.
      size: the padded length; longer sequences are cut.

    Returns:
      (values, mask): zeros in the padding, and True where there is none.
    """
    chosen = [np.asarray(sequences[i])[:size] for i in index.ravel()]
    values = np.zeros((len(chosen), size, *chosen[0].shape[1:]), chosen[0].dtype)
    for row, sequence in zip(values, chosen, strict=True):
        row[: len(sequence)] = sequence
    lengths = np.array([len(s) for s in chosen])
    mask = np.arange(size) < lengths[:, None]
    return (
        values.reshape(*index.shape, *values.shape[1:]),
        mask.reshape(*index.shape, size),
    )


def of_each(
    fun: Callable[..., Any],
    batch_size: int,
    most: int,
    params: Any,
    sequences: Sequence[Any],
) -> np.ndarray:
    """A number of each sequence for each seed, from batches of like length.

    Args:
      fun: (params, values [B, size, ...], mask [B, size]) -> [S, B]; see `pad`.
      batch_size: B.
      most: how many padded lengths there may be.
      params: [S, ...].
      sequences: N of integers, or of rows [T, D].

    Returns:
      [S, N].

    Example:
      >>> total = lambda scale, values, mask: scale[:, None] * values.sum(axis=1)
      >>> of_each(total, 2, 3, np.array([1, 10]), [[1, 2], [3], [4, 5, 6]]).tolist()
      [[3.0, 3.0, 15.0], [30.0, 30.0, 150.0]]
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    buckets = make_buckets(lengths, batch_size, most=most, together=False)
    found = np.full((len(jax.tree.leaves(params)[0]), len(sequences)), np.nan)
    for size, index, count in buckets.every():
        values = fun(params, *pad(sequences, index, size))
        found[:, index[:count]] = np.asarray(values)[:, :count]
    return found


def bucketed(
    buckets: Buckets, read: Callable[[np.ndarray, int], tuple[np.ndarray, ...]]
) -> Batches:
    """Batches of sequences of like length, padded alike.

    Args:
      buckets: which sequences are padded to which length.
      read: (numbers [..., B], size) -> arrays [..., B, size, ...]; see `pad`.
    """

    return Batches(
        buckets.steps,
        plan=lambda epoch, seed: buckets.epoch(epoch, seed)[0],
        read=read,
        sizes=lambda epoch: buckets.epoch(epoch, 0)[1].tolist(),
    )
