"""What every verb does around its work: messages on stderr, and one clear one where something is wrong."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from orpo.credentials import redact
from orpo.errors import EXIT_AT_ONCE, ConfigError, Interrupted, OrpoError
from orpo.interruption import ending_at_second_interrupt, listening
from orpo.launch import this_launch
from orpo.text import printable

log = logging.getLogger(__name__)

_AGAIN = "The same command begins again; what was prepared is kept."


def safe(message: str) -> str:
    """`message` line by line without credentials and what a terminal would obey: it may quote data, files,
    models or settings."""
    return "\n".join(map(printable, redact(message).split("\n")))


class _SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def is_main_process() -> bool:
    """Whether this is the one process of a run that speaks for all."""
    return this_launch().is_main


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is shown of a fault of our own, in place of `sys.excepthook`: the traceback, made `safe`."""
    sys.stderr.write(safe("".join(traceback.format_exception(kind, error, trace)).rstrip()) + "\n")


@contextmanager
def one_clear_message(resume: str = "") -> Generator[None]:
    """Turn what the user can act on into a message and an exit code; our own faults keep their traceback.

    Args:
        resume: the command that goes on with what was interrupted, for work that the same command would not
            take up again.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_SafeFormatter("%(message)s"))
    logger = logging.getLogger("orpo")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with listening(), ending_at_second_interrupt(log.warning):
            yield
    except OrpoError as error:
        sys.stderr.write(safe(f"error: {error}") + "\n")
        sys.exit(error.exit_code)
    except Interrupted as stop:
        if is_main_process():
            again = (
                f"resume with: {resume}"
                if stop.resumable
                else "The same command begins again; what was prepared is kept."
            )
            sys.stderr.write(safe(f"interrupted: {stop.reason}\n{again}") + "\n")
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_AT_ONCE)
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def quiet_libraries() -> None:
    """Ask libraries that are not yet imported to be quiet; a user who set these variables has the say."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # else one message for each retry of each request
    # PEFT imports it wherever it is installed, and it tells of kernels that it could not load.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers heeds it too


def write_json(record: Mapping[str, Any]) -> None:
    """Write what `--json` asked for, on one line of stdout; terminals obey nothing in it."""
    sys.stdout.write(redact(json.dumps(record)) + "\n")


def write_page(path: Path, page: str, *, option: str = "--html") -> None:
    """Write an HTML page.

    Args:
        path: where.
        page: all of it.
        option: which asked for it, for the message.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option}: cannot write {path}: {error.strerror}") from None
