"""Pieces of music in parts, in the keys that they have or in all keys."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from experiments import lab
from experiments.data.music import room, transpose


def cut(rolls: Sequence[np.ndarray], longest: int) -> list[np.ndarray]:
    """Pieces cut into parts of about equal length.

    A part begins with the step that ended the one before, so that each step but the
    first of a piece follows another one in exactly one part.

    Args:
      rolls: pieces [T, 88].
      longest: the most steps after the first one of a part.
    """
    parts = []
    for roll in rolls:
        follow = len(roll) - 1
        edges = np.linspace(0, follow, -(-follow // longest) + 1).round().astype(int)
        parts += [roll[a : b + 1] for a, b in pairwise(edges)]
    return parts


def in_parts(
    rolls: Sequence[np.ndarray],
    batch_size: int,
    longest: int,
    lengths: int,
    transposed: bool = False,
) -> lab.Batches:
    """Batches of parts of like length.

    An example is a part, [T, 88], and which of its steps are no padding, [T] bool.

    Args:
      rolls: pieces [T, 88].
      batch_size: how many parts there are in a batch.
      longest: see `cut`.
      lengths: the most padded lengths.
      transposed: whether a part is moved by -5 to +6 semitones, as far as its notes
        allow it, drawn anew for each update; otherwise by none.

    Raises:
      DataError: if there are fewer parts than there are in a batch.
    """
    parts = cut(rolls, longest)
    counts = np.array([len(part) for part in parts])
    buckets = lab.make_buckets(counts, batch_size, most=lengths)
    rooms = np.array([room(part) for part in parts])
    low, high = np.maximum(rooms[:, 0], -5), np.minimum(rooms[:, 1], 6)

    def plan(epoch, seed):  # [steps, B, 2]: which part, and its semitones
        index, _ = buckets.epoch(epoch, seed)
        semitones = np.zeros_like(index)
        if transposed:
            rngs = [np.random.default_rng((seed, epoch, n)) for n in range(len(index))]
            draws = np.array([rng.random(batch_size) for rng in rngs])
            choices = high[index] - low[index] + 1
            semitones = low[index] + (draws * choices).astype(int)
        return np.stack([index, semitones], axis=-1)

    def read(numbers, size):
        values, mask = lab.pad(parts, numbers[..., 0], size)
        for place, semitones in np.ndenumerate(numbers[..., 1]):
            values[place] = transpose(values[place], semitones)
        return values, mask

    return lab.bucketed(buckets, read)._replace(plan=plan)
