"""The updates of an epoch: which examples each has, and how they are read.

The examples of an update depend only on its seed, its epoch and its index in the
epoch, so that a resumed run goes on with the next ones.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import numpy as np

import jaxrnn as rnn
from experiments.data import DataError
from experiments.lab.errors import require


class Batches(NamedTuple):
    """The updates of an epoch; B examples in each.

    `shuffled`, `in_turn`, `bucketed`, `streams` and `made` make the usual ones. The
    loop stacks seeds and updates, and gives each process its share of the examples.
    """

    steps: int  # updates in an epoch
    # (epoch, seed) -> [steps, B] int, the numbers of the examples of each update; or
    # [steps, B, ...], where more than one number says what is read
    plan: Callable[[int, int], np.ndarray]
    # numbers [..., B] of any leading shape -> a tuple of arrays [..., B, ...], the
    # examples that `Task.loss` takes; (numbers, size) -> the same, with `sizes`
    read: Callable[..., tuple[np.ndarray, ...]]
    # (epoch) -> [steps], for each update the size that its arrays have in common (such
    # as a padded length), where sizes differ. All seeds have the same sizes.
    sizes: Callable[[int], Sequence[int]] | None = None
    # (epoch, seed, first, stop) -> these rows of `plan`, where all are too many
    part: Callable[[int, int, int, int], np.ndarray] | None = None


def take(*arrays: np.ndarray) -> Callable[[np.ndarray], tuple[np.ndarray, ...]]:
    """Makes `Batches.read`: the examples of arrays [N, ...]."""
    return lambda numbers: tuple(array[numbers] for array in arrays)


def check_batch_size(batch_size: int, examples: int) -> None:
    """Raises a UsageError if there are fewer examples than there are in a batch."""
    expected = f"at most the {examples} training examples"
    require(batch_size <= examples, "batch_size", expected, batch_size)


def shuffled(
    examples: int, batch_size: int, read: Callable[..., tuple[np.ndarray, ...]]
) -> Batches:
    """Full batches, shuffled anew for each seed and epoch.

    Args:
      examples: N; those left over by full batches are skipped in that epoch.
      batch_size: B.
      read: see `Batches`.
    """
    check_batch_size(batch_size, examples)

    @jax.jit
    def order(seed, epoch):
        key = jax.random.split(jax.random.key(seed), 3)[2]  # two are used by the loop
        key = jax.random.fold_in(key, epoch)
        return rnn.shuffled(key, examples, batch_size)

    def plan(epoch, seed):
        return np.asarray(order(seed, epoch))

    return Batches(examples // batch_size, plan, read)


def in_turn(
    examples: int, batch_size: int, read: Callable[..., tuple[np.ndarray, ...]]
) -> Batches:
    """Full batches in the order of the examples, in every epoch; see `shuffled`."""
    check_batch_size(batch_size, examples)
    steps = examples // batch_size
    numbers = np.arange(steps * batch_size).reshape(steps, batch_size)
    return Batches(steps, lambda epoch, seed: numbers, read)


def made(
    steps: int,
    batch_size: int,
    make: Callable[[int, int, int], tuple[np.ndarray, ...]],
) -> Batches:
    """Examples that are made as they are needed, each for one update alone.

    Args:
      steps: updates in an epoch.
      batch_size: B.
      make: (seed, epoch, update) -> arrays [B, ...].
    """

    def plan(epoch, seed):
        numbers = np.indices((steps, batch_size))  # update, place in the batch
        first = np.broadcast_to([[[seed]], [[epoch]]], (2, steps, batch_size))
        return np.concatenate([first, numbers]).transpose(1, 2, 0)

    def read(numbers):
        batches = []
        for rows in numbers.reshape(-1, *numbers.shape[-2:]):
            seed, epoch, update = map(int, rows[0, :3])
            batches.append([a[rows[:, 3]] for a in make(seed, epoch, update)])
        stacked = map(np.stack, zip(*batches, strict=True))
        return tuple(a.reshape(*numbers.shape[:-1], *a.shape[2:]) for a in stacked)

    return Batches(steps, plan, read)


def stream_steps(count: int, batch_size: int, chunk: int, source: str) -> int:
    """The updates in an epoch of `streams` over so many tokens."""
    steps = (count - 1) // (batch_size * chunk)
    if steps < 1:
        raise DataError(
            f"{source} has {count:,} characters to train on; {batch_size} "
            f"streams (--batch-size) of {chunk} characters (--chunk) and one to begin "
            f"with need {batch_size * chunk + 1:,}"
        )
    return steps


class Mapped(Protocol):
    """Tokens that are not in memory."""

    def __len__(self) -> int: ...

    def windows(self, places: np.ndarray, size: int, /) -> np.ndarray:
        """The tokens from each place on, [..., size]."""
        ...


def streams(
    tokens: np.ndarray | Mapped, batch_size: int, chunk: int, source: str = "the text"
) -> Batches:
    """A long text as B streams side by side, read chunk by chunk.

    A stream goes on where the one before ends, as a page in columns does. Each epoch
    and seed cuts the text at other places. For truncated backpropagation through time:
    an example is the tokens of a chunk, [T + 1], of which the last is the first of the
    next chunk, and whether its stream begins anew, [] bool.

    Args:
      tokens: [N].
      batch_size: B.
      chunk: T.
      source: of the text, for messages.

    Raises:
      DataError: if there is not one full chunk for each stream.

    Example:
      >>> batches = streams(np.arange(13), batch_size=2, chunk=3)
      >>> tokens, anew = batches.read(batches.plan(0, 0))
      >>> tokens.tolist()
      [[[0, 1, 2, 3], [6, 7, 8, 9]], [[3, 4, 5, 6], [9, 10, 11, 12]]]
      >>> anew.tolist()
      [[True, True], [False, False]]
    """
    steps = stream_steps(len(tokens), batch_size, chunk, source)
    rest = len(tokens) - 1 - steps * batch_size * chunk

    def part(epoch, seed, first, stop):
        start = np.random.default_rng((seed, epoch)).integers(rest + 1)
        step, stream = np.indices((stop - first, batch_size))
        step += first
        places = start + step * chunk + stream * steps * chunk
        return np.stack([places, step == 0], axis=-1)

    def plan(epoch, seed):
        return part(epoch, seed, 0, steps)

    def read(numbers):
        places, anew = numbers[..., 0], numbers[..., 1] == 1
        if isinstance(tokens, np.ndarray):
            every = np.lib.stride_tricks.sliding_window_view(tokens, chunk + 1)
            return every[places], anew
        return tokens.windows(places, chunk + 1), anew

    return Batches(steps, plan, read, part=part)
