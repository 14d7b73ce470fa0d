"""Several short sequences in one row: where each stands, for `starts` and `mask`."""

import operator
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.checks import check_size


class Packed(NamedTuple):
    """Where sequences stand in N rows of T steps, in arrays of NumPy; see `pack`."""

    sequence: np.ndarray  # [N, T] int32, the index of the sequence, -1 for none
    position: np.ndarray  # [N, T] int32, the step of the sequence, 0 for none
    starts: np.ndarray  # [N, T] bool, where a sequence begins
    mask: np.ndarray  # [N, T] bool, where there is a sequence

    def rows(self, sequences: Sequence[Any]) -> np.ndarray:
        """Puts the sequences into rows.

        Args:
          sequences: arrays `[length, ...]`, in the order of their lengths in `pack`.

        Returns:
          `[N, T, ...]`, zero where there is no sequence.

        Raises:
          ValueError: if these are not as many sequences of these lengths.
        """
        arrays = [np.asarray(s) for s in sequences]
        lengths = self._lengths()
        got = [len(a) if a.ndim else 0 for a in arrays]
        if got != lengths.tolist():
            wrong = [i for i, n in enumerate(lengths[: len(got)]) if got[i] != n]
            where = (
                f"sequence {wrong[0]} of length {lengths[wrong[0]]}, got "
                f"{got[wrong[0]]}"
                if wrong
                else f"{len(lengths)} sequences, got {len(got)}"
            )
            raise ValueError(f"Packed.rows: sequences: expected {where}")
        flat = np.concatenate(arrays)
        first = np.cumsum(lengths) - lengths
        found = flat[np.where(self.mask, first[self.sequence] + self.position, 0)]
        found[~self.mask] = 0
        return found

    def sequences(self, rows: Any) -> list[np.ndarray]:
        """Takes the sequences out of rows, such as the outputs of a model.

        Args:
          rows: `[N, T, ...]`.

        Returns:
          Arrays `[length, ...]`, in the order of their lengths in `pack`.

        Raises:
          ValueError: if the rows are not `[N, T, ...]`.
        """
        rows = np.asarray(rows)
        if rows.shape[:2] != self.mask.shape:
            raise ValueError(
                f"Packed.sequences: rows: expected shape [N, T, ...] with N, T = "
                f"{self.mask.shape}, got {rows.shape}"
            )
        order = np.argsort(self.sequence[self.mask], kind="stable")
        return np.split(rows[self.mask][order], np.cumsum(self._lengths())[:-1])

    def _lengths(self) -> np.ndarray:
        return np.bincount(self.sequence[self.mask])


def pack(lengths: Sequence[int] | np.ndarray, row_length: int) -> Packed:
    """Packs sequences of different lengths into rows of one length.

    With `starts`, every sequence in a row begins with the initial carry and nothing of
    the one before it: the outputs, and the sum of their losses, are those of the
    sequences apart. Little of a row is padding, and one program serves all rows.

    Longer sequences are placed first, and each in the row with the least room for it
    (best-fit decreasing), which takes at most about 11/9 of the fewest rows possible.
    Of equally long ones the first comes first: to change which sequences share a row,
    permute them.

    Args:
      lengths: of the sequences, at least 1 each.
      row_length: T, at least that of the longest.

    Returns:
      Where each sequence stands.

    Raises:
      ValueError: if there is no sequence, or a length is not in 1..row_length.

    References:
      Johnson, "Near-optimal bin packing algorithms", PhD thesis, MIT, 1973.
      Krell et al., "Efficient sequence packing without cross-contamination", 2021.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> texts = [[3, 1], [4, 1, 5, 9], [2, 6], [5]]
      >>> packed = rnn.pack([len(text) for text in texts], 5)
      >>> tokens = packed.rows(texts)
      >>> tokens
      array([[4, 1, 5, 9, 5],
             [3, 1, 2, 6, 0]])
      >>> packed.starts.astype(int)
      array([[1, 0, 0, 0, 1],
             [1, 0, 1, 0, 0]])
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.lstm(3, 5))
      >>> params = model.init(jax.random.key(0))
      >>> def read(tokens, mask, starts):
      ...     carry = model.initial_carry(params)
      ...     return model.unroll(params, carry, tokens, mask=mask, starts=starts)[1]
      >>> ys = jax.vmap(read)(tokens, packed.mask, packed.starts)
      >>> [y.shape for y in packed.sequences(ys)]
      [(2, 5), (4, 5), (2, 5), (1, 5)]
    """
    row_length = check_size("pack: row_length", row_length)
    try:
        sizes = [operator.index(n) for n in lengths]
    except TypeError:
        raise ValueError(f"pack: lengths: expected integers, got {lengths!r}") from None
    if not sizes:
        raise ValueError("pack: lengths: expected at least one sequence, got none")
    for i, size in enumerate(sizes):
        if not 1 <= size <= row_length:
            raise ValueError(
                f"pack: lengths: expected 1 to row_length {row_length}, got {size} for "
                f"sequence {i}"
            )
    rows: list[list[int]] = []  # the sequences in each
    with_room: dict[int, deque[int]] = {}  # rows, by how many steps of them are free
    rooms: list[int] = []  # its keys for which there are rows, in order
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        place = bisect_left(rooms, sizes[i])
        if place == len(rooms):
            room, row = row_length, len(rows)
            rows.append([])
        else:
            room = rooms[place]
            row = with_room[room].popleft()
            if not with_room[room]:
                rooms.pop(place)
        rows[row].append(i)
        room -= sizes[i]
        if room:
            if not with_room.setdefault(room, deque()):
                insort(rooms, room)
            with_room[room].append(row)

    shape = len(rows), row_length
    sequence, position = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
    for row, members in enumerate(rows):
        first = 0
        for i in members:
            here = np.s_[row, first : first + sizes[i]]
            sequence[here], position[here] = i, np.arange(sizes[i])
            first += sizes[i]
    mask = sequence >= 0
    return Packed(sequence, position, mask & (position == 0), mask)
