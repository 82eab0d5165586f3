from __future__ import annotations

import pytest

from orpo.chat.replies import Reply
from orpo.chat.spending import Account, Limits, Prices, Usage, usage_of
from orpo.errors import ConfigError, NetworkError

REPLY = Reply(text="", prompt_tokens=1_000_000, completion_tokens=100_000)
UNCOUNTED = Reply(text="")
PRICES = Prices(2.0, 10.0)


def test_cost_is_tokens_by_their_prices() -> None:
    assert usage_of([REPLY, REPLY, UNCOUNTED], PRICES) == Usage(3, 2_000_000, 200_000, 1, 6.0)
    assert usage_of([REPLY], None).cost is None


def test_an_account_adds_up() -> None:
    account = Account(PRICES, Limits())
    account.book(REPLY)
    account.book(REPLY)
    assert account.usage == usage_of([REPLY, REPLY], PRICES)


def test_requests_are_admitted_up_to_their_limit() -> None:
    account = Account(None, Limits(requests=2))
    assert [account.admit() for _ in range(3)] == [None, None, "--max-requests 2 is reached"]
    assert account.requests == 2


def test_nothing_is_admitted_once_the_cost_is_reached() -> None:
    account = Account(PRICES, Limits(cost=5.0))
    for expected in (None, None, "--max-cost 5 is reached"):
        assert account.admit() == expected
        account.book(REPLY)


def test_a_limit_of_cost_needs_prices_and_tokens() -> None:
    with pytest.raises(ConfigError, match="--max-cost needs the price"):
        Account(None, Limits(cost=1.0))
    with pytest.raises(NetworkError, match="does not say how many tokens"):
        Account(PRICES, Limits(cost=1.0)).book(UNCOUNTED)
