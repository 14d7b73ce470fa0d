"""The files of data sets: where they are, and reading them.

An error names the file and the line.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar, cast

from experiments.data import DataError
from experiments.lab.storage import retried

T = TypeVar("T")

LIMIT = 1 << 28  # bytes; what is longer once unpacked is no file of ours


class Files(NamedTuple):
    """The files of a data set, and where they come from."""

    folder: str  # in the data folder; it may be the data folder itself
    digests: Mapping[str, str]  # by name: see `digest`; "": none is known
    origin: str  # who made the data, and where it is
    get: str = ""  # a command that gets it, to be run in the data folder

    def find(self, data_dir: Path | None) -> list[Path]:
        """All files, in order; see `find`."""
        try:
            return find(self.folder, data_dir, *self.digests)
        except DataError as error:
            hint = "python -m experiments.data says where to get it"
            raise DataError(f"{error} ({hint})") from None


def record(table: Mapping[str, T], name: str) -> T:
    """The record of a data set.

    Raises:
      DataError: if the table has none of this name.
    """
    if name not in table:
        raise DataError(f"no data set {name!r}; there are: {', '.join(table)}")
    return table[name]


def find(data_set: str, data_dir: Path | None, *names: str) -> list[Path]:
    """Finds the files of a data set.

    Args:
      data_set: its name.
      data_dir: a folder with the files, or with a folder called `data_set` that has
        them. None: the environment variable `JAXRNN_DATA` names such a folder.
      *names: of the files; one packed by gzip, `name.gz`, may stand for `name`, and the
        other way round.

    Raises:
      DataError: if there is no such folder, or it lacks a file.
    """
    given = data_dir or os.environ.get("JAXRNN_DATA")
    if not given:
        raise DataError(
            f"{data_set} needs {', '.join(names)}: pass --data-dir or set JAXRNN_DATA "
            f"to a folder with them, or with a folder {data_set} that has them"
        )
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise DataError(f"the data folder {folder} does not exist or is no folder")
    if (folder / data_set).is_dir():
        folder = folder / data_set
    paths = [in_place(folder / name) for name in names]
    missing = [n for n, path in zip(names, paths, strict=True) if not path.is_file()]
    if missing:
        raise DataError(f"for {data_set}, {folder} lacks {', '.join(missing)}")
    return paths


def in_place(path: Path) -> Path:
    """A file, or where there is none the same one packed by gzip or unpacked.

    The name of a packed file ends in `.gz`. Where there is neither, the path as it is.
    """
    if path.exists():
        return path
    packed = path.suffix == ".gz"
    other = path.with_suffix("") if packed else path.with_name(f"{path.name}.gz")
    return other if other.is_file() else path


def opened(path: Path) -> IO[bytes]:
    """A file to read, unpacked if its name ends in `.gz`; see `in_place`."""
    path = in_place(path)
    return cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def read_bytes(path: Path) -> bytes:
    """All of a file; see `opened`.

    Raises:
      DataError: if it cannot be read, is empty, or is longer than `LIMIT`.
    """

    def read():
        data = bytearray()
        with opened(path) as file:
            while len(data) <= LIMIT and (block := file.read(1 << 20)):
                data += block
        return data

    try:
        data = retried(f"reading {path}", read)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if not data:
        raise DataError(f"{path}: is empty")
    if len(data) > LIMIT:
        raise DataError(f"{path}: is longer than {LIMIT:,} bytes")
    return bytes(data)


def digest(path: Path) -> str:
    """The first 16 digits of the SHA-256 of what is in a file, unpacked.

    Raises:
      DataError: as `read_bytes`.
    """
    return hashlib.sha256(read_bytes(path)).hexdigest()[:16]


def read_text(path: Path) -> str:
    """A text in UTF-8, with or without a byte order mark.

    Raises:
      DataError: as `read_bytes`, or if it is not UTF-8.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: is not UTF-8: {error.reason}") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text, without their ends.

    Only line feeds end a line, with or without a carriage return before them: what
    `str.splitlines` takes for an end may stand within a sentence.

    Raises:
      DataError: as `read_text`.
    """
    text = read_text(path).removesuffix("\n")
    return [line.removesuffix("\r") for line in text.split("\n")]


def each_line(path: Path, parse: Callable[[str], T], *, skip: int = 0) -> list[T]:
    """What `parse` makes of each line.

    Args:
      path: of the file.
      parse: (line) -> value; the message of its ValueError says what was expected.
      skip: how many lines at the top to leave out.

    Raises:
      DataError: as `read_text`, or with the number of the line that cannot be parsed.
    """
    found = []
    for number, line in enumerate(read_lines(path)[skip:], skip + 1):
        try:
            found.append(parse(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    if not found:
        raise DataError(f"{path}: has no data")
    return found


def columns(
    *names: str, separator: str | None = "\t", most: int = -1
) -> Callable[[str], list[str]]:
    """Makes a `parse` for lines of these columns.

    Args:
      *names: of the columns.
      separator: between them.
      most: the number of separators to split at, from the left; -1: all.
    """

    def parse(line: str) -> list[str]:
        fields = line.split(separator, most)
        if len(fields) != len(names):
            raise ValueError(
                f"expected {len(names)} columns ({', '.join(names)}), "
                f"found {len(fields)} in {line[:40]!r}"
            )
        return fields

    return parse


def check_header(path: Path, names: Sequence[str], separator: str = "\t") -> None:
    """Raises a DataError unless the first line has these names of columns."""
    found = [name.strip('"') for name in read_lines(path)[0].split(separator)]
    if found != list(names):
        raise DataError(
            f"{path}, line 1: expected the columns {', '.join(names)}, "
            f"found {', '.join(found)[:80]}"
        )
