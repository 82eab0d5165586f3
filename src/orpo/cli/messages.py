"""What every verb does around its work: messages on stderr, and one clear one where something is wrong."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from orpo.errors import EXIT_INTERRUPTED, ConfigError, OrpoError
from orpo.text import printable


def safe(message: str) -> str:
    """`message` line by line without what a terminal would obey: it may quote data, files or models."""
    return "\n".join(map(printable, message.split("\n")))


class _SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


@contextmanager
def one_clear_message() -> Generator[None]:
    """Turn what the user can act on into a message and an exit code; our own faults keep their traceback."""
    handler = logging.StreamHandler()
    handler.setFormatter(_SafeFormatter("%(message)s"))
    logger = logging.getLogger("orpo")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    except OrpoError as error:
        sys.stderr.write(safe(f"error: {error}") + "\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(EXIT_INTERRUPTED)
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def quiet_libraries() -> None:
    """Ask libraries that are not yet imported to be quiet; a user who set these variables has the say."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # else one message for each retry of each request
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers heeds it too


def write_page(path: Path, page: str) -> None:
    """Write what `--html` asked for.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html: cannot write {path}: {error.strerror}") from None
