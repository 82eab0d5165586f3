"""Chosen and rejected responses, in every form that they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.preferences import assistant, load, system, texts, turns, user

CAPYBARA = {
    "conversation": [{"input": "a", "output": "b"}, {"input": "q", "output": "old"}],
    "prompt": "q",
    "chosen": [user("q"), assistant("yes")],
    "rejected": [user("q"), assistant("no")],
}
FULL = [user("a"), assistant("b"), user("q")]


@pytest.mark.parametrize(
    "history",
    [[], [user("q")], FULL, [system("s"), *FULL]],
    ids=["response alone", "last turn", "all turns", "all turns and a system turn"],
)
def test_the_context_of_capybara_is_its_conversation_and_not_its_prompt(
    history: list[dict[str, Any]], tmp_path: Path
) -> None:
    row = CAPYBARA | {
        "chosen": [*history, assistant("yes")],
        "rejected": [*history, assistant("no")],
        "prompt": "something else",
    }
    (pair,) = load(tmp_path, [row])
    assert pair.prompt == turns(*(history if len(history) > 3 else FULL))


def test_a_conversation_that_is_not_the_messages_history_drops_the_row(tmp_path: Path) -> None:
    other = CAPYBARA | {"conversation": [{"input": "x", "output": "y"}]}
    unknown = CAPYBARA | {"conversation": [{"input": "a", "output": None}, {"input": "q", "output": ""}]}
    table = load(tmp_path, [CAPYBARA, other, unknown])
    assert table.counts.dropped == {
        "prompt is no turn of the messages": 1,
        "earlier turns that are no list of questions and answers": 1,
    }


def test_the_last_output_of_a_conversation_may_be_missing(tmp_path: Path) -> None:
    row = CAPYBARA | {"conversation": [{"input": "a", "output": "b"}, {"input": "q", "output": None}]}
    (pair,) = load(tmp_path, [row])
    assert pair.prompt == turns(*FULL)


def test_rows_that_an_orca_set_calls_ties_are_dropped_and_others_with_low_scores_are_not(
    tmp_path: Path,
) -> None:
    row = {"system": "", "input": "q", "chosen": "yes", "rejected": "no", "chosen_score": 1.0}
    rows = [row | {"status": status} for status in ("unchanged", "tie", "swapped", "TIE")]
    table = load(tmp_path, rows)
    assert table.counts.kept == 2
    assert table.counts.dropped == {"tie": 2}


def test_a_system_column_is_a_system_turn_unless_the_messages_have_it(tmp_path: Path) -> None:
    said = [system("s"), user("q")]
    rows = [
        {"system": s, "chosen": [*said, assistant("yes")], "rejected": [*said, assistant("no")]}
        for s in ("s", "", None, "other")
    ]
    table = load(tmp_path, rows)
    assert [pair.prompt for pair in table] == [turns(*said)] * 3
    assert table.counts.dropped == {"system column differs from the system turn": 1}


def test_chosen_and_rejected_may_be_one_message_each(tmp_path: Path) -> None:
    row = {"prompt": [user("q")], "chosen": assistant("yes"), "rejected": assistant("no")}
    table = load(tmp_path, [row])
    assert table.sources[0].schema == "messages"
    assert (table[0].prompt, *texts(table)) == (turns(user("q")), ("yes", "no"))


def test_text_may_answer_a_list_of_messages(tmp_path: Path) -> None:
    rows = [
        {name: [user("a"), assistant("b"), user("q")], "chosen": "yes", "rejected": "no"}
        for name in ("prompt", "messages", "conversations")
    ]
    for row, schema in zip(
        rows, ("answers to prompts", "answers to messages", "ShareGPT pairs"), strict=True
    ):
        table = load(tmp_path, [row])
        assert table.sources[0].schema == schema
        assert table[0].prompt == turns(*FULL)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (["yes", "no", "so"], "output is no list of two responses"),
        ("yes", "output is no list of two responses"),
        (["yes", 7], "text that is not a string"),
        (["yes", "yes"], "identical responses"),
    ],
)
def test_outputs_that_are_no_pair_are_counted(output: Any, reason: str, tmp_path: Path) -> None:
    good = {"instruction": "q", "input": "", "output": ["yes", "no"]}
    assert load(tmp_path, [good, good | {"output": output}]).counts.dropped == {reason: 1}


def test_history_that_is_no_list_of_exchanges_drops_the_row(tmp_path: Path) -> None:
    good = {"instruction": "q", "chosen": "yes", "rejected": "no", "history": []}
    table = load(tmp_path, [good, good | {"history": "a"}, good | {"history": [["a"]]}])
    assert table.counts.dropped == {"earlier turns that are no list of questions and answers": 2}
