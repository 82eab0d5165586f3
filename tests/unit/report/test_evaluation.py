"""Figures and responses of evaluations beside each other, as far as they may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from orpo.errors import DataError
from orpo.report.evaluation import (
    MORE_SAMPLES,
    PROMPTS,
    all_figures,
    cautions,
    pair_parts,
    response_figures,
    side_by_side,
)
from orpo.report.record import as_record
from orpo.report.run import Run, read_runs
from orpo.rundir.evaluations import Data, DataUsed, EvaluationRecord, ResponseRow
from tests.unit.report.evaluations import evaluate, record, responses
from tests.unit.report.runs import make_run


def runs(folder: Path, *found: tuple[EvaluationRecord, Sequence[ResponseRow]] | None) -> tuple[Run, ...]:
    """Runs with these evaluations; of None without one."""
    paths = [make_run(folder / str(number)) for number in range(len(found))]
    for path, one in zip(paths, found, strict=True):
        if one is not None:
            evaluate(path, *one)
    return read_runs(paths)


def test_a_run_without_an_evaluation_has_none(tmp_path: Path) -> None:
    (run,) = runs(tmp_path, None)
    assert run.evaluation is None
    assert as_record([run])["runs"][0]["evaluation"] is None


def test_the_record_has_the_evaluation_as_it_was_written(tmp_path: Path) -> None:
    found = record()
    both = runs(tmp_path, (found, []), (record(data=Data(pairs=None, prompts=None)), []))
    written = as_record(both)
    assert written["runs"][0]["evaluation"] == found.model_dump()
    assert len(written["comparison"]["cautions"]) == 3  # unfinished runs, other pairs, other prompts


def test_a_damaged_evaluation_is_one_message(tmp_path: Path) -> None:
    path = evaluate(make_run(tmp_path / "run"), record(), [])
    (path / "evaluation" / "evaluation.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"evaluation\.json"):
        read_runs([path])


def test_parts_are_all_pairs_and_several_sources_and_lengths() -> None:
    found = record()
    assert [part.name for part in pair_parts(found)] == [
        "all pairs",
        "source easy.jsonl",
        "source hard.jsonl",
        "longer response of 3 to 17 tokens",
    ]
    assert found.pairs is not None
    one = found.pairs.model_copy(update={"by_source": found.pairs.by_source[:1]})
    assert len(pair_parts(record(pairs=one))) == 2
    assert pair_parts(record(pairs=None)) == []


def test_figures_that_a_model_has_not_are_left_out() -> None:
    assert "reward, chosen" not in all_figures(record())
    assert list(all_figures(record(pairs=None, diversity=None))) == [
        "share cut off at the limit",
        "share without text",
        "mean tokens",
        "mean characters",
    ]
    assert response_figures(record(generation=None, diversity=None)) == {}


def test_what_may_not_be_compared_is_said(tmp_path: Path) -> None:
    other = Data(pairs=record().data.pairs, prompts=DataUsed(source="x", read=1, count=1, dropped={}))
    found = runs(tmp_path, (record(), []), None, (record(data=other, settings={"seed": 1}), []))
    assert list(cautions(found)) == [
        "The runs were not evaluated on the same prompts: figures of prompts may not be compared.",
        "The evaluations differ in their settings: max_length, samples, seed, temperature.",
    ]
    assert list(cautions(found[:2])) == []


def test_responses_to_the_same_prompts_stand_beside_each_other(tmp_path: Path) -> None:
    ours = responses([["a0", "a1"], ["b0"], ["c0"]], ["a", "b", "c"])
    theirs = responses([["C0"], ["x0"], ["A0", "A1", "A2", "A3", "A4"]], ["c", "x", "a"])
    asked = side_by_side(runs(tmp_path, (record(), ours), None, (record(), theirs)))
    assert [one.instruction for one in asked] == ["a", "c"]
    first, second = asked[0].answers
    assert (first.run.label, second.run.label) == ("A", "C")
    assert (first.first.response, [row.response for row in first.others]) == ("a0", ["a1"])
    assert [row.response for row in second.others] == ["A1", "A2", "A3"][:MORE_SAMPLES]


def test_prompts_are_chosen_from_the_whole_range(tmp_path: Path) -> None:
    asked = side_by_side(runs(tmp_path, (record(), responses([[str(n)] for n in range(100)]))))
    assert len(asked) == PROMPTS
    assert [asked[0].instruction, asked[-1].instruction] == ["Prompt number 0?", "Prompt number 99?"]


def test_of_prompts_with_the_same_words_the_first_is_shown(tmp_path: Path) -> None:
    (one,) = side_by_side(runs(tmp_path, (record(), responses([["a0", "a1"], ["b0"]], ["a", "a"]))))
    assert [one.answers[0].first.response, one.answers[0].others[0].response] == ["a0", "a1"]
    assert len(one.answers[0].others) == 1


def test_without_a_shared_prompt_nothing_is_shown(tmp_path: Path) -> None:
    ours, theirs = responses([["a"]], ["a"]), responses([["b"]], ["b"])
    assert side_by_side(runs(tmp_path, (record(), ours), (record(), theirs))) == []
    assert side_by_side(runs(tmp_path / "other", (record(), []), None)) == []
