"""Sources become token ids, and what became of every row is said and recorded."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from orpo.config import DataSection
from orpo.errors import ConfigError
from orpo.modeling.load import LoadedModel, load_model
from orpo.run.data import PreparedData, prepare_data
from tests.rows import rows, write_rows
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_rows(folder / "pairs.jsonl", 20)
    save_tiny_model(folder / "model")
    return folder


def prepare(
    folder: Path,
    train_rows: list[dict[str, Any]] | None = None,
    source: LoadedModel | None = None,
    **section: Any,
) -> PreparedData:
    config = DataSection.model_validate({"train": str(folder / "pairs.jsonl")} | section)
    return prepare_data(config, source or load_model(str(folder / "model")), 7, train_rows, None, None)


class Boundless(LoadedModel):
    """A model of an architecture without a limit of positions."""

    @property
    def max_positions(self) -> int | None:
        return None


def test_max_length_is_by_default_the_models_positions_or_2048(folder: Path, tmp_path: Path) -> None:
    assert prepare(folder).max_length == 128
    roomy = load_model(str(save_tiny_model(tmp_path / "roomy", positions=4096)))
    assert prepare(folder, source=roomy).max_length == 2048
    boundless = Boundless(roomy.model, roomy.tokenizer, None)
    assert prepare(folder, source=boundless).max_length == 2048
    assert prepare(folder, source=boundless, max_length=9999).max_length == 9999


def test_more_than_the_models_positions_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at most the model's 128 positions, got 129"):
        prepare(folder, max_length=129)


def test_a_fraction_holds_out_pairs_of_the_training_file(folder: Path) -> None:
    data = prepare(folder, eval=0.25)
    assert data.eval is not None
    assert (len(data.train), len(data.eval)) == (15, 5)
    assert not set(data.train.where) & set(data.eval.where)


def test_several_sources_follow_one_another_and_are_recorded_one_by_one(folder: Path) -> None:
    other = write_rows(folder / "other.jsonl", 3)
    data = prepare(folder, train=[str(folder / "pairs.jsonl"), str(other)], eval=str(other))
    assert len(data.train) == 23
    assert [source["read"] for source in data.record["train"]] == [20, 3]
    assert [source["path"] for source in data.record["eval"]] == [str(other)]
    assert data.record["tokens"]["train"]["kept"] == 23


TRANSCRIPT = [
    {"chosen": f"\n\nHuman: {i}?\n\nAssistant: yes", "rejected": f"\n\nHuman: {i}?\n\nAssistant: no"}
    for i in range(3)
]


@pytest.mark.parametrize(("template", "used"), [("none", "none"), ("auto", "transcript")])
def test_transcripts_are_messages_unless_there_is_no_template(folder: Path, template: str, used: str) -> None:
    source = load_model(str(folder / "model"))
    data = prepare(folder, TRANSCRIPT, source, template=template)
    assert data.template.name == used
    text = source.tokenizer.decode([*data.train[0].prompt, *data.train[0].chosen])
    assert text == "\n\nHuman: 0?\n\nAssistant: yes</s>"


def test_what_became_of_the_rows_is_said_with_an_example_in_harmless_characters(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = {"prompt": "\x1b[31mred\n", "chosen": "a", "rejected": "b", "score": 1}
    same = {"prompt": "p", "chosen": "a", "rejected": "a", "score": 1}
    with caplog.at_level(logging.INFO, logger="orpo"):
        prepare(folder, [hostile, same, same, *rows(2)])
    detected = "strings (`chosen` and `rejected` continue the text of `prompt`)"
    assert f"train: rows in memory: detected: {detected}" in caplog.messages
    assert "train: columns not used: score" in caplog.messages
    assert "train: 3 of 5 rows kept\n  dropped 2: identical responses (first: row 2)" in caplog.messages
    assert "  example row 1\n    prompt    �[31mred↵\n    chosen    a\n    rejected  b" in caplog.messages


def test_the_options_of_a_source_are_those_of_the_configuration(folder: Path, tmp_path: Path) -> None:
    judged = [{"q": f"{i}?", "a": "yes", "b": "no", "label": i % 3, "split": "x"} for i in range(9)]
    file = tmp_path / "judged.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in judged), encoding="utf-8")
    columns = {"prompt": "q", "responses": ["a", "b"], "preferred": "label"}
    source = {
        "path": str(file),
        "columns": columns | {"values": {"0": 0, "1": 1, "2": "tie"}},
        "where": {"label": "!= 1"},
    }
    data = prepare(folder, train=source)
    assert data.record["train"][0]["dropped"] == {"tie": 3, "does not meet `where`: label != 1": 3}
    assert data.record["train"][0]["detected"] == "columns (as the source's `columns` say)"
    assert len(data.train) == 3
