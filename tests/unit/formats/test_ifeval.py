from __future__ import annotations

from pathlib import Path

import pytest

from orpo.errors import DataError
from orpo.formats.ifeval import (
    Outcome,
    Prompt,
    Response,
    instruction_level,
    prompt_level,
    write_responses,
)
from orpo.formats.records import read_records
from orpo.statistics.rates import Rate

PROMPTS = (
    '{"key": 1000, "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}\n'
    '{"key": 1001, "prompt": "Write more.", "instruction_id_list": [], "kwargs": []}\n'
)
RESPONSES = [Response(prompt="Write.", response="Yes"), Response(prompt="Write more.", response="")]


def prompts(tmp_path: Path) -> list[Prompt]:
    path = tmp_path / "input_data.jsonl"
    path.write_text(PROMPTS, encoding="utf-8")
    return read_records(path, Prompt)


def outcome(*followed: bool) -> Outcome:
    return Outcome(
        prompt="Write.",
        response="Yes",
        instruction_id_list=["punctuation:no_comma"] * len(followed),
        follow_instruction_list=list(followed),
        follow_all_instructions=all(followed),
    )


def test_responses_are_written_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    write_responses(path, prompts(tmp_path), RESPONSES)
    assert read_records(path, Response) == RESPONSES
    assert path.read_text(encoding="utf-8").startswith('{"prompt": "Write.", "response": "Yes"}\n')


@pytest.mark.parametrize(("responses", "got"), [(RESPONSES[:1], 0), ([*RESPONSES, RESPONSES[1]], 2)])
def test_every_prompt_has_one_response(tmp_path: Path, responses: list[Response], got: int) -> None:
    with pytest.raises(DataError, match=rf"prompt 1001 \(Write more.\): expected one response, got {got}"):
        write_responses(tmp_path / "responses.jsonl", prompts(tmp_path), responses)
    assert not (tmp_path / "responses.jsonl").exists()


def test_every_instruction_has_its_arguments(tmp_path: Path) -> None:
    path = tmp_path / "input_data.jsonl"
    path.write_text(PROMPTS.replace("[{}]", "[]"), encoding="utf-8")
    with pytest.raises(DataError, match=r"input_data.jsonl:1: .* as many `kwargs` as `instruction_id_list`"):
        read_records(path, Prompt)


def test_both_levels_are_counted() -> None:
    outcomes = [outcome(True, True), outcome(True, False), outcome(False)]
    assert prompt_level(outcomes) == Rate(1, 3)
    assert instruction_level(outcomes) == Rate(3, 5)


def test_outcomes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "eval_results_strict.jsonl"
    path.write_text(
        '{"follow_all_instructions": false, "follow_instruction_list": [true, false], '
        '"instruction_id_list": ["a", "b"], "prompt": "p", "response": "r"}\n',
        encoding="utf-8",
    )
    (read,) = read_records(path, Outcome)
    assert read.follow_instruction_list == [True, False]
    path.write_text(path.read_text(encoding="utf-8").replace('"a", ', ""), encoding="utf-8")
    with pytest.raises(DataError, match=r"strict.jsonl:1: .* as many `follow_instruction_list`"):
        read_records(path, Outcome)
