"""MATLAB's format, version 5, as much of it as cell arrays of numbers need.

No number in a file is trusted. (scipy's reader crashes on some damaged files.)
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from experiments.data import files

_CELLS, _NUMBERS, _COMPLEX = 1, range(6, 16), 0x800  # kinds of arrays, and a flag
_ARRAY, _COMPRESSED = 14, 15  # kinds of elements; the others are numbers:
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}
_DTYPES |= {7: "f4", 9: "f8", 12: "i8", 13: "u8"}


class Array(NamedTuple):
    """A variable, or a cell of one."""

    name: str
    kind: int
    shape: list[int]
    parts: list[tuple[int, memoryview]]  # elements: the numbers, or the cells
    order: str  # of bytes


def variables(data: bytes) -> dict[str, Array]:
    """The variables of a file, by name.

    Raises:
      ValueError: if it is no such file, is damaged, or is longer than `files.LIMIT`
        once unpacked.
      zlib.error: if it cannot be unpacked.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("does not begin as a MATLAB file of version 5 does")
    found = {}
    for kind, part in _elements(memoryview(data)[128:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            whole = unpacker.decompress(part, files.LIMIT)
            if not unpacker.eof:
                raise ValueError(f"is damaged, or longer than {files.LIMIT:,} bytes")
            kind, part = next(_elements(memoryview(whole), order), (0, part))
        if kind == _ARRAY:
            array = _array(part, order)
            found[array.name] = array
    return found


def cells(array: Array) -> list[Array]:
    """The cells of an array.

    Raises:
      ValueError: if it has none, or not all of them are there.
    """
    if array.kind != _CELLS or not array.parts:
        raise ValueError(f"{array.name}: expected a cell array of pieces")
    if len(array.parts) != math.prod(array.shape):
        raise ValueError(f"{array.name}: is damaged: not all of its pieces are there")
    return [_array(part, array.order) for _, part in array.parts]


def numbers(array: Array) -> np.ndarray:
    """The real numbers of an array, in its own shape.

    Raises:
      ValueError: if it holds something else, or not as many numbers as it says.
    """
    if array.kind not in _NUMBERS:
        raise ValueError("expected numbers")
    kind, data = array.parts[0] if array.parts else (0, b"")
    dtype = np.dtype(f"{array.order}{_DTYPES.get(kind, 'u1')}")
    whole = len(data) == math.prod(array.shape) * dtype.itemsize
    if kind not in _DTYPES or min(array.shape, default=0) < 0 or not whole:
        raise ValueError("is damaged: it has not as many numbers as it says")
    return np.frombuffer(data, dtype).reshape(array.shape, order="F")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """What stands one after the other: (kind, bytes)."""
    place = 0
    while place < len(data):
        if len(data) < place + 8:
            raise ValueError("is cut short")
        kind, size = struct.unpack_from(f"{order}II", data, place)
        first, after = place + 8, 0 if kind == _COMPRESSED else -size % 8
        if kind >> 16:  # a small one: its size is in the kind, its bytes in the size
            kind, size, first, after = kind & 0xFFFF, kind >> 16, place + 4, 0
            after = 4 - size
        place = first + size + after
        if after < 0 or len(data) < first + size:
            raise ValueError("is cut short")
        yield kind, data[first : first + size]


def _array(data: memoryview, order: str) -> Array:
    parts = list(_elements(data, order))
    if len(parts) < 3 or len(parts[0][1]) != 8:
        raise ValueError("is damaged: an array has no header")
    (_, flags), (_, shape), (_, name) = parts[:3]
    kind = struct.unpack_from(f"{order}I", flags)[0] & (0xFF | _COMPLEX)
    sizes = np.frombuffer(shape, f"{order}i4").tolist()
    return Array(bytes(name).decode("latin1"), kind, sizes, parts[3:], order)
