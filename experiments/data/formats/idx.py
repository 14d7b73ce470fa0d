"""The idx format, in which MNIST and similar data sets are published."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from experiments.data import DataError, files
from experiments.lab.storage import retried


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes, packed by gzip or not; see `files.opened`.

    It holds `0 0 8 d`, the `d` sizes as big-endian 32-bit integers, and the bytes.
    Memory is taken for what the file really has, not for what its header claims.

    Args:
      path: a file of labels (`d` = 1) or of pictures (`d` = 3).

    Returns:
      A uint8 array, `[N]` or `[N, rows, cols]`.

    Raises:
      DataError: the file cannot be read, or is not exactly of that form, or is empty.
    """

    def read():
        with files.opened(path) as file:
            magic = file.read(4)
            if magic not in (b"\0\0\x08\x01", b"\0\0\x08\x03"):
                raise DataError(f"{path}: not an idx file of labels or pictures")
            header = file.read(4 * magic[3])
            if len(header) != 4 * magic[3]:
                raise DataError(f"{path}: ends within its header")
            shape = struct.unpack(f">{magic[3]}I", header)
            size, data = math.prod(shape), bytearray()
            while len(data) <= size and (block := file.read(1 << 20)):
                data += block
            return shape, size, data

    try:
        shape, size, data = retried(f"reading {path}", read)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if size == 0 or len(data) != size:
        found = "more" if len(data) > size else f"{len(data):,}"
        raise DataError(f"{path}: shape {shape} means {size:,} bytes, found {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)
