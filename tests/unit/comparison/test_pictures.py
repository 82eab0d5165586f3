"""Pictures show differences where there are some."""

from __future__ import annotations

from pathlib import Path

from orpo.comparison.pictures import log_probabilities
from tests.unit.comparison.evidence import evidence, plan


def test_systems_of_like_spans_have_the_same_axes(tmp_path: Path) -> None:
    known = evidence(plan(tmp_path), {"sft": (0.3, 0.2), "orpo-lambda-1.0": (0.1, -0.4)})
    assert [picture.title for picture in log_probabilities(known)] == known.compared[1:]


def test_a_system_that_spans_far_more_does_not_flatten_the_others(tmp_path: Path) -> None:
    known = evidence(plan(tmp_path), {"sft": (0.3, 0.2), "dpo": (-5.0, -7.0)})
    titles = [picture.title for picture in log_probabilities(known)]
    assert titles == [*known.compared[1:-1], "dpo (an axis of its own)"]
