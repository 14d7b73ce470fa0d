"""How much memory a call takes of the process, as the system counts it."""

import contextlib
import ctypes
from collections.abc import Callable


def start() -> int | None:
    """Forgets the largest size so far; the size now, or None where none is told."""
    # What the C library keeps of earlier calls would hide what this one takes.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    try:  # Linux: forget the high-water mark
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return _status("VmRSS")
    except OSError:
        return None


def end(before: int | None) -> int | None:
    """By how many bytes the process was larger than at `start`, at most."""
    return None if before is None else max(0, _status("VmHWM") - before)


def growth(call: Callable[[], object]) -> int | None:
    """By how many bytes the process grows in a call.

    The call runs once before, so that what stays for good, such as threads and code
    that is loaded, does not count.
    """
    call()
    before = start()
    call()
    return end(before)


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    raise OSError(f"no {name} in /proc/self/status")
