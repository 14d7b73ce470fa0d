"""Tasks that measure what a recurrent network can remember, made as they are needed.

Each example of a task is read step by step. The answers are integers below `outputs`
at the steps that ask for one, or one answer for the whole sequence.

    adding      two numbers of T are marked: what is their sum?
    copy        ten symbols, then a pause of T steps: what were they?
    selective   sixteen symbols among T steps of blanks: what were they, in order?
    recall      pairs of a key and a value, then keys: what were their values?
    parity      T bits: was the number of ones even or odd, so far?
    counting    T digits below m: what is their sum modulo m, so far?
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

SYMBOLS = 8  # of `copy`
COPIED = 10  # symbols in an example of `copy`
SELECTED = 16  # in one of `selective`, out of as many
POWER = 0.01  # of the law by which keys come back in `recall`


class Examples(NamedTuple):
    """Some examples of a task; N of them, T steps."""

    xs: np.ndarray  # [N, T] tokens, or [N, T, D] numbers
    answers: np.ndarray  # [N, T] integers, or [N] for one answer
    asked: np.ndarray | None = None  # [N, T] bool: steps whose answers count


class Made(NamedTuple):
    """A task of which there are as many examples as one likes."""

    vocab_size: int | None  # V of the tokens; None for numbers
    input_size: int  # D of the numbers; 1 for tokens
    outputs: int  # K; 1 for a number
    chance: float  # the accuracy, or the squared error, of one who knows nothing
    # (numbers, how many, longest length or None for that of the test) -> examples;
    # with a longest length every step asks
    make: Callable[[np.random.Generator, int, int | None], Examples]


def adding(length: int) -> Made:
    """Hochreiter and Schmidhuber, "Long short-term memory", 1997, experiment 4.

    A step is a number, uniform in 0..1, and a mark: 1 at one step of each half. To say
    1 always has the squared error 1/6.

    Example:
      >>> xs, sums, _ = adding(6).make(np.random.default_rng(0), 2, None)
      >>> xs.shape, bool(np.allclose((xs[..., 0] * xs[..., 1]).sum(1), sums))
      ((2, 6, 2), True)
    """
    half = length // 2

    def make(numbers, count, longest):
        del longest
        values = numbers.random((count, length), dtype=np.float32)
        marks, every = np.zeros_like(values), np.arange(count)
        marks[every, numbers.integers(half, size=count)] = 1
        marks[every, numbers.integers(half, length, size=count)] = 1
        return Examples(np.stack([values, marks], -1), (values * marks).sum(1))

    return Made(None, 2, 1, 1 / 6, make)


def copy(length: int) -> Made:
    """Arjovsky, Shah and Bengio, "Unitary evolution recurrent neural networks", 2016.

    Ten of eight symbols; a pause of `length` steps, the last of which asks; ten blanks,
    at which the symbols are to be said. Tokens: 0 is blank, 9 asks.

    Example:
      >>> xs, answers, asked = copy(3).make(np.random.default_rng(0), 1, None)
      >>> xs.shape, xs[0, 12].item(), bool((answers[0, 13:] == xs[0, :10] - 1).all())
      ((1, 23), 9, True)
    """

    def make(numbers, count, longest):
        del longest
        said = numbers.integers(SYMBOLS, size=(count, COPIED), dtype=np.int32)
        xs = np.zeros((count, length + 2 * COPIED), np.int32)
        xs[:, :COPIED], xs[:, -COPIED - 1] = said + 1, SYMBOLS + 1
        return _at_the_end(xs, said)

    return Made(SYMBOLS + 2, 1, SYMBOLS, 1 / SYMBOLS, make)


def selective(length: int) -> Made:
    """The selective copying of Gu and Dao, "Mamba", 2023, section 4.1.

    Sixteen symbols, out of sixteen, at random places among `length` steps; then sixteen
    steps at which they are to be said in their order. Tokens: 0 is blank, 17 asks.

    Example:
      >>> xs, answers, _ = selective(20).make(np.random.default_rng(0), 1, None)
      >>> bool((xs[0, :20][xs[0, :20] > 0] - 1 == answers[0, 20:]).all())
      True
    """

    def make(numbers, count, longest):
        del longest
        said = numbers.integers(SELECTED, size=(count, SELECTED), dtype=np.int32)
        order = numbers.permuted(np.tile(np.arange(length), (count, 1)), axis=1)
        xs = np.zeros((count, length + SELECTED), np.int32)
        places = np.sort(order[:, :SELECTED])
        np.put_along_axis(xs, places, said + 1, axis=1)
        xs[:, length:] = SELECTED + 1
        return _at_the_end(xs, said)

    return Made(SELECTED + 2, 1, SELECTED, 1 / SELECTED, make)


def recall(length: int, pairs: int, symbols: int) -> Made:
    """Associative recall of many pairs (MQAR): Arora et al., "Zoology", ICLR 2024.

    `pairs` keys, each followed by its value, and then each key once more, at places
    that are sooner rather than later by the authors' power law. At these the value is
    asked for. The rest is blank. Tokens: 0 is blank, then the keys, then the values.

    Args:
      length: T, of which the pairs take 2 `pairs`.
      pairs: how many.
      symbols: how many keys there are, and how many values.

    Example:
      >>> xs, answers, asked = recall(12, 2, 5).make(np.random.default_rng(0), 1, None)
      >>> key, value = xs[0, :2].tolist()
      >>> answers[0][asked[0] & (xs[0] == key)].tolist() == [value - 6]
      True
    """
    first = 2 * pairs
    space = (length - first) // 2
    law = POWER * np.arange(1, space + 1) ** (POWER - 1)

    def make(numbers, count, longest):
        del longest
        draws = numbers.random((2, count, symbols)).argsort(-1)[..., :pairs]
        keys, values = draws.astype(np.int32)
        # The largest of u^(1/p): a draw without replacement, by the law p.
        when = numbers.random((count, space)) ** (law.sum() / law)
        places = first + 2 * np.argsort(-when, axis=1)[:, :pairs]
        xs = np.zeros((count, length), np.int32)
        xs[:, 0:first:2], xs[:, 1:first:2] = keys + 1, values + 1 + symbols
        answers, asked = np.zeros_like(xs), np.zeros(xs.shape, bool)
        for a, b in ((xs, keys + 1), (answers, values), (asked, True)):
            np.put_along_axis(a, places, b, axis=1)
        return Examples(xs, answers, asked)

    return Made(2 * symbols + 1, 1, symbols, 1 / symbols, make)


def counting(length: int, modulus: int) -> Made:
    """The sum so far modulo m; with m = 2 it is parity.

    A first token m stands for the beginning. A test asks at the last step alone.

    Example:
      >>> xs, answers, asked = counting(4, 2).make(np.random.default_rng(0), 1, None)
      >>> xs[0].tolist(), answers[0].tolist(), asked[0].tolist()
      ([2, 1, 1, 1, 0], [0, 1, 0, 1, 1], [False, False, False, False, True])
    """

    def make(numbers, count, longest):
        steps = length if longest is None else longest
        digits = numbers.integers(modulus, size=(count, steps), dtype=np.int32)
        begin = np.full((count, 1), modulus, np.int32)
        sums = np.cumsum(digits, axis=1, dtype=np.int32) % modulus
        asked = np.zeros((count, steps + 1), bool)
        asked[:, -1 if longest is None else 1 :] = True
        answers = np.concatenate([np.zeros_like(begin), sums], axis=1)
        return Examples(np.concatenate([begin, digits], axis=1), answers, asked)

    return Made(modulus + 1, 1, modulus, 1 / modulus, make)


# (T, what else a task has) -> the task
TASKS: dict[str, Callable[..., Made]] = {
    "adding": adding,
    "copy": copy,
    "selective": selective,
    "recall": recall,
    "parity": partial(counting, modulus=2),
    "counting": counting,
}


def shorter(examples: Examples, lengths: np.ndarray) -> Examples:
    """Examples that ask nothing after so many steps, [N], beside the first one."""
    xs, answers, asked = examples
    assert asked is not None
    return Examples(xs, answers, asked & (np.arange(xs.shape[1]) <= lengths[:, None]))


def _at_the_end(xs: np.ndarray, said: np.ndarray) -> Examples:
    """The answers are due at the last steps."""
    answers, asked = np.zeros_like(xs), np.zeros(xs.shape, bool)
    answers[:, -said.shape[1] :], asked[:, -said.shape[1] :] = said, True
    return Examples(xs, answers, asked)
