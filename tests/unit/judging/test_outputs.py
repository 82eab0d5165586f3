from __future__ import annotations

import json
from pathlib import Path

import pytest

from orpo.errors import DataError
from orpo.judging.outputs import Item, Output, System, match, read_system, require_names


def system(name: str, *outputs: tuple[str, str]) -> System:
    return System(name, tuple(Output(instruction=one, output=other) for one, other in outputs))


def test_model_outputs_of_alpaca_eval_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model_outputs.json"
    rows = [{"instruction": "q", "output": "a", "generator": "ours", "dataset": "d", "datasplit": "eval"}]
    path.write_text(json.dumps(rows))
    found = read_system(path)
    assert found.name == "ours"
    assert found.outputs == (Output(instruction="q", output="a", generator="ours", dataset="d"),)


def test_lines_with_a_prompt_are_read_and_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "first.jsonl"
    path.write_text('{"prompt": "q", "output": "a", "seed": 1}\n{"instruction": "r", "output": ""}\n')
    found = read_system(path)
    assert (found.name, [one.instruction for one in found.outputs]) == ("first", ["q", "r"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"output": "a"}, "`instruction` is missing"),
        ({"prompt": "q"}, "`output` is missing"),
        (
            {"prompt": [{"role": "user", "content": "q"}], "output": "a"},
            "`prompt`: expected a valid string",
        ),
        ({"prompt": "q", "output": None}, "`output`: expected a valid string, got None"),
    ],
)
def test_what_is_no_output_is_named_with_its_line(tmp_path: Path, row: dict[str, object], says: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "q", "output": "a"}\n' + json.dumps(row))
    with pytest.raises(DataError) as found:
        read_system(path)
    assert f"{path}:2: not an output of a model: " in str(found.value)
    assert says in str(found.value)


def test_a_file_is_of_one_model(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "q", "output": "a", "generator": "b"}\n{"prompt": "q", "output": "a"}\n')
    with pytest.raises(DataError, match="expected outputs of one model, got 2"):
        read_system(path)


def test_models_of_the_same_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"b\.json and a\.json: both are outputs of same"):
        require_names([system("same"), system("same")], [Path("a.json"), Path("b.json")])


def test_outputs_are_matched_by_instruction_and_the_rest_is_named() -> None:
    ours = system("ours", ("q1", "a"), ("q2", "b"), ("only ours", "c"))
    theirs = system("theirs", ("only theirs", "x"), ("q2", "y"), ("q1", "z"))
    found = match(ours, theirs)
    assert found.items == (Item("q1", "a", "z"), Item("q2", "b", "y"))
    assert (found.only_model, found.only_baseline) == (("only ours",), ("only theirs",))


def test_samples_of_one_instruction_are_matched_in_their_order() -> None:
    found = match(system("a", ("q", "1"), ("q", "2"), ("q", "3")), system("b", ("q", "x"), ("q", "y")))
    assert [(one.model, one.baseline) for one in found.items] == [("1", "x"), ("2", "y")]
    assert (found.only_model, found.only_baseline) == (("q",), ())


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(
        DataError, match="a and b have no instruction in common: 1 and 1 outputs, such as 'q'"
    ):
        match(system("a", ("q", "1")), system("b", ("Q", "x")))
