"""The preview as plain data for programs; `docs/preview.md` describes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from orpo.preview.terms import Terms
from orpo.preview.view import Example, Preview, Segment

VERSION = 1
"""Raised when a key changes its meaning or goes away."""


def as_record(preview: Preview) -> dict[str, Any]:
    """A JSON object with everything in `preview`; texts are exact, so a terminal must not be sent them."""
    split, held = preview.split, preview.held
    return {
        "version": VERSION,
        "settings": asdict(preview.settings),
        "split": {
            "name": split.name,
            "pairs": split.pairs,
            "singles": split.singles,
            "tokens": dict(split.tokens),
        },
        "micro_batch": {
            "rows": held.rows,
            "columns": held.columns,
            "tokens": held.tokens,
            "padding": held.padding,
            "scored": held.scored,
            "in_nll": held.in_nll,
            "in_preference": held.in_preference,
        },
        "examples": [_example(example) for example in preview.examples],
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "where": example.where,
        "weight": example.weight,
        "cut": [segment.name for segment in example.segments if segment.is_cut],
        "tokens": [token for segment in example.segments for token in _tokens(segment)],
    }


def _tokens(segment: Segment) -> Iterator[dict[str, Any]]:
    for run in segment.runs:
        for piece in run.pieces:
            for place, token in enumerate(piece.tokens):
                yield {
                    "id": token.id,
                    "text": piece.text if place == 0 else None,
                    "special": piece.is_special,
                    "segment": segment.name,
                    "in_nll": Terms.NLL in token.terms,
                    "in_preference": Terms.PREFERENCE in token.terms,
                    "position": token.position,
                    "row": token.row,
                    "column": token.column,
                }
