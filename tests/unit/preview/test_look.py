"""The preview shows what training is given, prepared and laid out by the same code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orpo.config import parse_config
from orpo.errors import ConfigError, DataError
from orpo.preview.look import Choice, preview
from orpo.preview.view import Example, Preview
from tests.rows import rows, write_rows
from tests.tiny import byte_tokenizer, save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer and its model's configuration, without weights, and rows."""
    folder = tmp_path_factory.mktemp("preview")
    save_tiny_model(folder / "model")
    (folder / "model" / "model.safetensors").unlink()
    write_rows(folder / "train.jsonl", 12)
    write_rows(folder / "eval.jsonl", 3)
    return folder


def look(folder: Path, choice: Choice | None = None, *overrides: str, **data: Any) -> Preview:
    section = {"train": str(folder / "train.jsonl")} | data
    config = parse_config(
        {"model": str(folder / "model"), "data": section, "output": str(folder / "run")}, overrides
    )
    return preview(config.config, choice or Choice())


def text(example: Example) -> list[str]:
    """The text of each segment."""
    return [
        "".join(piece.text for run in segment.runs for piece in run.pieces) for segment in example.segments
    ]


def lines(shown: Preview) -> list[int]:
    return [int(example.where.rpartition(":")[2]) for example in shown.examples]


def test_the_first_examples_are_shown_and_no_weights_are_needed(folder: Path) -> None:
    shown = look(folder)
    assert lines(shown) == [1, 2, 3]
    first = rows(1)[0]
    assert text(shown.examples[0]) == [first["prompt"], first["chosen"] + "</s>", first["rejected"] + "</s>"]
    assert (shown.split.pairs, shown.settings.max_length, shown.settings.template) == (12, 128, "none")


def test_as_many_are_shown_as_asked_for_or_as_there_are(folder: Path) -> None:
    assert lines(look(folder, Choice(count=1))) == [1]
    assert len(look(folder, Choice(count=99)).examples) == 12


def test_a_row_is_found_by_its_name_with_or_without_its_folder(folder: Path) -> None:
    full = f"{folder / 'train.jsonl'}:7"
    assert lines(look(folder, Choice(rows=(full, "train.jsonl:2")))) == [7, 2]


def test_a_row_that_is_not_there_is_an_error_that_says_how_rows_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no train example comes from train\.jsonl:99") as failure:
        look(folder, Choice(rows=("train.jsonl:1", "train.jsonl:99")))
    assert f"{folder / 'train.jsonl'}:1" in str(failure.value.hint)
    with pytest.raises(DataError, match="comes from l:1"):
        look(folder, Choice(rows=("l:1",)))


def test_the_evaluation_data_can_be_shown_if_there_is_any(folder: Path) -> None:
    shown = look(folder, Choice(split="eval"), eval=str(folder / "eval.jsonl"))
    assert (shown.split.name, shown.split.pairs) == ("eval", 3)
    with pytest.raises(ConfigError, match="no eval data"):
        look(folder, Choice(split="eval"))


def test_the_layout_is_that_of_the_run_unless_another_is_asked_for(folder: Path) -> None:
    assert look(folder).settings.layout == "shared"
    assert look(folder, None, "training.layout=packed").settings.layout == "packed"
    shown = look(folder, Choice(layout="padded"), "training.layout=packed")
    assert shown.settings.layout == "padded"
    assert shown.held.rows == 6


def test_responses_that_max_length_cuts_are_marked(folder: Path) -> None:
    shown = look(folder, None, "data.max_length=10")
    assert [segment.is_cut for segment in shown.examples[0].segments] == [False, False, True]


TEMPLATE = (
    "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'a:' }}{% endif %}"
)


def test_with_all_turns_the_earlier_answers_and_their_ends_are_in_the_nll(
    folder: Path, tmp_path: Path
) -> None:
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    history = [turn("user", "2?"), turn("assistant", "two"), turn("user", "3?")]
    row = {"chosen": [*history, turn("assistant", "three")], "rejected": [*history, turn("assistant", "x")]}
    (tmp_path / "turns.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "own.jinja").write_text(TEMPLATE, encoding="utf-8")
    shown = look(
        folder,
        None,
        "objective.nll_turns=all",
        train=str(tmp_path / "turns.jsonl"),
        template=str(tmp_path / "own.jinja"),
    )
    (example,) = shown.examples
    runs = ["".join(piece.text for piece in run.pieces) for run in example.segments[0].runs]
    assert runs == ["u:2?</s>a:", "two</s>", "u:3?</s>a:"]
    assert [bool(run.terms) for run in example.segments[0].runs] == [False, True, False]
    assert byte_tokenizer().eos_token == "</s>"
