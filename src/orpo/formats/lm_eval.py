"""Results and samples of lm-evaluation-harness 0.4."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from orpo.formats.records import Record, write_json, write_lines

_STANDARD_ERROR = "_stderr"
_NOT_IN_NAMES = re.compile(r"[\"<>:/|\\?*\[\]]+")


class Results(Record):
    """The object that `results_TIME.json` holds.

    Its other keys, such as `versions`, `configs`, `n-shot` and `config`, are kept as they are.
    """

    what = "a results file of lm-evaluation-harness"

    results: dict[str, dict[str, Any]]
    """By task: `alias`, and `METRIC,FILTER` with `METRIC_stderr,FILTER`."""

    higher_is_better: dict[str, dict[str, bool | None]] = Field(default_factory=dict)
    model_name: str | None = None


class Sample(Record):
    """A row of `samples_TASK_TIME.jsonl`.

    The values of metrics are further keys, named as in `metrics`.
    """

    what = "a sample of lm-evaluation-harness"

    doc_id: int
    doc: dict[str, Any]
    target: Any
    arguments: Any
    resps: list[Any]
    filtered_resps: list[Any]
    filter: str | None = None
    metrics: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Metric:
    """One figure of one task."""

    task: str
    name: str
    filter: str
    value: float
    standard_error: float | None
    """None where the harness writes `N/A`."""

    higher_is_better: bool | None


def write_results(folder: str | Path, results: Results, when: datetime) -> Path:
    """Write `FOLDER/MODEL/results_TIME.json`, where the harness's own tools look for it.

    Returns:
        Where it is.

    Raises:
        ResourceError: it cannot be written.
    """
    path = _place(folder, results.model_name, f"results_{_timestamp(when)}.json")
    write_json(path, results.fields())
    return path


def metrics(results: Results) -> list[Metric]:
    """Every figure of every task, with its standard error; what is not a number, such as `alias`, is none."""
    return [
        Metric(
            task=task,
            name=name,
            filter=filter_,
            value=float(value),
            standard_error=_number(figures.get(f"{name}{_STANDARD_ERROR},{filter_}")),
            higher_is_better=results.higher_is_better.get(task, {}).get(name),
        )
        for task, figures in results.results.items()
        for key, value in figures.items()
        for name, comma, filter_ in [key.partition(",")]
        if comma and not name.endswith(_STANDARD_ERROR) and _number(value) is not None
    ]


def write_samples(
    folder: str | Path, model_name: str, task: str, samples: Sequence[Sample], when: datetime
) -> Path:
    """Write `FOLDER/MODEL/samples_TASK_TIME.jsonl`.

    Returns:
        Where it is.

    Raises:
        ResourceError: it cannot be written.
    """
    path = _place(folder, model_name, f"samples_{task}_{_timestamp(when)}.jsonl")
    write_lines(path, samples)
    return path


def _place(folder: str | Path, model_name: str | None, file: str) -> Path:
    name = _NOT_IN_NAMES.sub("__", model_name or "")
    return Path(folder) / ("" if name == ".." else name) / _NOT_IN_NAMES.sub("__", file)


def _timestamp(when: datetime) -> str:
    return when.isoformat().replace(":", "-")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
