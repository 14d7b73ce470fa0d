"""Data sets for the experiments; whatever a user must put right is a DataError."""


class DataError(Exception):
    """Data that is missing, altered or unreadable; the message says what to do.

    The command line prints the message alone and exits with status 2.
    """
