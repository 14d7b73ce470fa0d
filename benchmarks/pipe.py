"""Programs whose output is read only in part, as by `| head`."""

import contextlib
import os
import sys
from collections.abc import Iterator

STATUS = 128 + 13  # as of a program that SIGPIPE ends


@contextlib.contextmanager
def until_closed() -> Iterator[None]:
    """Ends the program, without a word, once nobody reads what it prints.

    Raises:
      SystemExit: with `STATUS`.
    """
    try:
        try:
            yield
        except SystemExit:
            _flush(sys.stdout)
            raise
        _flush(sys.stdout)
    except BrokenPipeError:
        _forget(sys.stdout)
        sys.exit(STATUS)
    finally:
        try:
            _flush(sys.stderr)
        except BrokenPipeError:
            _forget(sys.stderr)


def _flush(stream) -> None:
    if stream is not None and not stream.closed:
        stream.flush()


def _forget(stream) -> None:
    """Sends what is left in the buffer nowhere; at the end it would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
