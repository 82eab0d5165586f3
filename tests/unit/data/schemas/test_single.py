"""One response and no label: an example to imitate, unless anything looks like a judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.data.pairs import Message, Single
from orpo.errors import DataError
from tests.preferences import assistant, load, pairs_of, singles_of, system, turns, user

ASKED = turns(user("q"))
STEERED = turns(system("s"), user("q"))

SINGLE_CASES: dict[str, tuple[str, dict[str, Any], tuple[Message, ...] | str]] = {
    "prompt and completion, text": ("single responses", {"prompt": "q", "completion": "yes"}, "q"),
    "prompt and response": ("single responses", {"id": 1, "prompt": "q", "response": "yes"}, "q"),
    "prompt and answer": ("single responses", {"prompt": "q", "answer": "yes"}, "q"),
    "prompt and output": ("single responses", {"prompt": "q", "output": "yes"}, "q"),
    "prompt and completion, messages": (
        "single responses",
        {"prompt": [user("q")], "completion": [assistant("yes")]},
        ASKED,
    ),
    "system, prompt and response": (
        "single responses",
        {"system": "s", "prompt": "q", "response": "yes"},
        STEERED,
    ),
    "tatsu-lab/alpaca": (
        "Alpaca",
        {"instruction": "q", "input": "", "output": "yes", "text": "Below is … q … yes"},
        ASKED,
    ),
    "Alpaca with everything": (
        "Alpaca",
        {"instruction": "q", "input": "more", "output": "yes", "system": "s", "history": [["a", "b"]]},
        turns(system("s"), user("a"), assistant("b"), user("q\n\nmore")),
    ),
    "Alpaca with its rendered text": (
        "Alpaca",
        {"instruction": "q", "input": "", "output": "yes", "prompt": "Below is … q … yes"},
        ASKED,
    ),
    "openai/gsm8k": ("questions and answers", {"question": "q", "answer": "yes"}, ASKED),
    "question and response": ("questions and answers", {"question": "q", "response": "yes"}, ASKED),
    "Open-Orca/OpenOrca": (
        "OpenOrca",
        {"id": "1", "system_prompt": "s", "question": "q", "response": "yes"},
        STEERED,
    ),
    "HuggingFaceH4/ultrachat_200k": (
        "conversations",
        {
            "prompt": "a",
            "prompt_id": "1",
            "messages": [user("a"), assistant("b"), user("q"), assistant("yes")],
        },
        turns(user("a"), assistant("b"), user("q")),
    ),
    "teknium/OpenHermes-2.5": (
        "conversations",
        {
            "conversations": [
                {"from": "system", "value": "s", "weight": None},
                {"from": "human", "value": "q", "weight": 0},
                {"from": "gpt", "value": "yes", "weight": 1},
            ],
            "source": "s",
            "custom_instruction": None,
        },
        STEERED,
    ),
}
"""Schema, row and prompt; the response is `yes` in all of them."""


@pytest.mark.parametrize("name", SINGLE_CASES)
def test_rows_with_one_response_are_examples_to_imitate(name: str, tmp_path: Path) -> None:
    schema, row, prompt = SINGLE_CASES[name]
    table = load(tmp_path, [row])
    assert list(table) == [Single(prompt, "yes", is_desirable=True, where=f"{tmp_path}/rows.jsonl:1")]
    (report,) = table.sources
    assert report.schema == schema
    assert (report.counts.read, report.counts.kept) == (1, 1)


RIVALS: list[dict[str, Any]] = [
    {"score": 3},
    {"helpfulness": 4},
    {"label": None},
    {"label": 1},
    {"rejected": "no"},
    {"bad_reply": "no"},
    {"response_2": "no"},
    {"model_answer": [assistant("no")]},
    {"generations": ["no", "nay"]},
    {"is_safe": False},
    {"kind": "rejected"},
]


@pytest.mark.parametrize("rival", RIVALS, ids=str)
@pytest.mark.parametrize("name", SINGLE_CASES)
def test_a_second_response_or_a_judgement_beside_it_is_never_passed_over(
    name: str, rival: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, [SINGLE_CASES[name][1] | rival])
    assert "the columns do not make preference pairs, nor single responses" in caught.value.message
    assert next(iter(rival)) in caught.value.message
    assert "columns:" in str(caught.value.hint)


@pytest.mark.parametrize("name", SINGLE_CASES)
def test_pairs_and_labelled_rows_stay_what_they_are(name: str, tmp_path: Path) -> None:
    """A known schema of pairs wins over whatever else is in the row."""
    row = SINGLE_CASES[name][1] | {"chosen": "yes", "rejected": "no"}
    assert [(pair.chosen, pair.rejected) for pair in pairs_of(load(tmp_path, [row]))] == [("yes", "no")]


def test_a_row_among_others_that_has_a_judgement_is_dropped_with_a_reason(tmp_path: Path) -> None:
    good = {"prompt": "q", "completion": "yes"}
    table = load(tmp_path, [good, good, good | {"label": False}])
    assert len(table) == 2
    assert table.counts.dropped == {
        "columns beside the response that may hold another one, or a judgement": 1
    }


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [user("q")]},
        {"messages": [user("q"), assistant("a"), user("b")]},
        {"conversations": [{"from": "human", "value": "q"}], "good": {"from": "gpt", "value": "a"}},
        {"messages": [user("q"), {"role": "judge", "content": "a"}]},
        {"messages": ["q", "a"]},
        {"prompt": "q", "response": "[{'role': 'assistant', 'content': 'a'}]"},
        {"prompt": "q", "response": 7},
        {"prompt": 7, "response": "a"},
        {"instruction": "q", "output": None},
        {"question": ["q"], "answer": "a"},
        {"instruction": "q", "context": "c", "response": "a"},
    ],
    ids=str,
)
def test_what_is_no_response_to_a_prompt_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the columns do not make preference pairs"):
        load(tmp_path, [row])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "response": " "}, "empty response"),
        ({"prompt": "q", "response": None}, "no value for `response`"),
        ({"prompt": None, "response": "a"}, "no value for `prompt`"),
        ({"prompt": "q", "response": 7}, "text that is not a string"),
        ({"prompt": "q", "response": "\ud83d"}, "text that is not valid Unicode"),
        ({"prompt": "\ud83d", "response": "a"}, "text that is not valid Unicode"),
        ({"prompt": "q", "response": [user("a")]}, "last turn is not the assistant's"),
        (
            {"prompt": "Why?", "response": "Why? Because."},
            "the response begins with the prompt column's text, which would be read twice",
        ),
    ],
)
def test_rows_without_a_usable_response_are_counted(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    table = load(tmp_path, [{"prompt": "q", "response": "yes"}] * 2 + [row])
    assert [single.response for single in singles_of(table)] == ["yes", "yes"]
    assert table.counts.dropped == {reason: 1}
