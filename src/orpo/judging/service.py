"""A judge behind an API, put together from what the user says about it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from orpo.chat.replies import ReplyStore
from orpo.chat.service import Service, connected
from orpo.chat.spending import Account
from orpo.judging.llm import LlmJudge, Progress

PARAMETERS = {"temperature": 0, "max_tokens": 1024}
"""Of each request, unless the user says otherwise."""


@contextmanager
def llm_judge(service: Service, answers: Path, progress: Progress) -> Generator[tuple[LlmJudge, Account]]:
    """The judge, and the account of what it costs.

    Args:
        service: whom to ask.
        answers: file of the answers that were paid for.
        progress: is told how many questions are answered.

    Raises:
        ConfigError: URL, parameters or limits make no sense.
        DataError: `answers` cannot be read.
    """
    store = ReplyStore(answers)
    with connected(service, PARAMETERS) as asker:
        yield LlmJudge(asker, store, progress=progress), asker.account
