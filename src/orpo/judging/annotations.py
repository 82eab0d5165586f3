"""Comparisons as AlpacaEval's annotations, so that its tools read ours, and ours read what is published.

`output_1` is the baseline's and `output_2` the model's.  Two more columns keep what was said in each order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from orpo.formats.alpaca_eval import BASELINE, MODEL, Annotation, preferences
from orpo.formats.records import OptionalNumber, read_records, write_list
from orpo.judging.comparison import Comparison, Judgement
from orpo.judging.outputs import Item
from orpo.judging.verdicts import Status

_UNKNOWN = "unknown"


def _on_scale(value: float | None) -> float | None:
    if value is None or BASELINE <= value <= MODEL:
        return value
    raise ValueError("a number from 1 (output_1 is better) to 2 (output_2 is), or null")


_Preference = Annotated[OptionalNumber, AfterValidator(_on_scale)]


class OrderedAnnotation(Annotation):
    """An annotation that may say what the judge preferred in each order, or by how much."""

    preference_model_first: _Preference = None
    preference_baseline_first: _Preference = None

    margin: OptionalNumber = None
    """How much better `output_2` is, on the judge's own scale, if it has one."""


def read_comparisons(path: Path) -> list[Comparison]:
    """The comparisons in a file of annotations: one for each pair of generators, in the order of the file.

    Raises:
        DataError: it is no such file.
    """
    groups: defaultdict[tuple[str, str], list[OrderedAnnotation]] = defaultdict(list)
    for annotation in read_records(path, OrderedAnnotation):
        groups[annotation.generator_2, annotation.generator_1].append(annotation)
    return [_comparison(model, baseline, rows) for (model, baseline), rows in groups.items()]


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the annotations of a comparison.

    Raises:
        ResourceError: it cannot be written.
    """
    write_list(path, [_annotation(comparison, one) for one in comparison.judgements])


def _comparison(model: str, baseline: str, rows: Sequence[OrderedAnnotation]) -> Comparison:
    judges = sorted({one.annotator or _UNKNOWN for one in rows})
    judgements = tuple(
        Judgement(
            Item(one.instruction, one.output_2, one.output_1, one.dataset),
            preference,
            Status.INVALID if math.isnan(preference) else Status.VALID,
            _from_scale(one.preference_model_first),
            _from_scale(one.preference_baseline_first),
            one.margin,
        )
        for one, preference in zip(rows, preferences(rows).tolist(), strict=True)
    )
    unread = sum(one.status is Status.INVALID for one in judgements)
    reasons = {"no preference in the file": unread} if unread else {}
    return Comparison(model, baseline, ", ".join(judges), judgements, reasons)


def _annotation(comparison: Comparison, one: Judgement) -> OrderedAnnotation:
    return OrderedAnnotation(
        dataset=one.item.dataset,
        instruction=one.item.instruction,
        output_1=one.item.baseline,
        generator_1=comparison.baseline,
        output_2=one.item.model,
        generator_2=comparison.model,
        annotator=comparison.judge,
        preference=_to_scale(one.preference),
        preference_model_first=_to_scale(one.model_first),
        preference_baseline_first=_to_scale(one.baseline_first),
        **({} if one.margin is None else {"margin": one.margin}),
    )


def _to_scale(preference: float) -> float | None:
    return None if math.isnan(preference) else BASELINE + preference


def _from_scale(preference: float | None) -> float:
    return math.nan if preference is None else preference - BASELINE
