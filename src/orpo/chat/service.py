"""A model behind an API, put together from what the user says about it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orpo.chat.api import ChatApi
from orpo.chat.asking import Asker
from orpo.chat.patience import Patience
from orpo.chat.spending import Account, Limits, Prices
from orpo.errors import ConfigError
from orpo.text import printable

_EXCERPT = 80

_NOT_PARAMETERS = {"model", "messages", "stream", "n"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """Who is asked, how, and up to which limit."""

    url: str
    model: str
    key: str | None
    parameters: str
    """JSON: what is added to the parameters of each request; null removes one."""

    parallel: int
    retries: int
    timeout: float
    prices: Prices | None
    limits: Limits


@contextmanager
def connected(service: Service, defaults: Mapping[str, Any]) -> Generator[Asker]:
    """Whoever can be asked there.

    Args:
        service: whom to ask.
        defaults: parameters of each request, unless the user says otherwise.

    Raises:
        ConfigError: URL, parameters or limits make no sense.
    """
    account = Account(service.prices, service.limits)
    api = ChatApi(
        service.url,
        service.model,
        parameters(service.parameters, defaults),
        key=service.key or None,
        timeout=service.timeout,
        connections=service.parallel,
    )
    try:
        yield Asker(api, account, service.parallel, Patience(service.retries))
    finally:
        api.close()


def parameters(added: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of requests.

    Args:
        added: a JSON object of what is added to the defaults or, with null, taken from them.
        defaults: the others.

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
    return {name: value for name, value in {**defaults, **given}.items() if value is not None}
