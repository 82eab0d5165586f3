from __future__ import annotations

import pytest

from orpo.doctor.conversations import empty_turns, fault_of_roles, roles_out_of_order
from tests.conversations import chat, pair


@pytest.mark.parametrize(
    "roles", ["user", "system user", "user assistant user", "system user assistant user"]
)
def test_the_usual_orders_are_in_order(roles: str) -> None:
    assert fault_of_roles(roles.split()) is None


@pytest.mark.parametrize(
    ("roles", "fault"),
    [
        ("system", "no user turn"),
        ("assistant user", "the assistant speaks first"),
        ("system assistant user", "the assistant speaks first"),
        ("user user", "two user turns in a row"),
        ("user assistant assistant user", "two assistant turns in a row"),
        ("user system user", "a system turn that is not the first turn"),
        ("system system user", "a system turn that is not the first turn"),
        ("user assistant", "the response follows a turn of the assistant's own"),
    ],
)
def test_other_orders_are_called_what_they_are(roles: str, fault: str) -> None:
    assert fault_of_roles(roles.split()) == fault


def test_roles_out_of_order_are_named_by_row_and_text_prompts_have_none() -> None:
    pairs = [
        pair(chat("Q", "A", "R"), where="f:1"),
        pair(chat("Q", "A"), where="f:2"),
        pair("Q", where="f:3"),
    ]
    (hit,) = roles_out_of_order(pairs)
    assert hit.where == "f:2"
    assert "user → assistant" in hit.text


def test_empty_turns_are_named_by_row_and_place() -> None:
    pairs = [pair(chat("Q", " ", "R"), where="f:1"), pair(chat("Q"), where="f:2"), pair("\n", where="f:3")]
    assert [(hit.where, hit.text) for hit in empty_turns(pairs)] == [
        ("f:1", "turn 2 of 3: assistant"),
        ("f:3", "turn 1 of 1: user"),
    ]
