"""A long text in batches, for truncated backpropagation through time."""

from typing import NamedTuple

import numpy as np

from experiments.data import DataError


class Streams(NamedTuple):
    """A text as B streams side by side, each cut into chunks of T characters.

    A stream goes on where the one before ends, as a page in columns does.

    Example:
      >>> streams = make_streams(np.arange(16), batch_size=2, chunk=3)
      >>> streams.steps, streams.rest
      (2, 3)
      >>> streams.chunks(0, 0, 2).tolist()
      [[[0, 1, 2, 3], [6, 7, 8, 9]], [[3, 4, 5, 6], [9, 10, 11, 12]]]
    """

    tokens: np.ndarray  # [N]
    batch_size: int
    chunk: int  # T
    steps: int  # chunks of a stream

    @property
    def rest(self) -> int:
        """Characters left over by full chunks."""
        return len(self.tokens) - 1 - self.steps * self.batch_size * self.chunk

    def chunks(self, start: int, first: int, stop: int) -> np.ndarray:
        """Some chunks of all streams, [stop - first, B, T + 1].

        Each has one character more at its end, which the next one begins with: what is
        to be predicted stands one place after what is read.

        Args:
          start: where the first stream begins, in 0..rest.
          first, stop: which chunks.
        """
        stream = self.steps * self.chunk
        starts = start + (
            np.arange(first, stop)[:, None] * self.chunk
            + np.arange(self.batch_size) * stream
        )
        return np.lib.stride_tricks.sliding_window_view(self.tokens, self.chunk + 1)[
            starts
        ]


def make_streams(
    tokens: np.ndarray, batch_size: int, chunk: int, source: str = "the text"
) -> Streams:
    """Lays a text out in streams of as many full chunks as it has.

    Raises:
      DataError: if it does not have one for each stream.
    """
    steps = (len(tokens) - 1) // (batch_size * chunk)
    if steps < 1:
        raise DataError(
            f"{source} has {len(tokens):,} characters to train on; {batch_size} "
            f"streams (--batch-size) of {chunk} characters (--chunk) and one to begin "
            f"with need {batch_size * chunk + 1:,}"
        )
    return Streams(tokens, batch_size, chunk, steps)
