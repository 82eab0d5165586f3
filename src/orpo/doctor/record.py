"""The report as plain data for programs; `docs/doctor.md` describes it."""

from __future__ import annotations

from typing import Any

from orpo.data import SourceReport
from orpo.doctor.findings import Finding
from orpo.doctor.lengths import Lengths
from orpo.doctor.report import Part, Report
from orpo.statistics.rates import Rate

VERSION = 1
"""Raised when a key changes its meaning or goes away."""


def as_record(report: Report) -> dict[str, Any]:
    """A JSON object with everything in `report`."""
    return {
        "version": VERSION,
        "fatal": report.fatal,
        "settings": dict(report.settings),
        "findings": [_finding(finding) for finding in report.findings],
        "not_run": [{"check": missing.name, "reason": missing.reason} for missing in report.not_run],
        "parts": {part.use: _part(part) for part in report.parts},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    problem = finding.problem
    return {
        "check": problem.name,
        "severity": problem.severity.value,
        "part": finding.use,
        "count": finding.count,
        "total": finding.total,
        "title": problem.title,
        "advice": problem.advice,
        "examples": [{"where": row.where, "text": row.text} for row in finding.examples],
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "pairs": part.pairs,
        "singles": part.singles,
        "sources": [_source(source) for source in part.sources],
        "lengths": {lengths.segment: _lengths(lengths) for lengths in part.lengths},
        "length_bias": _rate(part.length_bias),
        "signal": part.signal
        and {
            "words": _rate(part.signal.words),
            "words_at_equal_length": _rate(part.signal.words_at_equal_length),
        },
        "languages": dict(part.languages),
        "max_lengths": [
            {"max_length": cut.max_length, "cut": cut.cut, "emptied": cut.emptied, "lost": cut.lost}
            for cut in part.cuts
        ],
    }


def _source(source: SourceReport) -> dict[str, Any]:
    return {
        "path": source.name,
        "split": source.split,
        "schema": source.schema,
        "read": source.counts.read,
        "kept": source.counts.kept,
        "dropped": dict(source.counts.dropped),
        "notes": dict(source.counts.notes),
    }


def _lengths(lengths: Lengths) -> dict[str, Any]:
    shortest, low, median, high, longest = lengths.quantiles
    return {
        "unit": lengths.unit,
        "mean": lengths.mean,
        "min": shortest,
        "p5": low,
        "median": median,
        "p95": high,
        "max": longest,
        "histogram": {"edges": list(lengths.edges), "counts": list(lengths.counts)},
    }


def _rate(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {"share": rate.value, "low": low, "high": high, "hits": rate.hits, "trials": rate.trials}
