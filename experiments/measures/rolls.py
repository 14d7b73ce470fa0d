"""Negative log-likelihoods of piano rolls: how well the next notes are predicted.

    NLL of a step = -sum over the K keys of x log p + (1 - x) log(1 - p)

in nats, with x in {0, 1} whether a key sounds and p its probability, given all steps
before. The first step of a piece is given and not predicted.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Rolls = Sequence[np.ndarray]  # pieces, [T, K] each


class Scores(NamedTuple):
    """The NLL of many pieces as one number, [] or [S], in nats a step."""

    by_step: np.ndarray  # the mean over all steps of all pieces
    by_piece: np.ndarray  # the mean over the pieces' own means

    def facts(self, name: str) -> dict[str, np.ndarray]:
        """The means over seeds and the numbers of each seed, for a summary."""
        return {
            name: self.by_step.mean(),
            f"{name}_per_seed": self.by_step,
            f"{name}_by_piece": self.by_piece.mean(),
            f"{name}_by_piece_per_seed": self.by_piece,
        }


def averaged(nll: np.ndarray, rolls: Rolls) -> Scores:
    """Both ways to average the mean NLL of each piece.

    Args:
      nll: of each piece, the mean over its predicted steps, [..., N].
      rolls: the N pieces.

    References:
      Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and
      recurrent networks for sequence modeling", 2018, who take the mean by step.

    Example:
      >>> [float(x) for x in averaged(np.array([2.0, 5.0]), [np.ones((3, 88)),
      ...                                                    np.ones((2, 88))])]
      [3.0, 3.5]
    """
    steps = np.array([len(roll) - 1 for roll in rolls])
    return Scores((nll * steps).sum(-1) / steps.sum(), nll.mean(-1))


def each_note_alone(train: Rolls, test: Rolls) -> Scores:
    """The NLL of each note as often as it sounds: p = (k + 1) / (n + 2).

    Args:
      train: pieces in whose n predicted steps the k sounds of each note are counted.
      test: pieces to tell.

    Example:
      >>> piece = np.array([[1], [1], [0], [1]])
      >>> round(float(each_note_alone([piece], [piece]).by_step), 3)  # p = 3 / 5
      0.646
    """
    after = np.concatenate([roll[1:] for roll in train]).astype(float)
    often = (after.sum(0) + 1) / (len(after) + 2)
    return _measure(lambda xs: often, test)


def last_step_again(train: Rolls, test: Rolls) -> Scores:
    """The NLL of the last step again, each note with its own odds to change.

    The probability of a note is (k + 1) / (n + 2), for k of the n steps before which
    it was as it is now.

    Args:
      train: pieces in which is counted.
      test: pieces to tell.

    Example:
      >>> piece = np.array([[1], [1], [1], [0], [0], [0]])
      >>> round(float(last_step_again([piece], [piece]).by_step), 3)
      0.503
    """
    before = np.concatenate([roll[:-1] for roll in train]).astype(float)
    after = np.concatenate([roll[1:] for roll in train]).astype(float)
    starts, stays = (
        ((after * given).sum(0) + 1) / (given.sum(0) + 2)
        for given in (1 - before, before)
    )
    return _measure(lambda xs: np.where(xs, stays, starts), test)


def simple_models(train: Rolls, test: Rolls) -> dict[str, Scores]:
    """The NLL of what needs no network, by its name; see the functions above."""
    return {
        "each note as often as it sounds": each_note_alone(train, test),
        "the last step again, each note with its odds to change": last_step_again(
            train, test
        ),
    }


def _measure(predict: Callable[[np.ndarray], np.ndarray], test: Rolls) -> Scores:
    found = []
    for roll in test:
        p = predict(roll[:-1])
        found.append(-np.log(np.where(roll[1:], p, 1 - p)).sum(1).mean())
    return averaged(np.array(found), test)
