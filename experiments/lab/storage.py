"""Files written whole, over a network too: what fails for a moment is tried again."""

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from experiments.lab.errors import say

T = TypeVar("T")

WAITS = (0.25, 1.0, 4.0)  # seconds before the second, third and fourth attempt

# A connection or a server that may come back; not a missing file, or no room.
_NAMES = (
    *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ENOTCONN", "ESHUTDOWN", "EPROTO"),
    *("ETIMEDOUT", "ETIME", "EAGAIN", "EBUSY", "EINTR", "EIO", "EREMOTEIO", "ESTALE"),
    *("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "ECOMM"),
)
_NUMBERS = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
_IN_USE = (32, 33)  # Windows: another program, such as a virus scanner, has the file


def passing(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, may pass by itself."""
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            lost = isinstance(error, ConnectionError)
            in_use = getattr(error, "winerror", None) in _IN_USE
            if lost or in_use or error.errno in _NUMBERS:
                return True
        error = error.__cause__ or error.__context__
    return False


def retried(what: str, action: Callable[[], T]) -> T:
    """What `action` returns; it is called again, up to three times, if that may help.

    Args:
      what: is done, for the line that says so.
      action: as a whole, so that it begins with an open file.

    Raises:
      Exception: what the action raises, if it does not pass.

    Example:
      >>> retried("reading", lambda: 7)
      7
    """
    for wait in WAITS:
        try:
            return action()
        except Exception as error:
            if not passing(error):
                raise
            say(f"{what}: {reason(error)}; trying again in {wait:g} s")
            time.sleep(wait)
    return action()


def reason(error: Exception) -> str:
    """What went wrong, without the path, which `what` names."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def replace(path: Path, content: str | Callable[[Path], Any]) -> None:
    """Writes a text, or lets a function (path) -> None write; whole or not at all."""
    handle, temporary = tempfile.mkstemp(path.suffix, f".{path.name}-", path.parent)
    os.close(handle)
    try:
        half = Path(temporary)
        if isinstance(content, str):
            half.write_text(content, encoding="utf-8")
        else:
            content(half)
        half.chmod(0o644)
        with half.open("r+b") as file:  # Windows flushes only what it may write to
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that counts is the first
            os.unlink(temporary)
        raise
