"""The errors that end a run with one message, and how to print during a run."""

import contextlib
import sys


class UsageError(Exception):
    """A mistake in what the user asked for; the message alone is shown, status 2."""


class RunError(Exception):
    """A failure that ends a run; the message alone is shown, status 1."""


class Stopped(Exception):  # noqa: N818 - not an error
    """A signal asked the run to end, and the run has saved its state."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


def require(condition: bool, name: str, expected: str, got: object) -> None:
    """Raises a UsageError that names the option, unless the condition holds."""
    if not condition:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag}: expected {expected}, got {got}")


def say(message: str) -> None:
    """Prints a line to stderr, above the progress bar, while anybody reads it."""
    from tqdm import tqdm

    with contextlib.suppress(BrokenPipeError):  # it is no reason to lose a run
        tqdm.write(message, file=sys.stderr)
