"""The directory that an evaluation leaves: figures, and the pairs and responses that they are of.

    evaluation.json      what was evaluated, how, on what, and the figures
    pairs.jsonl          a row for each pair, in order
    responses.jsonl      a row for each response, appended as they are made
    model_outputs.json   the first sample of each prompt in AlpacaEval's format

A directory may be read at any moment: figures that are not there yet are None, and a response that is half
written is left out.  A run's own evaluation is in `evaluation/` of its directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orpo.credentials import redact
from orpo.errors import ConfigError, DataError
from orpo.files import replace_file, sync
from orpo.rundir.checked import HINT, Record, read_document, read_lines
from orpo.rundir.directory import HOLDER, LOCK, require_directory, writing
from orpo.rundir.evaluation_records import (
    Data,
    DataUsed,
    DiversityEvaluation,
    EvaluationRecord,
    Figure,
    GenerationEvaluation,
    LengthFigures,
    PairFigures,
    PairRow,
    PairsEvaluation,
    PairSide,
    ResponseRow,
    SourceFigures,
    Spent,
    Subject,
)

__all__ = [
    "EVALUATION",
    "MODEL_OUTPUTS",
    "PAIRS",
    "RESPONSES",
    "RUN_EVALUATION",
    "Data",
    "DataUsed",
    "DiversityEvaluation",
    "Evaluation",
    "EvaluationDirectory",
    "EvaluationRecord",
    "Figure",
    "GenerationEvaluation",
    "LengthFigures",
    "PairFigures",
    "PairRow",
    "PairSide",
    "PairsEvaluation",
    "ResponseRow",
    "SourceFigures",
    "Spent",
    "Subject",
    "read_evaluation",
]

RUN_EVALUATION = "evaluation"
"""Name of a run's own evaluation in its directory."""

EVALUATION, PAIRS, RESPONSES, MODEL_OUTPUTS = (
    "evaluation.json",
    "pairs.jsonl",
    "responses.jsonl",
    "model_outputs.json",
)


@dataclass(frozen=True)
class Evaluation:
    """All that the directory of an evaluation says."""

    path: Path
    record: EvaluationRecord
    pairs: tuple[PairRow, ...]
    responses: tuple[ResponseRow, ...]
    """In the order of prompts, then samples."""


@dataclass(frozen=True)
class EvaluationDirectory:
    """The directory of one evaluation at `path`, written here only."""

    path: Path

    @property
    def responses(self) -> Path:
        """Where the responses are."""
        return self.path / RESPONSES

    @property
    def model_outputs(self) -> Path:
        """Where AlpacaEval's tools find the responses."""
        return self.path / MODEL_OUTPUTS

    def require_usable(self) -> None:
        """Refuse a place that holds anything else than an evaluation.

        Raises:
            ConfigError: it is a file, below one, or a directory of something else.
        """
        require_directory(self.path, option="--output PATH")
        held = {item.name for item in self.path.iterdir()} if self.path.is_dir() else set[str]()
        if held - {LOCK, HOLDER} and EVALUATION not in held:
            raise ConfigError(
                f"output: {self.path} already holds files, and no evaluation",
                hint="Nothing was overwritten. Choose another directory with --output PATH.",
            )

    def record(self) -> EvaluationRecord | None:
        """What evaluation.json holds, None if nothing was begun here.

        Raises:
            DataError: it is not what was written.
        """
        return read_document(self.path / EVALUATION, EvaluationRecord)

    def clear(self) -> None:
        """Remove what an evaluation has left."""
        with writing(self.path):
            for name in (EVALUATION, PAIRS, RESPONSES, MODEL_OUTPUTS):
                (self.path / name).unlink(missing_ok=True)

    def write_record(self, record: EvaluationRecord) -> None:
        """Store what was evaluated, and the figures.

        Raises:
            ResourceError: it cannot be written.
        """
        text = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            replace_file(self.path / EVALUATION, (redact(text) + "\n").encode(), durable=True)
            sync(self.path)

    def write_pairs(self, rows: Iterable[PairRow]) -> None:
        """Store the scores of all pairs.

        Raises:
            ResourceError: it cannot be written.
        """
        with writing(self.path):
            replace_file(self.path / PAIRS, "".join(map(_line, rows)).encode())

    def append_responses(self, rows: Iterable[ResponseRow]) -> None:
        """Add responses, which are on the disk afterwards.

        Raises:
            ResourceError: they cannot be written; those before them are kept.
        """
        with writing(self.path), self.responses.open("ab") as file:
            file.write("".join(map(_line, rows)).encode())
            file.flush()
            os.fsync(file.fileno())

    def go_on(self) -> list[ResponseRow]:
        """The responses until now, in the order in which they were made; a half-written one is taken back.

        Raises:
            DataError: a response is not what was written.
            ResourceError: what is half written cannot be taken back.
        """
        rows, is_broken_off = read_lines(self.responses, ResponseRow)
        _require_once(self.responses, rows)
        if is_broken_off:
            with writing(self.path):
                content = self.responses.read_bytes()
                os.truncate(self.responses, content.rindex(b"\n") + 1 if b"\n" in content else 0)
        return rows


def read_evaluation(path: Path) -> Evaluation:
    """The evaluation in a directory.

    Raises:
        ConfigError: there is none.
        DataError: a file is not what an evaluation writes.
    """
    record = EvaluationDirectory(path).record()
    if record is None:
        raise ConfigError(
            f"{path}: there is no evaluation: {EVALUATION} is not there",
            hint="`orpo eval` makes one; a run's own is in its `evaluation` directory.",
        )
    pairs, _ = read_lines(path / PAIRS, PairRow)
    responses, _ = read_lines(path / RESPONSES, ResponseRow)
    _require_once(path / RESPONSES, responses)
    responses.sort(key=lambda row: (row.prompt_index, row.sample))
    return Evaluation(path, record, tuple(pairs), tuple(responses))


def _require_once(path: Path, rows: Sequence[ResponseRow]) -> None:
    seen: set[tuple[int, int]] = set()
    for number, row in enumerate(rows, start=1):
        if (row.prompt_index, row.sample) in seen:
            raise DataError(
                f"{path}:{number}: sample {row.sample} of prompt {row.prompt_index} for the second time",
                hint=HINT,
            )
        seen.add((row.prompt_index, row.sample))


def _line(row: Record) -> str:
    return json.dumps(row.model_dump(exclude_none=True), allow_nan=False) + "\n"
