"""The report as plain data for programs; docs/report.md describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from orpo.report.comparison import Difference, compare
from orpo.report.evaluation import cautions
from orpo.report.run import Change, Run

SCHEMA_VERSION = 1


def as_record(runs: Sequence[Run]) -> dict[str, Any]:
    """What the page says in figures; `comparison` only of several runs."""
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "runs": list(map(_run, runs))}
    if len(runs) > 1:
        found = compare(runs)
        record["comparison"] = {
            "held_out_data": dict(found.held_out),
            "cautions": [*found.cautions, *cautions(runs)],
            "settings": _differences(runs, found.settings),
            "facts": _differences(runs, found.facts),
        }
    return record


def _run(run: Run) -> dict[str, Any]:
    records = run.records
    definition, summary, failure = records.definition, records.summary, records.failure
    return {
        "label": run.label,
        "path": str(records.path),
        "status": run.state,
        "steps": run.steps,
        "objective": definition.objective.model_dump(),
        "model": definition.model.model_dump(),
        "data": definition.data.model_dump(),
        "eval": {
            "pairs": run.held_out_pairs,
            "steps": [row.step for row in run.evaluations],
            "metrics": {name: _change(change) for name, change in run.changes.items()},
        },
        "pairs_per_second": run.rate_of("pairs_per_second"),
        "tokens_per_second": run.rate_of("tokens_per_second"),
        "peak_memory_bytes": run.peak_memory_bytes,
        "half_written": list(records.half_written),
        "evaluation": run.evaluation.record.model_dump() if run.evaluation is not None else None,
        "summary": summary.model_dump() if summary is not None else None,
        "failure": failure.model_dump() if failure is not None else None,
        "settings": [asdict(one) for one in run.settings],
        "commands": list(definition.commands),
        "versions": definition.versions,
        "engine": definition.engine,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "first": change.first,
        "last": change.last,
        "change": change.difference,
        "interval": list(change.interval) if change.interval is not None else None,
    }


def _differences(runs: Sequence[Run], found: Sequence[Difference]) -> dict[str, dict[str, str]]:
    labels = [run.label for run in runs]
    return {one.what: dict(zip(labels, one.values, strict=True)) for one in found}
