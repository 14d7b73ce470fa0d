"""SIGINT and SIGTERM: during training they are noted, elsewhere they interrupt."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM raises a KeyboardInterrupt, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    del frame
    raise KeyboardInterrupt(signum)


def number(interrupt: KeyboardInterrupt) -> int:
    """The signal that interrupted."""
    return interrupt.args[0] if interrupt.args else signal.SIGINT


@contextlib.contextmanager
def received() -> Iterator[list[int]]:
    """A list that gets the signals that ask the run to end; a second one interrupts."""
    signums: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield signums
        return

    def receive(signum: int, frame: FrameType | None) -> None:
        if signums:
            _interrupt(signum, frame)
        signums.append(signum)

    before = {s: signal.signal(s, receive) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signums
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
