"""A judge behind an API, put together from what the user says about it."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orpo.errors import ConfigError
from orpo.judging.chat_api import ChatApi
from orpo.judging.llm import LlmJudge, Progress
from orpo.judging.patience import Patience
from orpo.judging.replies import ReplyStore
from orpo.judging.spending import Account, Limits, Prices
from orpo.text import printable

_EXCERPT = 80

PARAMETERS = {"temperature": 0, "max_tokens": 1024}
"""Of each request, unless the user says otherwise."""

_NOT_PARAMETERS = {"model", "messages", "stream", "n"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """Who is asked, how, and up to which limit."""

    url: str
    model: str
    key: str | None
    parameters: str
    """JSON: what is added to `PARAMETERS`; null removes one."""

    parallel: int
    retries: int
    timeout: float
    prices: Prices | None
    limits: Limits


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
    account = Account(service.prices, service.limits)
    store = ReplyStore(answers)
    api = ChatApi(
        service.url,
        service.model,
        parameters(service.parameters),
        key=service.key or None,
        timeout=service.timeout,
        connections=service.parallel,
    )
    patience = Patience(service.retries)
    try:
        yield (
            LlmJudge(api, store, account, parallel=service.parallel, patience=patience, progress=progress),
            account,
        )
    finally:
        api.close()


def parameters(added: str) -> dict[str, Any]:
    """`PARAMETERS` with what a JSON object adds or, with null, removes.

    Raises:
        ConfigError: it is no such object, or sets what is not a parameter.
    """
    try:
        given = json.loads(added)
    except ValueError as error:
        raise ConfigError(f"--parameters is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ConfigError(
            f"--parameters: expected a JSON object, got {printable(added, _EXCERPT)}",
            hint="""Such as '{"seed": 1, "max_tokens": null}'.""",
        )
    if taken := sorted(_NOT_PARAMETERS & given.keys()):
        raise ConfigError(f"--parameters cannot set {', '.join(taken)}")
    return {name: value for name, value in {**PARAMETERS, **given}.items() if value is not None}
