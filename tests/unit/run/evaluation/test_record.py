"""An evaluation goes on with itself and with nothing else, and its figures are of what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orpo.chat.spending import Account, Limits, Prices
from orpo.errors import ConfigError, DataError, Interrupted
from orpo.run.evaluation.record import begin, begun, conclude
from orpo.rundir import locked
from orpo.rundir.evaluations import (
    Data,
    EvaluationDirectory,
    EvaluationRecord,
    ResponseRow,
    Subject,
    read_evaluation,
)
from orpo.statistics.hashed_ngrams import HashedNgrams

OF = Subject(kind="model", name="tiny", path="a", url=None, step=None, revision=None, fingerprint="0")
SETTINGS = {"samples": 2, "embedder": "hashed"}


def began(folder: Path, *, overwrite: bool = False, of: Subject = OF, **settings: Any) -> EvaluationRecord:
    data = Data(pairs=None, prompts=None)
    return begin(EvaluationDirectory(folder), of, SETTINGS | settings, data, "it", overwrite=overwrite)


def row(prompt: int, sample: int, text: str = "a b c", **changed: Any) -> ResponseRow:
    given = {"instruction": f"q{prompt}", "prompt": "q", "tokens": 3, "truncated": False, "prompt_tokens": 5}
    return ResponseRow(prompt_index=prompt, sample=sample, response=text, **given | changed)


def concluded(folder: Path, rows: list[ResponseRow], **changed: Any) -> EvaluationRecord:
    directory, record = EvaluationDirectory(folder), began(folder)
    directory.append_responses(rows)
    given: dict[str, Any] = {"samples": 2, "embedder": HashedNgrams()}
    conclude(directory, record, {0: "sums", 1: None}, **given | changed)
    return read_evaluation(folder).record


ALL = [row(1, 0), row(0, 0, "first"), row(0, 1), row(1, 1, " ", truncated=True)]


def test_what_is_finished_is_given_back_and_the_rest_goes_on(tmp_path: Path) -> None:
    assert began(tmp_path).status == "unfinished"
    assert concluded(tmp_path, ALL).status == "finished"
    for overwrite in (False, True):
        assert began(tmp_path, overwrite=overwrite).status == "finished"
    moved = OF.model_copy(update={"name": "other", "path": "b"})
    assert began(tmp_path, of=moved).of.path == "a"


def test_while_it_is_worked_on_nobody_else_does_and_its_end_can_be_taken_up(tmp_path: Path) -> None:
    directory, data = EvaluationDirectory(tmp_path / "new"), Data(pairs=None, prompts=None)
    with begun(directory, OF, SETTINGS, data, "it", overwrite=False) as record:
        assert record is not None
        with pytest.raises(ConfigError, match="is locked by"), locked(directory.path):
            pass
    with (
        pytest.raises(Interrupted) as caught,
        begun(directory, OF, SETTINGS, data, "it", overwrite=False),
    ):
        raise Interrupted("Ctrl-C")
    assert caught.value.resumable
    directory.write_record(record.model_copy(update={"status": "finished"}))
    with begun(directory, OF, SETTINGS, data, "it", overwrite=False) as record:
        assert record is None
    assert [path.name for path in directory.path.iterdir()] == ["evaluation.json"]


def test_a_new_embedder_opens_it_again_and_keeps_the_rest(tmp_path: Path) -> None:
    concluded(tmp_path, ALL)
    record = began(tmp_path, embedder="other")
    assert (record.status, record.settings["embedder"]) == ("unfinished", "other")
    assert record.generation is not None
    assert len(EvaluationDirectory(tmp_path).go_on()) == 4


@pytest.mark.parametrize("changed", [{"samples": 3}, {"of": OF.model_copy(update={"fingerprint": "1"})}])
def test_another_evaluation_is_only_removed_on_request(tmp_path: Path, changed: dict[str, Any]) -> None:
    concluded(tmp_path, ALL)
    with pytest.raises(ConfigError, match="holds an evaluation with other settings:\n  "):
        began(tmp_path, **changed)
    assert len(EvaluationDirectory(tmp_path).go_on()) == 4
    assert began(tmp_path, overwrite=True, **changed).generation is None
    assert EvaluationDirectory(tmp_path).go_on() == []


def test_a_damaged_evaluation_is_only_removed_on_request(tmp_path: Path) -> None:
    concluded(tmp_path, ALL)
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match="invalid JSON"):
        began(tmp_path)
    assert began(tmp_path, overwrite=True).generation is None


def test_damaged_responses_are_removed_on_request(tmp_path: Path) -> None:
    concluded(tmp_path, ALL)
    (tmp_path / "responses.jsonl").write_text("no row\n")
    assert began(tmp_path, overwrite=True).generation is None
    assert EvaluationDirectory(tmp_path).go_on() == []


def test_the_figures_are_of_the_responses(tmp_path: Path) -> None:
    record = concluded(tmp_path, ALL)
    found = record.generation
    assert found is not None
    assert (found.prompts, found.samples, found.responses, found.failed) == (2, 2, 4, 0)
    assert found.truncated.value == found.empty.value == 0.25
    assert found.mean_tokens is not None
    assert found.mean_tokens.value == 3
    assert found.mean_characters.value == (5 + 5 + 5 + 1) / 4
    assert found.spent is None
    assert record.diversity is not None
    assert record.diversity.embedder == HashedNgrams().name
    outputs = json.loads((tmp_path / "model_outputs.json").read_text())
    assert outputs == [
        {"instruction": "q0", "output": "first", "generator": "tiny", "dataset": "sums"},
        {"instruction": "q1", "output": "a b c", "generator": "tiny"},
    ]


def test_what_is_missing_leaves_it_unfinished_and_out_of_diversity(tmp_path: Path) -> None:
    account = Account(Prices(1.0, 2.0), Limits())
    record = concluded(tmp_path, [row(0, 0), row(0, 1, tokens=None)], account=account)
    assert record.status == "unfinished"
    found = record.generation
    assert found is not None
    assert (found.failed, found.mean_tokens) == (2, None)
    assert found.spent is not None
    assert found.spent.cost == pytest.approx((10 * 1 + 3 * 2) / 1e6)
    assert found.spent.answers_without_tokens == 1
    assert record.diversity is not None
    assert record.diversity.per_input.interval is None


def test_pairs_alone_have_no_responses(tmp_path: Path) -> None:
    directory, record = EvaluationDirectory(tmp_path), began(tmp_path)
    conclude(directory, record, {}, samples=0, embedder=None)
    found = read_evaluation(tmp_path).record
    assert (found.status, found.generation, found.diversity) == ("finished", None, None)
