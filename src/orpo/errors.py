"""Every error that a user can cause, as one tree.

    OrpoError
    |-- ConfigError      2   a key, a value, a file or an output directory
    |-- DataError        3   rows, columns, tokens
    |-- CheckpointError  4   a checkpoint that is damaged, missing, or of another run
    |-- NumericsError    5   a loss or a gradient that is not finite
    |-- ResourceError    6   memory, disk, devices
    `-- NetworkError     7   a hub or a judge that does not answer, or refuses

    Interrupted        75   asked to end by Ctrl-C or a signal; a KeyboardInterrupt, no OrpoError

The number is the exit code of the command line.  A message says what is wrong, where (``file:line``
or row), what was expected and what was found; `hint` says what to do about it.  Broken invariants of
our own are plain `assert`s, never one of these.
"""

from __future__ import annotations


class OrpoError(Exception):
    """A mistake or condition that the user can act on.

    Args:
        message: what, where, expected and got, without a final full stop where it is one clause.
        hint: what to do, printed on its own line.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class ConfigError(OrpoError):
    """The configuration, or something that it names, is wrong."""

    exit_code = 2


class DataError(OrpoError):
    """The data cannot be read, has no usable rows, or cannot be turned into tokens."""

    exit_code = 3


class CheckpointError(OrpoError):
    """A checkpoint is damaged or missing, or the run that it is of was configured differently."""

    exit_code = 4


class NumericsError(OrpoError):
    """A loss or a gradient norm is not finite."""

    exit_code = 5


class ResourceError(OrpoError):
    """Memory, disk or a device is missing or exhausted."""

    exit_code = 6


class NetworkError(OrpoError):
    """A hub or a judge could not be reached, or refused the request."""

    exit_code = 7


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a signal has asked the work to end, and the work can be taken up again.

    Not an `Exception`, so that no library takes it for a failure to be tried again.

    Args:
        reason: who asked, and where the work stands.
        resumable: whether there is a run directory to go on with; else the same command begins again.
    """

    exit_code = 75

    def __init__(self, reason: str, *, resumable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.resumable = resumable


EXIT_AT_ONCE = 130
"""Exit code after a second Ctrl-C, which waits for nothing."""
