from __future__ import annotations

from dataclasses import replace

import pytest

from orpo.build.provenance import Item
from orpo.build.rows import Numbers, arrow_schema, require_one_form, row_of
from orpo.errors import DataError
from tests.conversations import chat
from tests.unit.build.items import item, single


def identity(one: Item) -> str:
    return row_of(one, Numbers())["id"]


def test_a_chat_becomes_lists_of_messages() -> None:
    row = row_of(item(chat("Hi", "Yes?", "Why?", system="s"), "a", "b", "f:7"), Numbers())
    assert row == {
        "prompt": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Why?"},
        ],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
        "id": row["id"],
        "source": "f",
        "where": "f:7",
    }


def test_plain_text_stays_plain_and_a_single_response_is_a_completion() -> None:
    assert row_of(item("p", " a", " b"), Numbers()) | {"id": ""} == {
        "prompt": "p",
        "chosen": " a",
        "rejected": " b",
        "id": "",
        "source": "f",
        "where": "f:1",
    }
    row = row_of(single(chat("Q"), "a"), Numbers())
    assert row["completion"] == [{"role": "assistant", "content": "a"}]
    assert "chosen" not in row


def test_the_id_depends_on_the_content_and_on_nothing_else() -> None:
    one = item("p", "a", "b")
    assert identity(one) == "b30b4fee7b59ec63062b4c0ac8c0791b", (
        "ids of data sets that exist stay what they are"
    )
    assert identity(Item(replace(one.example, where="g:9", weight=2.0), "g")) == identity(one)
    others = [item("p ", "a", "b"), item("p", "b", "a"), item(chat("p"), "a", "b"), single("p", "a")]
    assert len({identity(one), *map(identity, others)}) == 5


def test_a_weight_is_written_where_rows_have_one() -> None:
    one = Item(replace(item("p").example, weight=0.5), "f")
    assert row_of(one, Numbers(weight=True))["weight"] == 0.5
    assert row_of(item("p"), Numbers(weight=True))["weight"] == 1.0
    assert "weight" not in row_of(item("p"), Numbers())


def test_the_arrow_schema_is_the_same_for_all_rows_of_a_form() -> None:
    def schema(one: Item) -> str:
        return str(arrow_schema(row_of(one, Numbers(weight=True))))

    assert schema(item("p", "a")) == schema(item("", "c"))
    assert schema(item(chat("p"))) == schema(item(chat("a", "b", "c", system="s")))
    assert "role: string, content: string" in schema(item(chat("p")))
    assert "weight: double" in schema(item("p"))


def test_chats_beside_plain_text_are_refused_with_a_row_of_each() -> None:
    require_one_form([item("p"), item("q")])
    with pytest.raises(DataError, match="f:2 is a chat, f:1 is plain text"):
        require_one_form([item("p", where="f:1"), item(chat("p"), where="f:2"), item("p", where="f:3")])
