"""Silences what orbax prints of an error that it also raises."""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

_LOGGERS = ("absl", "asyncio")  # orbax's own, and that of its event loops


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps orbax from printing errors that it also raises; all else is printed.

    The hooks of the process are as they were when the context ends.
    """
    hooks = threading.excepthook, sys.unraisablehook
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]

    def of_thread(args: threading.ExceptHookArgs) -> None:
        # Its threads keep their error for whoever waits for them, and raise it, too.
        if not type(args.thread).__module__.startswith("orbax."):
            hooks[0](args)

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        # After a failed save storage answers on a thread of its own, too late.
        if "Event loop is closed" not in str(args.exc_value):
            hooks[1](args)

    threading.excepthook, sys.unraisablehook = of_thread, unraisable
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
