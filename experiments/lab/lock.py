"""A lock on a folder, on every system; it ends with the process, however that ends."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock


class InUse(Exception):  # noqa: N818 - not an error of the program
    """Another process has the lock; the message says which, as far as it is known."""


def locked(path: Path) -> "FileLock":
    """Takes a lock until its `release`, or until this process ends.

    Where the system or the storage has no locks, the file is a mark that names the
    process; that of a process that has ended on this machine does not count.

    Args:
      path: of a file, whose folder exists; it is made, and holds the process's number.

    Raises:
      InUse: if another process has it, or this one.
      OSError: if the file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise InUse(f"process {_holder(path) or 'unknown'}") from None
    if _holder(path) != str(os.getpid()):
        with contextlib.suppress(OSError):  # Windows locks what is in it as well
            path.write_text(f"{os.getpid()}\n")
    return lock


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        number = path.read_text().partition("\n")[0].strip()
        if number.isdecimal():
            return number
    return ""
