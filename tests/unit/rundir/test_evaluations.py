"""What an evaluation writes is read back, and whatever is not what it wrote is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orpo.errors import ConfigError, DataError
from orpo.rundir.evaluations import (
    Data,
    EvaluationDirectory,
    EvaluationRecord,
    Figure,
    PairRow,
    PairsEvaluation,
    PairSide,
    ResponseRow,
    Subject,
    read_evaluation,
)

FIGURE = Figure(value=0.5, interval=(0.25, 0.75), method="Wilson over 4 prompts")


def record(**changed: Any) -> EvaluationRecord:
    subject = Subject(
        kind="model", name="tiny", path="tiny", url=None, step=None, revision=None, fingerprint="0"
    )
    given: dict[str, Any] = {
        "status": "finished",
        "of": subject,
        "command": "orpo eval tiny",
        "versions": {"orpo": "0"},
        "settings": {"samples": 1, "top_p": 1.0},
        "data": Data(pairs=None, prompts=None),
    }
    return EvaluationRecord(**given | changed)


def response(prompt: int, sample: int = 0, text: str = "fine") -> ResponseRow:
    return ResponseRow(
        prompt_index=prompt,
        sample=sample,
        instruction="q",
        prompt="q",
        response=text,
        tokens=None,
        truncated=False,
    )


def pair(index: int) -> PairRow:
    side = PairSide(tokens=2, logp=-1.5, logp_sum=-3.0)
    return PairRow(index=index, source="s", where="s:1", prompt="p", chosen=side, rejected=side)


def made(path: Path) -> EvaluationDirectory:
    directory = EvaluationDirectory(path)
    directory.write_record(record())
    directory.append_responses([response(1), response(0, 1)])
    return directory


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    figures = dict.fromkeys(["log_odds", "rewards_chosen", "rewards_rejected", "logps_chosen"])
    pairs = PairsEvaluation(
        count=2, accuracy=FIGURE, margin=FIGURE, logps_rejected=FIGURE, by_source=(), by_length=(), **figures
    )
    directory = EvaluationDirectory(tmp_path / "new" / "folder")
    directory.write_record(record(pairs=pairs))
    directory.write_pairs([pair(0), pair(1)])
    directory.append_responses([response(1, text='\u2028\n\x1b[31m "quoted" é'), response(0, 1)])
    directory.append_responses([response(0)])
    found = read_evaluation(directory.path)
    assert found.record == record(pairs=pairs)
    assert found.pairs == (pair(0), pair(1))
    places = [(row.prompt_index, row.sample) for row in found.responses]
    assert places == [(0, 0), (0, 1), (1, 0)]
    assert found.responses[2].response == '\u2028\n\x1b[31m "quoted" é'


def test_credentials_are_not_stored(tmp_path: Path) -> None:
    key = "sk-" + "A1b2" * 8
    EvaluationDirectory(tmp_path).write_record(record(command=f"orpo eval --parameters {key}"))
    assert key not in (tmp_path / "evaluation.json").read_text()


def test_a_half_written_response_is_left_out_and_taken_back(tmp_path: Path) -> None:
    directory = made(tmp_path)
    whole = directory.responses.read_bytes()
    directory.responses.write_bytes(whole + b'{"prompt_index": 2')
    assert len(read_evaluation(tmp_path).responses) == 2
    assert len(directory.go_on()) == 2
    assert directory.responses.read_bytes() == whole
    directory.responses.write_bytes(b'{"prompt')
    assert directory.go_on() == []
    assert directory.responses.read_bytes() == b""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", r"responses\.jsonl:3: invalid JSON"),
        ('{"prompt_index": 0}', r"responses\.jsonl:3: sample: field required"),
        (
            json.dumps(response(1).model_dump()),
            r"responses\.jsonl:3: sample 0 of prompt 1 for the second time",
        ),
    ],
)
def test_a_response_that_is_none_is_named(tmp_path: Path, line: str, says: str) -> None:
    directory = made(tmp_path)
    with directory.responses.open("a") as file:
        file.write(line + "\n")
    for read in (directory.go_on, lambda: read_evaluation(tmp_path)):
        with pytest.raises(DataError, match=says):
            read()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    made(tmp_path)
    file = tmp_path / "evaluation.json"
    for changed, says in (
        ({"status": "perfect"}, "status: input should be"),
        ({"schema_version": 2}, "schema_version is 2, and this orpo reads 1"),
    ):
        file.write_text(json.dumps(json.loads(record().model_dump_json()) | changed))
        with pytest.raises(DataError, match=says):
            read_evaluation(tmp_path)


def test_no_evaluation_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no evaluation"):
        read_evaluation(tmp_path / "nothing")


def test_an_evaluation_goes_where_there_is_nothing_or_another_one(tmp_path: Path) -> None:
    for name in ("new", "empty", "locked", "evaluated"):
        EvaluationDirectory(tmp_path / name).path.mkdir()
    (tmp_path / "new").rmdir()
    (tmp_path / "locked" / "run.lock").touch()
    made(tmp_path / "evaluated")
    for name in ("new", "empty", "locked", "evaluated"):
        EvaluationDirectory(tmp_path / name).require_usable()
    (tmp_path / "empty" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="already holds files, and no evaluation"):
        EvaluationDirectory(tmp_path / "empty").require_usable()
    with pytest.raises(ConfigError, match=r"thesis\.txt is a file"):
        EvaluationDirectory(tmp_path / "empty" / "thesis.txt").require_usable()


def test_only_its_own_files_are_removed(tmp_path: Path) -> None:
    directory = made(tmp_path)
    (tmp_path / "notes.txt").touch()
    directory.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
