"""The options of verbs that ask a model behind an OpenAI-compatible API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orpo.chat.service import Service

ApiKeyEnv = Annotated[
    str,
    typer.Option(metavar="NAME", help="server: variable of the environment that holds the key, if any."),
]
Parallel = Annotated[int, typer.Option(min=1, max=256, help="server: requests at the same time.")]
Retries = Annotated[int, typer.Option(min=0, max=20, help="server: further tries of a failed request.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="server: seconds for one response.")]
Price = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="PROMPT COMPLETION", help="server: of a million tokens, in any currency."),
]
MaxCost = Annotated[float | None, typer.Option(min=0, help="server: stop when this much is spent.")]
MaxRequests = Annotated[int | None, typer.Option(min=0, help="server: stop after so many.")]


def service(
    *,
    url: str,
    model: str,
    api_key_env: str,
    parameters: str,
    parallel: int,
    retries: int,
    timeout: float,
    price: tuple[float, float] | None,
    max_cost: float | None,
    max_requests: int | None,
) -> Service:
    """What the options say, with the key from the environment.

    Raises:
        ConfigError: one of them cannot be.
    """
    from orpo.chat.service import Service
    from orpo.chat.spending import Limits, Prices

    return Service(
        url=url,
        model=model,
        key=os.environ.get(api_key_env),
        parameters=parameters,
        parallel=parallel,
        retries=retries,
        timeout=timeout,
        prices=Prices(*price) if price else None,
        limits=Limits(max_requests, max_cost),
    )
